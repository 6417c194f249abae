"""The building's HVAC as one system: air handlers, room units and the plant that serves them."""

from collections.abc import Mapping
from typing import Any

from edge_agent.simulator.hvac import NO_FAULT, AirHandler, Fault, RoomUnit
from edge_agent.simulator.plan import Plan
from edge_agent.simulator.plant import OutdoorUnit, WaterMachine
from edge_agent.simulator.spaces import Space

UNIT_FRESH_L_S = 7.0  # Per person, by heat-recovery ventilators where only VRF units serve (GB 50736: 30 m³/h is 8.3).
_NOT_SERVED = frozenset({"technical", "server"})  # Activities with cooling of their own.
_AHU_KEYS = (
    *("is_on", "is_scheduled", "fan_status", "economizing", "damper_cmd", "damper_pos", "cooling_cmd", "heating_cmd"),
    *("speed", "cooling_w", "heating_w", "mat_c", "rat_c", "sat_c", "sat_sp_c", "pressure_sp_pa", "trim"),
)
_UNIT_KEYS = ("is_on", "empty_min", "cooling", "heating", "fan", "set_point_c")
_MACHINE_KEYS = (
    *("is_commanded", "is_running", "pump_running", "pump_commanded", "minutes", "idle_min", "starts"),
    *("load_w", "load_share", "pump_speed", "set_point_c", "leaving_c", "entering_c"),
)


class Services:
    """What moves heat and air. `step` goes from one minute to the next."""

    def __init__(self, plan: Plan, spaces: Mapping[str, Space], activities: Mapping[str, str]) -> None:
        """Make the equipment of the plan, at rest."""
        self.spaces = spaces
        serves, design = plan.serves, plan.design
        self.air_handlers = {
            code: AirHandler(
                code,
                [spaces[item] for item in serves[code] if activities[item] not in _NOT_SERVED],
                design[code],
                is_neutral=code != "ahu-1",
            )
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
        self.process_w = 0.0  # Heat of the server room, carried away by chilled water while there is any.

    def settle(self, temperature_c: float) -> None:
        """Bring the air handlers to the temperature of a building at rest."""
        for unit in self.air_handlers.values():
            unit.mat_c = unit.rat_c = unit.sat_c = temperature_c

    def step(
        self, *, hour: float, is_open_day: bool, outdoor_c: float, noise: float, faults: Mapping[str, Fault]
    ) -> None:
        """One minute."""
        cold, hot = self.chiller.ability, self.heat_pump.ability
        for code, unit in self.air_handlers.items():
            unit.is_scheduled = is_open_day and 7.0 <= hour < 19.0
            if not unit.is_neutral:
                # An event in the hall keeps its air handler on.
                unit.is_scheduled = unit.is_scheduled or self.spaces["1F-02"].people > 0
            unit.step(outdoor_c, cold, hot, noise, faults.get(code, NO_FAULT))
        self._step_room_units(is_early=is_open_day and 7.5 <= hour < 9.0, outdoor_c=outdoor_c, faults=faults)
        self._step_plant(outdoor_c, faults)

    def supply_c(self) -> dict[str, float]:
        """Return the temperature of the air that each served space gets."""
        return {space.code: unit.sat_c for unit in self.air_handlers.values() for space in unit.spaces}

    def _step_room_units(self, *, is_early: bool, outdoor_c: float, faults: Mapping[str, Fault]) -> None:
        cold, hot, vrf = self.chiller.ability, self.heat_pump.ability, self.vrf
        vrf_w = vrf_cold = vrf_hot = vrf_area = 0.0
        for code, unit in self.room_units.items():
            fault, space = faults.get(code, NO_FAULT), unit.space
            if not unit.is_refrigerant:
                unit.step(cold, hot, is_early=is_early, fault=fault)
                continue
            unit.step(vrf.cold, vrf.hot, is_early=is_early, fault=fault)
            space.fresh_l_s = UNIT_FRESH_L_S * space.people
            vrf_w += space.cooling_w + space.heating_w
            vrf_cold += unit.cooling * space.area_m2
            vrf_hot += unit.heating * space.area_m2
            vrf_area += space.area_m2
        vrf.step(
            cooling_asked=vrf_cold / vrf_area,
            heating_asked=vrf_hot / vrf_area,
            load_w=vrf_w,
            outdoor_c=outdoor_c,
            fault=faults.get("vrf-6", NO_FAULT),
        )

    def _step_plant(self, outdoor_c: float, faults: Mapping[str, Fault]) -> None:
        cold_w = hot_w = cold_open = hot_open = area = 0.0
        for unit in self.room_units.values():
            if not unit.is_refrigerant:
                space = unit.space
                cold_w += space.cooling_w
                hot_w += space.heating_w
                cold_open += unit.cooling * space.area_m2
                hot_open += unit.heating * space.area_m2
                area += space.area_m2
        # Average valve opening, with the air handlers' coils weighing about as much as all the fan coils.
        cold_open, hot_open = 0.5 * cold_open / area, 0.5 * hot_open / area
        share = 0.5 / len(self.air_handlers)
        for unit in self.air_handlers.values():
            cold_w += unit.cooling_w
            hot_w += unit.heating_w
            cold_open += share * unit.cooling_cmd
            hot_open += share * unit.heating_cmd
        cold_w += self.process_w * self.chiller.ability
        self.chiller.step(
            wanted_w=cold_w, demand=cold_open, outdoor_c=outdoor_c, fault=_machine(faults, "chiller-1", "pump-chw-1")
        )
        self.heat_pump.step(
            wanted_w=hot_w, demand=hot_open, outdoor_c=outdoor_c, fault=_machine(faults, "hp-1", "pump-hw-1")
        )

    def loads(self) -> dict[str, int]:
        """Return the power of each machine in whole watts."""
        return {
            **{code: int(unit.power_w) for code, unit in self.air_handlers.items()},
            "chiller-1": int(self.chiller.power_w),
            "hp-1": int(self.heat_pump.power_w),
            "pump-chw-1": int(self.chiller.pump_power_w),
            "pump-hw-1": int(self.heat_pump.pump_power_w),
            "vrf-6": int(self.vrf.power_w),
        }

    def kept(self) -> dict[str, Any]:
        """Return the state as JSON."""
        return {
            "air_handlers": {code: kept(unit, _AHU_KEYS) for code, unit in self.air_handlers.items()},
            "room_units": {code: kept(unit, _UNIT_KEYS) for code, unit in self.room_units.items()},
            "chiller": kept(self.chiller, _MACHINE_KEYS),
            "heat_pump": kept(self.heat_pump, _MACHINE_KEYS),
            "vrf": kept(self.vrf, ("is_heating",)),
        }

    def take(self, state: Mapping[str, Any]) -> None:
        """Go on from a kept state; raises KeyError or ValueError when it is of other equipment."""
        for code, unit in self.air_handlers.items():
            put(unit, _AHU_KEYS, state["air_handlers"][code])
        for code, unit in self.room_units.items():
            put(unit, _UNIT_KEYS, state["room_units"][code])
        put(self.chiller, _MACHINE_KEYS, state["chiller"])
        put(self.heat_pump, _MACHINE_KEYS, state["heat_pump"])
        put(self.vrf, ("is_heating",), state["vrf"])


def kept(part: object, keys: tuple[str, ...]) -> list[Any]:
    """Return the named attributes, for JSON."""
    return [getattr(part, key) for key in keys]


def put(part: object, keys: tuple[str, ...], values: list[Any]) -> None:
    """Set the named attributes; the inverse of `kept`."""
    for key, value in zip(keys, values, strict=True):
        setattr(part, key, value)


def _machine(faults: Mapping[str, Fault], machine: str, pump: str) -> Fault:
    """Return the faults of a loop: of the machine, and of its pump with the prefix `pump_`."""
    own, of_pump = faults.get(machine), faults.get(pump)
    if of_pump is None:
        return own or NO_FAULT
    return {**(own or {}), **{f"pump_{kind}": size for kind, size in of_pump.items()}}
