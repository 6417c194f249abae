"""Resold electricity (转供电): what tenants are charged against what the landlord paid for the same energy. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cloud_api.billing import rating
from cloud_api.billing.apportionment import Apportioned
from cloud_api.billing.charge import Cycle, Facts, Issue, Slice, Usage, round_fraction
from cloud_api.kit.i18n import Text

if TYPE_CHECKING:
    from cloud_api.billing.run_model import BillDraft, RunInputs

_MICRO = 1_000_000
RECOVERING = frozenset({"energy", "demand", "capacity", "pf", "share"})
"""Kinds of lines that recover what the utility charged; rent, fixed fees and services are none."""
_PRICE_DIGITS = Decimal("0.000001")


def check(inputs: "RunInputs", apportioned: Apportioned, drafts: Sequence["BillDraft"]) -> dict[str, Any]:
    """Return the transparency sheet of the period and the issues that forbid issuing.

    The landlord's cost is the utility's bill when it was entered, else the main meter rated by the landlord's own
    tariff. Recovered is every amount on tenants' bills that is charged per kWh, VAT included. A bucket's cost per kWh
    times the tenants' kWh in it is what was paid for the same energy. Checked for the period and the running year.
    """
    main = _main_by_key(inputs)
    cost, basis = _cost_by_key(inputs, main)
    sold: defaultdict[tuple[str, str], int] = defaultdict(int)
    for party, energy in apportioned.parties.items():
        if party != inputs.site.owner_id:
            for kind in (energy.own, energy.common, energy.loss):
                for i, quantity in kind.items():
                    sold[inputs.runs[i].version, inputs.runs[i].bucket] += quantity
    paid_same = sum((cost[k] * Fraction(q, main[k]) for k, q in sold.items() if main.get(k)), Fraction(0))
    if inputs.policy.resale_mode == "cost_share":
        # Each line of the utility's bill is divided without rest: a tenant's exact parts are what its energy cost.
        paid_same = sum((d.exact for d in drafts if d.kind == "bill"), Fraction(0))
    recovered = sum((d.recovered for d in drafts if d.kind == "bill"), Decimal("0.00"))
    over = recovered - round_fraction(paid_same)
    paid_total = sum(cost.values(), Fraction(0))
    year_over = over + inputs.recovered_before - inputs.paid_before
    sheet = {
        "basis": basis,
        "mode": inputs.policy.resale_mode,
        "paid_energy_kwh": _kwh(sum(main.values())),
        "paid_total": str(round_fraction(paid_total)),
        "average_price": _price(paid_total, sum(main.values())),
        "sold_energy_kwh": _kwh(sum(sold.values())),
        "paid_for_same_energy": str(round_fraction(paid_same)),
        "recovered": str(recovered),
        "over_recovery": str(over),
        "over_recovery_year": str(year_over),
        "tolerance": str(inputs.policy.resale_tolerance),
        "buckets": [
            {"version": v, "bucket": b, "paid": str(round_fraction(amount)), "kwh": _kwh(main.get((v, b), 0))}
            | {"price": _price(amount, main.get((v, b), 0))}
            for (v, b), amount in sorted(cost.items())
        ],
    }
    return {"sheet": sheet, "issues": over_recoveries(over, year_over, inputs.policy.resale_tolerance)}


def over_recoveries(period: Decimal, year: Decimal, tolerance: Decimal) -> list[Issue]:
    """Return what forbids issuing when more is recovered than was paid, in the period or the year, by these amounts."""
    return [
        Issue(
            code="over_recovery",
            text=Text(
                "tenants would pay {amount} more than the landlord paid for the same energy {when}; lower the prices or"
                " enter the utility's bill",
                amount=amount,
                when=when,
            ),
        )
        for when, amount in ((Text("in this period"), period), (Text("in this year"), year))
        if amount > tolerance
    ]


def recovered_of(lines: Iterable[Mapping[str, Any]]) -> Decimal:
    """Return what a document's lines charge for energy and its supply, VAT included; a credit note's are negative."""
    return sum(
        (
            Decimal(line["amount"]) if line["tax_included"] else Decimal(line["amount"]) + Decimal(line["tax"])
            for line in lines
            if line["kind"] in RECOVERING and line.get("source") != "after_hours"
        ),
        Decimal("0.00"),
    )


def main_by_bucket(inputs: "RunInputs") -> dict[str, tuple[Decimal, Fraction]]:
    """Return kWh of our main meter per bucket, and what the landlord's own tariff asks for them, VAT included."""
    main = _main_by_key(inputs)
    cost = _rated(inputs, main)
    found: dict[str, tuple[Decimal, Fraction]] = {}
    for key, micro in main.items():
        energy, amount = found.get(key[1], (Decimal(0), Fraction(0)))
        found[key[1]] = energy + Decimal(micro).scaleb(-6), amount + cost.get(key, Fraction(0))
    return found


def _main_by_key(inputs: "RunInputs") -> dict[tuple[str, str], int]:
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for part in inputs.parts:
        if part.meter.use == "main" and part.index in inputs.energy:
            for i, quantity in inputs.energy[part.index].runs.items():
                found[inputs.runs[i].version, inputs.runs[i].bucket] += quantity
    return dict(found)


def _cost_by_key(inputs: "RunInputs", main: dict[tuple[str, str], int]) -> tuple[dict[tuple[str, str], Fraction], str]:
    """Return what the landlord paid per version and bucket; what has no bucket is spread by kWh."""
    if inputs.utility_bill is not None:
        total = Fraction(Decimal(inputs.utility_bill["total"]))
        named = {line.get("bucket"): Fraction(0) for line in inputs.utility_bill.get("lines", ())}
        for line in inputs.utility_bill.get("lines", ()):
            named[line.get("bucket")] += Fraction(Decimal(line["amount"]))
        by_bucket = _spread_named(named, main, total)
        return by_bucket, "utility_bill"
    return _rated(inputs, main), "landlord_tariff" if any(main.values()) else "no_energy"


def _rated(inputs: "RunInputs", main: dict[tuple[str, str], int]) -> dict[tuple[str, str], Fraction]:
    slices = tuple(Slice(version=v, bucket=b, quantity=Decimal(q).scaleb(-6)) for (v, b), q in sorted(main.items()))
    start, end = inputs.cycle
    cycle = Cycle(starts_on=start, ends_on=end, billed_from=inputs.starts_on, billed_to=inputs.ends_on)
    supply = inputs.supply
    main_demand = supply.demand.get(None)
    usage = Usage(
        slices=slices,
        feeds=() if main_demand is None else main_demand.feeds,
        coincident=None if main_demand is None else main_demand.coincident,
        reactive_kvarh=supply.reactive_kvarh.get(None),
    )
    earlier = {
        m: Usage(feeds=d[None].feeds, coincident=d[None].coincident)
        for m, d in inputs.earlier_demand.items()
        if None in d
    }
    facts = Facts(contract_kw=inputs.site.contract_demand_kw, earlier=earlier)
    # What the landlord's tariff asks and we do not know adds no cost: the cap is then lower, never higher.
    lines, _ = rating.charges(inputs.landlord_tariff, cycle, usage, facts, kinds=RECOVERING)
    cost: dict[tuple[str, str], Fraction] = dict.fromkeys(main, Fraction(0))
    for line in lines:
        amount = line.amount_exact * (1 if line.tax_included else 1 + Fraction(line.vat_rate))
        keys = [(line.version, line.bucket)] if line.bucket else [k for k in main if k[0] == line.version]
        weight = sum(main.get((v, b or ""), 0) for v, b in keys)
        for version, bucket in keys:
            key = (version, bucket or "")
            if weight and key in cost:
                cost[key] += amount * Fraction(main[key], weight)
    return cost


def _spread_named(
    named: dict[str | None, Fraction], main: dict[tuple[str, str], int], total: Fraction
) -> dict[tuple[str, str], Fraction]:
    cost: dict[tuple[str, str], Fraction] = dict.fromkeys(main, Fraction(0))
    whole = sum(main.values())
    left = total
    for bucket, amount in named.items():
        keys = [k for k in main if k[1] == bucket]
        weight = sum(main[k] for k in keys)
        if bucket is not None and weight:
            left -= amount
            for key in keys:
                cost[key] += amount * Fraction(main[key], weight)
    for key, quantity in main.items():
        cost[key] += left * Fraction(quantity, whole) if whole else 0
    return cost


def _kwh(micro: int) -> str:
    return f"{Decimal(micro).scaleb(-6).normalize():f}" if micro else "0"


def _price(amount: Fraction, micro: int) -> str | None:
    return str(round_fraction(amount * _MICRO / micro, _PRICE_DIGITS)) if micro else None
