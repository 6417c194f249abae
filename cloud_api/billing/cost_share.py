"""Cost share (转供电, the other mode): every line of the utility's own bill divided over who used it. Pure.

A line that names a bucket is divided by the energy in that bucket, any other by all energy; a line may name another
driver (`area`, `head_count`, `equal`) or stay with the `landlord`. Each division is by largest remainder to the cent:
tenants and owner together pay exactly what the utility charged.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing.apportionment import Apportioned, Weights
from cloud_api.billing.book import Book, kwh
from cloud_api.billing.charge import Issue, Line
from cloud_api.billing.run_model import RunInputs
from cloud_api.billing.tariff import Label, bucket_name
from cloud_api.kit.i18n import Text
from cloud_api.kit.money import share_largest_remainder

DRIVERS = ("energy", "area", "head_count", "equal", "landlord")
_UNITS = {"energy": "kWh", "area": "m2·d", "head_count": "p·d", "equal": "", "landlord": ""}


def shares(book: Book, apportioned: Apportioned) -> dict[int, list[Line]]:
    """Return each party's lines; without the utility's bill there are none, and `doubts` says so."""
    bill = book.inputs.utility_bill
    if bill is None:
        return {}
    used = _energy_by_bucket(book, apportioned)
    weights = book.weights()
    found: defaultdict[int, list[Line]] = defaultdict(list)
    for number, content in enumerate(bill.get("lines", ()), 1):
        for party, line in _divide(book, number, content, used, weights):
            found[party].append(line)
    return dict(found)


def doubts(book: Book, apportioned: Apportioned) -> list[Issue]:
    """Return what keeps a cost-share run from being issued: no bill, or one that counts other energy than we do."""
    bill = book.inputs.utility_bill
    if bill is None:
        return [Issue(code="utility_bill_missing", text=_missing(book.inputs))]
    theirs, ours = Decimal(bill["kwh"]), kwh(apportioned.main)
    most = book.inputs.policy.utility_bill_max_percent
    if theirs and abs(ours - theirs) * 100 <= most * theirs:
        return []
    text = Text(
        "the utility's bill counts {theirs} kWh, our main meter {ours} kWh; at most {most} % may lie between",
        theirs=theirs,
        ours=ours,
        most=most,
    )
    return [Issue(code="utility_bill_differs", text=text)]


def _missing(inputs: RunInputs) -> Text:
    """Say that there is no bill, or that there is one whose days are not those of the run."""
    beside = next(iter(inputs.utility_bills_beside), None)
    if beside is None:
        return Text("cost share needs the utility's bill of the month: enter it and calculate again")
    return Text(
        "cost share needs the utility's bill of the same days: the run covers {first} to {last}, the utility's bill"
        " {their_first} to {their_last}; set the billing parameter cycle_day to {cycle_day}",
        first=inputs.starts_on,
        last=inputs.ends_on - timedelta(days=1),
        their_first=beside[0],
        their_last=beside[1] - timedelta(days=1),
        cycle_day=beside[0].day,
    )


def _energy_by_bucket(book: Book, apportioned: Apportioned) -> dict[int, dict[str, int]]:
    """Return micro-kWh per party and bucket: its own, and its parts of common areas and losses."""
    runs = book.inputs.runs
    found: dict[int, dict[str, int]] = {}
    for party, energy in apportioned.parties.items():
        totals: defaultdict[str, int] = defaultdict(int)
        for kind in (energy.own, energy.common, energy.loss):
            for run, quantity in kind.items():
                totals[runs[run].bucket] += quantity
        found[party] = totals
    return found


def _divide(
    book: Book,
    number: int,
    content: Mapping[str, Any],
    used: Mapping[int, Mapping[str, int]],
    weights: Mapping[int, Weights],
) -> list[tuple[int, Line]]:
    order = sorted(used)
    driver, bucket = content.get("driver") or "energy", content.get("bucket")
    parts = [_weight(driver, bucket, used[party], weights.get(party, Weights())) for party in order]
    if not any(parts):
        driver, parts = "landlord", [Fraction(party == book.inputs.site.owner_id) for party in order]
    amount = Decimal(content["amount"])
    cents = share_largest_remainder(int(amount.scaleb(2)), parts)
    whole = sum(parts, Fraction(0))
    return [
        (party, _line(book, number, content, driver, part, whole, Decimal(cent).scaleb(-2)))
        for party, part, cent in zip(order, parts, cents, strict=True)
        if part
    ]


def _weight(driver: str, bucket: str | None, used: Mapping[str, int], weight: Weights) -> Fraction:
    match driver:
        case "area":
            return Fraction(weight.area_days)
        case "head_count":
            return Fraction(weight.people_days)
        case "equal":
            return Fraction(1 if weight.area_days else 0)
        case "energy":
            micro = used.get(bucket, 0) if bucket else sum(used.values())
            return Fraction(max(micro, 0), 10**6)
        case _:
            return Fraction(0)


def _line(
    book: Book,
    number: int,
    content: Mapping[str, Any],
    driver: str,
    part: Fraction,
    whole: Fraction,
    amount: Decimal,
) -> Line:
    inputs = book.inputs
    bucket = content.get("bucket")
    version = next((r.version for r in inputs.runs if r.bucket == bucket), inputs.runs[0].version)
    known = {v.version: v for v in inputs.tariff.versions}
    paid = Fraction(Decimal(content["amount"]))
    note = Text("{part} of {whole} {unit}; {amount} on the utility's bill", part=_short(part), whole=_short(whole),
                unit=_UNITS[driver], amount=content["amount"])  # fmt: skip
    return Line(
        component=f"utility-{number}",
        name=Label(zh=content["name"], en=content.get("name_en") or content["name"]),
        kind="share",
        version=version,
        starts_on=inputs.starts_on,
        ends_on=inputs.ends_on,
        quantity=part,
        unit=_UNITS[driver],
        unit_price=paid / whole,
        amount_exact=paid * part / whole,
        amount=amount,
        bucket=bucket,
        bucket_label=None if bucket is None else bucket_name(known[version], bucket),
        vat_rate=inputs.policy.cost_share_vat_rate,
        note=note,
    )


def _short(value: Fraction) -> str:
    return f"{Decimal(value.numerator) / Decimal(value.denominator):.2f}"
