"""From intervals to days and months: pure rules."""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from statistics import quantiles
from zoneinfo import ZoneInfo

from cloud_api.kit.period import local_day
from cloud_api.operations.overview.daytype import is_working_day
from cloud_api.operations.tenant_usage.model import Month, UsedDay, UsedInterval

EXAMPLE_DAYS = 28
EXAMPLES_MIN = 4  # Fewer days of a kind say nothing about those to come.

PeriodOf = Callable[[datetime], str]


def days_of(intervals: Sequence[UsedInterval], zone: ZoneInfo, now: datetime, period_of: PeriodOf) -> list[UsedDay]:
    """Sum intervals into local days; a day is complete when its intervals cover it (today: up to the last one)."""
    by_day: dict[date, list[UsedInterval]] = {}
    for one in intervals:
        by_day.setdefault(one.starts_at.astimezone(zone).date(), []).append(one)
    return [_day(day, rows, zone, now, period_of) for day, rows in sorted(by_day.items())]


def month_so_far(days: Sequence[UsedDay], today: date) -> Month:
    """Compare the current month with the one before, and say where it is heading.

    `days` reach back over the month before; today itself is part of what was used, and of what is still to come only by
    what an ordinary day of its kind uses beyond it.
    """
    first = today.replace(day=1)
    first_before = (first - timedelta(days=1)).replace(day=1)
    current = [d for d in days if d.day >= first]
    # Whole days against whole days: today is not over.
    whole = [d for d in current if d.day < today]
    before = [d for d in days if first_before <= d.day < min(first_before + timedelta(days=today.day - 1), first)]
    examples = [d for d in days if today - timedelta(days=EXAMPLE_DAYS) <= d.day < today and d.is_complete]
    working = [d.energy_kwh for d in examples if is_working_day(d.day)]
    off = [d.energy_kwh for d in examples if not is_working_day(d.day)]
    used = sum((d.energy_kwh for d in current), Decimal(0))
    low, high = _heading(used, current, today, working, off)
    return Month(
        first=first,
        days=current,
        energy_kwh=used,
        until_yesterday_kwh=sum((d.energy_kwh for d in whole), Decimal(0)),
        before_kwh=_sum_of_complete(before, count=today.day - 1),
        low_kwh=low,
        high_kwh=high,
        weekday_mean_kwh=_mean(working),
        day_off_mean_kwh=_mean(off),
    )


def _heading(
    used: Decimal, current: Sequence[UsedDay], today: date, working: Sequence[Decimal], off: Sequence[Decimal]
) -> tuple[Decimal | None, Decimal | None]:
    next_month = (today.replace(day=28) + timedelta(days=4)).replace(day=1)
    coming = [today + timedelta(days=i) for i in range((next_month - today).days)]
    low = high = used
    used_today = sum((d.energy_kwh for d in current if d.day == today), Decimal(0))
    for day in coming:
        examples = working if is_working_day(day) else off
        if len(examples) < EXAMPLES_MIN:
            return None, None
        lower, _, upper = quantiles(examples, n=4)
        done = used_today if day == today else Decimal(0)
        low += max(Decimal(0), lower - done)
        high += max(Decimal(0), upper - done)
    return low, high


def _day(day: date, rows: Sequence[UsedInterval], zone: ZoneInfo, now: datetime, period_of: PeriodOf) -> UsedDay:
    by_period: dict[str, Decimal] = {}
    for one in rows:
        name = period_of(one.starts_at)
        by_period[name] = by_period.get(name, Decimal(0)) + one.energy_kwh
    whole = local_day(day, zone)
    covered = sum(((one.ends_at - one.starts_at) for one in rows), timedelta())
    expected = whole.duration if whole.end <= now else rows[-1].ends_at - whole.start
    return UsedDay(
        day=day,
        energy_kwh=sum((one.energy_kwh for one in rows), Decimal(0)),
        by_period=by_period,
        is_complete=all(one.is_known for one in rows) and covered >= expected,
        is_estimated=any(one.is_estimated for one in rows),
    )


def _sum_of_complete(days: Sequence[UsedDay], count: int) -> Decimal | None:
    """Return the energy of `count` days, or None when a day or a part of one is missing: no comparison with a gap."""
    if not days or len(days) < count or not all(d.is_complete for d in days):
        return None
    return sum((d.energy_kwh for d in days), Decimal(0))


def _mean(values: Sequence[Decimal]) -> Decimal | None:
    return sum(values, Decimal(0)) / len(values) if values else None
