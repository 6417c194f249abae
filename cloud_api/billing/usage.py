"""Lay intervals over a tariff's runs: energy per bucket, demand peaks per bucket. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.billing.charge import Slice, Usage
from cloud_api.billing.load_csv import LoadInterval
from cloud_api.billing.timetable import Run

PEAKS_KEPT = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Usage of a period, and what was done to get it: intervals cut at an edge, intervals too long for demand."""

    usage: Usage
    split_intervals: int = 0
    long_intervals: int = 0


@dataclass(slots=True)
class _Tally:
    slices: list[Slice] = field(default_factory=list[Slice])
    split: int = 0
    reactive: Decimal | None = None


def measure(
    intervals: Sequence[LoadInterval], runs: Sequence[Run], zone: ZoneInfo, *, window_min: int = 15
) -> Measured:
    """Return the usage of the runs' time; intervals outside it are left out.

    An interval that crosses an edge is split by time; the last piece takes the remainder, so no energy is lost.
    """
    tally = _Tally()
    reactive: list[Decimal] = []
    position = 0
    for interval in intervals:
        while position < len(runs) and runs[position].end <= interval.start:
            position += 1
        if position == len(runs):
            break
        if interval.end <= runs[0].start:
            continue
        _add(tally, interval, runs, position)
        if interval.kvarh is not None:
            reactive.append(interval.kvarh)
    peaks, long_count = _peaks(intervals, runs, zone, window_min)
    usage = Usage(
        slices=tuple(tally.slices),
        feeds=(peaks,),
        reactive_kvarh=sum(reactive, Decimal(0)) if reactive else None,
    )
    return Measured(usage=usage, split_intervals=tally.split, long_intervals=long_count)


def _add(tally: _Tally, interval: LoadInterval, runs: Sequence[Run], position: int) -> None:
    whole = interval.end - interval.start
    left = interval.quantity
    pieces = 0
    while position < len(runs) and runs[position].start < interval.end:
        run = runs[position]
        length = min(run.end, interval.end) - max(run.start, interval.start)
        is_last = run.end >= interval.end
        part = left if is_last else interval.quantity * _microseconds(length) / _microseconds(whole)
        left -= part
        pieces += 1
        _append(tally.slices, Slice(version=run.version, bucket=run.bucket, quantity=part))
        position += 1
    tally.split += pieces > 1


def _append(slices: list[Slice], new: Slice) -> None:
    """Join with the slice before when it is the same bucket: order between buckets is all that matters."""
    last = slices[-1] if slices else None
    if last and (last.version, last.bucket) == (new.version, new.bucket):
        slices[-1] = Slice(version=new.version, bucket=new.bucket, quantity=last.quantity + new.quantity)
    else:
        slices.append(new)


def _microseconds(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _peaks(
    intervals: Sequence[LoadInterval], runs: Sequence[Run], zone: ZoneInfo, window_min: int
) -> tuple[dict[str, tuple[Decimal, ...]], int]:
    """Return the highest averages per bucket over windows on the local clock; an incomplete window counts as it is."""
    window = timedelta(minutes=window_min)
    energy: defaultdict[datetime, Decimal] = defaultdict(Decimal)
    lengths: dict[datetime, timedelta] = {}
    for interval in intervals:
        if not runs or not runs[0].start <= interval.start < runs[-1].end:
            continue
        offset = interval.start.astimezone(zone).utcoffset() or timedelta(0)
        start = interval.start - (interval.start - _EPOCH + offset) % window
        energy[start] += interval.quantity
        lengths[start] = max(window, interval.end - interval.start)
    by_bucket: defaultdict[str, list[Decimal]] = defaultdict(list)
    position = 0
    for start in sorted(energy):
        while position + 1 < len(runs) and runs[position].end <= start:
            position += 1
        kilowatts = energy[start] * 3_600_000_000 / _microseconds(lengths[start])
        by_bucket[runs[position].bucket].append(kilowatts)
    highest = {bucket: tuple(sorted(found, reverse=True)[:PEAKS_KEPT]) for bucket, found in by_bucket.items()}
    return highest, sum(length > window for length in lengths.values())
