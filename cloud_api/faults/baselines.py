"""What a unit would have taken in the same conditions: regressions fitted on its own healthy history. Pure.

A meter's power by hour, kind of day (holidays count as free days, make-up workdays as working days) and outdoor
temperature (weather-normalised); a machine's power by load, weather
and water temperature; a valve's position by what it has to do. Outside the conditions that were fitted nothing is
expected, so that rules say NO_EVAL instead of guessing. Prediction works tick by tick.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults import derived
from cloud_api.faults.series import Array

HEAT_BELOW_C, COOL_ABOVE_C = 16.0, 20.0
HOURS_MIN = 24
_RIDGE = 1e-6
_MARGIN = 0.05  # Beyond the fitted range, as a share of it.
_BAND_FLOOR, _LARGEST_TIMES, _SIGMAS = 0.06, 1.5, 5.0
_WINDOW_S = 3600
NIGHT = (2.0, 5.0)
NIGHTS_MIN = 3

Columns = Mapping[str, Array]


class BaselineError(ValueError):
    """A stored baseline cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One expected value: which role is expected, from which, while which condition holds."""

    target: str
    expected: str
    inputs: tuple[str, ...]
    features: Callable[[Columns], Array]
    when: Callable[[Columns], NDArray[np.bool_]]
    needs: tuple[str, ...] = ()  # Besides target and inputs, for the condition.
    hours_min: int = HOURS_MIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A fitted kind: coefficients, the range of the inputs, and how well it fits (hourly means)."""

    kind: str
    coefficients: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    band: float
    cv_rmse: float
    hours: float

    @property
    def is_accepted(self) -> bool:
        """Whether it fits as ASHRAE Guideline 14 asks of an hourly baseline (CV(RMSE) up to 30 %)."""
        return self.cv_rmse <= 0.30


def _power(columns: Columns) -> Array:
    hour = columns["hour"].astype(int)
    slot = hour + 24 * (columns["is_weekend"] > 0)
    cells = np.eye(48)[np.clip(slot, 0, 47)]
    oat = columns["oat"]
    cold, warm = np.maximum(0.0, HEAT_BELOW_C - oat), np.maximum(0.0, oat - COOL_ABOVE_C)
    is_day = ((columns["hour"] >= 7) & (columns["hour"] < 19) & (columns["is_weekend"] == 0)).astype(float)
    return np.column_stack([cells, cold, warm, cold * is_day, warm * is_day])


def _chiller(columns: Columns) -> Array:
    load, oat, water = columns["chiller_load"] / 100, columns["oat"], columns["chwst"]
    return np.column_stack([np.ones_like(load), load, load**2, load * oat, load**2 * oat, load * water])


def _heat_pump(columns: Columns) -> Array:
    heat, oat, water = columns["thermal_power"], columns["oat"], columns["hws_temp"]
    return np.column_stack([np.ones_like(heat), heat, heat**2 / 100, heat * oat, heat**2 / 100 * oat, heat * water])


def _valve(columns: Columns) -> Array:
    work = columns["mat"] - columns["sat_sp"]
    return np.column_stack([np.ones_like(work), work, work * columns["sf_speed"] / 100, columns["sf_speed"] / 100])


def _always(columns: Columns) -> NDArray[np.bool_]:
    return np.ones(len(next(iter(columns.values()))), dtype=bool)


KINDS: Mapping[str, Kind] = {
    "meter_power": Kind(
        target="active_power",
        expected="expected_power",
        inputs=("oat", "hour", "is_weekend"),
        features=_power,
        when=_always,
        hours_min=7 * 24,  # Every hour of the week once.
    ),
    "chiller_power": Kind(
        target="chiller_kw",
        expected="chiller_kw_expected",
        inputs=("chiller_load", "oat", "chwst"),
        features=_chiller,
        when=lambda c: (c["chiller_status"] == 1) & (c["chiller_load"] > 15),
        needs=("chiller_status",),
    ),
    "heat_pump_power": Kind(
        target="elec_power",
        expected="elec_power_expected",
        inputs=("thermal_power", "oat", "hws_temp"),
        features=_heat_pump,
        when=lambda c: (c["comp_status"] == 1) & (c["thermal_power"] > 10),
        needs=("comp_status",),
    ),
    "cooling_valve": Kind(
        target="clg_vlv_cmd",
        expected="clg_vlv_baseline",
        inputs=("mat", "sat_sp", "sf_speed"),
        features=_valve,
        when=lambda c: (c["clg_vlv_cmd"] > 5) & (np.abs(c["sat"] - c["sat_sp"]) < 1),
        needs=("sat",),
    ),
}
OF_FAMILY: Mapping[str, tuple[str, ...]] = {
    "meter": ("meter_power",),
    "chw": ("chiller_power",),
    "hp": ("heat_pump_power",),
    "ahu": ("cooling_valve",),
}
BAND_OF = {
    "chiller_kw_expected": "chiller_kw_band",
    "elec_power_expected": "elec_power_band",
    "expected_power": "expected_power_band",
}
_TIME = frozenset(("hour", "is_weekend"))


def fit(
    family: str, columns: Columns, seconds: NDArray[np.int64], zone: ZoneInfo, healthy: NDArray[np.bool_]
) -> list[Baseline]:
    """Fit every kind of the family that the columns allow, on hourly means of the healthy ticks."""
    found = []
    for name in OF_FAMILY.get(family, ()):
        kind = KINDS[name]
        have = _with_time(kind, columns, seconds, zone)
        if have is None or kind.target not in have or not set(kind.needs) <= set(have):
            continue
        known = healthy & kind.when(have) & ~np.isnan(have[kind.target])
        for role in kind.inputs:
            known &= ~np.isnan(have[role])
        fitted = _fit_one(name, kind, have, seconds, known)
        if fitted is not None:
            found.append(fitted)
    return found


def expectations(
    baselines: Sequence[Baseline], columns: Columns, seconds: NDArray[np.int64], zone: ZoneInfo
) -> dict[str, Array]:
    """Return the expected columns, and the constant bands of their residuals; unknown outside the fitted range."""
    found: dict[str, Array] = {}
    for baseline in baselines:
        kind = KINDS.get(baseline.kind)
        if kind is None:
            raise BaselineError(f"there is no kind of baseline {baseline.kind!r}")
        have = _with_time(kind, columns, seconds, zone)
        if have is None or kind.expected in columns:
            continue
        inside = np.ones(len(seconds), dtype=bool)
        for role, low, high in zip(kind.inputs, baseline.low, baseline.high, strict=True):
            slack = _MARGIN * (high - low)
            inside &= (have[role] >= low - slack) & (have[role] <= high + slack)
        filled = {n: np.nan_to_num(v) for n, v in have.items()}
        # A sum over columns in a fixed order: a matrix product may round differently for other lengths.
        features, total = kind.features(filled), np.zeros(len(seconds))
        for index, coefficient in enumerate(baseline.coefficients):
            total = total + features[:, index] * coefficient
        found[kind.expected] = np.where(inside, total, np.nan)
        if kind.expected in BAND_OF:
            found[BAND_OF[kind.expected]] = np.full(len(seconds), baseline.band)
    return found


def expected_roles(baselines: Sequence[Baseline], available: frozenset[str]) -> frozenset[str]:
    """Return which roles `expectations` gives where these are available."""
    found: set[str] = set()
    for baseline in baselines:
        kind = KINDS.get(baseline.kind)
        if kind is not None and set(kind.inputs) - _TIME <= available and kind.expected not in available:
            found |= {kind.expected} | ({BAND_OF[kind.expected]} if kind.expected in BAND_OF else set())
    return frozenset(found)


def night_baseline(
    columns: Columns, seconds: NDArray[np.int64], zone: ZoneInfo, healthy: NDArray[np.bool_]
) -> float | None:
    """Return the 90th percentile of the nights' median power (02 to 05 o'clock); None with fewer than three nights."""
    if "active_power" not in columns:
        return None
    time = derived.compute(_TIME, {}, seconds, 60, zone, {})
    inside = healthy & (time["hour"] >= NIGHT[0]) & (time["hour"] < NIGHT[1]) & ~np.isnan(columns["active_power"])
    days = (seconds - 3600 * time["hour"]) // 86_400  # By local midnight: a night may lie on two days of Greenwich.
    medians = [float(np.median(columns["active_power"][inside & (days == day)])) for day in np.unique(days[inside])]
    return round(float(np.percentile(medians, 90)), 3) if len(medians) >= NIGHTS_MIN else None


def as_json(baseline: Baseline) -> dict[str, object]:
    """Return a baseline as plain JSON."""
    return {name: getattr(baseline, name) for name in Baseline.__slots__}


def from_json(content: Mapping[str, Any]) -> Baseline:
    """Read a stored baseline; raises BaselineError when it does not fit."""
    try:
        baseline = Baseline(
            kind=str(content["kind"]),
            coefficients=tuple(float(x) for x in content["coefficients"]),
            low=tuple(float(x) for x in content["low"]),
            high=tuple(float(x) for x in content["high"]),
            band=float(content["band"]),
            cv_rmse=float(content["cv_rmse"]),
            hours=float(content["hours"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BaselineError(f"not a baseline written by `cloud-api faults learn`: {error}") from error
    if baseline.kind not in KINDS or len(baseline.low) != len(KINDS[baseline.kind].inputs):
        raise BaselineError(f"there is no kind of baseline {baseline.kind!r} with these inputs")
    return baseline


def _with_time(kind: Kind, columns: Columns, seconds: NDArray[np.int64], zone: ZoneInfo) -> dict[str, Array] | None:
    have = dict(columns)
    if set(kind.inputs) & _TIME:
        calendar = {"day_off": have["day_off"]} if "day_off" in have else {}
        have |= derived.compute(_TIME, calendar, seconds, 60, zone, {})
    return have if set(kind.inputs) <= set(have) else None


def _fit_one(
    name: str, kind: Kind, have: Columns, seconds: NDArray[np.int64], known: NDArray[np.bool_]
) -> Baseline | None:
    roles = (kind.target, *kind.inputs)
    hours, where, counts = np.unique(seconds[known] // _WINDOW_S, return_inverse=True, return_counts=True)
    full = counts >= 0.25 * max(counts.max(initial=0), 1)
    if full.sum() < kind.hours_min:
        return None
    means = {r: np.bincount(where, weights=have[r][known], minlength=len(hours))[full] / counts[full] for r in roles}
    features, target = kind.features(means), means[kind.target]
    scale = np.maximum(np.abs(features).max(axis=0), 1e-9)
    scaled = features / scale
    normal = scaled.T @ scaled + _RIDGE * len(target) * np.eye(scaled.shape[1])
    coefficients = np.linalg.solve(normal, scaled.T @ target) / scale
    residual = target - features @ coefficients
    level = max(float(np.mean(np.abs(target))), 1e-9)
    band = max(_BAND_FLOOR * level, _LARGEST_TIMES * float(np.abs(residual).max()), _SIGMAS * float(residual.std()))
    return Baseline(
        kind=name,
        coefficients=tuple(float(c) for c in coefficients),
        low=tuple(float(means[r].min()) for r in kind.inputs),
        high=tuple(float(means[r].max()) for r in kind.inputs),
        band=round(band, 4),
        cv_rmse=round(float(residual.std()) / level, 4),
        hours=float(full.sum()),
    )
