"""The utility's bill for the main meter: entered or imported, summed up, compared with our own ledger."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import resale
from cloud_api.billing.charge import round_fraction
from cloud_api.billing.cost_share import DRIVERS
from cloud_api.billing.repository import Row, as_json, one, queries, rows, store
from cloud_api.billing.run_model import SiteFacts
from cloud_api.billing.service import month_of
from cloud_api.billing.tariff import BUCKET_NAMES
from cloud_api.billing.what_if import plain
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import Text

LINES_MAX = 200
BILLS_SHOWN_MAX = 120
ENERGY_PERCENT_MAX = Decimal(1)
AMOUNT_PERCENT_MAX = Decimal(2)
"""Differences from our own ledger up to here are not mentioned."""
COLUMNS = {
    "name": ("name", "item", "项目", "名称", "费用项目"),
    "name_en": ("name_en", "english"),
    "bucket": ("bucket", "period", "时段"),
    "kwh": ("kwh", "quantity", "电量", "数量"),
    "amount": ("amount", "金额", "电费", "金额（元）"),
    "driver": ("driver", "shared_by", "分摊方式"),
}
"""Names that the columns of a file may have; `kwh` and `driver` may be missing."""
BUCKET_WORDS = {"尖": "sharp", "尖峰": "sharp", "峰": "peak", "高峰": "peak", "平": "flat", "平段": "flat",
                "谷": "valley", "低谷": "valley", "深谷": "deep"}  # fmt: skip


class UtilityBillInvalid(Invalid):
    """The utility's bill does not add up or cannot be read."""

    code = "utility_bill_invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One figure twice: on the utility's bill, and by our own ledger."""

    theirs: Decimal
    ours: Decimal

    @property
    def percent(self) -> Decimal | None:
        """How far ours lies from theirs, in percent of theirs."""
        return None if not self.theirs else ((self.ours - self.theirs) * 100 / self.theirs).quantize(Decimal("0.01"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The utility's bill beside our main meter: energy in all and per bucket, and the amount by the landlord's tariff.

    `buckets` holds the buckets for which the bill says its kWh.
    """

    energy: Side
    buckets: Mapping[str, Side] = field(default_factory=dict[str, Side])
    amount: Side | None = None

    def words(self) -> list[Text]:
        """Return what a person should look at; empty when the two agree."""
        found: list[Text] = []
        if _apart(self.energy, ENERGY_PERCENT_MAX):
            found.append(
                Text(
                    "the bill counts {theirs} kWh, our main meter {ours} kWh; they differ by {percent} %: check the"
                    " period, the ratio and the main meter's readings",
                    theirs=plain(self.energy.theirs),
                    ours=plain(self.energy.ours),
                    percent=self.energy.percent,
                )
            )
        found += [
            Text(
                "period {bucket}: the bill counts {theirs} kWh, our main meter {ours} kWh ({percent} %): check the"
                " meter's clock and the tariff's windows",
                bucket=_named(bucket),
                theirs=plain(side.theirs),
                ours=plain(side.ours),
                percent=side.percent,
            )
            for bucket, side in self.buckets.items()
            if _apart(side, ENERGY_PERCENT_MAX)
        ]
        if self.amount is not None and _apart(self.amount, AMOUNT_PERCENT_MAX):
            found.append(
                Text(
                    "the bill asks {theirs}, our main meter rated by the purchase tariff {ours} ({percent} %): check"
                    " the tariff's prices or claim the difference from the utility",
                    theirs=self.amount.theirs,
                    ours=self.amount.ours,
                    percent=self.amount.percent,
                )
            )
        return found


def _named(bucket: str) -> str:
    """Return a period's name in both languages, for words that are read in either."""
    name = BUCKET_NAMES.get(bucket)
    return f"{name.zh} {name.en}" if name else bucket


def _apart(side: Side, percent_max: Decimal) -> bool:
    return abs(side.ours - side.theirs) * 100 > percent_max * abs(side.theirs)


def read_file(path: Path) -> dict[str, Any]:
    """Read a JSON file with `total`, `kwh` and `lines`. Raises UtilityBillInvalid."""
    try:
        return read_json(path.name, path.read_bytes())
    except OSError as error:
        raise UtilityBillInvalid("{path}: cannot be read: {problem}", path=path, problem=error.strerror) from error


def read_json(name: str, content: bytes) -> dict[str, Any]:
    """Read JSON with `total`, `kwh` and `lines`. Raises UtilityBillInvalid."""
    try:
        found = json.loads(content.decode("utf-8-sig"), parse_float=str, parse_int=str)
    except ValueError as error:
        raise UtilityBillInvalid("{path_name}: is not JSON: {problem}", path_name=name, problem=error) from error
    if not isinstance(found, dict):
        raise UtilityBillInvalid("{path_name}: is an object with total, kwh and lines", path_name=name)
    return found


def lines_of(found: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Return a table's rows (by lower-case column) as lines; rows without name and amount are left out."""
    lines: list[dict[str, Any]] = []
    for row in found:
        values = {key: next((row[n] for n in names if row.get(n)), "").strip() for key, names in COLUMNS.items()}
        if values["name"] or values["amount"]:
            bucket = BUCKET_WORDS.get(values["bucket"], values["bucket"])
            lines.append(values | {"amount": _plain(values["amount"]), "kwh": _plain(values["kwh"]), "bucket": bucket})
    return lines


def _plain(text: str) -> str:
    return text.replace(",", "").replace("，", "").replace("¥", "").replace(" ", "")


def check(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bill with exact amounts as text. Leaves have to sum to the total; a group's children are its leaves.

    `bucket` of a line names the time-of-use bucket that it pays for, `kwh` the energy that it counts there; lines
    without a bucket are spread by energy. Raises UtilityBillInvalid with the line and the remedy.
    """
    lines = content.get("lines", [])
    if not isinstance(lines, list) or not 1 <= len(lines) <= LINES_MAX:
        raise UtilityBillInvalid("the bill needs 1 to {lines_max} lines with name and amount", lines_max=LINES_MAX)
    total, kwh = _number(content.get("total"), "total"), _number(content.get("kwh"), "kwh")
    if kwh < 0:
        raise UtilityBillInvalid("{energy} kWh is negative; corrections of earlier months are lines", energy=kwh)
    read = []
    for number, line in enumerate(lines, 1):
        amount = _number(line.get("amount"), f"line {number}: amount")
        driver = line.get("driver") or "energy"
        if driver not in DRIVERS:
            raise UtilityBillInvalid("line {line}: {driver} is no driver; write {drivers}", line=number, driver=driver,
                                     drivers=", ".join(DRIVERS))  # fmt: skip
        if amount != amount.quantize(Decimal("0.01")):
            raise UtilityBillInvalid("line {line}: {amount} has more than two decimals", line=number, amount=amount)
        name = str(line.get("name") or "").strip()
        if not name:
            raise UtilityBillInvalid("line {line}: needs a name", line=number)
        energy = _number(line["kwh"], f"line {number}: kwh") if line.get("kwh") else None
        if energy is not None and energy < 0:
            raise UtilityBillInvalid("line {line}: {energy} kWh is negative", line=number, energy=energy)
        read.append({"name": name, "name_en": str(line.get("name_en") or name), "amount": str(amount), "driver": driver,
                     "bucket": line.get("bucket") or None, "kwh": None if energy is None else str(energy)})  # fmt: skip
    summed = sum((Decimal(line["amount"]) for line in read), Decimal(0))
    if summed != total:
        raise UtilityBillInvalid(
            "the lines sum to {summed}, the total says {total}: enter every leaf once, no groups",
            summed=summed,
            total=total,
        )
    return {"total": str(total), "kwh": str(kwh), "lines": read}


def _number(value: Any, what: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise UtilityBillInvalid("{what} {value!r} is not a number", what=what, value=value) from None
    if not number.is_finite():
        raise UtilityBillInvalid("{what} {value} is not a number", what=what, value=value)
    return number


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
    """Compare an entered bill with our ledger: kWh in all and per bucket, amount by the landlord's tariff.

    Raises TariffMissing without a tariff. Rent, services and taxes outside the tariff stand in the amount's difference.
    """
    first, after = month_of(month)
    inputs, _ = await loading.load_inputs(conn, site, utility, first, after, evidence=False)
    ours = resale.main_by_bucket(inputs)
    theirs: dict[str, Decimal] = {}
    for line in bill["lines"]:
        if line["bucket"] and line.get("kwh"):
            # Purchase, losses and funds of one period name the same energy: it counts once.
            theirs[line["bucket"]] = max(theirs.get(line["bucket"], Decimal(0)), Decimal(line["kwh"]))
    energy = sum((kwh for kwh, _ in ours.values()), Decimal(0))
    rated = round_fraction(sum((amount for _, amount in ours.values()), Fraction(0)))
    return Comparison(
        energy=Side(theirs=Decimal(bill["kwh"]), ours=energy),
        buckets={b: Side(theirs=kwh, ours=ours.get(b, (Decimal(0), 0))[0]) for b, kwh in theirs.items()},
        amount=Side(theirs=Decimal(bill["total"]), ours=rated) if rated else None,
    )


async def entered(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the bills that were entered, newest first."""
    return await rows(conn, queries.utility_bills, {"organisation_id": organisation_id, "limit": BILLS_SHOWN_MAX})


async def find(conn: AsyncConnection, organisation_id: int, bill_id: int) -> Row:
    """Return an entered bill. Raises NotFound."""
    found = await one(conn, queries.utility_bill_by_id, {"organisation_id": organisation_id, "id": bill_id})
    if found is None:
        raise NotFound("there is no utility's bill {bill_id}", bill_id=bill_id)
    return found
