"""The learned channel: what is normal for one unit, fitted on days known to be healthy. Pure.

Each feature is what the air does while nothing should act on it (both coils off; damper closed, at minimum, open).
Fitted are its level and a band; rules AHU-0101 … AHU-0106 then judge the hourly mean against them.

False-alarm budget: 0.01 incidents per equipment-day. The band is the widest of a floor (sensor repeatability), 1.5
times the largest departure seen while healthy, and 5 standard deviations of the hourly means. Nothing is judged
outside the conditions that were fitted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults import derived, series
from cloud_api.faults.trend import Trend

FALSE_INCIDENTS_PER_DAY_MAX = 0.01
WINDOW_S = 3600
TICKS_MIN = 30
# Repeatability of duct sensors, and of the fraction computed from three of them.
FLOORS = {"coil_rise": 0.4, "closed_damper_oaf": 0.03, "min_damper_oaf": 0.10, "open_damper_oaf": 0.20}
_LARGEST_TIMES = 1.5
_SIGMAS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """One feature of one unit: its healthy level and band, and on how much it rests."""

    name: str
    expected: float
    band: float
    hours: float


def fit(data: Trend, healthy: Sequence[date]) -> list[Fitted]:
    """Fit every feature that the trend offers on its healthy days; a feature with less than an hour is left out."""
    have = derived.compute(frozenset(derived.LEARNED), data.columns, data.seconds, data.tick_s, data.zone, {})
    is_healthy = _on_days(data.seconds, healthy, data)
    found = []
    for name in derived.LEARNED:
        if name not in have:
            continue
        values = np.where(is_healthy, have[name], np.nan)
        means = series.moving_average(values, max(1, WINDOW_S // data.tick_s), {})
        runs = series.run_length((~np.isnan(values)).astype(float), {})
        means = means[runs >= max(2, TICKS_MIN * 60 // data.tick_s)]
        if len(means) * data.tick_s < WINDOW_S:
            continue
        level = float(np.median(means))
        largest = float(np.max(np.abs(means - level)))
        band = max(FLOORS[name], _LARGEST_TIMES * largest, _SIGMAS * float(np.std(means)))
        hours = round(len(means) * data.tick_s / 3600, 1)
        found.append(Fitted(name=name, expected=round(level, 4), band=round(band, 4), hours=hours))
    return found


def as_constants(fitted: Sequence[Fitted]) -> Mapping[str, float]:
    """Return the roles that a replay or the live evaluator is given."""
    return {f"{f.name}_expected": f.expected for f in fitted} | {f"{f.name}_band": f.band for f in fitted}


def _on_days(seconds: NDArray[np.int64], days: Sequence[date], data: Trend) -> NDArray[np.bool_]:
    inside = np.zeros(len(seconds), dtype=bool)
    for day in days:
        start = datetime(day.year, day.month, day.day, tzinfo=data.zone)
        begin = start.timestamp()
        end = datetime.fromordinal(day.toordinal() + 1).replace(tzinfo=data.zone).timestamp()
        inside |= (seconds >= begin) & (seconds < end)
    return inside
