"""Setting a thermostat: what the rails let through, what they hold, and that every override ends."""

import struct
from dataclasses import replace
from fractions import Fraction

import pytest

from edge_agent.drivers.modbus.client import Line
from edge_agent.settings import ModbusDevice, TcpBus
from edge_agent.writes import Guard, Order, WriteFailed, Writer, WriteRefused, order_of
from tests.integration.edge_bus.devices import load
from tests.integration.edge_bus.servers import Request, serving

THERMOSTAT = """\
profile: test_thermostat
kind: modbus
category: hvac
label: {en: Thermostat, zh: 温控器}
products: [{brand: None, model: Test}]
source: Made up for the tests of writes.
confidence: documented
notes: No real device.
points:
  - name: room_temperature_setpoint
    address: 5
    type: int16
    scale: 0.1
    kind: setpoint
    write: {range: [16, 28], step: 0.5, min_interval_s: 10, release_value: 22}
  - name: on_off
    address: 6
    type: uint16
    states: {0: "off", 1: "on"}
    write: {min_on_s: 300, min_off_s: 60, min_interval_s: 1}
  - {name: room_temperature, address: 7, type: int16, scale: 0.1}
"""


class Clock:
    def __init__(self) -> None:
        self.ms = 1_764_000_000_000

    def monotonic(self) -> float:
        return self.ms / 1000

    def now_ms(self) -> int:
        return self.ms


class Thermostat:
    def __init__(self) -> None:
        self.registers = {5: 220, 6: 1, 7: 225}
        self.writes: list[tuple[int, int]] = []
        self.is_stubborn = False

    async def answer(self, request: Request, server) -> bytes:
        if request.function == 6:
            self.writes.append((request.address, request.count))
            if not self.is_stubborn:
                self.registers[request.address] = request.count
            return request.mbap(struct.pack(">BHH", 6, request.address, request.count))
        data = b"".join(
            struct.pack(">H", self.registers[a]) for a in range(request.address, request.address + request.count)
        )
        return request.mbap(bytes([request.function, len(data)]) + data)


@pytest.fixture
async def rig(tmp_path):
    thermostat, clock = Thermostat(), Clock()
    async with serving(thermostat.answer) as server:
        device = ModbusDevice(
            name="fcu-1", profile="test_thermostat", unit=1, writes=["room_temperature_setpoint", "on_off"]
        )
        bus = TcpBus(transport="tcp", name="b", host="127.0.0.1", port=server.port, devices=[device])
        line = Line(bus)
        yield Rig(thermostat, clock, line, device, load(tmp_path, THERMOSTAT), tmp_path / "writes.json")
        await line.close()


class Rig:
    def __init__(self, thermostat, clock, line, device, profile, path) -> None:
        self.thermostat, self.clock, self.line = thermostat, clock, line
        self.device, self.profile, self.path = device, profile, path
        self.writer = Writer(Guard.load(path), clock)

    async def set(self, value, point="room_temperature_setpoint", *, is_release=False, **more) -> Fraction:
        order = Order(device="fcu-1", point=point, value=value, by="li", why="guest too warm", **more)
        return await self.writer.write(self.line, self.device, self.profile, order, is_release=is_release)

    async def refusal(self, *args, **kwargs) -> str:
        with pytest.raises(WriteRefused) as caught:
            await self.set(*args, **kwargs)
        return caught.value.code


async def test_an_allowed_value_is_written_and_read_back(rig):
    assert await rig.set("23.5") == Fraction(47, 2)
    assert rig.thermostat.writes == [(5, 235)]


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("28.5", "out_of_range"),
        ("15.9", "out_of_range"),
        ("22.3", "off_step"),
        ("nan", "not_a_value"),
        ("warm", "not_a_value"),
    ],
)
async def test_a_value_outside_the_rails_never_reaches_the_device(rig, value, code):
    assert await rig.refusal(value) == code
    assert rig.thermostat.writes == []


async def test_what_the_site_file_does_not_allow_by_name_is_refused(rig):
    rig.device = rig.device.model_copy(update={"writes": []})
    assert await rig.refusal("22") == "not_allowed"
    assert await rig.refusal("22", "room_temperature") == "read_only"
    assert await rig.refusal("22", "nonsense") == "unknown_point"
    assert rig.thermostat.writes == []


async def test_a_second_write_waits_even_over_a_restart(rig):
    await rig.set("22")
    rig.clock.ms += 9_000
    rig.writer = Writer(Guard.load(rig.path), rig.clock)
    assert await rig.refusal("23") == "too_often"
    rig.clock.ms += 1_000
    assert await rig.set("23") == 23


async def test_equipment_that_was_switched_on_stays_on_for_its_minimum_time(rig):
    assert await rig.set("on", "on_off") == 1
    rig.clock.ms += 299_000
    assert await rig.refusal("off", "on_off") == "min_time"
    rig.clock.ms += 1_000
    assert await rig.set("off", "on_off") == 0


async def test_a_device_that_does_not_show_the_value_is_a_failure_not_a_success(rig):
    rig.thermostat.is_stubborn = True
    with pytest.raises(WriteFailed, match=r"shows 22 .* after 25 was written"):
        await rig.set("25")


async def test_an_override_is_released_at_its_deadline_also_after_a_restart(rig):
    await rig.set("26", release_after_s=600)
    rig.clock.ms += 599_000
    assert rig.writer.due_releases() == []
    rig.clock.ms += 1_000
    rig.writer = Writer(Guard.load(rig.path), rig.clock)
    (release,) = rig.writer.due_releases()
    assert (release.point, release.value) == ("room_temperature_setpoint", "22")
    await rig.set(release.value, is_release=True)
    assert rig.thermostat.registers[5] == 220
    assert rig.writer.due_releases() == []


async def test_a_release_that_fails_stays_due(rig):
    await rig.set("26", release_after_s=600)
    rig.clock.ms += 600_000
    rig.thermostat.is_stubborn = True
    with pytest.raises(WriteFailed):
        await rig.set("22", is_release=True)
    rig.clock.ms += 30_000
    assert len(rig.writer.due_releases()) == 1


def test_a_command_without_who_and_why_is_refused():
    command = {"id": "1", "device": "fcu-1", "point": "p", "value": 22, "by": "li", "why": "test"}
    assert order_of(command) == replace(order_of({**command, "value": 22.0}), value=22)
    for key in command:
        with pytest.raises(WriteRefused):
            order_of({name: value for name, value in command.items() if name != key})
