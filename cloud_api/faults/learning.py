"""The learned channel: what is normal for one unit, fitted on days known to be healthy. Pure.

Each feature is what the air does while nothing should act on it (both coils off; damper closed, at minimum, open).
Fitted are its level and a band; rules AHU-0101 … AHU-0106 then judge the hourly mean against them.

False-alarm budget: 0.01 incidents per equipment-day. The band is the widest of a floor (sensor repeatability), 1.5
times the largest departure seen while healthy, and 5 standard deviations of the hourly means. Nothing is judged
outside the conditions that were fitted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cloud_api.faults import baselines, derived, series
from cloud_api.faults.baselines import Baseline
from cloud_api.faults.trend import Trend, TrendError, with_constants

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """All that is known of one unit in good order: levels with bands, and baselines in changing conditions."""

    constants: Mapping[str, float] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()


def fit_unit(family: str, data: Trend, is_healthy: NDArray[np.bool_]) -> Learned:
    """Fit everything that a unit's data allow on its healthy ticks."""
    constants = dict(as_constants(_fit(data, is_healthy)))
    if family == "meter":
        night = baselines.night_baseline(data.columns, data.seconds, data.zone, is_healthy)
        constants |= {} if night is None else {"night_baseline_kw": night}
    fitted = baselines.fit(family, data.columns, data.seconds, data.zone, is_healthy)
    return Learned(constants=constants, baselines=tuple(b for b in fitted if b.is_accepted))


def as_json(learned: Learned) -> dict[str, object]:
    """Return what was learned as plain JSON, for a file or a row."""
    return {
        "constants": dict(learned.constants),
        "baselines": [baselines.as_json(b) | {"inputs": baselines.KINDS[b.kind].inputs} for b in learned.baselines],
    }


def from_json(content: Mapping[str, Any]) -> Learned:
    """Read what `as_json` wrote; raises BaselineError."""
    try:
        constants = {str(k): float(v) for k, v in content["constants"].items()}
        fitted = tuple(baselines.from_json(b) for b in content.get("baselines") or ())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise baselines.BaselineError(f"not a model written by `cloud-api faults learn`: {error}") from error
    return Learned(constants=constants, baselines=fitted)


def from_file(path: Path) -> Learned:
    """Read what `faults learn` wrote; raises TrendError naming the file."""
    try:
        return from_json(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise TrendError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, TypeError, baselines.BaselineError) as error:
        raise TrendError(f"{path}: {error}") from error


def with_learned(data: Trend, learned: Learned) -> Trend:
    """Return the trend with what is expected of the unit; a column that the trend carries is kept."""
    known = with_constants(data, learned.constants)
    expected = baselines.expectations(learned.baselines, known.columns, data.seconds, data.zone)
    return replace(known, columns=dict(known.columns) | expected)


def fit(data: Trend, healthy: Sequence[date]) -> list[Fitted]:
    """Fit every feature that the trend offers on its healthy days; a feature with less than an hour is left out."""
    return _fit(data, on_days(data, healthy))


def _fit(data: Trend, is_healthy: NDArray[np.bool_]) -> list[Fitted]:
    have = derived.compute(frozenset(derived.LEARNED), data.columns, data.seconds, data.tick_s, data.zone, {})
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


def on_days(data: Trend, days: Sequence[date]) -> NDArray[np.bool_]:
    """Say which ticks lie on these local days."""
    seconds = data.seconds
    inside = np.zeros(len(seconds), dtype=bool)
    for day in days:
        start = datetime(day.year, day.month, day.day, tzinfo=data.zone)
        begin = start.timestamp()
        end = datetime.fromordinal(day.toordinal() + 1).replace(tzinfo=data.zone).timestamp()
        inside |= (seconds >= begin) & (seconds < end)
    return inside
