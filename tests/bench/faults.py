"""Fault rules: a month of one air handler against one pass of numpy over the same columns; a minute of 500 of them;
false incidents of 100 healthy ones. Prints ratios; run with `python -m tests.bench.faults [--healthy UNITS]`."""

import argparse
import time
from zoneinfo import ZoneInfo

import numpy as np

from cloud_api.faults import replay
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import Evaluator
from cloud_api.faults.trend import Trend

ZONE = ZoneInfo("Asia/Shanghai")
MONTH = 30 * 1440
T0 = 1_767_196_800


def healthy_air_handler(seed: int, ticks: int = MONTH) -> Trend:
    """An air handler that works: weather, schedule, noise, sensor offsets, and gaps of change-of-value sensors."""
    rng = np.random.default_rng(seed)
    seconds = T0 + 60 * np.arange(ticks, dtype=np.int64)
    hour = (seconds / 3600 + 8) % 24
    day = np.arange(ticks) // 1440
    oat = 14 + 9 * np.sin((hour - 9) / 24 * 2 * np.pi) + rng.normal(0, 3, ticks // 1440 + 1)[day]
    occupied = ((hour >= 7) & (hour < 19)).astype(float)
    running = np.roll(occupied, -10)
    rat = 22.5 + 1.2 * np.sin((hour - 11) / 24 * 2 * np.pi)
    sat_sp = np.clip(20 - 0.35 * (oat - 8), 13, 20)
    wants = np.clip((rat - (sat_sp - 1)) / np.where(np.abs(rat - oat) < 0.5, 0.5, rat - oat), 0.15, 1.0)
    free = (oat < rat - 0.5) & (oat < sat_sp - 2)  # A changeover at half a kelvin, as the rule expects.
    fraction = np.where(free, wants, np.where((oat < rat - 0.5) & (oat < 24), 1.0, 0.15))
    damper = 100 * fraction * occupied
    mat = rat + np.where(occupied == 1, fraction, 0.01) * (oat - rat)
    need = sat_sp - 0.6 - mat
    heating = np.where((need > 0.3) & (fraction <= 0.15), np.clip(need * 9, 5, 85), 0) * occupied
    cooling = np.where((need < -0.3) & ~free, np.clip(-need * 8, 5, 85), 0) * occupied
    sat = np.where(occupied == 1, np.where((heating > 0) | (cooling > 0), sat_sp, mat + 0.6), mat + 0.6)

    def sensed(values: np.ndarray, noise: float, offset: float) -> np.ndarray:
        out = np.round(values + rng.normal(0, noise, ticks) + rng.normal(0, offset), 1)
        out[rng.random(ticks) < 0.01] = np.nan
        begin = rng.integers(0, ticks - 120, 4)
        for b in begin:
            out[b : b + int(rng.integers(5, 90))] = np.nan
        return out

    columns = {
        "sat": sensed(sat, 0.15, 0.25), "mat": sensed(mat, 0.2, 0.3), "rat": sensed(rat, 0.1, 0.25),
        "oat": sensed(oat, 0.2, 0.3), "sat_sp": sat_sp, "clg_vlv_cmd": cooling, "htg_vlv_cmd": heating,
        "oa_dmpr_cmd": damper, "oa_dmpr_pos": np.clip(damper + rng.normal(0, 1, ticks), 0, 100),
        "sf_status": running, "sf_cmd": running, "sf_speed": 60 * running, "occ_schedule": occupied,
        "dsp": 300 + rng.normal(0, 4, ticks), "dsp_sp": np.full(ticks, 300.0), "override_active": np.zeros(ticks),
    }  # fmt: skip
    return Trend(seconds=seconds, columns=columns, tick_s=60, zone=ZONE)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--healthy", type=int, default=10, help="how many healthy units to judge for a month")
    units = parser.parse_args().healthy
    rules = catalogue().family("ahu")
    data = healthy_air_handler(1)
    started = time.perf_counter()
    replay.replay(rules, data)
    month = time.perf_counter() - started
    started = time.perf_counter()
    for values in data.columns.values():
        np.nanmean(values)
        np.cumsum(np.nan_to_num(values))
    floor = time.perf_counter() - started
    print(f"a month of 1-minute data, {len(rules)} rules: {month:.2f} s, {month / floor:.0f} x one numpy pass")
    roles = frozenset(data.columns)
    evaluators = [Evaluator(rules=rules, available=roles, tick_s=60, zone=ZONE) for _ in range(20)]
    warm = {n: v[:60] for n, v in data.columns.items()}
    for evaluator in evaluators:
        evaluator.run(data.seconds[:60], warm)
    started = time.perf_counter()
    for evaluator in evaluators:
        evaluator.run(data.seconds[60:61], {n: v[60:61] for n, v in data.columns.items()})
    one = (time.perf_counter() - started) / len(evaluators)
    bindings = sum(1 for b in evaluators[0].bound if b.when is not None)
    print(
        f"one tick of one unit ({bindings} rules): {one * 1000:.2f} ms; 20 000 bindings take {one * 20_000 / bindings:.1f} s of a 60 s tick"
    )
    false: dict[str, int] = {}
    for seed in range(units):
        for finding in replay.replay(rules, healthy_air_handler(seed)).findings:
            false[finding.rule] = false.get(finding.rule, 0) + 1
    total = sum(false.values())
    print(
        f"{units} healthy units, 30 days: {total} false incidents, {total / units / 30:.4f} per equipment-day {false}"
    )


if __name__ == "__main__":
    main()
