"""The course of a point as a chart draws it: equal steps, and the gaps between them with their reasons. Pure.

Silence is not zero, and there are several: a device that did not answer, values that could not be read, numbers
that the gateway had to throw away, a gateway that is not heard and may still have them, and nothing known at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from cloud_api.kit.period import Period
from cloud_api.telemetry.model import SeriesStep

STEPS_MAX = 2_000  # A chart draws no more points than that.
SUMMED_STEPS = (timedelta(hours=1), timedelta(minutes=15))  # What is kept as sums, coarsest first.
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00+00:00")
# A gateway throws away the oldest first: what it threw away when its memory was full is older than that moment.
_THROWN_AWAY_BEFORE = timedelta(days=1)
_GATEWAY_SILENT_AFTER = timedelta(minutes=1)


class Silence(StrEnum):
    """Why a stretch of a point's course is empty."""

    OFFLINE = "offline"  # The device did not answer its gateway.
    INVALID = "invalid"  # It answered with something that cannot be read.
    LOST = "lost"  # The gateway's memory was full.
    WAITING = "waiting"  # The gateway is not heard; it may still have the values.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A stretch without values."""

    starts_at: datetime
    ends_at: datetime
    reason: Silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the gateway said about a time: when its memory was full, when the device was offline, when it last spoke."""

    overflows: Sequence[datetime]
    offline: Sequence[datetime]
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a chart is cut: steps of `step` from `start`; `level` names the sums to read, None the observations."""

    start: datetime
    end: datetime
    step: timedelta
    level: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A point's course: one entry per step, empty ones included, and the gaps."""

    step: timedelta
    steps: Sequence[SeriesStep]
    gaps: Sequence[Gap]


def step_for(period: Period, steps_max: int) -> timedelta:
    """Return the smallest round step that cuts the period into at most `steps_max` parts."""
    needed = period.duration.total_seconds() / max(1, steps_max)
    seconds = next((s for s in _STEPS_S if s >= needed), None)
    if seconds is None:
        seconds = 86_400 * -(-int(needed) // 86_400)
    return timedelta(seconds=seconds)


def plan(period: Period, steps_max: int, raw_since: datetime | None) -> Plan:
    """Choose step and source. Where observations were dropped no step is shorter than the finest sums.

    The first step begins at or before the period, on a multiple of the source's own step, so that none is cut.
    """
    # One step less, because the first may begin before the period.
    step = step_for(period, min(steps_max, STEPS_MAX) - 1)
    if raw_since is not None and period.start < raw_since:
        step = max(step, SUMMED_STEPS[-1])
    level = next((s for s in SUMMED_STEPS if step % s == timedelta(0)), None)
    grid = level or min(step, timedelta(minutes=1))
    start = period.start - (period.start - _EPOCH) % grid
    return Plan(start=start, end=period.end, step=step, level=level)


def fill(plan: Plan, found: Sequence[SeriesStep]) -> list[SeriesStep]:
    """Return one entry per step of the plan; where nothing was observed an empty one."""
    known = {step.starts_at: step for step in found}
    empty = SeriesStep(starts_at=plan.start, mean=None, low=None, high=None, count=0)
    count = -(-(plan.end - plan.start) // plan.step)
    starts = (plan.start + n * plan.step for n in range(count))
    return [known.get(at) or replace(empty, starts_at=at) for at in starts]


def gaps(steps: Sequence[SeriesStep], step: timedelta, said: Said, now: datetime) -> list[Gap]:
    """Return the stretches without values, with their reasons; a step that is not over is no gap yet."""
    over = [s for s in steps if s.starts_at + step <= now]
    return [_gap(over, first, last, step, said, now) for first, last in _stretches(over)]


def _stretches(steps: Sequence[SeriesStep]) -> Iterator[tuple[int, int]]:
    first = None
    for n, step in enumerate(steps):
        if step.count and first is not None:
            yield first, n
            first = None
        elif not step.count and first is None:
            first = n
    if first is not None:
        yield first, len(steps)


def _gap(steps: Sequence[SeriesStep], first: int, last: int, step: timedelta, said: Said, now: datetime) -> Gap:
    starts_at, ends_at = steps[first].starts_at, steps[last - 1].starts_at + step
    # The device stopped answering somewhere in the step before; that step still has values.
    around = steps[max(first - 1, 0) : last]
    unheard = said.last_seen_at is None or said.last_seen_at < now - _GATEWAY_SILENT_AFTER
    if any(s.unanswered_count for s in around) or any(starts_at - step <= at < ends_at for at in said.offline):
        reason = Silence.OFFLINE
    elif any(s.invalid_count for s in steps[first:last]):
        reason = Silence.INVALID
    elif any(starts_at <= at < ends_at + _THROWN_AWAY_BEFORE for at in said.overflows):
        reason = Silence.LOST
    elif last == len(steps) and ends_at + step > now and unheard:
        reason = Silence.WAITING
    else:
        reason = Silence.UNKNOWN
    return Gap(starts_at=starts_at, ends_at=ends_at, reason=reason)
