"""Why a month differs from the one before: parts that add up to the difference. Pure.

The same number of days of both months is compared. A month is working days and days off; a working day is its office
hours and its night. The difference is what the calendar changed (more or fewer working days, at the old means) and what
each of the three uses more or less per day than before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.operations.overview.daytype import is_working_day
from cloud_api.operations.tenant_usage.model import UsedInterval

OFFICE_HOURS = range(8, 20)
REASONS_MAX = 3
NEGLIGIBLE_KWH = Decimal("0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One part of the difference: `calendar`, `office_hours`, `nights` or `days_off`; above zero: more than before."""

    code: str
    energy_kwh: Decimal


def reasons(intervals: Sequence[UsedInterval], zone: ZoneInfo, today: date) -> list[Reason]:
    """Return the largest parts of the difference up to yesterday, largest first; none when a day is not known."""
    first = today.replace(day=1)
    first_before = (first - timedelta(days=1)).replace(day=1)
    count = min((today - first).days, (first - first_before).days)
    now, before = (_use(intervals, zone, start, count) for start in (first, first_before))
    if not count or now is None or before is None:
        return []
    found = [
        Reason(code="calendar", energy_kwh=(now.working - before.working) * (before.day - before.off)),
        Reason(code="office_hours", energy_kwh=now.working * (now.office - before.office)),
        Reason(code="nights", energy_kwh=now.working * (now.night - before.night)),
        Reason(code="days_off", energy_kwh=(count - now.working) * (now.off - before.off)),
    ]
    found = [r for r in found if abs(r.energy_kwh) >= NEGLIGIBLE_KWH]
    return sorted(found, key=lambda r: -abs(r.energy_kwh))[:REASONS_MAX]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    working: int
    office: Decimal
    night: Decimal
    off: Decimal

    @property
    def day(self) -> Decimal:
        return self.office + self.night


def _use(intervals: Sequence[UsedInterval], zone: ZoneInfo, first: date, count: int) -> _Use | None:
    """Return the means per day of a stretch, or None when one of its days has no known interval."""
    days = [first + timedelta(days=n) for n in range(count)]
    working = sum(is_working_day(day) for day in days)
    sums = {"office": Decimal(0), "night": Decimal(0), "off": Decimal(0)}
    seen: set[date] = set()
    for one in intervals:
        local = one.starts_at.astimezone(zone)
        if not first <= local.date() < first + timedelta(days=count):
            continue
        if not one.is_known:
            return None
        seen.add(local.date())
        kind = "off" if not is_working_day(local.date()) else "office" if local.hour in OFFICE_HOURS else "night"
        sums[kind] += one.energy_kwh
    if len(seen) < count:
        return None

    def mean(kind: str, over: int) -> Decimal:
        return sums[kind] / over if over else Decimal(0)

    return _Use(
        working=working, office=mean("office", working), night=mean("night", working), off=mean("off", count - working)
    )
