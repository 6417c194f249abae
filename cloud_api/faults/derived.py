"""Roles that are computed from others: operating state, outdoor-air fraction, active set point, settled mode. Pure.

Dead zones (ours): a valve counts as open above 2 %, a damper as being at a limit within 5 %.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults import series
from cloud_api.faults.series import Array, Memory

VALVE_OPEN_PERCENT = 2.0
DAMPER_LIMIT_PERCENT = 5.0
MIN_OA_FRACTION_DEFAULT = 0.15
MODE_DELAY_S = 1800
CLOSED_PERCENT = 0.5
LEARNED_SETTLE_S = 1200
LEARNED_SPEED_PERCENT = 15.0
LEARNED_SPAN_K = 3.0
FAN_RUNNING_PERCENT = 5.0
OAF_MIN, OAF_MAX = -0.05, 1.25
# Guideline 36 judges rolling averages of five minutes; the commands that make the operating state are averaged so.
AVERAGE_S = 300

Columns = Mapping[str, Array]

# Each derived role: the alternatives of roles that it can be computed from, best first; and roles it uses when there.
_NEEDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "operating_state": (
        ("htg_vlv_cmd", "clg_vlv_cmd", "oa_dmpr_cmd"),
        ("htg_vlv_cmd", "clg_vlv_cmd"),
        ("clg_vlv_cmd",),
    ),
    "mode_settled": ((),),
    "oaf": (("mat", "rat", "oat"),),
    "sf_status": (("sf_speed",),),
    "sat_sp": (("sat_sp_clg", "sat_sp_htg", "clg_vlv_cmd", "htg_vlv_cmd"), ("sat_sp_clg", "clg_vlv_cmd")),
    "occupied": (("occ_schedule",),),
    "fan_running": (("sf_status",), ("sf_speed",), ("fan_status",)),
    "hour": ((),),
    "is_weekend": ((),),
    # Features of the learned channel: what the air does while nothing should act on it.
    "coil_rise": (("sat", "mat", "clg_vlv_cmd", "htg_vlv_cmd"),),
    "closed_damper_oaf": (("mat", "rat", "oat", "oa_dmpr_cmd"),),
    "min_damper_oaf": (("mat", "rat", "oat", "oa_dmpr_cmd"),),
    "open_damper_oaf": (("mat", "rat", "oat", "oa_dmpr_cmd"),),
    "air_kw_per_k": (("supply_flow", "sf_speed"), ("supply_flow",)),
    "power_factor": (("power_factor_a", "power_factor_b", "power_factor_c"),),
}
LEARNED = ("coil_rise", "closed_damper_oaf", "min_damper_oaf", "open_damper_oaf")
# Roles that a point may carry, and that are computed where none does.
NAMES = frozenset(_NEEDS) - {"sf_status", "sat_sp", "power_factor"}


def derivable(available: frozenset[str]) -> frozenset[str]:
    """Return the roles that can be computed from the available ones."""
    return frozenset(name for name in _NEEDS if name not in available and _choice(name, available) is not None)


def lacking(name: str, available: frozenset[str]) -> tuple[str, ...]:
    """Return which roles to bind so that `name` is there."""
    if name not in _NEEDS:
        return () if name in available else (name,)
    if name in available or _choice(name, available) is not None:
        return ()
    if name not in NAMES:
        return (name,)
    best = min(_NEEDS[name], key=lambda need: len([r for r in need if r not in available]))
    return tuple(r for r in best if r not in available)


def inputs(wanted: frozenset[str], available: frozenset[str]) -> frozenset[str]:
    """Return the bound roles that the wanted ones are computed from, themselves included."""
    found = set(wanted & available)
    for name in wanted - available:
        found |= set(_choice(name, available) or ())
    return frozenset(found)


def compute(
    wanted: frozenset[str], columns: Columns, seconds: NDArray[np.int64], tick_s: int, zone: ZoneInfo, memory: Memory
) -> dict[str, Array]:
    """Return the columns given plus the derived ones that are wanted and can be computed."""
    have: dict[str, Array] = dict(columns)
    available = frozenset(columns)
    for name, recipe in _RECIPES.items():
        if name in wanted and name not in have and _choice(name, available) is not None:
            have[name] = recipe(have, len(seconds), tick_s, memory.setdefault(name, {}))
    if wanted & {"hour", "is_weekend"}:
        have["hour"], weekend = _local(seconds, zone)
        # The public calendar, where there is one, knows better: a holiday is free, a make-up workday is not.
        have["is_weekend"] = have.get("day_off", weekend)
    return have


def days_off(seconds: NDArray[np.int64], zone: ZoneInfo, days: Mapping[date, bool]) -> Array:
    """Say 1 on free days: weekends, except what `days` says (holiday: True, make-up workday: False)."""
    hours, where = np.unique(seconds // 3600, return_inverse=True)
    local = [datetime.fromtimestamp(int(h) * 3600, UTC).astimezone(zone).date() for h in hours]
    return np.array([float(days.get(day, day.weekday() >= 5)) for day in local])[where]


def _choice(name: str, available: frozenset[str]) -> tuple[str, ...] | None:
    for need in _NEEDS.get(name, ()):
        if all(r in available for r in need):
            return need
    return None


def _sf_status(have: Columns, _count: int, _tick_s: int, _memory: Memory) -> Array:
    return series.compare(have["sf_speed"], np.full_like(have["sf_speed"], FAN_RUNNING_PERCENT), np.greater)


def _sat_sp(have: Columns, _count: int, _tick_s: int, _memory: Memory) -> Array:
    heating = have.get("htg_vlv_cmd")
    if heating is None or "sat_sp_htg" not in have:
        return have["sat_sp_clg"]
    # With both valves closed (free cooling) the cooling set point is the active one.
    return np.where(heating > VALVE_OPEN_PERCENT, have["sat_sp_htg"], have["sat_sp_clg"])


def _operating_state(have: Columns, count: int, tick_s: int, memory: Memory) -> Array:
    """Classify by the commands (faults.md 3.2): 1 heating … 5 anything else; 0 while the fan is off."""

    def averaged(name: str) -> Array:
        mean = series.moving_average(have[name], max(1, AVERAGE_S // tick_s), memory.setdefault(name, {}))
        return np.where(np.isnan(have[name]), np.nan, mean)

    clg = averaged("clg_vlv_cmd")
    htg = averaged("htg_vlv_cmd") if "htg_vlv_cmd" in have else np.zeros(count)
    cooling, heating = clg > VALVE_OPEN_PERCENT, htg > VALVE_OPEN_PERCENT
    damper = averaged("oa_dmpr_cmd") if "oa_dmpr_cmd" in have else None
    if damper is None:  # A fan coil: 1 heating, 2 no active coil, 3 cooling.
        state = np.select([heating & ~cooling, ~heating & ~cooling, cooling & ~heating], [1.0, 2.0, 3.0], default=5.0)
        unknown = np.isnan(clg) | np.isnan(htg)
    else:
        lowest = 100 * have.get("min_oa_fraction", np.full(count, MIN_OA_FRACTION_DEFAULT))
        at_min = damper <= lowest + DAMPER_LIMIT_PERCENT
        at_max = damper >= 100 - DAMPER_LIMIT_PERCENT
        state = np.select(
            [
                heating & ~cooling & at_min,
                ~heating & ~cooling & ~at_min & ~at_max,
                cooling & ~heating & at_max,
                cooling & ~heating & at_min,
            ],
            [1.0, 2.0, 3.0, 4.0],
            default=5.0,
        )
        unknown = np.isnan(clg) | np.isnan(htg) | np.isnan(damper) | np.isnan(lowest)
    running = have.get("sf_status", have.get("fan_status"))
    if running is not None:
        state = np.where(running == 0, 0.0, state)
        unknown |= np.isnan(running)
    return np.where(unknown, np.nan, state)


def _mode_settled(have: Columns, count: int, tick_s: int, memory: Memory) -> Array:
    """Say 1 once ModeDelay has passed since the fan started or the occupancy mode changed."""
    settled = np.ones(count)
    for name in ("sf_status", "occ_schedule"):
        if name in have:
            before = series.last_known_before(have[name], memory.setdefault(f"{name}_before", {}))
            changed = ~np.isnan(have[name]) & ~np.isnan(before) & (have[name] != before)
            recent = series.moving_sum(
                changed.astype(float), max(1, MODE_DELAY_S // tick_s), memory.setdefault(name, {})
            )
            settled = np.where(recent[0] > 0, 0.0, settled)
    return settled


def _oaf(have: Columns, _count: int, _tick_s: int, _memory: Memory) -> Array:
    span = have["oat"] - have["rat"]
    fraction = np.divide(have["mat"] - have["rat"], span, out=np.full_like(span, np.nan), where=span != 0)
    # Beyond these limits the fraction is inconclusive (after PNNL's EconomizerRCx): a sensor errs, or it is undefined.
    return np.where((fraction < OAF_MIN) | (fraction > OAF_MAX), np.nan, fraction)


def _air_kw_per_k(have: Columns, count: int, _tick_s: int, _memory: Memory) -> Array:
    # 1.21 kJ/(m³·K): the heat that a litre per second of air carries per kelvin, at the fan's present speed.
    return 1.21e-3 * have["supply_flow"] * have.get("sf_speed", np.full(count, 100.0)) / 100


def _settled(have: Columns, quiet: NDArray[np.bool_], tick_s: int, memory: Memory) -> NDArray[np.bool_]:
    """Say where `quiet` has held for 20 minutes with enough air moving for the sensors to be believed."""
    if "sf_speed" in have:
        quiet = quiet & (have["sf_speed"] >= LEARNED_SPEED_PERCENT)
    if "sf_status" in have:
        quiet = quiet & (have["sf_status"] == 1)
    return series.held(quiet.astype(float), max(1, LEARNED_SETTLE_S // tick_s), memory) == 1


def _coil_rise(have: Columns, _count: int, tick_s: int, memory: Memory) -> Array:
    quiet = (have["clg_vlv_cmd"] <= CLOSED_PERCENT) & (have["htg_vlv_cmd"] <= CLOSED_PERCENT)
    return np.where(_settled(have, quiet, tick_s, memory), have["sat"] - have["mat"], np.nan)


def _damper_oaf(low: float, high: float) -> Callable[[Columns, int, int, Memory], Array]:
    def run(have: Columns, _count: int, tick_s: int, memory: Memory) -> Array:
        span = have["oat"] - have["rat"]
        quiet = (have["oa_dmpr_cmd"] >= low) & (have["oa_dmpr_cmd"] <= high) & (np.abs(span) >= LEARNED_SPAN_K)
        fraction = np.divide(have["mat"] - have["rat"], span, out=np.full_like(span, np.nan), where=span != 0)
        return np.where(_settled(have, quiet, tick_s, memory), fraction, np.nan)

    return run


def _fan_running(have: Columns, count: int, tick_s: int, memory: Memory) -> Array:
    if "sf_status" in have:
        return have["sf_status"]
    return have["fan_status"] if "fan_status" in have else _sf_status(have, count, tick_s, memory)


_RECIPES: dict[str, Callable[[Columns, int, int, Memory], Array]] = {
    "sf_status": _sf_status,
    "sat_sp": _sat_sp,
    "occupied": lambda have, _count, _tick_s, _memory: have["occ_schedule"],
    "fan_running": _fan_running,
    "oaf": _oaf,
    "operating_state": _operating_state,
    "mode_settled": _mode_settled,
    "air_kw_per_k": _air_kw_per_k,
    "power_factor": lambda have, _count, _tick_s, _memory: (
        (np.abs(have["power_factor_a"]) + np.abs(have["power_factor_b"]) + np.abs(have["power_factor_c"])) / 3
    ),
    "coil_rise": _coil_rise,
    "closed_damper_oaf": _damper_oaf(-100, 1),
    "min_damper_oaf": _damper_oaf(8, 30),
    "open_damper_oaf": _damper_oaf(95, 200),
}


def _local(seconds: NDArray[np.int64], zone: ZoneInfo) -> tuple[Array, Array]:
    # An offset holds for whole hours; one look-up per hour is enough.
    hours, where = np.unique(seconds // 3600, return_inverse=True)
    offsets = [datetime.fromtimestamp(int(h) * 3600, UTC).astimezone(zone).utcoffset() for h in hours]
    local = seconds + np.array([o.total_seconds() if o else 0.0 for o in offsets])[where]
    weekday = (local // 86_400 + 3) % 7  # 1970-01-01 was a Thursday.
    return (local % 86_400) / 3600, (weekday >= 5).astype(float)
