"""Rate what was used in one billing cycle by a tariff: exact fractions, one half-up rounding per printed line. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing import tiers as tiering
from cloud_api.billing.demand import DemandUnknown, Peaks, billing_demand
from cloud_api.billing.power_factor import adjustment_percent, power_factor
from cloud_api.billing.tariff import Component, Demand, Label, Tariff, Tiers, Version, bucket_name
from cloud_api.kit.money import CENT

VAT_LABEL = Label(zh="增值税", en="VAT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A quantity in one bucket of one tariff version."""

    version: str
    bucket: str
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used: slices in order of time (order matters only to sequential tiers), demand peaks, reactive energy.

    `feeds` holds the highest averages (kW) per bucket for each feed. `reactive_kvarh` is |forward| + |reverse|; None
    means it was not measured.
    """

    slices: tuple[Slice, ...] = ()
    feeds: tuple[Peaks, ...] = ()
    coincident: Peaks | None = None
    reactive_kvarh: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """The full billing cycle `[starts_on, ends_on)` in local dates, and the part of it that is billed."""

    starts_on: date
    ends_on: date
    billed_from: date
    billed_to: date

    @property
    def days(self) -> int:
        """Days of the full cycle."""
        return (self.ends_on - self.starts_on).days

    @property
    def billed_days(self) -> int:
        """Days of the billed part."""
        return (self.billed_to - self.billed_from).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the rating has to know about the account beside its use.

    `used_before` is the use already billed in the running tier period ("*" in all, or per bucket). `previous_peaks`
    maps the first day of earlier months to their peak in kW. `service_from` and `service_to` bound the supply inside
    a tier period of two months or a year. `adjustments` gives the amount of each `adjust` component.
    """

    contract_kw: Decimal | None = None
    capacity_kva: Decimal | None = None
    used_before: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    previous_peaks: Mapping[date, Decimal] = field(default_factory=dict[date, Decimal])
    service_from: date | None = None
    service_to: date | None = None
    adjustments: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One printed line. `amount` is `amount_exact` rounded half-up once; `tax` is its share of the group's VAT."""

    component: str
    name: Label
    kind: str
    version: str
    starts_on: date
    ends_on: date
    quantity: Fraction
    unit: str
    unit_price: Fraction | None
    amount_exact: Fraction
    amount: Decimal
    bucket: str | None = None
    bucket_label: Label | None = None
    tier: int | None = None
    vat_rate: Decimal = Decimal(0)
    tax_included: bool = True
    tax: Decimal = Decimal(0)
    note: str = ""
    source: str = "own"
    """Whose energy the line prices: the tenant's own, its share of common areas, or of losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VatGroup:
    """VAT of all lines with one rate: net + tax = gross."""

    rate: Decimal
    tax_included: bool
    net: Decimal
    tax: Decimal
    gross: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """Something that keeps the result from being a bill: a missing fact, price or calendar."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """The charges of one cycle. `total` is the sum of the printed lines, VAT lines included."""

    lines: tuple[Line, ...]
    vat: tuple[VatGroup, ...]
    total: Decimal
    issues: tuple[Issue, ...] = ()


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
        state.issue("no_tariff", f"{cycle.billed_days - covered} of {cycle.billed_days} days have no tariff version")
    return state.lines, state.issues


def close(lines: Iterable[Line], issues: Iterable[Issue] = ()) -> Rated:
    """Add VAT per rate group and sum the printed lines."""
    taxed: list[Line] = []
    groups: list[VatGroup] = []
    vat_lines: list[Line] = []
    rest = list(lines)
    for rate_, included in _groups(rest):
        members = [line for line in rest if (line.vat_rate, line.tax_included) == (rate_, included)]
        group, members = _vat(rate_, members, included=included)
        taxed += members
        groups.append(group)
        if not included and rate_:
            vat_lines.append(_vat_line(group, members))
    printed = [*_in_first_order(rest, taxed), *vat_lines]
    total = sum((line.amount for line in printed), Decimal(0))
    return Rated(lines=tuple(printed), vat=tuple(groups), total=total, issues=tuple(issues))


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


def round_fraction(value: Fraction, quantum: Decimal = CENT) -> Decimal:
    """Round an exact fraction half away from zero to `quantum`."""
    unit = Fraction(quantum)
    scaled = abs(value) / unit
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return (Decimal(whole if value >= 0 else -whole) * quantum).quantize(quantum)


@dataclass(slots=True, kw_only=True)
class _State:
    tariff: Tariff
    cycle: Cycle
    usage: Usage
    facts: Facts
    lines: list[Line] = field(default_factory=list[Line])
    issues: list[Issue] = field(default_factory=list[Issue])

    def issue(self, code: str, text: str) -> None:
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
    first, after = tier_period(part.starts_on, tiers.period)
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
        case _:
            return Fraction(part.days, cycle.days)


def _fixed(state: _State, part: _Part) -> list[Line]:
    months = _fraction_of_cycle(state, part)
    price = Fraction(part.component.price or 0)
    unit = "day" if part.component.day_count == "actual_days" else "month"
    return [part.line(quantity=months, unit=unit, price=price, exact=months * price)]


def _per_day(_state: _State, part: _Part) -> list[Line]:
    price = Fraction(part.component.price or 0)
    return [part.line(quantity=Fraction(part.days), unit="day", price=price, exact=part.days * price)]


def _capacity(state: _State, part: _Part) -> list[Line]:
    if state.facts.capacity_kva is None:
        state.issue("capacity_missing", f"component {part.component.code} needs the contract capacity in kVA")
        return []
    months = _fraction_of_cycle(state, part)
    quantity, price = Fraction(state.facts.capacity_kva), Fraction(part.component.price or 0)
    note = "" if months == 1 else f"{_plain(months)} month"
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
            previous_kw=_previous_peaks(state, demand),
        )
    except DemandUnknown as error:
        state.issue("demand_unknown", f"component {component.code}: {error}")
        return []
    months = _fraction_of_cycle(state, part)
    base_price = component.price if bucket is None else component.prices[bucket]
    price = Fraction(base_price or 0)
    if component.floats and bucket is not None:
        price *= Fraction(part.version.buckets[bucket].ratio or 0)
    kw = Fraction(found.billed_kw)
    note = f"measured {_plain(Fraction(found.measured_kw))} kW; {found.reason}"
    label = None if bucket is None else bucket_name(part.version, bucket)
    return [
        part.line(
            quantity=kw, unit="kW", price=price, exact=kw * price * months, note=note, bucket=bucket, bucket_label=label
        )
    ]


def _previous_peaks(state: _State, demand: Demand) -> list[Decimal]:
    if demand.ratchet is None:
        return []
    first = _months_before(state.cycle.starts_on, demand.ratchet.months_back)
    return [
        peak
        for month, peak in state.facts.previous_peaks.items()
        if first <= month < state.cycle.starts_on.replace(day=1)
        and (not demand.ratchet.months or month.month in demand.ratchet.months)
    ]


def _months_before(day: date, count: int) -> date:
    index = day.year * 12 + day.month - 1 - count
    return date(index // 12, index % 12 + 1, 1)


def _minimum(state: _State, part: _Part) -> list[Line]:
    component = part.component
    base = part.base()
    price = None if component.price is None else Fraction(component.price)
    if component.guaranteed_quantity is not None:
        quantity = sum((ln.quantity for c in component.base_codes for ln in part.known.get(c, ())), Fraction(0))
        if price is None and not quantity:
            state.issue("minimum_unknown", f"component {component.code}: without use there is no average price")
            return []
        average = price if price is not None else base / quantity
        minimum = Fraction(component.guaranteed_quantity) * average * _fraction_of_cycle(state, part)
    else:
        minimum = (price or Fraction(0)) * _fraction_of_cycle(state, part)
    missing = minimum - base
    if missing <= 0:
        return []
    note = f"minimum {_plain(minimum)}, charged above it {_plain(base)}"
    return [part.line(quantity=Fraction(1), unit="month", price=None, exact=missing, note=note)]


def _percent_of(_state: _State, part: _Part) -> list[Line]:
    percent = Fraction(part.component.percent or 0)
    base = part.base()
    return [part.line(quantity=base, unit="%", price=percent / 100, exact=base * percent / 100)]


def _power_factor(state: _State, part: _Part) -> list[Line]:
    component = part.component
    if state.usage.reactive_kvarh is None:
        state.issue("reactive_missing", f"component {component.code} needs the reactive energy (kvarh)")
        return []
    active = sum((s.quantity for s in state.usage.slices), Decimal(0))
    pf = power_factor(active, state.usage.reactive_kvarh)
    percent = Fraction(adjustment_percent(pf, component.pf_standard or Decimal(0)))
    base = part.base()
    note = f"power factor {pf}, standard {component.pf_standard}: {_plain(percent)} %"
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


def _vat(rate_: Decimal, lines: Sequence[Line], *, included: bool) -> tuple[VatGroup, list[Line]]:
    """Tax the group once and give each line its share, so that lines, group and document agree to the cent."""
    share = Fraction(rate_) / (1 + Fraction(rate_)) if included else Fraction(rate_)
    printed = sum((line.amount for line in lines), Decimal(0))
    tax = round_fraction(Fraction(printed) * share)
    exact = [Fraction(line.amount) * share * 100 for line in lines]
    cents = [x.numerator // x.denominator for x in exact]
    left = int(tax * 100) - sum(cents)
    for i in sorted(range(len(exact)), key=lambda i: exact[i] - cents[i], reverse=True)[:left]:
        cents[i] += 1
    net, gross = (printed - tax, printed) if included else (printed, printed + tax)
    group = VatGroup(rate=rate_, tax_included=included, net=net, tax=tax, gross=gross)
    return group, [replace(line, tax=Decimal(c).scaleb(-2)) for line, c in zip(lines, cents, strict=True)]


def _vat_line(group: VatGroup, members: Sequence[Line]) -> Line:
    return Line(
        component="vat",
        name=VAT_LABEL,
        kind="vat",
        version=members[-1].version,
        starts_on=min(m.starts_on for m in members),
        ends_on=max(m.ends_on for m in members),
        quantity=Fraction(group.net),
        unit="%",
        unit_price=Fraction(group.rate),
        amount_exact=Fraction(group.net) * Fraction(group.rate),
        amount=group.tax,
        vat_rate=group.rate,
        tax_included=False,
    )


def _in_first_order(original: Sequence[Line], taxed: Sequence[Line]) -> list[Line]:
    """Return the taxed lines in the order in which they were charged."""
    waiting = {key: iter([t for t in taxed if (t.vat_rate, t.tax_included) == key]) for key in _groups(original)}
    return [next(waiting[line.vat_rate, line.tax_included]) for line in original]


def _groups(lines: Iterable[Line]) -> list[tuple[Decimal, bool]]:
    return list(dict.fromkeys((line.vat_rate, line.tax_included) for line in lines))


def _plain(value: Fraction) -> str:
    """Return a fraction as short decimal text for a note."""
    return f"{round_fraction(value, Decimal('0.0001')).normalize():f}"
