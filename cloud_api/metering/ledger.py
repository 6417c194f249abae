"""From the readings of one register to its intervals. Pure, exact, and local.

*Exact*: a register's course is a chain of steps between neighbouring readings. Where a boundary falls inside a step,
the step's difference is divided by time at a rounded point; the second part is the whole minus the first. The parts of
a step add up to the step, so the intervals add up to the register difference whatever the rounding.

*Local*: an interval depends on the readings near it only (`CONTEXT_READINGS` on each side), never on what was computed
before. Readings may arrive in any order, any stretch may be computed again at any time, and the ledger is the same.

Times are milliseconds since 1970 UTC, register values integers of 10^-9 of the register's unit.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import groupby, pairwise

from cloud_api.metering.model import Method, Quality, Reason

SCALE = 9  # Decimals of a register value inside the ledger.
UNIT = 10**SCALE
SPLIT_QUANTUM = 10 ** (SCALE - 6)  # A step is divided at multiples of 10^-6 of the unit.
FALSE_READINGS_MAX = 12  # A false reading is judged by this many neighbours on each side …
FALSE_READING_MS_MAX = 3_600_000  # … and by neighbours at most this far apart.
# What a reading may change: the judgement of as many neighbours as a run of false readings and its own neighbours have,
# and the steps that end there. As many readings are needed on each side of a stretch to compute it.
CONTEXT_READINGS = 3 * FALSE_READINGS_MAX + 1
_ONE = Decimal(1)


class StepKind(StrEnum):
    """How the difference between two neighbouring readings is to be understood."""

    NORMAL = "normal"
    ROLLOVER = "rollover"
    UNEXPLAINED = "unexplained"  # The counter fell and nothing says why: the energy is not known.
    UNKNOWN_STOP = "unknown_stop"  # From the last reading to a reset of which nobody knows where it stopped.


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """The counter was set anew at `at_ms`: it stopped at one value and began at another.

    Without `stop` what was used since the reading before is not known.
    """

    at_ms: int
    stop: int | None
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is known of a register beside its readings."""

    interval_ms: int
    gap_ms_max: int  # A boundary inside a longer silence is an estimate.
    # (from, interval_ms, gap_ms_max) in order of time, for lengths that changed, on edges of every length; before the
    # first of them the two above hold.
    lengths: tuple[tuple[int, int, int], ...] = ()
    modulus: int | None = None  # The value at which the counter starts again at zero.
    is_delta: bool = False  # Each reading is what was used since the one before, as pulse counters report.
    resets: tuple[Reset, ...] = ()
    # Quantity = register difference × multiplier; (from, multiplier) in order of time, for CT and PT ratios and units.
    multipliers: tuple[tuple[int, Decimal], ...] = field(default=((-(2**63), _ONE),))
    closed_at_ms: int | None = None

    def length_at(self, at_ms: int) -> tuple[int, int]:
        """Return interval_ms and gap_ms_max of the interval in which an instant lies."""
        for start, interval_ms, gap_ms_max in reversed(self.lengths):
            if start <= at_ms:
                return interval_ms, gap_ms_max
        return self.interval_ms, self.gap_ms_max

    def slots(self, first_ms: int, last_ms: int) -> Iterator[tuple[int, int]]:
        """Yield the intervals that overlap `[first_ms, last_ms)`, in order of time."""
        edges = [first_ms, *(start for start, _, _ in self.lengths if first_ms < start < last_ms), last_ms]
        for since, until in pairwise(edges):
            step, _ = self.length_at(since)
            for start in range(since // step * step, until, step):
                yield start, start + step


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """The quantity used in `[start_ms, end_ms)`, and the readings between which it was found."""

    start_ms: int
    end_ms: int
    quantity: Decimal
    quality: Quality
    method: Method
    reason: Reason
    source_from_ms: int
    source_to_ms: int


@dataclass(frozen=True, slots=True)
class _Step:
    start: int
    end: int
    delta: int
    kind: StepKind

    def used_until(self, at: int) -> int:
        """Return what of the step's difference is counted before `at`, rounded; nothing at its start, all at its end.

        Rounded downwards to the quantum from the start of the step, so it never passes the whole and never falls.
        """
        if at >= self.end:
            return self.delta
        if at <= self.start:
            return 0
        exact = self.delta * (at - self.start) // (self.end - self.start)
        return exact - exact % SPLIT_QUANTUM


def compute(readings: Sequence[tuple[int, int]], rules: Rules, *, start_ms: int, end_ms: int) -> list[Computed]:
    """Return the complete intervals that overlap `[start_ms, end_ms)`.

    `readings` are (instant, value) in order of time, one per instant, reaching `CONTEXT_READINGS` beyond the stretch on
    both sides or to the end of what is known. The interval in which the register's life begins, and the one in which a
    closed register's life ends, hold what was used in their part; an interval that is not over has no row.
    """
    steps = list(_steps(readings, rules))
    if not steps:
        return []
    slots = rules.slots(max(start_ms, steps[0].start), min(end_ms, steps[-1].end))
    is_closed = rules.closed_at_ms is not None and steps[-1].end >= rules.closed_at_ms
    result: list[Computed] = []
    position = 0
    for start, end in slots:
        if end > steps[-1].end and not is_closed:
            break
        while position < len(steps) and steps[position].end <= start:
            position += 1
        inside = list(_overlapping(steps, position, end))
        if inside:
            result.append(_interval(inside, start, end, rules))
    return result


def silences(readings: Sequence[tuple[int, int]], rules: Rules, *, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Return the stretches longer than the rules allow between neighbouring readings, those that touch the stretch.

    `readings` as `compute` takes them. A false reading ends a silence too: the device spoke.
    """
    return [
        (before, after)
        for (before, _), (after, _) in pairwise(readings)
        if after - before > rules.length_at(before)[1] and before < end_ms and after > start_ms
    ]


def _overlapping(steps: list[_Step], position: int, end: int) -> Iterator[_Step]:
    while position < len(steps) and steps[position].start < end:
        yield steps[position]
        position += 1


def _interval(inside: list[_Step], start: int, end: int, rules: Rules) -> Computed:
    quantity = sum((_quantity(step, max(start, step.start), min(end, step.end), rules) for step in inside), Decimal(0))
    quality, method, reason = _grade(inside, start, end, rules)
    return Computed(
        start_ms=start,
        end_ms=end,
        quantity=quantity,
        quality=quality,
        method=method,
        reason=reason,
        source_from_ms=inside[0].start,
        source_to_ms=inside[-1].end,
    )


def _quantity(step: _Step, start: int, end: int, rules: Rules) -> Decimal:
    total = Decimal(0)
    changes = rules.multipliers
    for i, (valid_from, multiplier) in enumerate(changes):
        valid_to = changes[i + 1][0] if i + 1 < len(changes) else end
        part_from, part_to = max(start, valid_from), min(end, valid_to)
        if part_from < part_to:
            used = step.used_until(part_to) - step.used_until(part_from)
            total += Decimal(used).scaleb(-SCALE) * multiplier
    return total


def _grade(inside: list[_Step], start: int, end: int, rules: Rules) -> tuple[Quality, Method, Reason]:
    if any(step.kind is StepKind.UNEXPLAINED for step in inside):
        return Quality.MISSING, Method.NONE, Reason.UNEXPLAINED_FALL
    if any(step.kind is StepKind.UNKNOWN_STOP for step in inside):
        return Quality.MISSING, Method.NONE, Reason.UNKNOWN_STOP
    cut = [step for step in (inside[0], inside[-1]) if step.start < start or step.end > end]
    _, gap_ms_max = rules.length_at(start)
    if any(step.end - step.start > gap_ms_max for step in cut):
        return Quality.ESTIMATED, Method.LINEAR, Reason.GAP
    reason = Reason.NONE
    if inside[0].start > start or inside[-1].end < end:
        reason = Reason.PARTIAL
    elif any(step.kind is StepKind.ROLLOVER for step in inside):
        reason = Reason.ROLLOVER
    return Quality.ACTUAL, Method.INTERPOLATED if cut else Method.DIFFERENCE, reason


def _steps(readings: Sequence[tuple[int, int]], rules: Rules) -> Iterator[_Step]:
    if rules.is_delta:
        for (before, _), (at, used) in pairwise(readings):
            kind = StepKind.UNEXPLAINED if used < 0 else StepKind.NORMAL
            yield _Step(before, at, max(0, used), kind)
        return
    last: int | None = None
    for part in _between_resets(readings, rules.resets):
        if last is not None and part and last < part[0][0]:
            yield _Step(last, part[0][0], 0, StepKind.UNKNOWN_STOP)
        for (start, low), (end, high) in pairwise(without_false_readings(part)):
            yield _judge(start, low, end, high, rules.modulus)
        last = part[-1][0] if part else last


def _judge(start: int, low: int, end: int, high: int, modulus: int | None) -> _Step:
    """Understand one step. A rollover must cover less than half of the counter's range (billing practice)."""
    if high >= low:
        return _Step(start, end, high - low, StepKind.NORMAL)
    if modulus is not None and low < modulus and 2 * (modulus - low + high) < modulus:
        return _Step(start, end, modulus - low + high, StepKind.ROLLOVER)
    return _Step(start, end, 0, StepKind.UNEXPLAINED)


def _between_resets(readings: Sequence[tuple[int, int]], resets: Sequence[Reset]) -> Iterator[list[tuple[int, int]]]:
    """Cut the readings at declared resets; stop and start values stand as readings of the reset's instant."""
    times = [at for at, _ in readings]
    head: list[tuple[int, int]] = []
    position = 0
    for reset in sorted(resets, key=lambda r: r.at_ms):
        if not times or not times[0] < reset.at_ms <= times[-1]:
            continue
        cut = bisect_left(times, reset.at_ms)
        part = head + list(readings[position:cut])
        yield part if reset.stop is None else [*part, (reset.at_ms, reset.stop)]
        head = [(reset.at_ms, reset.start)]
        position = bisect_right(times, reset.at_ms)
    yield head + list(readings[position:])


def without_false_readings(readings: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out readings that their neighbours on both sides contradict: 1000, 1001, 0, 1002 was never at 0.

    A counter that truly fell does not come back within an hour. Nothing is lost by leaving a reading out, because the
    step across it keeps the whole difference. More than `FALSE_READINGS_MAX` in a row are not an error of the readings
    but what the counter did: they stay, and their falls say that the energy is not known.
    """
    falls = [i for i, (one, other) in enumerate(pairwise(readings)) if other[1] < one[1]]
    if not falls:
        return list(readings)
    suspects = {
        i
        for fall in falls
        for i in range(max(0, fall - FALSE_READINGS_MAX), min(len(readings), fall + FALSE_READINGS_MAX + 2))
    }
    contradicted = sorted(i for i in suspects if _is_contradicted(readings, i))
    # Numbers in a row share the difference to their place.
    runs = (list(run) for _, run in groupby(enumerate(contradicted), key=lambda place: place[1] - place[0]))
    false = {i for run in runs if len(run) <= FALSE_READINGS_MAX for _, i in run}
    return [reading for i, reading in enumerate(readings) if i not in false]


def _is_contradicted(readings: Sequence[tuple[int, int]], i: int) -> bool:
    value = readings[i][1]
    before = readings[max(0, i - FALSE_READINGS_MAX) : i]
    after = readings[i + 1 : i + 1 + FALSE_READINGS_MAX]
    return any(
        low <= high and not low <= value <= high and later - earlier <= FALSE_READING_MS_MAX
        for earlier, low in before
        for later, high in after
    )
