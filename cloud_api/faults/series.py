"""Operators over ticks that remember: windows, runs, counts. Chunked anywhere, they give the same bits.

Values travel as float arrays on an even grid; booleans are 0 and 1, "unknown" is NaN and propagates. Sums are taken
over integers (millionths), so a window's sum does not depend on where a chunk began.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Memory = dict[str, Any]

VALUE_MAX = 1e8
_QUANTUM = 1e-6


def compare(left: Array, right: Array, how: Callable[[Array, Array], Any]) -> Array:
    """Compare; unknown where either side is."""
    known = ~(np.isnan(left) | np.isnan(right))
    return np.where(known, how(left, right), np.nan)


def moving_sum(x: Array, count: int, memory: Memory) -> tuple[Array, Array]:
    """Return sum and number of the known values in the trailing window of `count` ticks."""
    tail = np.array(memory.get("tail", ()), dtype=np.float64)
    joined = np.concatenate((tail, x))
    known = ~np.isnan(joined) & (np.abs(np.nan_to_num(joined)) < VALUE_MAX)
    whole = np.where(known, np.rint(np.nan_to_num(joined) / _QUANTUM), 0).astype(np.int64)
    sums = _windowed(whole, count)[len(tail) :]
    counts = _windowed(known.astype(np.int64), count)[len(tail) :]
    memory["tail"] = joined[-(count - 1) :].tolist() if count > 1 else []
    return sums.astype(np.float64) * np.float64(_QUANTUM), counts.astype(np.float64)


def moving_average(x: Array, count: int, memory: Memory) -> Array:
    """Return the mean of the known values in the trailing window; unknown when it holds none."""
    sums, counts = moving_sum(x, count, memory)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def moving_deviation(x: Array, count: int, memory: Memory) -> Array:
    """Return avg(abs(x - avg(x, W)), W)."""
    mean = moving_average(x, count, memory.setdefault("mean", {}))
    return moving_average(np.abs(x - mean), count, memory.setdefault("deviation", {}))


def moving_variance(x: Array, count: int, memory: Memory) -> Array:
    """Return avg(x^2, W) - avg(x, W)^2."""
    mean = moving_average(x, count, memory.setdefault("mean", {}))
    return moving_average(x * x, count, memory.setdefault("square", {})) - mean * mean


def changes(x: Array, count: int, memory: Memory) -> Array:
    """Return the number of value changes in the trailing window; unknown values are skipped over."""
    before = last_known_before(x, memory.setdefault("before", {}))
    pulse = np.where(~np.isnan(x) & ~np.isnan(before) & (x != before), 1.0, 0.0)
    return moving_sum(pulse, count, memory.setdefault("sum", {}))[0]


def starts(x: Array, count: int, memory: Memory) -> Array:
    """Return the number of rising edges in the trailing window."""
    before = last_known_before(x, memory.setdefault("before", {}))
    pulse = np.where((x == 1) & (before == 0), 1.0, 0.0)
    return moving_sum(pulse, count, memory.setdefault("sum", {}))[0]


def crossings(x: Array, count: int, memory: Memory) -> Array:
    """Return how often x crossed its own moving average in the trailing window."""
    side = np.sign(x - moving_average(x, count, memory.setdefault("mean", {})))
    return changes(np.where(side == 0, np.nan, side), count, memory.setdefault("changes", {}))


def run_length(x: Array, memory: Memory) -> Array:
    """Return for how many ticks x has been true up to and including this one (0 where it is not)."""
    true = x == 1
    index = np.arange(len(x))
    broken = np.maximum.accumulate(np.where(true, -1, index)) if len(x) else index
    carried = memory.get("run", 0)
    runs = np.where(broken == -1, index + 1 + carried, index - broken)
    if len(x):
        memory["run"] = int(runs[-1])
    return runs.astype(np.float64)


def held(x: Array, count: int, memory: Memory) -> Array:
    """Whether x has been true for `count` tick lengths without a break; unknown where x is."""
    runs = run_length(x, memory)
    return np.where(np.isnan(x), np.nan, (runs > count).astype(np.float64))


def last_known_before(x: Array, memory: Memory) -> Array:
    """Return the newest known value before each tick."""
    filled = fill_forward(x, memory.get("last", np.nan))
    before = np.concatenate(([memory.get("last", np.nan)], filled[:-1])) if len(x) else x
    if len(x):
        memory["last"] = float(filled[-1])
    return before


def fill_forward(x: Array, first: float) -> Array:
    """Replace unknown values by the newest known one, `first` before there is any."""
    if not len(x):
        return x
    index = np.maximum.accumulate(np.where(np.isnan(x), -1, np.arange(len(x))))
    return np.where(index >= 0, x[index], first)


def lagged(x: Array, count: int, memory: Memory) -> Array:
    """Return the value `count` ticks earlier; unknown before there is one."""
    tail = memory.get("tail")
    joined = np.concatenate((np.full(count, np.nan) if tail is None else np.array(tail, dtype=np.float64), x))
    memory["tail"] = joined[-count:].tolist()
    return joined[: len(x)]


def sampled(x: Array, seconds: NDArray[np.int64], period_s: int, memory: Memory) -> Array:
    """Return x as sampled once per period (periods start at multiples of it) and held."""
    slot = seconds // period_s
    before = np.concatenate(([memory.get("slot", -1)], slot[:-1])) if len(x) else slot
    taken = np.where(slot != before, x, np.nan)
    # A sample that is unknown is taken at the next known tick of the period.
    current = memory.get("value", np.nan)
    values = fill_forward(taken, current)
    unknown = np.isnan(x) & (slot != before)
    if unknown.any() or memory.get("waiting"):
        values = _sampled_slowly(x, slot, memory)
    elif len(x):
        memory.update(slot=int(slot[-1]), value=float(values[-1]))
    return values


def hysteresis(x: Array, on: Array, off: Array, memory: Memory) -> Array:
    """Return 1 from x > on until x < off: a limit with a separate clear limit (on < off for a lower limit)."""
    upper = on >= off
    set_at = np.where(upper, x > on, x < on)
    clear_at = np.where(upper, x < off, x > off)
    event = np.where(set_at, 1.0, np.where(clear_at, 0.0, np.nan))
    state = fill_forward(event, memory.get("state", 0.0))
    if len(x):
        memory["state"] = float(state[-1])
    return np.where(np.isnan(x), np.nan, state)


def cusum(z: Array, enabled: Array, slack: float, every: int, seconds: NDArray[np.int64], memory: Memory) -> Array:
    """Return the larger of the two CUSUM sums of z, taken every `every` seconds; both are 0 while not enabled."""
    high, low = memory.get("high", 0.0), memory.get("low", 0.0)
    out = np.empty(len(z))
    due = (seconds % every) == 0
    for i, (value, on, take) in enumerate(zip(z.tolist(), enabled.tolist(), due.tolist(), strict=True)):
        if on != 1:
            high = low = 0.0
        elif take and value == value:  # noqa: PLR0124  # NaN is not equal to itself: an unknown sample adds nothing.
            high = max(0.0, high + value - slack)
            low = max(0.0, low - value - slack)
        out[i] = max(high, low)
    memory.update(high=high, low=low)
    return out


def _sampled_slowly(x: Array, slot: NDArray[np.int64], memory: Memory) -> Array:
    current, last, waiting = memory.get("value", float("nan")), memory.get("slot", -1), memory.get("waiting", False)
    out = np.empty(len(x))
    for i, (value, here) in enumerate(zip(x.tolist(), slot.tolist(), strict=True)):
        if here != last:
            last, waiting = here, True
        if waiting and value == value:  # noqa: PLR0124  # NaN is not equal to itself.
            current, waiting = value, False
        out[i] = current
    memory.update(value=float(current), slot=int(last), waiting=waiting)
    return out


def _windowed(whole: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    total = np.cumsum(whole)
    shifted = np.zeros_like(total)
    shifted[count:] = total[:-count] if count < len(total) else 0
    return total - shifted
