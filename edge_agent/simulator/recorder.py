"""What an agent would have recorded of the building: the same points, values and events, without the sockets.

Exact values go through the same codec as on the wire, so that a register of history and a live one agree to the digit.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from device_profiles.model import ModbusPoint, ModbusProfile, Point, Profile
from edge_agent.drivers.modbus.codec import compile_decoder
from edge_agent.drivers.mqtt.privacy import hash_credential
from edge_agent.model import Quality
from edge_agent.simulator.images import encode
from edge_agent.simulator.model import MINUTE_MS, Building
from edge_agent.simulator.people import Direction
from edge_agent.simulator.publish import door_of, numbered_passages
from edge_agent.simulator.signals import Instant, Signal, signal_of

PERIOD_MIN = 15
_METER_POINTS = frozenset({"active_energy_import", "reactive_energy_import", "active_power_total"})
# Constants, and what only a person at the machine looks at.
_LEFT_OUT = frozenset(
    {
        *("alarm", "filter_alarm", "fire_alarm", "fault_code", "communication_ok", "battery", "link_quality"),
        *("co2_setpoint", "operating_hours", "start_count", "filter_differential_pressure", "status_code_mode"),
        *("status_code_fan", "heating_output_electric", "cooling_energy", "alarm_forced_off", "defrost", "alarm_trip"),
        *("status_code_fan_speed", "heating_on_off", "pump_on_off_condenser_water", "compressor_on_off_2"),
        *("condenser_water_supply_temperature", "condenser_water_return_temperature", "air_pressure", "light_level"),
        *("operating_hours_running", "fault_code_alarm_word", "fault_code_warning_word", "status_code_remote"),
        *("status_code_control_ready", "status_code_drive_ready", "humidity_return_air"),
    }
)

Reading = Callable[[Instant], float | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One point that is recorded."""

    address: str  # device/point
    scale: int | None
    read: Reading


def columns_of(building: Building, profiles: Mapping[str, Profile]) -> list[Column]:
    """Return the points worth a history."""
    columns: list[Column] = []
    for device, profile in profiles.items():
        for point in profile.points:
            column = column_of(building, device, profile, point) if _is_kept(device, point) else None
            if column is not None:
                columns.append(column)
    return columns


def column_of(building: Building, device: str, profile: Profile, point: Point) -> Column | None:
    """Return one point as the agent would record it; None when the building does not know it."""
    signal = signal_of(building, device, point)
    if signal is None:
        return None
    return Column(address=f"{device}/{point.name}", scale=point.scale, read=_reading(profile, point, signal))


def _is_kept(device: str, point: Point) -> bool:
    if point.is_text:
        return False
    if device.startswith("pump-") and point.is_cumulative:
        return False
    if device.startswith("meter-"):
        return point.name in _METER_POINTS and (device == "meter-main" or not point.name.startswith("reactive"))
    base = point.name.split("_", 2)[-1] if point.name.startswith("unit_") else point.name
    return base not in _LEFT_OUT


def _reading(profile: Profile, point: Point, signal: Signal) -> Reading:
    if point.exact and isinstance(profile, ModbusProfile) and isinstance(point, ModbusPoint):
        return _exact_reading(point, signal)
    step, offset = float(point.multiplier), float(point.offset)
    if abs(step) < 1e-4 or (isinstance(point, ModbusPoint) and point.type.is_float):
        step = 1e-3

    def read(now: Instant) -> float | int | None:
        value = signal(now)
        if value is None or isinstance(value, str):
            return None
        return value if isinstance(value, int) else round(round((value - offset) / step) * step + offset, 4)

    return read


def _exact_reading(point: ModbusPoint, signal: Signal) -> Reading:
    decode = compile_decoder((point,), point.address, point.count)
    # Meters of this building are connected directly: their ratio registers say 1.
    factors = dict.fromkeys(point.factor_names, Fraction(1))
    blank = [0] * point.count

    def read(now: Instant) -> float | int | None:
        value = signal(now)
        if value is None or isinstance(value, str):
            return None
        values, qualities = decode(encode(point, value, blank), factors)
        return values[0] if qualities[0] is Quality.GOOD and not isinstance(values[0], str) else None

    return read


def readers_of(profiles: Mapping[str, Profile]) -> list[str]:
    """Return the devices that speak in badges."""
    return [
        device
        for device, profile in profiles.items()
        if not isinstance(profile, ModbusProfile) and any(message.events for message in profile.messages)
    ]


def badges_of_day(
    building: Building, readers: list[str], doors: Mapping[str, str], key: bytes
) -> Iterator[dict[str, Any]]:
    """Yield the `door.access` events of the building's day, in order of time, without sequence numbers of a stream."""
    midnight = building.day_start_minute * MINUTE_MS
    events: list[tuple[int, str, dict[str, Any]]] = []
    for device in readers:
        for number, passage in numbered_passages(building, door_of(building, device)):
            at_ms = midnight + passage.second * 1000
            data = {
                "sequence": number,
                "door": doors[device],
                "direction": "in" if passage.direction is Direction.IN else "out",
                "result": "granted",
                "credential": hash_credential(str(passage.card), key),
                "method": "card",
                "device_at_ms": at_ms,
            }
            events.append((at_ms, device, data))
    for at_ms, device, data in sorted(events, key=lambda event: (event[0], event[1])):
        yield {"kind": "door.access", "device": device, "at_ms": at_ms, "received_at_ms": at_ms, "data": data}
