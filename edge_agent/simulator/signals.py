"""What a device of the building shows at an instant, point by point, before it is put into registers or payloads.

A signal is found by the point's name and quantity, so that any meter profile can stand for any meter of the plan. A
point the building knows nothing about has no signal: the device then answers with the profile's "no value" pattern.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Protocol

from edge_agent.simulator.electricity import REACTIVE_SHARE
from edge_agent.simulator.hvac import NO_FAULT, AirHandler, Fault, RoomUnit
from edge_agent.simulator.model import Building
from edge_agent.simulator.plant import DESIGN_DELTA_K, WaterMachine
from edge_agent.simulator.spaces import Space
from edge_agent.simulator.weather import relative_humidity

Value = float | int | Fraction | str | None
Signal = Callable[["Instant"], Value]

WS_PER_KWH = 3_600_000
HOUSE_V = 231.0
SQRT3 = math.sqrt(3.0)
APPARENT_SHARE = math.hypot(1.0, REACTIVE_SHARE)


class PointLike(Protocol):
    """The parts of a profile's point that choose a signal."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def quantity(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A building and how far into its minute it is asked."""

    building: Building
    ms: int

    def flicker(self, key: str, every_ms: int = 2000) -> float:
        """Noise of a measurement in ±1, new every `every_ms`, the same for everyone who asks."""
        at = (self.building.at_ms + self.ms) // every_ms
        mixed = (at * 2_654_435_761 + sum(key.encode()) * 40_503 + len(key)) & 0xFFFFFFFF
        mixed = (mixed ^ mixed >> 13) * 2_246_822_519 & 0xFFFFFFFF
        return (mixed >> 8 & 0xFFFF) / 32_768.0 - 1.0

    def fault(self, code: str) -> Fault:
        """Faults of a device or piece of equipment in this minute."""
        return self.building.faults.get(code, NO_FAULT)


def signal_of(building: Building, device: str, point: PointLike) -> Signal | None:
    """Return the signal behind a point of `device`, or None when the building has nothing to say about it."""
    found = _find(building, device, point)
    if found is None:
        return None
    drift = f"drift_{point.name}"

    def with_sensor_faults(now: Instant) -> Value:
        value = found(now)
        fault = now.fault(device)
        if not fault or isinstance(value, str) or value is None:
            return value
        if f"stuck_{point.name}" in fault:
            return fault[f"stuck_{point.name}"]
        return value + fault[drift] if drift in fault else value

    return with_sensor_faults


def _find(building: Building, device: str, point: PointLike) -> Signal | None:
    machines = {"chiller-1": building.services.chiller, "hp-1": building.services.heat_pump}
    pumps = {"pump-chw-1": building.services.chiller, "pump-hw-1": building.services.heat_pump}
    for table, parts in (
        (_AIR_HANDLER, building.services.air_handlers),
        (_ROOM_UNIT, building.services.room_units),
        (_MACHINE, machines),
        (_PUMP, pumps),
    ):
        if device in parts:
            return _from(table, parts[device], point)
    special = {"meter": _meter_signal, "water": _water_signal, "vrf": _indoor_unit_signal, "counter": _counter_signal}
    return special.get(device.partition("-")[0], _climate_signal)(building, device, point)


# -- Meters ------------------------------------------------------------------------------------------------------------

_PHASES = {"l1": 0, "l2": 1, "l3": 2}
_BESIDE = {"meter-pq": "meter-main"}  # An analyser on the same conductors: no meter of the tree, the same power.


def _meter_signal(building: Building, device: str, point: PointLike) -> Signal | None:
    meter = _BESIDE.get(device, device)
    if meter not in building.power.meters:
        return None
    index = building.power.meters[meter]
    shares = building.power.phases[meter]
    rest = point.name.removeprefix(point.quantity).strip("_")
    phase = _PHASES.get(rest)
    share = 1.0 if phase is None else shares[phase]
    if point.quantity in {"active_energy_import", "active_energy_gross", "active_energy_net"}:
        return _energy(index, None if phase is None else share)
    if point.quantity in {"reactive_energy_import", "reactive_energy_gross", "reactive_energy_net"}:
        return lambda now: Fraction(now.building.power.reactive_vars[index], WS_PER_KWH)
    if point.quantity in {"active_energy_export", "reactive_energy_export", "apparent_energy_export"}:
        return lambda _now: Fraction(0)
    if point.quantity == "apparent_energy":
        apparent = round(1e6 * APPARENT_SHARE)
        return lambda now: Fraction(now.building.power.energy_at(index, now.ms) * apparent, WS_PER_KWH * 1_000_000)
    return _Electric(device, index, shares).signal(point.quantity, rest, phase)


def _wall_clock(now: Instant, device: str) -> int:
    """Seconds since 1970 by the meter's own clock, which shows local time."""
    at = (now.building.at_ms + now.ms) / 1000.0 + now.fault(device).get("clock_off", 0.0)
    offset = datetime.fromtimestamp(at, now.building.plan.zone).utcoffset()
    return int(at + (offset.total_seconds() if offset else 0.0))


def _water_signal(building: Building, _device: str, point: PointLike) -> Signal | None:
    water = building.water
    signals: dict[str, Signal] = {
        "water_flow": lambda _now: water.flow_ml_min * 60 / 1_000_000,
        "water_volume": lambda now: Fraction(water.volume_at(now.ms), 1_000_000),
        "flow_velocity": lambda _now: water.flow_ml_min * 60 / 1_000_000 / 3600 / 0.00196,  # DN 50.
        "thermal_power": lambda _now: 0.0,  # No temperature sensors are wired.
        "exponent": lambda _now: 0,
        "unit_code": lambda _now: 0,
    }
    return signals.get(point.quantity)


def _energy(index: int, share: float | None) -> Signal:
    ppm = 1_000_000 if share is None else round(share * 1e6)
    return lambda now: Fraction(now.building.power.counted_at(index, now.ms) * ppm, WS_PER_KWH * 1_000_000)


class _Electric:
    """Voltages, currents and powers that belong together, with the faults of wiring in them."""

    def __init__(self, device: str, index: int, shares: tuple[float, float, float]) -> None:
        self.device, self.index, self.shares = device, index, shares
        self._by_phase: dict[str, Callable[[Instant, int], float]] = {
            "voltage": self._voltage,
            "current": self._current,
            "active_power": self._power,
            "reactive_power": lambda now, p: self._tangent(now) * self._power(now, p),
            "apparent_power": lambda now, p: self._voltage(now, p) * self._current(now, p),
            "power_factor": self._factor,
            "power_factor_code": self._factor,
        }
        self._totals: dict[str, Signal] = {
            **{name: self._sum_of(name) for name in ("active_power", "reactive_power", "apparent_power")},
            "power_factor": self._total_factor,
            "power_factor_code": self._total_factor,
            "voltage": lambda now: sum(self._voltage(now, p) for p in range(3)) / 3.0,
            "frequency": lambda now: 50.0 + 0.015 * now.flicker("grid") + 0.01 * math.sin(now.building.minute / 11.0),
            "active_power_demand": lambda now: float(now.building.power.demand_w[self.index]),
            "apparent_power_demand": lambda now: float(now.building.power.demand_w[self.index]) * APPARENT_SHARE,
            "ct_ratio": lambda _now: 1.0,
            "pt_ratio": lambda _now: 1.0,
            "phase_sequence": lambda _now: 0,
            "reading_time": lambda now: _wall_clock(now, self.device),
            "phase_angle": lambda _now: math.degrees(math.atan(REACTIVE_SHARE)),
        }

    def signal(self, quantity: str, rest: str, phase: int | None) -> Signal | None:
        """Return the signal of one electrical quantity; `rest` is what the point's name adds to the quantity."""
        one = self._by_phase.get(quantity)
        if one is not None and phase is not None:
            return lambda now: one(now, phase)
        if quantity == "voltage_ll":
            return self._line_voltage(rest)
        if quantity == "current":
            return self._current_of_all(rest)
        return self._totals.get(quantity)

    def _sum_of(self, quantity: str) -> Signal:
        of_phase = self._by_phase[quantity]
        return lambda now: sum(of_phase(now, p) for p in range(3))

    def _tangent(self, now: Instant) -> float:
        return now.building.power.tangents.get(self.index, REACTIVE_SHARE)

    def _apparent_share(self, now: Instant) -> float:
        return math.hypot(1.0, self._tangent(now))

    def _share(self, now: Instant, phase: int) -> float:
        excess = now.fault(self.device).get("imbalance", 0.0) / 300.0
        return self.shares[phase] + (excess if phase == 0 else -excess / 2.0)

    def _total_factor(self, now: Instant) -> float:
        """With one transformer reversed, active power falls and apparent power does not."""
        powers = [self._power(now, p) for p in range(3)]
        whole = sum(map(abs, powers)) or 1.0
        return sum(powers) / whole / self._apparent_share(now)

    def _voltage(self, now: Instant, phase: int) -> float:
        if int(now.fault(self.device).get("phase_loss", 0)) - 1 == phase:
            return 2.0 + 0.5 * now.flicker(self.device)
        droop = 0.022 * now.building.power.meter_w[0] / 1000.0
        return HOUSE_V - droop + (0.6, -0.4, 0.1)[phase] + 0.35 * now.flicker(f"grid{phase}")

    def _power(self, now: Instant, phase: int) -> float:
        fault = now.fault(self.device)
        power = now.building.power.power_at(self.index, now.ms) * self._share(now, phase)
        if int(fault.get("phase_loss", 0)) - 1 == phase:
            return 0.0
        return -power if int(fault.get("reversed_ct", 0)) - 1 == phase else power

    def _current(self, now: Instant, phase: int) -> float:
        apparent = abs(self._power(now, phase)) * self._apparent_share(now)
        return apparent / max(self._voltage(now, phase), 100.0)

    def _factor(self, now: Instant, phase: int) -> float:
        sign = -1.0 if int(now.fault(self.device).get("reversed_ct", 0)) - 1 == phase else 1.0
        return sign / self._apparent_share(now)

    def _line_voltage(self, rest: str) -> Signal:
        pair = [int(digit) - 1 for digit in rest if digit in "123"][:2]
        if len(pair) < 2:
            return lambda now: SQRT3 * sum(self._voltage(now, p) for p in range(3)) / 3.0
        first, second = pair
        # Two phasors 120° apart.
        return lambda now: math.sqrt(
            self._voltage(now, first) ** 2
            + self._voltage(now, second) ** 2
            + self._voltage(now, first) * self._voltage(now, second)
        )

    def _current_of_all(self, rest: str) -> Signal:
        if rest == "n":
            return lambda now: (
                max(self._current(now, p) for p in range(3)) - min(self._current(now, p) for p in range(3))
            )
        divisor = 1.0 if rest == "sum" else 3.0
        return lambda now: sum(self._current(now, p) for p in range(3)) / divisor


# -- Air handlers, room units, machines --------------------------------------------------------------------------------


def _sensor(value: Callable[[AirHandler], float]) -> Callable[[AirHandler, Instant], float]:
    return lambda unit, now: value(unit) + 0.04 * now.flicker(unit.code, 5000)


_AIR_HANDLER: Mapping[str, Callable[[AirHandler, Instant], Value]] = {
    "supply_air_temperature": _sensor(lambda unit: unit.sat_c),
    "return_air_temperature": _sensor(lambda unit: unit.rat_c),
    "mixed_air_temperature": _sensor(lambda unit: unit.mat_c),
    "outdoor_temperature": lambda unit, now: now.building.weather.temperature_c + 0.05 * now.flicker(unit.code, 5000),
    "room_temperature": _sensor(lambda unit: sum(space.temperature_c * space.supply_share for space in unit.spaces)),
    "co2_return_air": lambda unit, now: (
        sum(space.co2_ppm * space.supply_share for space in unit.spaces) + 3.0 * now.flicker(unit.code, 5000)
    ),
    "humidity_return_air": lambda unit, now: _humidity(now, unit.spaces[0]),
    "static_pressure": lambda unit, now: unit.pressure_pa + (3.0 * now.flicker(unit.code) if unit.is_on else 0.0),
    "filter_differential_pressure": lambda unit, _now: 20.0 + 95.0 * unit.speed**2 if unit.fan_status else 0.0,
    "air_flow": lambda unit, _now: 3.6 * unit.flow_l_s * unit.speed if unit.fan_status else 0.0,
    "fan_output_supply": lambda unit, _now: 100.0 * unit.speed,
    "valve_command_cooling": lambda unit, _now: 100.0 * unit.cooling_cmd,
    "valve_command_heating": lambda unit, _now: 100.0 * unit.heating_cmd,
    "valve_position_cooling": lambda unit, now: now.fault(unit.code).get(
        "cooling_valve_stuck", 100.0 * unit.cooling_cmd
    ),
    "damper_command_outdoor_air": lambda unit, _now: 100.0 * unit.damper_cmd,
    "damper_position_outdoor_air": lambda unit, _now: 100.0 * unit.damper_pos,
    "supply_air_temperature_setpoint": lambda unit, _now: unit.sat_sp_c,
    "room_temperature_setpoint": lambda _unit, _now: 23.0,
    "static_pressure_setpoint": lambda unit, _now: unit.pressure_sp_pa,
    "co2_setpoint": lambda _unit, _now: 900,
    "fan_on_off": lambda unit, _now: int(unit.fan_status),
    "alarm": lambda unit, _now: int(unit.is_on and not unit.fan_status),
    "filter_alarm": lambda _unit, _now: 0,
    "fire_alarm": lambda _unit, _now: 0,
    "occupancy_mode": lambda unit, _now: int(unit.is_scheduled),
    "operating_hours": lambda unit, now: 9000 + now.building.minute // 60 % 4000 + len(unit.code),
    "on_off_command": lambda unit, _now: int(unit.is_on),
}

_FAN_STEPS = {0.0: 0, 0.33: 1, 0.66: 2, 1.0: 3}
_ROOM_UNIT: Mapping[str, Callable[[RoomUnit, Instant], Value]] = {
    "status_code_mode": lambda unit, _now: 1 if unit.is_on else 3,
    "fan_output": lambda unit, _now: {0: 0, 1: 33, 2: 66, 3: 100}[_FAN_STEPS[unit.fan]],
    "room_temperature": lambda unit, now: unit.space.temperature_c + 0.05 * now.flicker(unit.code, 10_000),
    "room_temperature_setpoint": lambda unit, _now: unit.set_point_c,
    "heating_output": lambda unit, _now: 100.0 * unit.heating,
    "cooling_output": lambda unit, _now: 100.0 * unit.cooling,
    "heating_output_electric": lambda _unit, _now: 0,
    "status_code_fan": lambda unit, _now: _FAN_STEPS[unit.fan],
}

_INDOOR: Mapping[str, Callable[[RoomUnit, Instant], Value]] = {
    "on_off": lambda unit, _now: int(unit.is_on),
    "alarm_forced_off": lambda _unit, _now: 0,
    "fan_on_off": lambda unit, _now: int(unit.fan > 0),
    "heating_on_off": lambda unit, now: int(now.building.services.vrf.is_heating and unit.heating > 0),
    "cooling_on_off_thermo": lambda unit, now: int(
        (unit.heating if now.building.services.vrf.is_heating else unit.cooling) > 0
    ),
    "status_code_fan_speed": lambda unit, _now: _FAN_STEPS[unit.fan],
    "status_code_mode": lambda _unit, now: 1 if now.building.services.vrf.is_heating else 2,
    "filter_alarm": lambda _unit, _now: 0,
    "defrost": lambda _unit, _now: 0,
    "room_temperature_setpoint": lambda unit, _now: unit.set_point_c,
    "room_temperature": lambda unit, now: unit.space.temperature_c + 0.05 * now.flicker(unit.code, 10_000),
}

_MACHINE: Mapping[str, Callable[[WaterMachine, Instant], Value]] = {
    "chilled_water_supply_temperature": lambda m, now: m.leaving_c + 0.03 * now.flicker("water", 5000),
    "chilled_water_return_temperature": lambda m, now: m.entering_c + 0.03 * now.flicker("water", 5000),
    "supply_water_temperature": lambda m, now: m.leaving_c + 0.03 * now.flicker("water", 5000),
    "return_water_temperature": lambda m, now: m.entering_c + 0.03 * now.flicker("water", 5000),
    "outdoor_temperature": lambda _m, now: now.building.weather.temperature_c,
    "water_flow_chilled": lambda m, _now: _flow_m3_h(m),
    "water_flow": lambda m, _now: _flow_m3_h(m),
    "load": lambda m, _now: 100.0 * m.load_share if m.is_running else 0.0,
    "active_power": lambda m, now: m.power_w * (1.0 + 0.004 * now.flicker("machine")),
    "thermal_power_cooling": lambda m, _now: m.load_w,
    "thermal_power": lambda m, _now: m.load_w,
    "start_count": lambda m, _now: 1800 + m.starts,
    "operating_hours": lambda _m, now: 11_000 + now.building.minute // 120 % 9000,
    "chilled_water_temperature_setpoint": lambda m, _now: m.set_point_c,
    "temperature_setpoint": lambda m, _now: m.set_point_c,
    "compressor_on_off_1": lambda m, _now: int(m.is_running),
    "compressor_on_off_2": lambda m, _now: int(m.is_running and m.load_share > 0.45),
    "compressor_on_off": lambda m, _now: int(m.is_running),
    "pump_on_off_chilled_water": lambda m, _now: int(m.pump_running),
    "pump_on_off_condenser_water": lambda _m, _now: 0,
    "pump_on_off": lambda m, _now: int(m.pump_running),
    "alarm": lambda m, _now: int(m.is_commanded and not m.is_running),
    "fault_code": lambda m, _now: 12 if m.is_commanded and not m.is_running else 0,
    "on_off_command": lambda m, _now: int(m.is_commanded),
    "defrost": lambda _m, _now: 0,
    "hvac_mode": lambda m, _now: (1 if m.heats else 2) if m.is_commanded else 0,
}

_PUMP: Mapping[str, Callable[[WaterMachine, Instant], Value]] = {
    "output_frequency": lambda m, now: 50.0 * m.pump_speed + (0.05 * now.flicker("drive") if m.pump_running else 0.0),
    "frequency": lambda m, _now: 50.0 * m.pump_speed,
    "active_power": lambda m, _now: m.pump_power_w,
    "motor_current": lambda m, _now: m.pump_power_w / (SQRT3 * 400.0 * 0.84),
    "motor_voltage": lambda m, _now: 400.0 * m.pump_speed,
    "dc_link_voltage": lambda _m, now: 560.0 + 2.0 * now.flicker("drive"),
    "equipment_temperature": lambda m, _now: 27.0 + 14.0 * m.pump_speed,
    "fault_code": lambda m, _now: int(m.pump_commanded and not m.pump_running),
    "alarm": lambda m, _now: int(m.pump_commanded and not m.pump_running),
    "pump_on_off": lambda m, _now: int(m.pump_running),
    "pump_on_off_running": lambda m, _now: int(m.pump_running),
    "on_off": lambda m, _now: int(m.pump_running),
    "status_code": lambda _m, _now: 1,  # Control ready, drive ready, remote.
    "on_off_command": lambda m, _now: int(m.pump_commanded),
    "active_energy_import": lambda m, now: (
        now.building.power.load_ws[now.building.power.loads[_pump_code(m)]] // WS_PER_KWH + 21_000
    ),
    "operating_hours": lambda _m, now: 14_000 + now.building.minute // 90 % 9000,
}


def _pump_code(machine: WaterMachine) -> str:
    return "pump-hw-1" if machine.heats else "pump-chw-1"


def _from(table: Mapping[str, Callable[..., Value]], part: object, point: PointLike) -> Signal | None:
    found = table.get(point.name) or table.get(point.quantity)
    return None if found is None else lambda now: found(part, now)


def _flow_m3_h(machine: WaterMachine) -> float:
    """Water carries 1.163 kWh per m³ and kelvin."""
    return machine.rated_w / 1000.0 / (DESIGN_DELTA_K * 1.163) * machine.pump_speed


def _indoor_unit_signal(building: Building, _device: str, point: PointLike) -> Signal | None:
    """Points of a VRF adapter: `unit_3_room_temperature` is that of the fourth indoor unit."""
    if point.name.startswith("communication"):
        return lambda _now: 1
    head, _, rest = point.name.partition("_")
    number, _, name = rest.partition("_")
    units = [unit for unit in building.services.room_units.values() if unit.is_refrigerant]
    if head != "unit" or not number.isdecimal() or int(number) >= len(units):
        return None
    unit, found = units[int(number)], _INDOOR.get(name)
    return None if found is None else lambda now: found(unit, now)


# -- Rooms and people --------------------------------------------------------------------------------------------------


def _counter_signal(_building: Building, device: str, point: PointLike) -> Signal | None:
    if point.quantity == "people_in":
        return lambda now: now.building.people_in
    if point.quantity == "people_out":
        return lambda now: now.building.people_out
    if point.quantity == "people_count":
        return lambda now: now.building.spaces["1F-02"].people if device == "counter-hall" else now.building.present
    return None


def _climate_signal(building: Building, device: str, point: PointLike) -> Signal | None:
    if device == "climate-out":
        outdoor: dict[str, Signal] = {
            "room_temperature": lambda now: now.building.weather.temperature_c + 0.05 * now.flicker(device, 10_000),
            "outdoor_temperature": lambda now: now.building.weather.temperature_c,
            "humidity": lambda now: 100.0 * now.building.weather.relative_humidity,
        }
        return outdoor.get(point.quantity)
    space = building.spaces.get(building.plan.stands_in.get(device, ""))
    if space is None:
        return None
    indoor: dict[str, Signal] = {
        "room_temperature": lambda now: space.temperature_c + 0.06 * now.flicker(device, 10_000),
        "humidity": lambda now: _humidity(now, space),
        "co2": lambda now: space.co2_ppm + 6.0 * now.flicker(device, 10_000),
        "people_count": lambda _now: space.people,
        "occupancy": lambda _now: int(space.people > 0),
        "battery": lambda now: 97 - now.building.minute // 20_160 % 30,
        "air_pressure": lambda now: 101_300.0 + 600.0 * math.sin(now.building.minute / 9000.0),
        "light_level": lambda _now: 4 if space.people else 0,
        "link_quality": lambda now: round(120 + 20 * now.flicker(device, 60_000)),
    }
    return indoor.get(point.quantity)


def _humidity(now: Instant, space: Space) -> float:
    """Relative humidity in %: outdoor moisture, dried by cooling coils, plus what people give off."""
    moisture = now.building.weather.moisture_g_kg
    if now.building.services.chiller.is_running:
        moisture = min(moisture, 10.2)
    moisture += 12.0 * space.people / space.area_m2
    return 100.0 * relative_humidity(space.temperature_c, moisture)
