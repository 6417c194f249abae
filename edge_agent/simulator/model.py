"""The building as one physical system, stepped minute by minute from local midnight.

`Building` is a function of plan, seed, time and injected faults: two processes that start from the same day's state
reach the same numbers. Energy is counted in whole watt-seconds, so that what a parent meter counts is exactly the sum
of its children and its losses.
"""

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from random import Random
from typing import Any

from edge_agent.simulator.calendar import DayKind, day_kind
from edge_agent.simulator.hvac import NO_FAULT, AirHandler, Fault, RoomUnit
from edge_agent.simulator.people import Direction, Passage, day_passages
from edge_agent.simulator.plan import Plan
from edge_agent.simulator.plant import OutdoorUnit, WaterMachine
from edge_agent.simulator.spaces import STEP_S, Space
from edge_agent.simulator.weather import Climate, Weather

MINUTE_MS = 60_000
DAY_MIN = 1440
STATE_VERSION = 1
QUARTER_MIN = 15
SLOT_MS = 10_000

FaultsAt = Callable[[int], Mapping[str, Fault]]  # Minute since 1970 → equipment or device → faults.


def no_faults(_minute: int) -> Mapping[str, Fault]:
    """Return a building in good order."""
    return {}


class Building:
    """State at the beginning of `minute` (since 1970, UTC) and the powers that hold until its end."""

    def __init__(self, plan: Plan, start: datetime, faults: FaultsAt = no_faults) -> None:
        """Make a building in the state of rest at local midnight before `start`; call `run_to` to move on."""
        self.plan = plan
        self.faults_at = faults
        self.climate = Climate(plan.seed)
        self.spaces = {
            item.code: Space(
                code=item.code, floor=item.floor, kind=item.kind, activity=item.activity, area_m2=item.area_m2
            )
            for item in plan.spaces
        }
        self._equip()
        self._wire()
        day = start.astimezone(plan.zone).date()
        self.minute = _midnight_minute(plan, day)
        self.people_in = self.people_out = 0  # Counters of the main entrance, never reset.
        self.hall_count = 0
        self.door_sequence = dict.fromkeys(["main", *sorted({item.floor for item in plan.spaces})], 0)
        self.present = 0
        self.noise = Random(0)
        self._begin_day(day)
        self._settle_temperatures(self.climate.at(day, 0).temperature_c)
        self.midnight = self._checkpoint()
        self._prepare_minute()

    # -- Making -------------------------------------------------------------------------------------------------

    def _equip(self) -> None:
        spaces, serves = self.spaces, self.plan.serves
        served: dict[str, list[Space]] = {
            code: [spaces[item] for item in serves.get(code, ()) if spaces[item].code not in {"1F-E", "5F-S", "1F-K"}]
            for code in serves
        }
        design = self.plan.design
        self.air_handlers = {
            code: AirHandler(code, served[code], design[code], is_neutral=code != "ahu-1")
            for code in serves
            if code.startswith("ahu-")
        }
        self.room_units = {
            code: RoomUnit(code, spaces[serves[code][0]], is_refrigerant=code.startswith("idu"))
            for code in serves
            if code.startswith(("fcu-", "idu-"))
        }
        self.chiller = WaterMachine(
            rated_w=1000.0 * design["chiller-1"]["cooling_kw"],
            pump_rated_w=1000.0 * design["pump-chw-1"]["power_kw"],
            heats=False,
        )
        self.heat_pump = WaterMachine(
            rated_w=1000.0 * design["hp-1"]["heating_kw"],
            pump_rated_w=1000.0 * design["pump-hw-1"]["power_kw"],
            heats=True,
        )
        self.vrf = OutdoorUnit(1000.0 * design["vrf-6"]["cooling_kw"])
        by_floor = {space.floor: space for space in spaces.values() if space.activity is _corridor_of(space)}
        self._neighbours = [(space, by_floor.get(space.floor)) for space in spaces.values() if space.floor != "RF"]

    def _wire(self) -> None:
        """Give numbers to the loads and the meters; parents stand before children."""
        names = [load for meter in self.plan.meters for load in meter.loads]
        self.loads = {name: index for index, name in enumerate(dict.fromkeys(names))}
        self.load_w = [0] * len(self.loads)
        self.meters = {meter.code: index for index, meter in enumerate(self.plan.meters)}
        count = len(self.meters)
        self._meter_loads = [[self.loads[load] for load in meter.loads] for meter in self.plan.meters]
        self._meter_parent = [None if m.parent is None else self.meters[m.parent] for m in self.plan.meters]
        # Losses in parts per million of the power that passes, so that they stay whole watts.
        self._meter_loss_ppm = [round(meter.loss_share * 1e6) for meter in self.plan.meters]
        self.meter_w = [0] * count
        self.loss_w = [0] * count
        self.meter_ws = [_opening_ws(self.plan.seed, meter.code, meter.role) for meter in self.plan.meters]
        self.missed_ws = [0] * count  # What a faulty meter did not count.
        self.meter_vars = [int(ws * 0.36) for ws in self.meter_ws]
        self.quarter_ws = list(self.meter_ws)
        self.demand_w = [0] * count
        self.loss_ws = [0] * count
        self.phases = {meter.code: phase_shares(self.plan.seed, meter.code) for meter in self.plan.meters}
        self.missing: dict[int, float] = {}  # Meter → the share of its energy that a fault hides from it.
        self._leaves = self._leaves_below()
        self.load_ws = [0] * len(self.loads)

    def _leaves_below(self) -> list[tuple[int, ...]]:
        """Per meter, the loads that hang on it or on any meter below it."""
        below = [list(loads) for loads in self._meter_loads]
        for index in range(len(below) - 1, 0, -1):
            parent = self._meter_parent[index]
            if parent is not None:
                below[parent] += below[index]
        return [tuple(loads) for loads in below]

    def power_at(self, meter: int, ms: int) -> int:
        """Power in W at `ms` into the minute: the minute's mean with a flicker that sums to nothing over it."""
        slot = ms // SLOT_MS
        sign = -1 if slot & 1 else 1
        return self.meter_w[meter] + sign * sum([self._flicker(load, slot >> 1) for load in self._leaves[meter]])

    def energy_at(self, meter: int, ms: int) -> int:
        """Return true energy in whole watt-seconds at `ms` into the minute; continuous, and additive over the tree."""
        slot, inside = divmod(ms, SLOT_MS)
        # The second slot of a pair takes back what the first one gave.
        given = SLOT_MS - inside if slot & 1 else inside
        extra = sum([self._flicker(load, slot >> 1) for load in self._leaves[meter]])
        return self.meter_ws[meter] + (self.meter_w[meter] * ms + extra * given) // 1000

    def _flicker(self, load: int, pair: int) -> int:
        """Whole watts by which a load differs from its mean in the first half of a 20-second pair."""
        mixed = (self.minute * 2_654_435_761 + load * 40_503 + pair * 977) & 0xFFFFFFFF
        mixed ^= mixed >> 15
        mixed = mixed * 2_246_822_519 & 0xFFFFFFFF
        return self.load_w[load] * ((mixed >> 16 & 0x7F) - 64) // 1600

    def _settle_temperatures(self, outdoor: float) -> None:
        """Return a plausible building after a night, where no earlier state is known."""
        for space in self.spaces.values():
            space.temperature_c = 21.5 + 0.35 * max(-6.0, min(10.0, outdoor - 18.0))
        for unit in self.air_handlers.values():
            unit.mat_c = unit.rat_c = unit.sat_c = 21.5

    # -- Stepping -----------------------------------------------------------------------------------------------

    @property
    def at_ms(self) -> int:
        """The instant of the state, milliseconds since 1970."""
        return self.minute * MINUTE_MS

    def run_to(self, minute: int, each: Callable[["Building"], None] | None = None) -> None:
        """Step until the state is that of `minute`; `each` sees every state on the way, the last included."""
        while self.minute < minute:
            self.step()
            if each is not None:
                each(self)

    def step(self) -> None:
        """Count the energy of this minute, then move to the next."""
        self._count_energy()
        self.minute += 1
        if self.second == 0:
            self._begin_day(self.day + timedelta(days=1))
            self.midnight = self._checkpoint()
        self._prepare_minute()

    def _begin_day(self, day: date) -> None:
        self.day = day
        self.day_start_minute = _midnight_minute(self.plan, day)
        self.kind = day_kind(day)
        self.noise = Random(f"{self.plan.seed}/noise/{day.isoformat()}")
        self.passages = day_passages(self.plan, day)
        self._next_passage = 0
        for space in self.spaces.values():
            lease = self.plan.lease_of(space.code, day)
            space.begin_day(None if lease is None else lease.head_count)
            space.people = 0

    @property
    def second(self) -> int:
        """Second of the local day at the beginning of the minute."""
        return (self.minute - self.day_start_minute) % DAY_MIN * STEP_S

    def passages_between(self, start_s: float, end_s: float) -> list[Passage]:
        """Today's passages in [start_s, end_s) of the local day."""
        return [passage for passage in self.passages if start_s <= passage.second < end_s]

    def _prepare_minute(self) -> None:
        """From the state at its beginning, everything that holds during the minute."""
        second = self.second
        self.weather: Weather = self.climate.at(self.day, second)
        self.faults = self.faults_at(self.minute)
        self.missing = {
            self.meters[code]: share
            for code, fault in self.faults.items()
            if code in self.meters and (share := missed_share(self.phases[code], fault))
        }
        moved = self._move_people(second)
        self._draw_power(second / 3600.0)
        self._step_hvac(second / 3600.0)
        self._step_air()
        self._collect_loads(second / 3600.0, moved)

    def _move_people(self, second: int) -> int:
        """Let everybody through whose time has come; returns how many passed a door."""
        passages, index = self.passages, self._next_passage
        first = index
        while index < len(passages) and passages[index].second < second + STEP_S:
            passage = passages[index]
            index += 1
            self.door_sequence[passage.door] += passage.card is not None
            if passage.door == "main":
                if passage.direction is Direction.IN:
                    self.people_in += 1
                else:
                    self.people_out += 1
                self.present += passage.direction
            space = self.spaces[passage.space]
            if space.floor in {passage.door, "1F"}:
                space.people += passage.direction
        self._next_passage = index
        return index - first

    @property
    def is_open_day(self) -> bool:
        """Whether the house is open as on a working day."""
        return self.kind in {DayKind.WORKDAY, DayKind.EXCHANGED}

    def _draw_power(self, hour: float) -> None:
        random = self.noise.random
        sun = self.weather.solar_w_m2
        open_day = self.is_open_day
        for space in self.spaces.values():
            open_here = open_day or (space.people > 0 and space.kind == "tenant")
            space.draw_power(hour, is_open_day=open_here, sun_w_m2=sun, noise=2.0 * random() - 1.0)

    def _step_hvac(self, hour: float) -> None:
        faults, outdoor = self.faults, self.weather.temperature_c
        open_day = self.is_open_day
        cold, hot = self.chiller.ability, self.heat_pump.ability
        for code, unit in self.air_handlers.items():
            unit.is_scheduled = open_day and 7.0 <= hour < 19.0
            if code == "ahu-1":
                unit.is_scheduled = unit.is_scheduled or self.spaces["1F-02"].people > 0
            unit.step(outdoor, cold, hot, 2.0 * self.noise.random() - 1.0, faults.get(code, NO_FAULT))
        is_early = open_day and 7.5 <= hour < 9.0
        cold_w = hot_w = vrf_w = cold_ask = hot_ask = vrf_cold = vrf_hot = area = vrf_area = 0.0
        for code, unit in self.room_units.items():
            space = unit.space
            if unit.is_refrigerant:
                unit.step(self.vrf.cold, self.vrf.hot, is_early=is_early, fault=faults.get(code, NO_FAULT))
                vrf_w += space.cooling_w + space.heating_w
                vrf_cold += unit.cooling * space.area_m2
                vrf_hot += unit.heating * space.area_m2
                vrf_area += space.area_m2
            else:
                unit.step(cold, hot, is_early=is_early, fault=faults.get(code, NO_FAULT))
                cold_w += space.cooling_w
                hot_w += space.heating_w
                cold_ask += unit.cooling * space.area_m2
                hot_ask += unit.heating * space.area_m2
                area += space.area_m2
        # Average valve opening, with the air handlers' coils weighing about as much as all the fan coils.
        cold_open, hot_open = 0.5 * cold_ask / area, 0.5 * hot_ask / area
        for unit in self.air_handlers.values():
            cold_w += unit.cooling_w
            hot_w += unit.heating_w
            cold_open += unit.cooling_cmd / 6.0
            hot_open += unit.heating_cmd / 6.0
        cold_w += 0.93 * self.spaces["5F-S"].electric_w * self.chiller.ability
        self.chiller.step(
            wanted_w=cold_w, demand=cold_open, outdoor_c=outdoor, fault=_machine(faults, "chiller-1", "pump-chw-1")
        )
        self.heat_pump.step(
            wanted_w=hot_w, demand=hot_open, outdoor_c=outdoor, fault=_machine(faults, "hp-1", "pump-hw-1")
        )
        self.vrf.step(
            cooling_asked=vrf_cold / vrf_area,
            heating_asked=vrf_hot / vrf_area,
            load_w=vrf_w,
            outdoor_c=outdoor,
            fault=faults.get("vrf-6", NO_FAULT),
        )

    def _step_air(self) -> None:
        outdoor, sun = self.weather.temperature_c, self.weather.solar_w_m2
        supply: dict[str, float] = {}
        for unit in self.air_handlers.values():
            for space in unit.spaces:
                supply[space.code] = unit.sat_c
        for space, corridor in self._neighbours:
            neighbour = corridor.temperature_c if corridor is not None else space.temperature_c
            if space.activity is _corridor_of(space):
                neighbour = 21.0 + 0.25 * (space.temperature_c - 21.0)
            space.step_air(outdoor, sun, neighbour, supply.get(space.code, space.temperature_c))
        # The server room and the electrical room have cooling of their own.
        self.spaces["5F-S"].temperature_c = 23.4 + 0.4 * math.sin(self.minute / 7.0)
        self.spaces["1F-E"].temperature_c = min(self.spaces["1F-E"].temperature_c, 30.0)
        self.hall_count = self.spaces["1F-02"].people

    def _collect_loads(self, hour: float, moved: int) -> None:
        load, number = self.load_w, self.loads
        for code, space in self.spaces.items():
            index = number.get(code)
            if index is not None:
                load[index] = space.electric_w
        for code, unit in self.air_handlers.items():
            load[number[code]] = int(unit.power_w)
        load[number["chiller-1"]] = int(self.chiller.power_w)
        load[number["hp-1"]] = int(self.heat_pump.power_w)
        load[number["pump-chw-1"]] = int(self.chiller.pump_power_w)
        load[number["pump-hw-1"]] = int(self.heat_pump.pump_power_w)
        load[number["vrf-6"]] = int(self.vrf.power_w)
        # Two lifts: standby, and about 25 Wh for every trip of a little more than one person.
        load[number["lifts"]] = int(950 + 1050 * min(14, moved) * (0.7 + 0.6 * self.noise.random()))
        dark = self.weather.solar_w_m2 < 6.0
        load[number["outdoor"]] = (1100 if dark else 160) + (5200 if dark and 16.0 <= hour < 22.5 else 0)
        self._sum_meters()

    def _sum_meters(self) -> None:
        watts, parents = self.meter_w, self._meter_parent
        for index, loads in enumerate(self._meter_loads):
            watts[index] = sum([self.load_w[load] for load in loads]) if loads else 0
        for index in range(len(watts) - 1, -1, -1):
            loss = watts[index] * self._meter_loss_ppm[index] // 1_000_000
            parent = parents[index]
            if parent is None:
                loss += self.plan.no_load_loss_w
            else:
                watts[parent] += watts[index] + loss
            self.loss_w[index] = loss
            watts[index] += loss

    def _count_energy(self) -> None:
        ws, loss_ws, var_s = self.meter_ws, self.loss_ws, self.meter_vars
        for index, power in enumerate(self.meter_w):
            ws[index] += power * STEP_S
            loss_ws[index] += self.loss_w[index] * STEP_S
            var_s[index] += int(power * REACTIVE_SHARE) * STEP_S
        for index, power in enumerate(self.load_w):
            self.load_ws[index] += power * STEP_S
        for index, share in self.missing.items():
            self.missed_ws[index] += int(self.meter_w[index] * share) * STEP_S
        if (self.minute + 1) % QUARTER_MIN == 0:
            for index, now in enumerate(ws):
                self.demand_w[index] = (now - self.quarter_ws[index]) // (QUARTER_MIN * STEP_S)
                self.quarter_ws[index] = now

    # -- Keeping ------------------------------------------------------------------------------------------------

    def _checkpoint(self) -> dict[str, Any]:
        """Return the state at the local midnight that has just come, before anything moved; plain JSON."""
        return {
            "version": STATE_VERSION,
            "seed": self.plan.seed,
            "day": self.day.isoformat(),
            "meters": {
                code: [
                    self.meter_ws[i],
                    self.meter_vars[i],
                    self.loss_ws[i],
                    self.quarter_ws[i],
                    self.demand_w[i],
                    self.missed_ws[i],
                ]
                for code, i in self.meters.items()
            },
            "loads": {code: self.load_ws[i] for code, i in self.loads.items()},
            "counters": [self.people_in, self.people_out],
            "doors": dict(self.door_sequence),
            "spaces": {code: _kept(space, _SPACE_KEYS) for code, space in self.spaces.items()},
            "air_handlers": {code: _kept(unit, _AHU_KEYS) for code, unit in self.air_handlers.items()},
            "room_units": {code: _kept(unit, _UNIT_KEYS) for code, unit in self.room_units.items()},
            "chiller": _kept(self.chiller, _MACHINE_KEYS),
            "heat_pump": _kept(self.heat_pump, _MACHINE_KEYS),
            "vrf": _kept(self.vrf, ("is_heating",)),
        }

    @classmethod
    def restore(cls, plan: Plan, state: Mapping[str, Any], faults: FaultsAt = no_faults) -> "Building":
        """Return a building as its `midnight` was kept; raises ValueError when that is another building's."""
        if state.get("version") != STATE_VERSION or state.get("seed") != plan.seed:
            raise ValueError("the kept state is of another version or seed")
        day = date.fromisoformat(state["day"])
        building = cls(plan, datetime(day.year, day.month, day.day, tzinfo=plan.zone), no_faults)
        if set(state["meters"]) != set(building.meters) or set(state["spaces"]) != set(building.spaces):
            raise ValueError("the kept state belongs to a building with other meters or spaces")
        building._take(state)
        building.faults_at = faults
        building._begin_day(day)
        building.midnight = building._checkpoint()
        building._prepare_minute()
        return building

    def _take(self, state: Mapping[str, Any]) -> None:
        for code, i in self.meters.items():
            kept = state["meters"][code]
            self.meter_ws[i], self.meter_vars[i], self.loss_ws[i] = kept[:3]
            self.quarter_ws[i], self.demand_w[i], self.missed_ws[i] = kept[3:]
        for code, i in self.loads.items():
            self.load_ws[i] = state["loads"][code]
        self.people_in, self.people_out = state["counters"]
        self.door_sequence = dict(state["doors"])
        self.present = 0
        for group, parts, keys in (
            (self.spaces, state["spaces"], _SPACE_KEYS),
            (self.air_handlers, state["air_handlers"], _AHU_KEYS),
            (self.room_units, state["room_units"], _UNIT_KEYS),
        ):
            for code, part in group.items():
                _put(part, keys, parts[code])
        _put(self.chiller, _MACHINE_KEYS, state["chiller"])
        _put(self.heat_pump, _MACHINE_KEYS, state["heat_pump"])
        self.vrf.is_heating = state["vrf"][0]


REACTIVE_SHARE = 0.36  # tan φ of the whole house: cos φ about 0.94.
_SPACE_KEYS = ("temperature_c", "co2_ppm", "wander", "fan", "cooling_w", "heating_w", "supply_l_s", "fresh_l_s")
_AHU_KEYS = (
    *("is_on", "is_scheduled", "fan_status", "economizing", "damper_cmd", "damper_pos", "cooling_cmd", "heating_cmd"),
    *("speed", "cooling_w", "heating_w", "mat_c", "rat_c", "sat_c", "sat_sp_c", "pressure_sp_pa"),
)
_UNIT_KEYS = ("is_on", "cooling", "heating", "fan", "set_point_c")
_MACHINE_KEYS = (
    *("is_commanded", "is_running", "pump_running", "pump_commanded", "minutes", "idle_min", "starts"),
    *("load_w", "load_share", "pump_speed", "set_point_c", "leaving_c", "entering_c"),
)


def _kept(part: object, keys: tuple[str, ...]) -> list[Any]:
    return [getattr(part, key) for key in keys]


def _put(part: object, keys: tuple[str, ...], values: list[Any]) -> None:
    for key, value in zip(keys, values, strict=True):
        setattr(part, key, value)


def _corridor_of(space: Space) -> Any:
    return None if space.kind != "common" else space.activity if space.code.endswith(("-C", "-L")) else None


def _machine(faults: Mapping[str, Fault], machine: str, pump: str) -> Fault:
    """Return a machine and its pump are one loop; faults of the pump carry the prefix `pump_`."""
    own, of_pump = faults.get(machine), faults.get(pump)
    if of_pump is None:
        return own or NO_FAULT
    return {**(own or {}), **{f"pump_{kind}": size for kind, size in of_pump.items()}}


def _midnight_minute(plan: Plan, day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=plan.zone).timestamp()) // 60


def _opening_ws(seed: int, code: str, role: str) -> int:
    """Return what a register shows at the beginning: a meter is never new. Whole watt-seconds."""
    low, high = {"main": (2_100_000, 2_900_000), "tenant": (14_000, 62_000)}.get(role, (90_000, 480_000))
    return Random(f"{seed}/opening/{code}").randrange(low, high) * 3_600_000 + 1_234_567


def phase_shares(seed: int, code: str) -> tuple[float, float, float]:
    """How a meter's load lies on its three phases."""
    draw = Random(f"{seed}/phases/{code}")
    weights = [1.0 + draw.uniform(-0.14, 0.14) for _ in range(3)]
    total = sum(weights)
    return weights[0] / total, weights[1] / total, 1.0 - (weights[0] + weights[1]) / total


def missed_share(shares: tuple[float, float, float], fault: Fault) -> float:
    """Return what part of the true energy a faulty meter fails to count (1: it stands still)."""
    if "register_stuck" in fault:
        return 1.0
    missed = 0.0
    if "phase_loss" in fault:
        missed += shares[int(fault["phase_loss"]) - 1]
    if "reversed_ct" in fault:
        missed += 2.0 * shares[int(fault["reversed_ct"]) - 1]
    return min(1.0, missed)
