"""Use cases of the utility's bill for the main meter: entered, compared with our own ledger, listed."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import utility_bill_comparison as comparison
from cloud_api.billing.repository import Row, as_json, one, queries, rows, store
from cloud_api.billing.run_model import SiteFacts
from cloud_api.billing.service import month_of
from cloud_api.billing.utility_bill_comparison import Comparison
from cloud_api.billing.utility_bill_entry import UtilityBillInvalid, check
from cloud_api.billing.what_if import plain
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import NotFound
from cloud_api.kit.i18n import Text

BILLS_SHOWN_MAX = 120


async def enter(
    conn: AsyncConnection,
    site: SiteFacts,
    month: str,
    content: Mapping[str, Any],
    *,
    actor: str,
    clock: Clock,
    utility: str = "electricity",
) -> list[Text]:
    """Store the bill of a month, replacing an earlier entry, and say how it compares with our main meter.

    Raises UtilityBillInvalid for what does not add up, for another currency and for a bucket that no tariff knows.
    """
    bill = check(content)
    if content.get("currency") and content["currency"] != site.currency:
        raise UtilityBillInvalid(
            "the bill is in {bill_currency}, site {site_code} bills in {site_currency}:"
            " enter the amounts in {site_currency}",
            bill_currency=content["currency"], site_code=site.code, site_currency=site.currency,
        )  # fmt: skip
    first, after = month_of(month)
    await _check_buckets(conn, site, utility, bill)
    ids = {"site_id": site.id, "organisation_id": site.organisation_id, "utility": utility}
    ids |= {"first": first, "after": after, "at": clock.now(), "actor": actor}
    await store(conn, queries.forget_utility_bill, ids)
    await store(conn, queries.save_utility_bill, ids | {"content": as_json(bill), "total": Decimal(bill["total"])})
    head = Text("utility's bill of {month}: {total} for {kwh} kWh", month=month, total=bill["total"], kwh=bill["kwh"])
    try:
        compared = await compare(conn, site, month, bill, utility=utility)
    except loading.TariffMissing as error:
        return [head, error.text]
    ours = Text("our main meter counted {ours} kWh", ours=plain(compared.energy.ours))
    return [head, ours, *compared.words()]


async def _check_buckets(conn: AsyncConnection, site: SiteFacts, utility: str, bill: Mapping[str, Any]) -> None:
    known = await buckets_known(conn, site, utility)
    for number, line in enumerate(bill["lines"], 1):
        if line["bucket"] and known and line["bucket"] not in known:
            raise UtilityBillInvalid(
                "line {line}: the tariff has no period {bucket}; write {known}, or leave it empty",
                line=number, bucket=line["bucket"], known=tuple(known),
            )  # fmt: skip


async def buckets_known(conn: AsyncConnection, site: SiteFacts, utility: str) -> list[str]:
    """Return the buckets of the tariff that tenants pay, or none without a tariff."""
    stored = await loading.find_tariff(conn, site, utility)
    if stored is None:
        return []
    versions = loading.load_dumped(stored["content"]).versions
    return list(dict.fromkeys(code for version in versions for code in version.bucket_codes()))


async def compare(
    conn: AsyncConnection, site: SiteFacts, month: str, bill: Mapping[str, Any], *, utility: str = "electricity"
) -> Comparison:
    """Compare an entered bill with our ledger of its period. Raises TariffMissing without a tariff."""
    first, after = month_of(month)
    inputs, _ = await loading.load_inputs(conn, site, utility, first, after, evidence=False)
    return comparison.compare(inputs, bill)


async def entered(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the bills that were entered, newest first."""
    return await rows(conn, queries.utility_bills, {"organisation_id": organisation_id, "limit": BILLS_SHOWN_MAX})


async def find(conn: AsyncConnection, organisation_id: int, bill_id: int) -> Row:
    """Return an entered bill. Raises NotFound."""
    found = await one(conn, queries.utility_bill_by_id, {"organisation_id": organisation_id, "id": bill_id})
    if found is None:
        raise NotFound("there is no utility's bill {bill_id}", bill_id=bill_id)
    return found
