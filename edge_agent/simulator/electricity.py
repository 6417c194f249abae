"""The electricity of the building: loads, the meter tree above them, losses, and what each register has counted.

Everything is whole watts and whole watt-seconds. A parent meter counts exactly its children, its own loads and its
losses, at every instant.
"""

import math
from collections.abc import Mapping
from random import Random
from typing import Any

from edge_agent.simulator.plan import Plan

STEP_S = 60
SLOT_MS = 10_000
QUARTER_MIN = 15
REACTIVE_SHARE = 0.36  # tan φ of the whole house: cos φ about 0.94.


class MeterTree:
    """Powers of the present minute and the energy up to its beginning. Indices: `meters[code]`, `loads[name]`."""

    def __init__(self, plan: Plan) -> None:
        """Make a tree of meters that are not new, with no load."""
        self.plan = plan
        self.meters = {meter.code: index for index, meter in enumerate(plan.meters)}
        self.loads = {name: index for index, name in enumerate(dict.fromkeys(_load_names(plan)))}
        self.phases = {meter.code: phase_shares(plan.seed, meter.code) for meter in plan.meters}
        self.load_w = [0] * len(self.loads)
        self.load_ws = [0] * len(self.loads)
        count = len(self.meters)
        self.meter_w = [0] * count
        self.loss_w = [0] * count
        self.meter_ws = [_opening_ws(plan.seed, meter.code, meter.role) for meter in plan.meters]
        self.reactive_vars = [int(ws * REACTIVE_SHARE) for ws in self.meter_ws]
        self.loss_ws = [0] * count
        self.missed_ws = [0] * count  # What a faulty meter did not count.
        self.tangents: dict[int, float] = {}  # Meter → tan φ where a fault changes it.
        self.missing: dict[int, float] = {}  # Meter → the share of its energy that a fault hides from it.
        self.demand_w = [0] * count  # Mean power of the last full quarter of an hour.
        self._quarter_ws = list(self.meter_ws)
        self._own_loads = [[self.loads[load] for load in meter.loads] for meter in plan.meters]
        self._parents = [None if m.parent is None else self.meters[m.parent] for m in plan.meters]
        # Losses in parts per million of the power that passes, so that they stay whole watts.
        self._loss_ppm = [round(meter.loss_share * 1e6) for meter in plan.meters]
        self._leaves = self._leaves_below()
        self._minute = 0

    def begin_minute(self, minute: int, load_w: Mapping[str, int], faults: Mapping[str, Mapping[str, float]]) -> None:
        """Take the loads of the minute and add them up the tree."""
        self._minute = minute
        for name, index in self.loads.items():
            self.load_w[index] = load_w[name]
        self.missing = {
            self.meters[code]: share
            for code, fault in faults.items()
            if code in self.meters and (share := missed_share(self.phases[code], fault))
        }
        self.tangents = {
            self.meters[code]: tangent(fault["low_power_factor"])
            for code, fault in faults.items()
            if code in self.meters and "low_power_factor" in fault
        }
        watts, load = self.meter_w, self.load_w
        for index, own in enumerate(self._own_loads):
            watts[index] = sum([load[item] for item in own]) if own else 0
        for index in range(len(watts) - 1, -1, -1):
            loss = watts[index] * self._loss_ppm[index] // 1_000_000
            parent = self._parents[index]
            if parent is None:
                loss += self.plan.no_load_loss_w
            else:
                watts[parent] += watts[index] + loss
            self.loss_w[index] = loss
            watts[index] += loss

    def end_minute(self) -> None:
        """Count the energy of the minute."""
        for index, power in enumerate(self.meter_w):
            self.meter_ws[index] += power * STEP_S
            self.loss_ws[index] += self.loss_w[index] * STEP_S
            self.reactive_vars[index] += int(power * self.tangents.get(index, REACTIVE_SHARE)) * STEP_S
        for index, power in enumerate(self.load_w):
            self.load_ws[index] += power * STEP_S
        for index, share in self.missing.items():
            self.missed_ws[index] += int(self.meter_w[index] * share) * STEP_S
        if (self._minute + 1) % QUARTER_MIN == 0:
            for index, now in enumerate(self.meter_ws):
                self.demand_w[index] = (now - self._quarter_ws[index]) // (QUARTER_MIN * STEP_S)
                self._quarter_ws[index] = now

    def power_at(self, meter: int, ms: int) -> int:
        """Return the power in W at `ms` into the minute: its mean, with a flicker that sums to nothing over it."""
        slot = ms // SLOT_MS
        sign = -1 if slot & 1 else 1
        return self.meter_w[meter] + sign * sum([self._flicker(load, slot >> 1) for load in self._leaves[meter]])

    def energy_at(self, meter: int, ms: int) -> int:
        """Return the true energy in watt-seconds at `ms` into the minute; continuous, and additive over the tree."""
        slot, inside = divmod(ms, SLOT_MS)
        # The second slot of a pair takes back what the first one gave.
        given = SLOT_MS - inside if slot & 1 else inside
        extra = sum([self._flicker(load, slot >> 1) for load in self._leaves[meter]])
        return self.meter_ws[meter] + (self.meter_w[meter] * ms + extra * given) // 1000

    def counted_at(self, meter: int, ms: int) -> int:
        """Return what the meter's register has counted: the true energy, less what a fault hid from it."""
        true_ws = self.energy_at(meter, ms)
        share = self.missing.get(meter)
        now_missing = 0 if share is None else int((true_ws - self.meter_ws[meter]) * share)
        return true_ws - self.missed_ws[meter] - now_missing

    def _flicker(self, load: int, pair: int) -> int:
        """Return the whole watts by which a load differs from its mean in the first half of a 20-second pair."""
        mixed = (self._minute * 2_654_435_761 + load * 40_503 + pair * 977) & 0xFFFFFFFF
        mixed ^= mixed >> 15
        mixed = mixed * 2_246_822_519 & 0xFFFFFFFF
        return self.load_w[load] * ((mixed >> 16 & 0x7F) - 64) // 1600

    def _leaves_below(self) -> list[tuple[int, ...]]:
        """Return, per meter, the loads that hang on it or on any meter below it."""
        below = [list(loads) for loads in self._own_loads]
        for index in range(len(below) - 1, 0, -1):
            parent = self._parents[index]
            if parent is not None:
                below[parent] += below[index]
        return [tuple(loads) for loads in below]

    def kept(self) -> dict[str, Any]:
        """Return the counters as JSON."""
        columns = (
            *(self.meter_ws, self.reactive_vars, self.loss_ws),
            *(self._quarter_ws, self.demand_w, self.missed_ws),
        )
        return {
            "meters": {code: [column[i] for column in columns] for code, i in self.meters.items()},
            "loads": {name: self.load_ws[i] for name, i in self.loads.items()},
        }

    def take(self, kept: Mapping[str, Any]) -> None:
        """Go on from kept counters; raises ValueError when they belong to other meters."""
        if set(kept["meters"]) != set(self.meters) or set(kept["loads"]) != set(self.loads):
            raise ValueError("the kept state belongs to a building with other meters or loads")
        columns = (
            *(self.meter_ws, self.reactive_vars, self.loss_ws),
            *(self._quarter_ws, self.demand_w, self.missed_ws),
        )
        for code, i in self.meters.items():
            for column, value in zip(columns, kept["meters"][code], strict=True):
                column[i] = value
        for name, i in self.loads.items():
            self.load_ws[i] = kept["loads"][name]


def tangent(power_factor: float) -> float:
    """Return reactive per active power."""
    return math.sqrt(1.0 / power_factor**2 - 1.0)


def missed_share(shares: tuple[float, float, float], fault: Mapping[str, float]) -> float:
    """Return what part of the true energy a faulty meter fails to count (1: it stands still)."""
    if "register_stuck" in fault:
        return 1.0
    missed = 0.0
    if "phase_loss" in fault:
        missed += shares[int(fault["phase_loss"]) - 1]
    if "reversed_ct" in fault:
        missed += 2.0 * shares[int(fault["reversed_ct"]) - 1]
    return min(1.0, missed)


def phase_shares(seed: int, code: str) -> tuple[float, float, float]:
    """Return how a meter's load lies on its three phases."""
    draw = Random(f"{seed}/phases/{code}")
    weights = [1.0 + draw.uniform(-0.09, 0.09) for _ in range(3)]
    total = sum(weights)
    return weights[0] / total, weights[1] / total, 1.0 - (weights[0] + weights[1]) / total


def _load_names(plan: Plan) -> list[str]:
    return [load for meter in plan.meters for load in meter.loads]


def _opening_ws(seed: int, code: str, role: str) -> int:
    """Return what a register shows at the beginning: a meter is never new."""
    low, high = {"main": (2_100_000, 2_900_000), "tenant": (14_000, 62_000)}.get(role, (90_000, 480_000))
    return Random(f"{seed}/opening/{code}").randrange(low, high) * 3_600_000 + 1_234_567
