"""How much of a 9600 baud line the poller uses: a pseudo-terminal throttled to line speed, and a device that answers."""

import asyncio
import contextlib
import os
import pty
import struct
import subprocess
import sys
import tempfile
import time
import tty
from collections.abc import Sequence
from pathlib import Path

from device_profiles.catalog import load_file
from device_profiles.model import ModbusProfile
from edge_agent.clock import SystemClock
from edge_agent.drivers.modbus.client import Line
from edge_agent.model import Event, Frame
from edge_agent.polled import PolledDevice
from edge_agent.poller import BusPoller
from edge_agent.settings import ModbusDevice, RtuBus

BAUD = 9600
CHARACTER_S = 10 / BAUD  # 8N1: start bit, eight data bits, stop bit.
SILENCE_S = 3.5 * CHARACTER_S
POINTS = 25  # 50 registers: a common limit of meters.
DEVICES = 4
PROFILE = """\
profile: line_meter
kind: modbus
category: meter
label: {en: Line meter, zh: 线路电表}
products: [{brand: None, model: Line}]
source: Made up for measurements.
confidence: documented
notes: No real device.
points:
"""


class Counter:
    """A sink that only counts."""

    frames = 0

    def append(self, frames: Sequence[Frame], events: Sequence[Event] = ()) -> None:
        self.frames += len(frames)


def measure_line(seconds: float) -> float:
    """Return requests made, as a share of those that fit the wire: question, answer and the silence after each."""
    device = subprocess.Popen([sys.executable, "-m", "tests.bench.edge_serial"], stdout=subprocess.PIPE, text=True)
    assert device.stdout is not None
    try:
        return asyncio.run(_measure(device.stdout.readline().strip(), seconds))
    finally:
        device.kill()
        device.wait()


async def _measure(port: str, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as folder:
        profile = _profile(Path(folder))
    devices = [ModbusDevice(name=f"d{i}", profile=profile.name, unit=i, poll_s=0.05) for i in range(1, DEVICES + 1)]
    bus = RtuBus(transport="rtu", name="line", serial=port, baud=BAUD, devices=devices)
    clock, sink = SystemClock(), Counter()
    polled = [PolledDevice(bus, device, profile, now=clock.monotonic()) for device in devices]
    poller = BusPoller(Line(bus), polled, sink, clock)
    task = asyncio.create_task(poller.run())
    await asyncio.sleep(2)
    before, started = poller.line.stats.answers, time.monotonic()
    await asyncio.sleep(seconds)
    answers, elapsed = poller.line.stats.answers - before, time.monotonic() - started
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
    assert poller.line.stats.timeouts == 0
    one_s = (8 + 5 + 4 * POINTS) * CHARACTER_S + 2 * SILENCE_S
    return answers * one_s / elapsed


def _profile(folder: Path) -> ModbusProfile:
    lines = [
        f"  - {{name: voltage_h{i}, quantity: voltage, address: {2 * i}, type: float32}}\n"
        for i in range(1, POINTS + 1)
    ]
    path = folder / "line_meter.yaml"
    path.write_text(PROFILE + "".join(lines), encoding="utf-8")
    profile = load_file(path)
    assert isinstance(profile, ModbusProfile)
    return profile


def serve() -> None:
    """Be the devices: take each byte as long as the wire would, answer after the silence, at the speed of the wire."""
    master, slave = pty.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    while True:
        question = b""
        while len(question) < 8:
            question += os.read(master, 8 - len(question))
        unit, function, _, count = struct.unpack(">BBHH", question[:6])
        frame = bytes([unit, function, 2 * count]) + struct.pack(">f", 230.0) * (count // 2)
        frame += _checksum(frame)
        # The clock of the wire runs from the first byte of the question.
        ready = time.monotonic() + 8 * CHARACTER_S + SILENCE_S
        for index, byte in enumerate(frame):
            with contextlib.suppress(ValueError):
                time.sleep(ready + (index + 1) * CHARACTER_S - time.monotonic())
            os.write(master, bytes([byte]))


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


if __name__ == "__main__":
    serve()
