"""Devices for the poller's tests: a profile in a file, registers in a dictionary, a server in between."""

import struct
from pathlib import Path

from device_profiles.catalog import load_file
from device_profiles.model import ModbusProfile
from edge_agent.clock import SystemClock
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.learned import LearnedRanges
from edge_agent.model import Event, Frame
from edge_agent.polled import PolledDevice
from edge_agent.poller import BusPoller
from edge_agent.settings import Bus, ModbusDevice, TcpBus
from tests.integration.edge_bus.servers import Request, Server

METER = """\
profile: test_meter
kind: modbus
category: meter
label: {en: Test meter, zh: 测试电表}
products: [{brand: None, model: Test}]
source: Made up for the tests of the poller.
confidence: documented
notes: No real device.
points:
  - {name: voltage_l1, address: 0, type: float32}
  - {name: active_power_total, address: 2, type: float32}
  - {name: active_energy_import, address: 10, type: uint32, scale: 0.01, device_unit: kWh}
"""


def load(folder: Path, text: str) -> ModbusProfile:
    name = text.split()[1]
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    profile = load_file(path)
    assert isinstance(profile, ModbusProfile)
    return profile


def float_words(value: float) -> list[int]:
    return list(struct.unpack(">HH", struct.pack(">f", value)))


class Registers:
    """Holding registers by unit; a unit that is silent, or an address that is not there, answers as devices do."""

    def __init__(self, framing: str = "mbap") -> None:
        self.framing = framing
        self.units: dict[int, dict[int, int]] = {}
        self.silent: set[int] = set()
        self.exceptions: dict[int, int] = {}  # Unit → exception code for everything.

    def meter(self, unit: int, *, voltage: float = 230.0, power: float = 1500.0, energy: int = 12_345) -> None:
        words = [*float_words(voltage), *float_words(power), 0, 0, 0, 0, 0, 0, energy >> 16, energy & 0xFFFF]
        self.units[unit] = dict(enumerate(words))

    async def answer(self, request: Request, server: Server) -> bytes | None:
        if request.unit in self.silent or request.unit not in self.units:
            return None
        registers = self.units[request.unit]
        wanted = range(request.address, request.address + request.count)
        if request.unit in self.exceptions:
            pdu = request.exception(self.exceptions[request.unit])
        elif any(address not in registers for address in wanted):
            pdu = request.exception(2)
        else:
            data = b"".join(struct.pack(">H", registers[address]) for address in wanted)
            pdu = bytes([request.function, len(data)]) + data
        return getattr(request, self.framing)(pdu)


class Collected:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.events: list[Event] = []

    def append(self, frames, events=()) -> None:
        self.frames += frames
        self.events += events

    def flush(self) -> int:
        return 0

    def values(self, device: str) -> dict[str, float | int | None]:
        return {
            point: value
            for frame in self.frames
            if frame.device == device
            for point, value in zip(frame.points, frame.values, strict=True)
        }

    def states(self, device: str) -> list[str]:
        return [event.data["state"] for event in self.events if event.device == device and event.kind == "device.state"]


def tcp_bus(port: int, units: list[int], **options) -> TcpBus:
    device = {"profile": "test_meter", "poll_s": 0.1, "timeout_s": 0.5, "response_timeout_s": 0.1, **options}
    devices = [ModbusDevice(name=f"m-{unit}", unit=unit, **device) for unit in units]
    return TcpBus(transport="tcp", name="b", host="127.0.0.1", port=port, devices=devices)


def make_poller(
    bus: Bus, profile: ModbusProfile, sink: Collected, *, clock=None, learned: Path | None = None
) -> BusPoller:
    clock = clock or SystemClock()
    ranges = LearnedRanges(learned) if learned else None
    devices = [PolledDevice(bus, device, profile, now=clock.monotonic(), learned=ranges) for device in bus.devices]
    return BusPoller(Line(bus), devices, sink, clock)
