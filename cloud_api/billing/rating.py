"""Rate what was used in one billing cycle by a tariff: exact fractions, one half-up rounding per printed line. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing import tiers as tiering
from cloud_api.billing.charge import Cycle, Facts, Issue, Line, Rated, Usage, round_fraction
from cloud_api.billing.degree_days import degree_day_share
from cloud_api.billing.demand import DemandUnknown, billing_demand, measured_kw, months_before
from cloud_api.billing.power_factor import adjustment_percent, power_factor
from cloud_api.billing.tariff import Component, Demand, Tariff, Tiers, Version, bucket_name
from cloud_api.billing.vat import close
from cloud_api.kit.i18n import Text


def rate(tariff: Tariff, cycle: Cycle, usage: Usage, facts: Facts | None = None) -> Rated:
    """Rate one cycle. A missing fact is an issue, never a zero charge that nobody notices."""
    lines, issues = charges(tariff, cycle, usage, facts)
    return close(lines, issues)


def charges(
    tariff: Tariff, cycle: Cycle, usage: Usage, facts: Facts | None = None, *, kinds: frozenset[str] | None = None
) -> tuple[list[Line], list[Issue]]:
    """Return the lines of one cycle before VAT, for components of the given kinds (default: all)."""
    state = _State(tariff=tariff, cycle=cycle, usage=usage, facts=facts or Facts())
    for version, starts_on, ends_on in segments(tariff, cycle):
        known: dict[str, list[Line]] = {}
        for component in version.components:
            if component.months and starts_on.month not in component.months:
                continue
            if kinds is not None and component.kind not in kinds:
                continue
            part = _Part(version=version, starts_on=starts_on, ends_on=ends_on, component=component, known=known)
            known[component.code] = list(_RULES[component.kind](state, part))
            state.lines += known[component.code]
    covered = sum((end - start).days for _, start, end in segments(tariff, cycle))
    if covered != cycle.billed_days:
        missing = cycle.billed_days - covered
        text = Text("{missing} of {days} days have no tariff version", missing=missing, days=cycle.billed_days)
        state.issue("no_tariff", text)
    return state.lines, state.issues


def segments(tariff: Tariff, cycle: Cycle) -> list[tuple[Version, date, date]]:
    """Return the billed days of each version in force, in order of time."""
    found = []
    for version in sorted(tariff.versions, key=lambda v: v.valid_from):
        starts_on = max(version.valid_from, cycle.billed_from)
        ends_on = min(version.valid_to or cycle.billed_to, cycle.billed_to)
        if starts_on < ends_on:
            found.append((version, starts_on, ends_on))
    return found


def needs_order(tariff: Tariff) -> bool:
    """Tell whether slices have to come in order of time, because a sequential tier prices buckets differently."""
    return any(
        component.tiers is not None and component.tiers.basis == "cumulative_sequential" and len(v.bucket_codes()) > 1
        for v in tariff.versions
        for component in v.components
    )


@dataclass(slots=True, kw_only=True)
class _State:
    tariff: Tariff
    cycle: Cycle
    usage: Usage
    facts: Facts
    lines: list[Line] = field(default_factory=list[Line])
    issues: list[Issue] = field(default_factory=list[Issue])

    def issue(self, code: str, text: Text) -> None:
        self.issues.append(Issue(code=code, text=text))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One component in one version's segment of the cycle, with the lines of the components above it."""

    version: Version
    starts_on: date
    ends_on: date
    component: Component
    known: Mapping[str, Sequence[Line]]

    @property
    def days(self) -> int:
        return (self.ends_on - self.starts_on).days

    def base(self) -> Fraction:
        codes = self.component.base_codes
        return sum((Fraction(line.amount) for code in codes for line in self.known.get(code, ())), Fraction(0))

    def line(self, *, quantity: Fraction, unit: str, price: Fraction | None, exact: Fraction, **more: Any) -> Line:
        component = self.component
        line = Line(
            component=component.code,
            name=component.name,
            kind=component.kind,
            version=self.version.version,
            starts_on=self.starts_on,
            ends_on=self.ends_on,
            quantity=quantity,
            unit=component.unit or unit,
            unit_price=price,
            amount_exact=exact,
            amount=round_fraction(exact, component.rounding),
            vat_rate=component.vat_rate,
            tax_included=component.tax_included,
        )
        return replace(line, **more)


_UTILITY_UNIT = {"electricity": "kWh", "water": "m3", "gas": "m3", "heat": "kWh", "cooling": "kWh", "hvac": "h"}


def _energy(state: _State, part: _Part) -> list[Line]:
    unit = _UTILITY_UNIT[state.tariff.utility]
    component = part.component
    slices = [
        (s.bucket, s.quantity)
        for s in state.usage.slices
        if s.version == part.version.version and (not component.buckets or s.bucket in component.buckets)
    ]
    if component.tiers is None:
        totals: dict[str, Fraction] = {}
        for bucket, quantity in slices:
            totals[bucket] = totals.get(bucket, Fraction(0)) + Fraction(quantity)
        portions = [tiering.Portion(tier=0, bucket=b, quantity=q) for b, q in totals.items() if q]
    else:
        portions = tiering.split(
            component.tiers, slices, before=_used_before(state, part), factor=_tier_factor(state, part, component.tiers)
        )
    order = {code: i for i, code in enumerate(part.version.bucket_codes())}
    if not component.floats and not component.prices and component.tiers is None and component.price is not None:
        portions = _joined(portions)
    found = []
    for portion in sorted(portions, key=lambda p: (p.tier, order.get(p.bucket, 0))):
        price = unit_price(part.version, component, portion.bucket, portion.tier)
        label = None if portion.bucket == tiering.ANY_BUCKET else bucket_name(part.version, portion.bucket)
        found.append(
            part.line(
                quantity=portion.quantity,
                unit=unit,
                price=price,
                exact=portion.quantity * price,
                bucket=None if label is None else portion.bucket,
                bucket_label=label,
                tier=portion.tier or None,
            )
        )
    return found


def _joined(portions: Sequence[tiering.Portion]) -> list[tiering.Portion]:
    """One line for a price that does not depend on the bucket."""
    total = sum((p.quantity for p in portions), Fraction(0))
    return [tiering.Portion(tier=0, bucket=tiering.ANY_BUCKET, quantity=total)] if total else []


def unit_price(version: Version, component: Component, bucket: str, tier: int = 0) -> Fraction:
    """Return the price of one unit in a bucket (and tier, from 1), rounded when the component names its digits."""
    source = component.tiers.steps[tier - 1] if component.tiers else component
    price = source.price if source.price is not None else source.prices[bucket]
    exact = Fraction(price)
    if component.floats:
        exact *= Fraction(version.buckets[bucket].ratio or 0)
    if component.price_digits is None:
        return exact
    return Fraction(round_fraction(exact, Decimal(1).scaleb(-component.price_digits)))


def _used_before(state: _State, part: _Part) -> Mapping[str, Decimal]:
    """Return the use already billed in the tier period; earlier segments count unless tiers scale by days."""
    tiers = part.component.tiers
    if tiers and tiers.scale == "days" and tiers.period == "month":
        return state.facts.used_before if part.starts_on == state.cycle.billed_from else {}
    before = dict(state.facts.used_before)
    earlier = {v.version for v, start, _ in segments(state.tariff, state.cycle) if start < part.starts_on}
    for slice_ in (s for s in state.usage.slices if s.version in earlier):
        for key in {slice_.bucket, tiering.ANY_BUCKET} & {slice_.bucket, *before}:
            before[key] = before.get(key, Decimal(0)) + slice_.quantity
    return before


def _tier_factor(state: _State, part: _Part, tiers: Tiers) -> Fraction:
    if tiers.scale == "none":
        return Fraction(1)
    if tiers.period == "month":
        return Fraction(part.days, state.cycle.days) if tiers.scale == "days" else Fraction(1)
    # A cycle belongs to the month in which it starts, also where it runs on into the next tier period.
    first, after = tier_period(state.cycle.starts_on, tiers.period)
    first_served = max(first, state.facts.service_from or first)
    after_served = min(after, state.facts.service_to or after)
    if tiers.scale == "days":
        return Fraction((after_served - first_served).days, (after - first).days)
    last_served = after_served - timedelta(days=1)
    months = (last_served.year - first_served.year) * 12 + last_served.month - first_served.month + 1
    return Fraction(months, 12 if tiers.period == "year" else 2)


def tier_period(day: date, period: str) -> tuple[date, date]:
    """Return the tier period that holds a day: its month, pair of months (Jan-Feb, …) or calendar year."""
    length = {"month": 1, "bimonth": 2, "year": 12}[period]
    first_month = (day.month - 1) // length * length + 1
    after = first_month + length
    return date(day.year, first_month, 1), date(day.year + (after > 12), (after - 1) % 12 + 1, 1)


def _fraction_of_cycle(state: _State, part: _Part) -> Fraction:
    """Return the part of a monthly amount that this segment owes; all segments together never exceed one."""
    cycle = state.cycle
    share = Fraction(part.days, cycle.billed_days)
    match part.component.day_count or "actual_cycle":
        case "none":
            return share
        case "thirtieth":
            return (
                share if cycle.billed_days == cycle.days else share * min(Fraction(cycle.billed_days, 30), Fraction(1))
            )
        case "actual_days":
            return Fraction(part.days)
        case "degree_days":
            return degree_day_share(part.starts_on, part.ends_on)
        case _:
            return Fraction(part.days, cycle.days)


def _fixed(state: _State, part: _Part) -> list[Line]:
    months = _fraction_of_cycle(state, part)
    price = Fraction(part.component.price or 0)
    unit = {"actual_days": "day", "degree_days": "year"}.get(part.component.day_count or "", "month")
    return [part.line(quantity=months, unit=unit, price=price, exact=months * price)]


def _per_day(_state: _State, part: _Part) -> list[Line]:
    price = Fraction(part.component.price or 0)
    return [part.line(quantity=Fraction(part.days), unit="day", price=price, exact=part.days * price)]


def _capacity(state: _State, part: _Part) -> list[Line]:
    if state.facts.capacity_kva is None:
        text = Text("component {component} needs the contract capacity in kVA", component=part.component.code)
        state.issue("capacity_missing", text)
        return []
    months = _fraction_of_cycle(state, part)
    quantity, price = Fraction(state.facts.capacity_kva), Fraction(part.component.price or 0)
    note = None if months == 1 else Text("{months} of a month", months=_plain(months))
    return [part.line(quantity=quantity, unit="kVA", price=price, exact=quantity * price * months, note=note)]


def _demand(state: _State, part: _Part) -> list[Line]:
    component = part.component
    demand = component.demand or Demand()
    if component.prices:
        return [line for b in component.prices for line in _demand_line(state, part, replace(demand, buckets=(b,)), b)]
    return _demand_line(state, part, demand, None)


def _demand_line(state: _State, part: _Part, demand: Demand, bucket: str | None) -> list[Line]:
    component = part.component
    try:
        found = billing_demand(
            demand,
            state.usage.feeds,
            coincident=state.usage.coincident,
            contract_kw=state.facts.contract_kw,
            previous_kw=_previous_kw(state, demand),
        )
    except DemandUnknown as error:
        text = Text("component {component}: {reason}", component=component.code, reason=error.args[0])
        state.issue("demand_unknown", text)
        return []
    months = _fraction_of_cycle(state, part)
    base_price = component.price if bucket is None else component.prices[bucket]
    price = Fraction(base_price or 0)
    if component.floats and bucket is not None:
        price *= Fraction(part.version.buckets[bucket].ratio or 0)
    kw = Fraction(found.billed_kw)
    note = Text("measured {kw} kW; {reason}", kw=_plain(Fraction(found.measured_kw)), reason=found.reason)
    label = None if bucket is None else bucket_name(part.version, bucket)
    return [
        part.line(
            quantity=kw, unit="kW", price=price, exact=kw * price * months, note=note, bucket=bucket, bucket_label=label
        )
    ]


def _previous_kw(state: _State, demand: Demand) -> list[Decimal]:
    """Return the demand of the earlier months that a ratchet looks at, measured as this month's is."""
    if demand.ratchet is None:
        return []
    months = set(months_before(state.cycle.starts_on, demand.ratchet))
    return [
        measured_kw(demand, usage.feeds, usage.coincident)
        for month, usage in state.facts.earlier.items()
        if month in months and usage.feeds
    ]


def _minimum(state: _State, part: _Part) -> list[Line]:
    component = part.component
    base = part.base()
    price = None if component.price is None else Fraction(component.price)
    if component.guaranteed_quantity is not None:
        quantity = sum((ln.quantity for c in component.base_codes for ln in part.known.get(c, ())), Fraction(0))
        if price is None and not quantity:
            text = Text("component {component}: without use there is no average price", component=component.code)
            state.issue("minimum_unknown", text)
            return []
        average = price if price is not None else base / quantity
        minimum = Fraction(component.guaranteed_quantity) * average * _fraction_of_cycle(state, part)
    else:
        minimum = (price or Fraction(0)) * _fraction_of_cycle(state, part)
    missing = minimum - base
    if missing <= 0:
        return []
    note = Text("minimum {minimum}, of which {base} is charged above", minimum=_plain(minimum), base=_plain(base))
    return [part.line(quantity=Fraction(1), unit="month", price=None, exact=missing, note=note)]


def _percent_of(_state: _State, part: _Part) -> list[Line]:
    percent = Fraction(part.component.percent or 0)
    base = part.base()
    return [part.line(quantity=base, unit="%", price=percent / 100, exact=base * percent / 100)]


def _power_factor(state: _State, part: _Part) -> list[Line]:
    component = part.component
    pf = state.facts.power_factor
    if pf is None:
        if state.usage.reactive_kvarh is None:
            text = Text("component {component} needs the reactive energy (kvarh)", component=component.code)
            state.issue("reactive_missing", text)
            return []
        pf = power_factor(sum((s.quantity for s in state.usage.slices), Decimal(0)), state.usage.reactive_kvarh)
    percent = Fraction(adjustment_percent(pf, component.pf_standard or Decimal(0)))
    base = part.base()
    note = Text(
        "power factor {pf}, standard {standard}: {percent} %",
        pf=pf,
        standard=component.pf_standard,
        percent=_plain(percent),
    )
    return [part.line(quantity=base, unit="%", price=percent / 100, exact=base * percent / 100, note=note)]


def _adjust(state: _State, part: _Part) -> list[Line]:
    amount = state.facts.adjustments.get(part.component.code)
    if amount is None or part.ends_on != state.cycle.billed_to:
        return []
    return [part.line(quantity=Fraction(1), unit="", price=None, exact=Fraction(amount))]


_RULES = {
    "energy": _energy,
    "demand": _demand,
    "capacity": _capacity,
    "fixed": _fixed,
    "per_day": _per_day,
    "min": _minimum,
    "tax": _percent_of,
    "percent_of": _percent_of,
    "pf": _power_factor,
    "adjust": _adjust,
}


def _plain(value: Fraction) -> str:
    """Return a fraction as short decimal text for a note."""
    return f"{round_fraction(value, Decimal('0.0001')).normalize():f}"
