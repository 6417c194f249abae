"""Use cases of the utility's bill for the main meter: entered, compared with our own ledger, listed."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import utility_bill_comparison as comparison
from cloud_api.billing.cycle import Days, cycle_of
from cloud_api.billing.repository import Row, as_json, one, queries, rows, store
from cloud_api.billing.run_model import SiteFacts
from cloud_api.billing.utility_bill_comparison import Comparison
from cloud_api.billing.utility_bill_entry import UtilityBillInvalid, check
from cloud_api.billing.what_if import plain
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import NotFound
from cloud_api.kit.i18n import Text

BILLS_SHOWN_MAX = 120
DAYS_MAX = 100


async def enter(
    conn: AsyncConnection,
    site: SiteFacts,
    days: Days,
    content: Mapping[str, Any],
    *,
    actor: str,
    clock: Clock,
    utility: str = "electricity",
) -> list[Text]:
    """Store the bill of any days, replacing an earlier entry of the same days; say how it compares with our main meter.

    Raises UtilityBillInvalid for what does not add up, for another currency, for a bucket that no tariff knows, and for
    days that another bill covers.
    """
    bill = check(content)
    if content.get("currency") and content["currency"] != site.currency:
        raise UtilityBillInvalid(
            "the bill is in {bill_currency}, site {site_code} bills in {site_currency}:"
            " enter the amounts in {site_currency}",
            bill_currency=content["currency"], site_code=site.code, site_currency=site.currency,
        )  # fmt: skip
    await _check_buckets(conn, site, utility, bill)
    first, after = _checked_days(days, clock.now().astimezone(ZoneInfo(site.time_zone)).date())
    last = after - timedelta(days=1)
    ids = {"site_id": site.id, "organisation_id": site.organisation_id, "utility": utility}
    ids |= {"first": first, "after": after, "actor": actor, "known_at": "infinity"}
    await _make_room(conn, ids, days)
    await store(conn, queries.save_utility_bill, ids | {"content": as_json(bill), "total": Decimal(bill["total"])})
    head = Text("utility's bill of {first} to {last}: {total} for {kwh} kWh",
                first=first, last=last, total=bill["total"], kwh=bill["kwh"])  # fmt: skip
    try:
        compared = await compare(conn, site, days, bill, utility=utility)
    except loading.TariffMissing as error:
        return [head, error.text]
    ours = Text("our main meter counted {ours} kWh", ours=plain(compared.energy.ours))
    return [head, ours, *compared.words()]


def _checked_days(days: Days, today: date) -> Days:
    first, after = days
    last = after - timedelta(days=1)
    if not first <= last <= first + timedelta(days=DAYS_MAX - 1):
        raise UtilityBillInvalid(
            "from {first} to {last}: a bill covers 1 to {most} days, the last day not before the first",
            first=first, last=last, most=DAYS_MAX,
        )  # fmt: skip
    if after > today:
        raise UtilityBillInvalid("from {first} to {last}: the last day is not over yet", first=first, last=last)
    return days


async def _make_room(conn: AsyncConnection, ids: Mapping[str, Any], days: Days) -> None:
    """Drop the entry of the same days. Raises UtilityBillInvalid where another bill covers some of them."""
    for there in await rows(conn, queries.utility_bills_in, ids):
        if (there["first"], there["after"]) != days:
            raise UtilityBillInvalid(
                "days from {first} to {last} stand on the bill that was entered for {their_first} to {their_last}:"
                " correct the days, or remove that bill first",
                first=days[0], last=days[1] - timedelta(days=1),
                their_first=there["first"], their_last=there["after"] - timedelta(days=1),
            )  # fmt: skip
        await store(conn, queries.forget_utility_bill, {**ids, "id": there["id"]})


async def days_of(
    conn: AsyncConnection, site: SiteFacts, *, month: str = "", first_day: str = "", last_day: str = ""
) -> Days:
    """Return the days that a person names: first and last day as printed, or the site's cycle that starts in a month.

    Raises UtilityBillInvalid, or Invalid for what is no month.
    """
    if month and not (first_day or last_day):
        return cycle_of(month, (await loading.find_policy(conn, site)).cycle_day)
    if month or not (first_day and last_day):
        raise UtilityBillInvalid("name the first and the last day of the bill, or its month")
    return _day(first_day), _day(last_day) + timedelta(days=1)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UtilityBillInvalid("{text!r} is not a day; write 2026-11-12", text=text) from None


async def remove(conn: AsyncConnection, organisation_id: int, bill_id: int) -> Row:
    """Take back an entry made by mistake and return it; runs that used it can still be verified. Raises NotFound."""
    bill = await find(conn, organisation_id, bill_id)
    await store(conn, queries.forget_utility_bill, {"organisation_id": organisation_id, "id": bill_id})
    return bill


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
    conn: AsyncConnection, site: SiteFacts, days: Days, bill: Mapping[str, Any], *, utility: str = "electricity"
) -> Comparison:
    """Compare an entered bill with our ledger of exactly its days. Raises TariffMissing without a tariff."""
    inputs, _ = await loading.load_inputs(conn, site, utility, *days, evidence=False)
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
