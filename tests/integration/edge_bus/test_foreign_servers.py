"""The line against Modbus servers that are not ours: libmodbus, npm's modbus-serial, pymodbus on a serial line."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from device_profiles.model import Function
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.errors import BadAnswer, Busy, NoAnswer, Refused
from edge_agent.drivers.modbus.read_plan import Span
from edge_agent.settings import RtuBus, TcpBus
from tests.support.broker import free_port

PEERS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wattlease" / "modbus-peers"
LIBMODBUS = PEERS / "libmodbus-unit-test-server"
LIBMODBUS_PORT = 1502  # Fixed in its source.
LIBMODBUS_UNIT = 17
DEVICE = {"name": "d", "profile": "p", "unit": 1}


def missing(what: str, there: bool) -> None:
    if not there:
        reason = f"{what} is not installed: run tests/services/install.sh"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


def span(function: Function, start: int, count: int) -> Span:
    return Span(function, start, start + count)


def holding(start: int, count: int) -> Span:
    return span(Function.HOLDING, start, count)


@asynccontextmanager
async def process(*command: str, **options):
    running = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # The node of the wheel is a wrapper: both must end.
        **options,
    )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        await running.wait()


@asynccontextmanager
async def line_to(port: int):
    line = Line(TcpBus(transport="tcp", name="b", host="127.0.0.1", port=port, devices=[DEVICE]))
    try:
        yield line
    finally:
        await line.close()


def is_listening(port: int) -> bool:
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(encoding="ascii")


async def listening(port: int) -> None:
    """Wait without connecting: libmodbus's server takes one client and ends with it."""
    for _ in range(200):
        if is_listening(port):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}")


@pytest.fixture
async def libmodbus():
    missing("libmodbus's unit-test server", LIBMODBUS.exists())
    async with process(str(LIBMODBUS), "tcp"):
        await listening(LIBMODBUS_PORT)
        async with line_to(LIBMODBUS_PORT) as line:
            yield line


async def test_libmodbus_registers_and_bits_are_read_as_its_own_test_expects(libmodbus):
    assert tuple(await libmodbus.read(LIBMODBUS_UNIT, span(Function.INPUT, 0x108, 1), timeout_s=1)) == (0x000A,)
    bits = await libmodbus.read(LIBMODBUS_UNIT, span(Function.DISCRETE, 0x1C4, 0x16), timeout_s=1)
    assert sum(bit << i for i, bit in enumerate(bits)) == 0x35DBAC


async def test_libmodbus_registers_and_coils_are_written_and_read_back(libmodbus):
    await libmodbus.write_register(LIBMODBUS_UNIT, 0x160, [0x022B, 0x0001, 0x0064], timeout_s=1)
    assert tuple(await libmodbus.read(LIBMODBUS_UNIT, holding(0x160, 3), timeout_s=1)) == (0x022B, 1, 0x64)
    await libmodbus.write_coil(LIBMODBUS_UNIT, 0x130, on=True, timeout_s=1)
    assert tuple(await libmodbus.read(LIBMODBUS_UNIT, span(Function.COIL, 0x130, 1), timeout_s=1)) == (1,)


async def test_libmodbus_refuses_what_it_does_not_have(libmodbus):
    with pytest.raises(Refused, match="illegal data address") as caught:
        await libmodbus.read(LIBMODBUS_UNIT, holding(0x0, 1), timeout_s=1)
    assert caught.value.blames_address


async def test_libmodbus_answering_one_register_to_two_is_an_error(libmodbus):
    with pytest.raises(BadAnswer, match="1 registers instead of 2"):
        await libmodbus.read(LIBMODBUS_UNIT, holding(0x160, 2), timeout_s=1)


async def test_libmodbus_busy_is_no_value(libmodbus):
    with pytest.raises(Busy):
        await libmodbus.read(LIBMODBUS_UNIT, holding(0x170, 1), timeout_s=1)


async def test_libmodbus_with_a_wrong_transaction_id_is_not_believed(libmodbus):
    with pytest.raises(NoAnswer, match="do not fit"):
        await libmodbus.read(LIBMODBUS_UNIT, holding(0x171, 1), timeout_s=0.3)


async def test_libmodbus_answering_late_does_not_answer_the_next_question(libmodbus):
    await libmodbus.write_register(LIBMODBUS_UNIT, 0x161, [0x1234], timeout_s=1)
    with pytest.raises(NoAnswer):
        await libmodbus.read(LIBMODBUS_UNIT, holding(0x172, 1), timeout_s=0.2)
    assert tuple(await libmodbus.read(LIBMODBUS_UNIT, holding(0x161, 1), timeout_s=2)) == (0x1234,)


MODBUS_SERIAL = """
const ModbusRTU = require("modbus-serial");
const vector = {
  getHoldingRegister: (address, unit) => (address * 7 + unit) & 0xffff,
  getInputRegister: (address, unit) => (address + 1000 * unit) & 0xffff,
  getCoil: (address, unit) => address % 3 === 0,
  setRegister: (address, value, unit) => {},
};
const server = new ModbusRTU.ServerTCP(vector, {host: "127.0.0.1", port: +process.argv[1], debug: false, unitID: 255});
server.on("initialized", () => console.log("ready"));
"""


@asynccontextmanager
async def modbus_serial():
    node = Path(sys.executable).with_name("node")
    missing("npm's modbus-serial", node.exists() and (PEERS / "node_modules" / "modbus-serial").exists())
    port = free_port()
    async with process(str(node), "-e", MODBUS_SERIAL, str(port), cwd=PEERS):
        await listening(port)
        yield port


async def test_modbus_serial_for_node_agrees_on_registers_units_and_coils():
    async with modbus_serial() as port, line_to(port) as line:
        assert tuple(await line.read(3, holding(10, 4), timeout_s=2)) == (73, 80, 87, 94)
        assert tuple(await line.read(2, span(Function.INPUT, 5, 2), timeout_s=2)) == (2005, 2006)
        assert tuple(await line.read(1, span(Function.COIL, 3, 10), timeout_s=2)) == (1, 0, 0, 1, 0, 0, 1, 0, 0, 1)


async def test_mbpoll_reads_the_same_words_as_the_line():
    missing("mbpoll", shutil.which("mbpoll") is not None)
    async with modbus_serial() as port, line_to(port) as line:
        ours = tuple(await line.read(5, holding(100, 6), timeout_s=2))
        command = ["mbpoll", "-m", "tcp", "-a", "5", "-0", "-r", "100", "-c", "6", "-t", "4:hex", "-1", "-p", str(port)]
        told = await asyncio.to_thread(
            subprocess.run, [*command, "127.0.0.1"], capture_output=True, text=True, check=True, timeout=20
        )
    theirs = [line for line in told.stdout.splitlines() if line.startswith("[")]
    assert tuple(int(line.split()[-1], 16) for line in theirs) == ours


PYMODBUS_SERIAL = """
import asyncio, sys
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice
async def main():
    units = [SimDevice(unit, simdata=[SimData(0, values=[100 * unit + i for i in range(50)], datatype=DataType.REGISTERS)])
             for unit in (1, 2, 7)]
    server = ModbusSerialServer(units, port=sys.argv[1], baudrate=9600, ignore_missing_devices=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def test_a_serial_line_with_several_units_is_read_through_a_pty(tmp_path):
    missing("socat", shutil.which("socat") is not None)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    async with (
        process("socat", f"pty,raw,echo=0,link={ours}", f"pty,raw,echo=0,link={theirs}"),
    ):
        await appears(ours, theirs)
        async with process(sys.executable, "-c", PYMODBUS_SERIAL, str(theirs)):
            bus = RtuBus(transport="rtu", name="b", serial=str(ours), baud=9600, devices=[DEVICE])
            line = Line(bus)
            try:
                await answers(line, 1)
                for unit in (1, 2, 7, 1):
                    words = await line.read(unit, holding(10, 20), timeout_s=3)
                    assert tuple(words) == tuple(100 * unit + i for i in range(10, 30))
                assert tuple(await line.read(2, holding(0, 2), timeout_s=3)) == (200, 201)
                with pytest.raises(Refused):
                    await line.read(2, holding(60, 2), timeout_s=3)
            finally:
                await line.close()


async def appears(*paths: Path) -> None:
    deadline = time.monotonic() + 10
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def answers(line: Line, unit: int) -> None:
    """Wait until the server at the other end has started."""
    for _ in range(30):
        with contextlib.suppress(NoAnswer):
            await line.read(unit, holding(0, 1), timeout_s=0.5)
            return
    raise AssertionError("the server never answers")
