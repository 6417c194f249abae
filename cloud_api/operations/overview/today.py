"""Today's load curve over the band of similar days: a pure rule on intervals."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cloud_api.kit.period import local_day, slots
from cloud_api.operations.overview.daytype import is_working_day, similar_days
from cloud_api.operations.overview.model import Slot, Today

SIMILAR_DAYS = 8
SLOT_MINUTES = 15


class Interval(NamedTuple):
    """Energy used in `[starts_at, ends_at)`."""

    starts_at: datetime
    ends_at: datetime
    quantity: Decimal


def first_day_needed(today: date) -> date:
    """Return the oldest day that the band may look at."""
    return min(similar_days(today, SIMILAR_DAYS), default=today)


def compare(intervals: Sequence[Interval], now: datetime, zone: ZoneInfo) -> Today:
    """Cut intervals into local days and compare today's with the similar ones.

    Slots are matched by local time of day. A day without any interval does not count as similar; a missing slot is
    None.
    """
    today = now.astimezone(zone).date()
    by_day: dict[date, dict[int, float]] = {}
    energy: dict[date, float] = {}
    # The ledger may be some minutes behind: similar days count to where today's intervals end.
    known_until = max((one.ends_at for one in intervals if one.starts_at.astimezone(zone).date() == today), default=now)
    so_far = _minute(min(known_until, now), zone)
    for one in intervals:
        day, minute = one.starts_at.astimezone(zone).date(), _minute(one.starts_at, zone)
        hours = (one.ends_at - one.starts_at) / timedelta(hours=1)
        by_day.setdefault(day, {})[minute] = float(one.quantity) / hours
        if minute < so_far:
            energy[day] = energy.get(day, 0.0) + float(one.quantity)
    days = [day for day in similar_days(today, SIMILAR_DAYS) if day in by_day]
    curve = []
    for slot in slots(local_day(today, zone), SLOT_MINUTES):
        minute = _minute(slot.start, zone)
        known = [by_day[day][minute] for day in days if minute in by_day[day]]
        curve.append(
            Slot(
                starts_at=slot.start,
                power_kw=by_day.get(today, {}).get(minute),
                low_kw=min(known, default=None),
                high_kw=max(known, default=None),
            )
        )
    return Today(
        slots=curve,
        energy_kwh=energy.get(today),
        similar_energy_kwh=sum(energy.get(day, 0.0) for day in days) / len(days) if days else None,
        similar_days=len(days),
        is_working_day=is_working_day(today),
        peak_kw=max(by_day.get(today, {}).values(), default=None),
    )


def _minute(instant: datetime, zone: ZoneInfo) -> int:
    local = instant.astimezone(zone)
    return local.hour * 60 + local.minute
