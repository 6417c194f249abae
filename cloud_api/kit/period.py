"""Half-open periods of time, stored in UTC and cut in a site's time zone."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The instants from `start` (included) to `end` (excluded), both aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"a period needs aware instants, not {self.start!r} and {self.end!r}")
        if self.start > self.end:
            raise ValueError(f"a period cannot end before it starts: {self.start.isoformat()} > {self.end.isoformat()}")

    @property
    def duration(self) -> timedelta:
        """Elapsed time, so 23 or 25 hours on the days when the clock changes."""
        return self.end - self.start

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def intersect(self, other: "Period") -> "Period | None":
        """Return the common part, or None when the two only touch or lie apart."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Period(start, end) if start < end else None


def local_day(day: date, zone: ZoneInfo) -> Period:
    """Return the local calendar day; it lasts 23, 24 or 25 hours."""
    return local_days(day, day + timedelta(days=1), zone)


def local_days(first: date, after: date, zone: ZoneInfo) -> Period:
    """Return the period from local midnight of `first` to local midnight of `after` (excluded)."""
    start = datetime.combine(first, time.min, zone)
    end = datetime.combine(after, time.min, zone)
    return Period(start.astimezone(UTC), end.astimezone(UTC))


def local_month(year: int, month: int, zone: ZoneInfo) -> Period:
    """Return the local calendar month."""
    after = date(year + 1, 1, 1) if month == 12 else date(year, month + 1, 1)
    return local_days(date(year, month, 1), after, zone)


def previous_month(now: datetime, zone: ZoneInfo) -> Period:
    """Return the last full local month before `now`."""
    first_of_this = now.astimezone(zone).date().replace(day=1)
    last_of_previous = first_of_this - timedelta(days=1)
    return local_month(last_of_previous.year, last_of_previous.month, zone)


def slots(period: Period, minutes: int) -> Iterator[Period]:
    """Cut a period into consecutive intervals of `minutes`; the period must start and end on their edges."""
    step = timedelta(minutes=minutes)
    start = period.start
    while start < period.end:
        yield Period(start, start + step)
        start += step
