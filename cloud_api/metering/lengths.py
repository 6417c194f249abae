"""How long a meter's intervals are at which time. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cloud_api.kit.period import Period

MINUTES = (1, 5, 15, 30, 60)  # Each divides the next, so that intervals of two lengths lie inside one another.
EDGE = timedelta(hours=1)  # A change begins here, on an edge of every length.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Lengths:
    """The minutes of a meter's intervals, from each instant on; the first from the beginning."""

    changes: tuple[tuple[datetime, int], ...]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Lengths":
        """Return what the database's `interval_lengths` says."""
        return cls(tuple((_BEGINNING if s is None else datetime.fromtimestamp(s, UTC), minutes) for s, minutes in rows))

    @classmethod
    def always(cls, minutes: int) -> "Lengths":
        """Return one length that never changed."""
        return cls(((_BEGINNING, minutes),))

    @classmethod
    def longest(cls, several: Sequence["Lengths"]) -> "Lengths":
        """Return the longest of several meters' lengths at each time: that of what is computed from them."""
        starts = sorted({start for lengths in several for start, _ in lengths.changes})
        return cls(tuple((start, max(lengths.at(start) for lengths in several)) for start in starts))

    def at(self, instant: datetime) -> int:
        """Return the minutes of the interval in which an instant lies."""
        return next(minutes for start, minutes in reversed(self.changes) if start <= instant)

    def within(self, period: Period) -> Iterator[tuple[Period, int]]:
        """Yield the parts of a period that have one length each, in order of time."""
        for (start, minutes), (end, _) in pairwise((*self.changes, (_END, 0))):
            part = period.intersect(Period(start, end))
            if part is not None:
                yield part, minutes

    def count(self, period: Period) -> int:
        """Return how many whole intervals a period has."""
        return sum(part.duration // timedelta(minutes=minutes) for part, minutes in self.within(period))

    def slots(self, period: Period) -> Iterator[Period]:
        """Yield the intervals that overlap a period, in order of time."""
        for part, minutes in self.within(period):
            step = timedelta(minutes=minutes)
            start = floor(part.start, step)
            while start < part.end:
                yield Period(start, start + step)
                start += step


def floor(instant: datetime, step: timedelta) -> datetime:
    """Return the edge at or before an instant; edges are counted from 1970 UTC."""
    return instant - (instant - _EPOCH) % step
