"""Validation of intervals: which of them deserve a second look, and why. Pure.

The checks and their default limits follow section 4 of the domain notes (Oracle MDM, California VEE, AEMO); each limit
is a setting of the meter's class, because what is a spike for a tenant is a start-up for a chiller.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from typing import Any

from cloud_api.kit.period import Period
from cloud_api.metering.model import MeterInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings of a meter class; None switches a check off."""

    spike_ratio: Decimal | None = Decimal("1.8")  # (highest - third highest) / third highest, per day.
    spike_floor: Decimal = Decimal(1)  # Below this quantity nothing is a spike.
    zero_hours: int | None = 24
    stuck_intervals: int | None = 96  # Equal in a row; at most a whole day. Lamps that burn all night are equal too.
    estimated_hours: int | None = 4
    high_ratio: Decimal | None = Decimal(2)  # Of the mean of the like days before.
    low_ratio: Decimal | None = Decimal("0.4")
    jump_ratio: Decimal | None = None  # Against the valid interval before.
    power_factor_min: Decimal | None = Decimal("0.5")  # Of a day, where the meter counts kvarh too.
    power_kw_max: Decimal | None = None
    load_factor_min: Decimal | None = Decimal("0.03")  # Mean over highest power of a day, electricity only.
    sibling_hours: int | None = 4  # Of a day that another channel of the meter was not measured while this one was.
    duplicate_intervals: int | None = 24  # Equal to a run before, one by one.
    clock_drift_s: int | None = 180  # Of the meter's clock, or of the gateway whose clock its readings carry.
    ratio_tolerance: Decimal | None = Decimal(
        "0.001"
    )  # Share by which the device's CT × PT may differ from the registry.
    residual_high: Decimal | None = Decimal("0.08")  # Share of the meter that those below it do not count.
    residual_low: Decimal | None = Decimal("-0.01")


BY_USE = {
    "main": Limits(zero_hours=1, high_ratio=Decimal("1.6"), load_factor_min=Decimal("0.1")),
    "floor": Limits(),
    "tenant": Limits(),
    "common": Limits(),
    "plant": Limits(spike_ratio=None, zero_hours=None, high_ratio=None, low_ratio=None, load_factor_min=None),
    "check": Limits(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformers:
    """What a device multiplies with by itself, what the cloud multiplies with, and what the registry says stands there.

    `registry` is None where it says nothing: then only a ratio that is applied twice is a doubt.
    """

    device: Decimal
    register: Decimal
    registry: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One place that deserves a look."""

    check: str
    starts_at: datetime
    ends_at: datetime
    detail: dict[str, Any] = field(default_factory=dict)


def validate(
    day: Sequence[MeterInterval],
    like_days: Sequence[Decimal],
    limits: Limits,
    *,
    expected: int | None = None,
    reactive: Decimal | None = None,
    siblings: Mapping[str, int] | None = None,
    earlier: Sequence[MeterInterval] = (),
) -> list[Finding]:
    """Check one local day of a meter, given the totals of up to three like days before it.

    The day may stretch into the days before, so that runs are seen whole. Intervals are in order of time. `expected` is
    how many the day has when it is complete (23 to 25 hours of them), `reactive` what the meter counted in kvarh,
    `siblings` how many intervals of the day each other channel of the meter measured, `earlier` what it may repeat.
    """
    if not day:
        return []
    return [
        *_incomplete(day, expected),
        *_jumps(day, limits),
        *_power_factor(day, reactive, limits),
        *_load_factor(day, expected, limits),
        *_siblings(day, siblings or {}, limits),
        *_duplicates(day, earlier, limits),
        *_runs(day, limits),
        *_stuck(day, expected, limits),
        *_negative(day),
        *_spikes(day, limits),
        *_demand(day, limits),
        *_level(day, like_days, limits),
    ]


def clock_finding(drift_s: Decimal | None, limits: Limits, stretch: Period) -> Finding | None:
    """Doubt readings whose clock stands more than the limit beside the reference (CA VEE: 3 minutes)."""
    if limits.clock_drift_s is None or drift_s is None or abs(drift_s) <= limits.clock_drift_s:
        return None
    # Whole minutes, so that an ordinary wander is the same finding the next day.
    minutes = int(drift_s / 60)
    detail = {"drift_min": minutes, "limit_s": limits.clock_drift_s}
    return Finding(check="clock", starts_at=stretch.start, ends_at=stretch.end, detail=detail)


def ratio_finding(found: Transformers | None, limits: Limits, stretch: Period) -> Finding | None:
    """Compare CT × PT in the device with the registry; what both device and register multiply is counted twice."""
    if limits.ratio_tolerance is None or found is None or found.device <= 0:
        return None
    applied = found.device * abs(found.register)
    expected = max(found.device, abs(found.register)) if found.registry is None else found.registry
    if abs(applied - expected) <= expected * limits.ratio_tolerance:
        return None
    detail = {"device_ratio": f"{found.device:f}", "factor": f"{found.register.normalize():f}"}
    if found.registry is not None:
        detail["registry_ratio"] = f"{found.registry:f}"
    return Finding(check="ratio", starts_at=stretch.start, ends_at=stretch.end, detail=detail)


def balance_finding(main: Decimal | None, residual: Decimal | None, limits: Limits, day: Period) -> Finding | None:
    """Compare a meter with the sum of those below it over one day."""
    if not main or residual is None:
        return None
    share = residual / main
    too_high = limits.residual_high is not None and share > limits.residual_high
    too_low = limits.residual_low is not None and share < limits.residual_low
    if main > 0 and not too_high and not too_low:
        return None
    detail = {"residual": f"{residual:.3f}", "share_pct": f"{share * 100:.1f}", "total": f"{main:.3f}"}
    return Finding(check="balance", starts_at=day.start, ends_at=day.end, detail=detail)


def _incomplete(day: Sequence[MeterInterval], expected: int | None) -> Iterator[Finding]:
    present = len({i.starts_at for i in day})
    if expected is not None and present < expected:
        yield _finding("incomplete", day, intervals=present, expected=expected)


def _jumps(day: Sequence[MeterInterval], limits: Limits) -> Iterator[Finding]:
    if limits.jump_ratio is None:
        return
    known = [i for i in day if i.quality == "actual"]
    for before, after in pairwise(known):
        is_judged = before.quantity > 0 and after.quantity >= limits.spike_floor
        if is_judged and after.quantity / before.quantity > limits.jump_ratio:
            yield _finding("jump", [after], quantity=str(after.quantity), before=str(before.quantity))


def _power_factor(day: Sequence[MeterInterval], reactive: Decimal | None, limits: Limits) -> Iterator[Finding]:
    active = sum((i.quantity for i in day), Decimal(0))
    if limits.power_factor_min is None or reactive is None or active < limits.spike_floor:
        return
    factor = active / (active * active + reactive * reactive).sqrt()
    if factor < limits.power_factor_min:
        yield _finding("power_factor", day, power_factor=f"{factor:.2f}", limit=str(limits.power_factor_min))


def _load_factor(day: Sequence[MeterInterval], expected: int | None, limits: Limits) -> Iterator[Finding]:
    """Doubt a complete, measured day whose energy came in a few intervals."""
    measured = [i.quantity for i in day if _is_measured(i)]
    if limits.load_factor_min is None or expected is None or len(measured) < expected:
        return
    highest = max(measured)
    if highest <= limits.spike_floor:  # One step of a counter that shows whole units is no peak.
        return
    factor = sum(measured, Decimal(0)) / len(measured) / highest
    if 0 <= factor < limits.load_factor_min:
        yield _finding("load_factor", day, load_factor=f"{factor:.3f}", limit=str(limits.load_factor_min))


def _siblings(day: Sequence[MeterInterval], siblings: Mapping[str, int], limits: Limits) -> Iterator[Finding]:
    """Doubt a day in which other channels of the meter were silent while this one was measured."""
    if limits.sibling_hours is None:
        return
    measured = sum(_is_measured(i) for i in day)
    step_hours = _hours(day[:1])
    hours = {name: (measured - known) * step_hours for name, known in siblings.items()}
    silent = {name: value for name, value in hours.items() if value > limits.sibling_hours}
    if silent:
        yield _finding("sibling", day, channels=sorted(silent), hours=f"{max(silent.values()):g}")


def _duplicates(day: Sequence[MeterInterval], earlier: Sequence[MeterInterval], limits: Limits) -> Iterator[Finding]:
    """Find runs of measured intervals that repeat a run before, one by one: a block read, sent or imported twice.

    At least half of a run's values must differ from one another and from zero: a steady load repeats itself honestly.
    """
    length = limits.duplicate_intervals
    if length is None:
        return
    block: list[MeterInterval] = []
    lag = timedelta(0)
    for window, original in _repeated([*earlier, *day], length):
        if window[0].starts_at < day[0].starts_at:
            continue
        if block and window[0].starts_at - original == lag and window[0].starts_at <= block[-1].ends_at:
            block += [i for i in window if i.starts_at > block[-1].starts_at]
            continue
        if block:
            yield _duplicate(block, lag)
        block, lag = list(window), window[0].starts_at - original
    if block:
        yield _duplicate(block, lag)


def _duplicate(block: Sequence[MeterInterval], lag: timedelta) -> Finding:
    return _finding("duplicate", block, intervals=len(block), hours_before=f"{lag / timedelta(hours=1):g}")


def _repeated(intervals: Sequence[MeterInterval], length: int) -> Iterator[tuple[Sequence[MeterInterval], datetime]]:
    """Yield each run of `length` whose values were there before, with the start of the newest run that had them."""
    seen: dict[tuple[Decimal, ...], datetime] = {}
    for unbroken in _unbroken(intervals):
        for start in range(len(unbroken) - length + 1):
            window = unbroken[start : start + length]
            values = tuple(i.quantity for i in window)
            if values in seen and 2 * len(set(values) - {0}) >= length:
                yield window, seen[values]
            seen[values] = window[0].starts_at


def _unbroken(intervals: Sequence[MeterInterval]) -> Iterator[list[MeterInterval]]:
    """Yield stretches of measured intervals, each beginning where the one before ends."""
    stretch: list[MeterInterval] = []
    for interval in intervals:
        if stretch and (interval.quality != "actual" or interval.starts_at != stretch[-1].ends_at):
            yield stretch
            stretch = []
        if interval.quality == "actual":
            stretch.append(interval)
    yield stretch


def _is_measured(interval: MeterInterval) -> bool:
    return interval.quality in {"actual", "edited"}


def _runs(day: Sequence[MeterInterval], limits: Limits) -> Iterator[Finding]:
    for run in _same(day, lambda i: i.quality, "missing"):
        yield _finding("missing", run, intervals=len(run))
    if limits.estimated_hours is not None:
        for run in _same(day, lambda i: i.quality, "estimated"):
            if _hours(run) > limits.estimated_hours:
                yield _finding("estimated", run, intervals=len(run))
    if limits.zero_hours is not None:
        for run in _same(day, lambda i: i.quantity == 0 and i.quality == "actual", wanted=True):
            if _hours(run) >= limits.zero_hours:
                yield _finding("zero_run", run, hours=_hours(run))


def _stuck(day: Sequence[MeterInterval], expected: int | None, limits: Limits) -> Iterator[Finding]:
    if limits.stuck_intervals is None:
        return
    for value, group in groupby(day, key=lambda i: i.quantity if i.quality == "actual" else None):
        run = list(group)
        # A standby of few steps of the register is equal all day in good order.
        if (
            value
            and abs(value) >= limits.spike_floor
            and len(run) >= min(limits.stuck_intervals, expected or limits.stuck_intervals)
        ):
            yield _finding("stuck", run, quantity=str(value), intervals=len(run))


def _negative(day: Sequence[MeterInterval]) -> Iterator[Finding]:
    for run in _same(day, lambda i: i.quantity < 0, wanted=True):
        yield _finding("negative", run, quantity=str(min(i.quantity for i in run)))


def _spikes(day: Sequence[MeterInterval], limits: Limits) -> Iterator[Finding]:
    known = sorted((i for i in day if i.quality == "actual"), key=lambda i: i.quantity, reverse=True)
    if limits.spike_ratio is None or len(known) < 3 or known[0].quantity < limits.spike_floor:
        return
    third = known[2].quantity
    if third > 0 and (known[0].quantity - third) / third > limits.spike_ratio:
        yield _finding("spike", [known[0]], quantity=str(known[0].quantity), third=str(third))


def _demand(day: Sequence[MeterInterval], limits: Limits) -> Iterator[Finding]:
    if limits.power_kw_max is None:
        return
    for interval in day:
        power_kw = interval.quantity * 3600 / Decimal((interval.ends_at - interval.starts_at).total_seconds())
        if power_kw > limits.power_kw_max:
            yield _finding("over_capacity", [interval], power_kw=f"{power_kw:.1f}", limit_kw=str(limits.power_kw_max))


def _level(day: Sequence[MeterInterval], like_days: Sequence[Decimal], limits: Limits) -> Iterator[Finding]:
    if len(like_days) < 3 or any(i.quality == "missing" for i in day):
        return
    usual = sum(like_days, Decimal(0)) / len(like_days)
    total = sum((i.quantity for i in day), Decimal(0))
    if usual <= 0:
        return
    detail = {"total": f"{total:.3f}", "usual": f"{usual:.3f}"}
    if limits.high_ratio is not None and total > usual * limits.high_ratio:
        yield _finding("high", day, **detail)
    elif limits.low_ratio is not None and total < usual * limits.low_ratio:
        yield _finding("low", day, **detail)


def _same(day: Sequence[MeterInterval], key: Any, wanted: object) -> Iterator[list[MeterInterval]]:
    for value, group in groupby(day, key=key):
        if value == wanted:
            yield list(group)


def _hours(run: Sequence[MeterInterval]) -> float:
    return (run[-1].ends_at - run[0].starts_at).total_seconds() / 3600


def _finding(check: str, run: Sequence[MeterInterval], **detail: Any) -> Finding:
    return Finding(check=check, starts_at=run[0].starts_at, ends_at=run[-1].ends_at, detail=detail)
