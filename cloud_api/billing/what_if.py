"""Rate a load profile month by month: the offline trial of a tariff. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from cloud_api.billing import rating, timetable, usage
from cloud_api.billing.calendar import HolidayCalendar
from cloud_api.billing.charge import Cycle, Facts, Issue, Line, Rated, round_fraction
from cloud_api.billing.load_csv import Load, LoadInterval
from cloud_api.billing.tariff import Tariff
from cloud_api.kit.i18n import Text
from cloud_api.kit.period import local_days

GAPS_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedMonth:
    """The charges of one local month, what was used, and whether a bill could be issued on it."""

    month: str
    cycle: Cycle
    quantity: Decimal
    peak_kw: Decimal
    rated: Rated
    issues: tuple[Issue, ...]


def rate_months(
    tariff: Tariff,
    calendar: HolidayCalendar,
    load: Load,
    facts: Facts,
    *,
    first: date | None = None,
    after: date | None = None,
) -> list[RatedMonth]:
    """Rate every local month that the load touches, from `first` to before `after` (default: the days of the load).

    Use and peaks of the months before, as far as the file knows them, count for yearly tiers and ratchets.
    """
    zone = tariff.zone
    last_instant = load.intervals[-1].end - timedelta(microseconds=1)
    first = first or load.intervals[0].start.astimezone(zone).date()
    after = after or last_instant.astimezone(zone).date() + timedelta(days=1)
    by_month = _by_month(load, tariff)
    window = min((c.demand.window_min for v in tariff.versions for c in v.components if c.demand), default=15)
    found: list[RatedMonth] = []
    used: dict[date, dict[str, Decimal]] = {}
    earlier = dict(facts.earlier)
    for cycle in months(first, after):
        period = local_days(cycle.billed_from, cycle.billed_to, zone)
        runs = timetable.cut(tariff, calendar, period)
        intervals = by_month.get(cycle.starts_on, [])
        measured = usage.measure(intervals, runs, zone, window_min=window)
        month_facts = replace(facts, used_before=_used_before(tariff, facts, used, cycle, first), earlier=earlier)
        rated = rating.rate(tariff, cycle, measured.usage, month_facts)
        issues = (*rated.issues, *_doubts(tariff, calendar, load, cycle, measured))
        used[cycle.starts_on] = _per_bucket(measured.usage)
        peak = max((p for feed in measured.usage.feeds for ps in feed.values() for p in ps), default=Decimal(0))
        earlier[cycle.starts_on] = measured.usage
        total = sum((s.quantity for s in measured.usage.slices), Decimal(0))
        found.append(
            RatedMonth(
                month=f"{cycle.starts_on:%Y-%m}", cycle=cycle, quantity=total, peak_kw=peak, rated=rated, issues=issues
            )
        )
    return found


def months(first: date, after: date) -> list[Cycle]:
    """Cut `[first, after)` into calendar months, each with the part that is billed."""
    found = []
    start = first.replace(day=1)
    while start < after:
        end = date(start.year + start.month // 12, start.month % 12 + 1, 1)
        found.append(Cycle(starts_on=start, ends_on=end, billed_from=max(start, first), billed_to=min(end, after)))
        start = end
    return found


def _by_month(load: Load, tariff: Tariff) -> dict[date, list[LoadInterval]]:
    """Group intervals by the local month of their start; one that crosses midnight of the first is cut in two."""
    zone = tariff.zone
    found: dict[date, list[LoadInterval]] = {}
    edge = datetime.min.replace(tzinfo=UTC)
    month = date.min
    for interval in load.intervals:
        if interval.start >= edge:
            month, edge = _month_of(interval.start, tariff)
        if interval.end <= edge:
            found.setdefault(month, []).append(interval)
            continue
        share = Decimal((edge - interval.start) // timedelta(seconds=1)) / Decimal(
            (interval.end - interval.start) // timedelta(seconds=1)
        )
        early = interval.quantity * share
        early_kvarh = None if interval.kvarh is None else interval.kvarh * share
        late_kvarh = None if interval.kvarh is None or early_kvarh is None else interval.kvarh - early_kvarh
        found.setdefault(month, []).append(LoadInterval(interval.start, edge, early, early_kvarh))
        next_month = edge.astimezone(zone).date()
        found.setdefault(next_month, []).append(LoadInterval(edge, interval.end, interval.quantity - early, late_kvarh))
    return found


def _month_of(instant: datetime, tariff: Tariff) -> tuple[date, datetime]:
    start = instant.astimezone(tariff.zone).date().replace(day=1)
    after = date(start.year + start.month // 12, start.month % 12 + 1, 1)
    return start, datetime.combine(after, time.min, tariff.zone).astimezone(UTC)


def _used_before(
    tariff: Tariff, facts: Facts, used: Mapping[date, Mapping[str, Decimal]], cycle: Cycle, first: date
) -> dict[str, Decimal]:
    """Return the use of earlier months in the running tier period; the caller's own figure holds for the first."""
    periods = {c.tiers.period for v in tariff.versions for c in v.components if c.tiers}
    period = next((p for p in ("year", "bimonth") if p in periods), None)
    if period is None:
        return {}
    start, after = rating.tier_period(cycle.starts_on, period)
    before: dict[str, Decimal] = dict(facts.used_before) if start <= first < after else {}
    for month, buckets in used.items():
        if start <= month < after:
            for bucket, quantity in buckets.items():
                before[bucket] = before.get(bucket, Decimal(0)) + quantity
                if "*" in facts.used_before and start <= first < after:
                    before["*"] += quantity
    return before


def _per_bucket(measured: rating.Usage) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for slice_ in measured.slices:
        totals[slice_.bucket] = totals.get(slice_.bucket, Decimal(0)) + slice_.quantity
    return totals


def _doubts(
    tariff: Tariff, calendar: HolidayCalendar, load: Load, cycle: Cycle, measured: usage.Measured
) -> list[Issue]:
    found: list[Issue] = []
    needs_calendar = any(v.needs_calendar() for v, _, _ in rating.segments(tariff, cycle))
    if needs_calendar and not calendar.is_official(cycle.starts_on.year):
        text = Text(
            "{year} has no official holiday calendar {region}: only weekends are known",
            year=cycle.starts_on.year,
            region=calendar.region,
        )
        found.append(Issue(code="calendar_missing", text=text))
    if measured.split_intervals:
        text = Text(
            "{intervals} intervals cross a price edge and were split by time; give shorter intervals",
            intervals=measured.split_intervals,
        )
        found.append(Issue(code="interval_split", text=text))
    has_demand = any(c.kind == "demand" for v, _, _ in rating.segments(tariff, cycle) for c in v.components)
    if has_demand and measured.long_intervals:
        text = Text("the intervals are longer than the demand window, so the true demand may be higher")
        found.append(Issue(code="demand_from_long_intervals", text=text))
    return found + _gaps(load, tariff, cycle)


def _gaps(load: Load, tariff: Tariff, cycle: Cycle) -> list[Issue]:
    period = local_days(cycle.billed_from, cycle.billed_to, tariff.zone)
    edges = [(period.start, load.intervals[0].start), *load.gaps, (load.intervals[-1].end, period.end)]
    holes = [(max(a, period.start), min(b, period.end)) for a, b in edges]
    holes = [(a, b) for a, b in holes if a < b]
    if not holes:
        return []
    minutes = sum((b - a) // timedelta(minutes=1) for a, b in holes)
    named = ", ".join(
        f"{a.astimezone(tariff.zone):%Y-%m-%d %H:%M} to {b.astimezone(tariff.zone):%Y-%m-%d %H:%M}"
        for a, b in holes[:GAPS_NAMED_MAX]
    )
    text = Text("{minutes} minutes have no reading and are not priced: {stretches}", minutes=minutes, stretches=named)
    return [Issue(code="gap", text=text)]


def as_json(tariff: Tariff, found: list[RatedMonth]) -> dict[str, Any]:
    """Return the result as JSON data; amounts are text with two decimals, exact amounts carry ten."""
    return {
        "tariff": tariff.tariff,
        "currency": tariff.currency,
        "time_zone": tariff.time_zone,
        "months": [_month_json(month) for month in found],
        "quantity": str(sum((m.quantity for m in found), Decimal(0))),
        "total": str(sum((m.rated.total for m in found), Decimal("0.00"))),
        "issuable": not any(m.issues for m in found),
    }


def _month_json(month: RatedMonth) -> dict[str, Any]:
    by_component: dict[str, Decimal] = {}
    for line in month.rated.lines:
        by_component[line.component] = by_component.get(line.component, Decimal("0.00")) + line.amount
    return {
        "month": month.month,
        "from": month.cycle.billed_from.isoformat(),
        "to": month.cycle.billed_to.isoformat(),
        "quantity": str(month.quantity),
        "peak_kw": str(month.peak_kw),
        "lines": [line_json(line) for line in month.rated.lines],
        "components": {code: str(amount) for code, amount in by_component.items()},
        "vat": [
            {
                "rate": str(g.rate),
                "tax_included": g.tax_included,
                "net": str(g.net),
                "tax": str(g.tax),
                "gross": str(g.gross),
            }
            for g in month.rated.vat
        ],
        "total": str(month.rated.total),
        "issues": [{"code": issue.code, "text": str(issue.text)} for issue in month.issues],
    }


def line_json(line: Line) -> dict[str, Any]:
    """Return one line as JSON data."""
    ten = Decimal("1e-10")
    return {
        "component": line.component,
        "name": {"zh": line.name.zh, "en": line.name.en},
        "kind": line.kind,
        "version": line.version,
        "from": line.starts_on.isoformat(),
        "to": line.ends_on.isoformat(),
        "bucket": line.bucket,
        "tier": line.tier,
        "quantity": plain(round_fraction(line.quantity, Decimal("1e-6"))),
        "unit": line.unit,
        "unit_price": None if line.unit_price is None else plain(round_fraction(line.unit_price, ten)),
        "amount_exact": plain(round_fraction(line.amount_exact, ten)),
        "amount": str(line.amount),
        "vat_rate": str(line.vat_rate),
        "tax_included": line.tax_included,
        "tax": str(line.tax),
        "note": "" if line.note is None else str(line.note),
    }


def plain(value: Decimal) -> str:
    """Return a decimal without trailing zeros and without an exponent."""
    return f"{value.normalize():f}" if value else "0"
