"""The whole agent against real sockets: site file in, durable observations out."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from edge_agent.agent import Agent, StartError
from edge_agent.outbox import Lane, Outbox
from edge_agent.settings import AgentSettings
from tests.integration.edge_bus.devices import METER, Registers
from tests.integration.edge_bus.servers import serving


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def site_text(port: int, units: list[int], poll_s: float = 0.1) -> str:
    devices = "".join(
        f"      - {{name: m-{unit}, profile: test_meter, unit: {unit}, poll_s: {poll_s}, timeout_s: 1}}\n"
        for unit in units
    )
    return (
        "gateway: gw-test\nprofiles: profiles\nbuses:\n"
        f"  - name: tcp-1\n    transport: tcp\n    host: 127.0.0.1\n    port: {port}\n    devices:\n{devices}"
    )


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "test_meter.yaml").write_text(METER, encoding="utf-8")
    return tmp_path / "site.yaml"


@pytest.fixture
def registers() -> Registers:
    registers = Registers()
    for unit in (1, 2, 3):
        registers.meter(unit)
    return registers


def stored(path: Path) -> dict[str, list]:
    """Every observation in the outbox file, by device."""
    outbox = Outbox(path)
    found: dict[str, list] = {}
    while (batch := outbox.begin_batch(100_000, lane=Lane.BACKLOG)) is not None:
        for frame in batch.frames:
            found.setdefault(frame.layout.device, []).append((frame.at_ms, tuple(frame.values)))
    outbox.close()
    return found


@asynccontextmanager
async def agent_on(site: Path, **settings):
    agent = Agent(site, AgentSettings(data_dir=site.parent / "data", **settings))
    stop = asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        await until(lambda: bool(agent.pollers))
        yield agent
    finally:
        stop.set()
        await task


async def until(condition, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.02)


async def test_what_was_read_is_on_the_disk_when_the_agent_stops(site, registers):
    async with serving(registers.answer) as server:
        site.write_text(site_text(server.port, [1, 2]), encoding="utf-8")
        async with agent_on(site, status_port=0) as agent:
            await until(lambda: all(device.stats.answers > 3 for device in agent.pollers["tcp-1"].devices))
            answers = {device.config.name: device.stats.answers for device in agent.pollers["tcp-1"].devices}
    found = stored(site.parent / "data" / "outbox.sqlite3")
    assert {device: len(frames) >= answers[device] for device, frames in found.items()} == {"m-1": True, "m-2": True}
    assert found["m-1"][0][1] == (230.0, 1500.0, 12345)


async def test_a_changed_site_file_is_taken_over_without_losing_a_reading_of_the_others(site, registers):
    async with serving(registers.answer) as server:
        site.write_text(site_text(server.port, [1]), encoding="utf-8")
        async with agent_on(site, status_port=0) as agent:
            await until(lambda: agent.pollers["tcp-1"].devices[0].stats.answers > 5)
            site.write_text(site_text(server.port, [1, 2]), encoding="utf-8")
            await until(lambda: len(agent.pollers["tcp-1"].devices) == 2)
            await until(lambda: agent.pollers["tcp-1"].devices[1].stats.answers > 5)
            assert [device.name for device in agent.catalogue().devices] == ["m-1", "m-2"]
            assert agent.pollers["tcp-1"].missed_cycles == 0
            assert server.connections == 1
    times = [at_ms for at_ms, _ in stored(site.parent / "data" / "outbox.sqlite3")["m-1"]]
    assert max(b - a for a, b in pairwise(times)) < 250


async def test_a_broken_site_file_changes_nothing_and_is_shown(site, registers):
    async with serving(registers.answer) as server:
        site.write_text(site_text(server.port, [1]), encoding="utf-8")
        async with agent_on(site, status_port=0) as agent:
            await until(lambda: agent.pollers["tcp-1"].devices[0].stats.answers > 1)
            site.write_text(site_text(server.port, [1]).replace("unit: 1", "unit: 999"), encoding="utf-8")
            await until(lambda: bool(agent.site_problems))
            assert "site.yaml:9" in agent.site_problems[0]
            count = agent.pollers["tcp-1"].devices[0].stats.answers
            await until(lambda: agent.pollers["tcp-1"].devices[0].stats.answers > count + 3)


async def get(port: int, path: str, language: str = "en") -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Language: {language}\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head.split("\r\n")[0], body


async def test_the_status_page_speaks_both_languages_and_escapes_what_devices_say(site, registers):
    registers.silent.add(2)
    async with serving(registers.answer) as server:
        site.write_text(site_text(server.port, [1, 2]), encoding="utf-8")
        port = free_port()
        async with agent_on(site, status_port=port) as agent:
            await until(lambda: agent.pollers["tcp-1"].devices[1].state == "offline")
            agent.pollers["tcp-1"].devices[1].error = "<script>"
            _, english = await get(port, "/", "en-GB,en")
            _, chinese = await get(port, "/", "zh-CN,zh;q=0.9")
            assert "offline" in english
            assert "离线" in chinese
            assert "&lt;script&gt;" in english
            assert "<script>" not in english
            _, data = await get(port, "/status.json")
            report = orjson.loads(data)
            assert [device["state"] for device in report["devices"]] == ["online", "offline"]
            assert report["buses"][0]["timeouts"] > 0
            assert (await get(port, "/secrets"))[0] == "HTTP/1.1 404 Not Found"


async def test_a_cloud_without_credential_stops_the_start_with_the_remedy(site):
    site.write_text(site_text(1, [1]) + "cloud: {url: 'http://127.0.0.1:9'}\n", encoding="utf-8")
    with pytest.raises(StartError, match="EDGE_CREDENTIAL"):
        Agent(site, AgentSettings(data_dir=site.parent / "data", credential=None))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_process_ends_at_a_signal_without_waiting_for_a_silent_device(site, registers, number):
    registers.silent.add(1)  # Even in the middle of a long wait for an answer.
    async with serving(registers.answer) as server:
        text = site_text(server.port, [1]).replace("timeout_s: 1", "timeout_s: 60, response_timeout_s: 60")
        site.write_text(text, encoding="utf-8")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edge_agent.cli",
            "run",
            "--site",
            str(site),
            "--data-dir",
            str(site.parent / "data"),
            env={**os.environ, "EDGE_STATUS_PORT": "0"},
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await until(lambda: bool(server.requests))
            started = time.monotonic()
            process.send_signal(number)
            _, log = await process.communicate()
            assert time.monotonic() - started < 5  # On a busy machine; alone it takes a tenth of a second.
            assert process.returncode == 0, log.decode()
            assert b"agent_stopped" in log
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
