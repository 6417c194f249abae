"""Air handlers in good order, all at once: weather of three seasons, a working week, controllers that really control,
sensors with noise and offsets that speak only when something changed, and gaps. What fault rules must stay silent on."""

from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults.trend import Trend

ZONE = ZoneInfo("Asia/Shanghai")
DAY = 1440
T0 = 1_767_542_400  # A Monday, midnight in Shanghai.
SEASONS = {"winter": 5.0, "spring": 16.0, "summer": 29.0}
MAX_AGE_MIN = 15  # As the live evaluator: a value that was not repeated for longer is unknown.
HEARTBEAT_MIN = 60

Array = NDArray[np.float64]


def season_of(unit: int) -> str:
    """Return the season a unit lives in."""
    return tuple(SEASONS)[unit % len(SEASONS)]


def healthy_units(units: int, days: int, seed: int = 1) -> list[Trend]:
    """Let `units` air handlers work for some days and return what their sensors and commands said, minute by minute."""
    rng = np.random.default_rng(seed)
    ticks = days * DAY
    world = _World(rng, units)
    told = {name: np.empty((ticks, units)) for name in world.minute(0)}
    for t in range(ticks):
        for name, values in world.minute(t).items():
            told[name][t] = values
    for name, (noise, offset, step) in _SENSORS.items():
        told[name] = _sensed(rng, told[name], noise, offset, step)
    seconds = T0 + 60 * np.arange(ticks, dtype=np.int64)
    constants = {"min_oa_fraction": 0.15, "fan_kw": 11.0, "supply_flow": 6000.0, "cop": 4.0, "override_active": 0.0}
    return [
        Trend(
            seconds=seconds,
            columns={n: v[:, u].copy() for n, v in told.items()} | {n: np.full(ticks, v) for n, v in constants.items()},
            tick_s=60,
            zone=ZONE,
        )
        for u in range(units)
    ]


class _World:
    """One minute after the other for all units; a controller integrates, coils and dampers lag."""

    def __init__(self, rng: np.random.Generator, units: int) -> None:
        self.rng, self.units = rng, units
        self.mean = np.array([SEASONS[season_of(u)] for u in range(units)]) + rng.normal(0, 1.5, units)
        self.day_oat, self.drift = np.zeros(units), np.zeros(units)
        self.rat = np.full(units, 22.0)
        self.sat = np.full(units, 21.0)
        self.demand = np.zeros(units)  # −1 full heating … 0 … 1 economizer fully open … 2 full cooling.
        self.damper = np.zeros(units)
        self.pressure_sp = np.full(units, 280.0)
        self.start = rng.uniform(6.5, 8.0, units)
        self.stop = rng.uniform(18.0, 20.0, units)
        self.leak = rng.uniform(0.0, 0.03, units)  # A closed damper is never quite tight.
        self.bend = rng.uniform(-0.03, 0.03, units)
        self.fan_heat = rng.uniform(0.5, 1.0, units)
        self.economizes = np.zeros(units, dtype=bool)

    def minute(self, t: int) -> dict[str, Array]:
        rng, units = self.rng, self.units
        hour, weekday = t % DAY / 60, t // DAY % 7
        if t % DAY == 0:
            self.day_oat = 0.7 * self.day_oat + rng.normal(0, 1.8, units)
        self.drift = 0.995 * self.drift + rng.normal(0, 0.03, units)
        oat = self.mean + self.day_oat + self.drift + 4.5 * np.sin((hour - 9) / 24 * 2 * np.pi)
        occupied = (hour >= self.start) & (hour < self.stop) & (weekday < 5)
        warm = 23.0 + 0.12 * (oat - 15) + 0.8 * np.sin((hour - 11) / 24 * 2 * np.pi)
        self.rat += (warm - self.rat) / 90 + rng.normal(0, 0.01, units)
        sat_sp = np.clip(20.0 - 0.35 * (oat - 8.0), 13.0, 21.0)
        # A changeover at half a kelvin with a dead zone of another half.
        self.economizes = np.where(self.economizes, oat < self.rat - 0.25, oat < self.rat - 0.75)
        demand = np.clip(self.demand, -1.0, np.where(self.economizes, 2.0, 1.0))
        heating = 100 * np.clip(-demand, 0, 1)
        cooling = 100 * np.clip(np.where(self.economizes, demand - 1.0, demand), 0, 1)
        # At full cooling demand free cooling goes all the way, otherwise the damper follows the demand.
        opening = np.where(self.economizes, np.clip(demand, 0, 1), 0.0)
        command = np.where(occupied, 15 + 85 * opening, 0.0)
        self.damper += np.clip(command - self.damper, -60, 60)
        share = self.damper / 100
        fraction = np.clip(share + self.bend * np.sin(np.pi * share), 0, 1) + self.leak * (1 - share)
        mat = self.rat + np.where(occupied, fraction, 0.02) * (oat - self.rat)
        heating, cooling = np.where(occupied, heating, 0.0), np.where(occupied, cooling, 0.0)
        target = mat + np.where(occupied, self.fan_heat, 0.0) + 0.26 * heating - 0.20 * cooling
        self.sat += (target - self.sat) / 4
        error = self.sat + rng.normal(0, 0.05, units) - sat_sp
        self.demand = np.where(occupied, np.clip(demand + np.clip(0.006 * error, -0.02, 0.02), -1, 2), 0.0)
        speed = np.where(occupied, 55 + 15 * np.sin((hour - 8) / 11 * np.pi), 0.0)
        # Trim and respond of the static pressure, by the most open terminal.
        open_max = np.clip(78 + rng.normal(0, 5, units) + 0.4 * (oat - self.mean), 40, 99)
        if t % 10 == 0:
            self.pressure_sp = np.clip(self.pressure_sp + np.where(open_max > 90, 15, -5), 180, 350)
        running = occupied.astype(float)
        reheating = np.clip(0.25 * (12 - oat) / 10, 0, 0.3)
        return {
            "oat": oat, "rat": self.rat.copy(), "mat": mat, "sat": self.sat.copy(), "sat_sp": sat_sp,
            "oat_reference": oat + rng.normal(0, 0.2, units),
            "htg_vlv_cmd": heating, "clg_vlv_cmd": cooling, "oa_dmpr_cmd": command,
            "htg_vlv_pos": np.clip(heating + rng.normal(0, 0.5, units), 0, 100),
            "clg_vlv_pos": np.clip(cooling + rng.normal(0, 0.5, units), 0, 100),
            "oa_dmpr_pos": np.clip(self.damper + rng.normal(0, 0.8, units), 0, 100),
            "sf_cmd": running, "sf_status": running.copy(), "sf_speed": speed, "occ_schedule": running.copy(),
            "dsp_sp": self.pressure_sp.copy(), "dsp": running * (self.pressure_sp + rng.normal(0, 5, units)),
            "zone_dmpr_pos_max": open_max, "zone_dmpr_fraction_open": np.clip(0.12 + rng.normal(0, 0.03, units), 0, 1),
            "zone_dmpr_high_avg": np.clip(66 + rng.normal(0, 3, units), 0, 100),
            "zone_dmpr_low_avg": np.clip(45 + rng.normal(0, 3, units), 0, 100),
            "zone_reheat_fraction": reheating,
        }  # fmt: skip


# Noise of every sample, offset of every sensor (K), and the change below which it does not speak.
_SENSORS = {
    "oat": (0.08, 0.25, 0.2),
    "rat": (0.05, 0.2, 0.1),
    "mat": (0.15, 0.3, 0.2),
    "sat": (0.08, 0.25, 0.1),
    "oat_reference": (0.05, 0.2, 0.2),
    "dsp": (1.0, 1.0, 2.0),
}


def _sensed(rng: np.random.Generator, values: Array, noise: float, offset: float, step: float) -> Array:
    ticks, units = values.shape
    raw = np.round(values + rng.normal(0, noise, values.shape) + rng.normal(0, offset, units), 1)
    raw[rng.random(values.shape) < 0.01] = np.nan
    for unit in range(units):
        for begin in rng.integers(0, ticks - 120, max(1, ticks // (7 * DAY))).tolist():
            raw[begin : begin + int(rng.integers(20, 110)), unit] = np.nan
    told, last, age = np.empty_like(raw), np.full(units, np.nan), np.full(units, HEARTBEAT_MIN)
    for t in range(ticks):
        here = raw[t]
        # A step below the sensor's own is not sent; it repeats itself every hour at the latest.
        speaks = ~np.isnan(here) & ~(np.abs(here - last) < step) | (~np.isnan(here) & (age >= HEARTBEAT_MIN))
        last, age = np.where(speaks, here, last), np.where(speaks, 0, age + 1)
        told[t] = np.where(age <= MAX_AGE_MIN, last, np.nan)
    return told
