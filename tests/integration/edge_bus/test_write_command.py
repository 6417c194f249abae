"""`edge-agent write` from a shell: through the running agent, or alone when there is none; never both on one line."""

import asyncio
import json
import os
import sys

import pytest

from edge_agent.orders import socket_address
from edge_agent.outbox import Lane, Outbox
from tests.integration.edge_bus.servers import serving
from tests.integration.edge_bus.test_agent import agent_on, until
from tests.integration.edge_bus.test_cloud_orders import THERMOSTAT, Thermostat


@pytest.fixture
def thermostat():
    return Thermostat()


@pytest.fixture
def site(tmp_path):
    (tmp_path / "profiles").mkdir()
    profile = THERMOSTAT.replace("range: [16, 28]", "range: [16, 28], min_interval_s: 1, release_value: 22")
    (tmp_path / "profiles" / "test_thermostat.yaml").write_text(profile, encoding="utf-8")
    return tmp_path / "site.yaml"


def write_site(site, port, writes="[room_temperature_setpoint]"):
    device = f"{{name: fcu-1, profile: test_thermostat, unit: 1, poll_s: 0.2, writes: {writes}}}"
    bus = f"{{name: b, transport: tcp, host: 127.0.0.1, port: {port}, devices: [{device}]}}"
    site.write_text(f"gateway: gw\nprofiles: profiles\nbuses: [{bus}]\n", encoding="utf-8")


async def shell(site, value, *more, lang="en"):
    """Run the command as a person does; return exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_agent.cli", "write", "fcu-1", "room_temperature_setpoint", value),
        *("--site", str(site), "--why", "too cold", "--lang", lang, *more),
        env={**os.environ, "EDGE_DATA_DIR": str(site.parent / "data")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


def results(site) -> list[dict]:
    outbox = Outbox(site.parent / "data" / "outbox.sqlite3")
    found = []
    while (batch := outbox.begin_batch(100_000, lane=Lane.BACKLOG)) is not None:
        found += [event.data for event in batch.events if event.kind == "command.result"]
    outbox.close()
    return found


async def test_a_running_agent_sets_the_point_between_two_reads_and_releases_it(site, thermostat):
    async with serving(thermostat.answer) as server:
        write_site(site, server.port)
        async with agent_on(site, status_port=0):
            await until((site.parent / "data" / "outbox.sqlite3.orders").exists)
            code, output = await shell(site, "25", "--release-after", "2")
            assert (code, server.connections) == (0, 1), output
            assert "set by the running agent" in output
            assert thermostat.setpoint == 250
            await until(lambda: thermostat.setpoint == 220)
    done, released = results(site)
    assert (done["outcome"], done["shown"], done["why"]) == ("done", 25.0, "too cold")
    assert done["by"] not in {"", "edge-agent"}
    assert (released["outcome"], released["by"], released["why"]) == ("done", "edge-agent", "the deadline passed")


async def test_an_agent_that_stops_while_a_device_is_being_set_still_says_what_came_of_it(site, thermostat):
    async def slowly(request, server):
        answer = await thermostat.answer(request, server)
        if thermostat.writes:
            await asyncio.sleep(0.3)
        return answer

    async with serving(slowly) as server:
        write_site(site, server.port)
        async with agent_on(site, status_port=0):
            await until((site.parent / "data" / "outbox.sqlite3.orders").exists)
            asked = asyncio.create_task(shell(site, "25"))
            await until(lambda: thermostat.writes == [250])
        await asked
    (done,) = results(site)
    assert (done["outcome"], done["shown"]) == ("done", 25.0)


async def test_a_running_agent_refuses_what_the_rails_hold_in_the_readers_language(site, thermostat):
    async with serving(thermostat.answer) as server:
        write_site(site, server.port)
        async with agent_on(site, status_port=0):
            await until((site.parent / "data" / "outbox.sqlite3.orders").exists)
            assert await shell(site, "40") == (3, "refused: out_of_range: 40 is outside 16…28\n")
            assert await shell(site, "40", lang="zh") == (3, "被拒绝：超出范围：40 超出 16…28\n")
            write_site(site, server.port, writes="[]")
            await asyncio.sleep(1.5)  # The agent looks at the file once a second.
            code, output = await shell(site, "22")
            assert (code, "not_allowed" in output) == (3, True)
    assert thermostat.writes == []


async def test_without_an_agent_the_bus_is_opened_here_and_the_cloud_learns_of_it_later(site, thermostat):
    async with serving(thermostat.answer) as server:
        write_site(site, server.port)
        code, output = await shell(site, "25", "--release-after", "1")
        assert code == 0, output
        assert "no agent is running" in output
        assert thermostat.writes == [250, 220]
    assert [(data["outcome"], data["by"] == "edge-agent") for data in results(site)] == [
        ("done", False),
        ("done", True),
    ]


async def test_an_agent_that_does_not_answer_keeps_its_bus(site, thermostat):
    outbox = Outbox(site.parent / "data" / "outbox.sqlite3")  # As an agent holds it that hangs.
    async with serving(thermostat.answer) as server:
        write_site(site, server.port)
        code, output = await shell(site, "25")
        assert (code, "does not answer" in output) == (2, True)
    outbox.close()
    assert thermostat.writes == []


async def test_nonsense_on_the_socket_hurts_nobody(site, thermostat):
    async with serving(thermostat.answer) as server:
        write_site(site, server.port)
        async with agent_on(site, status_port=0) as agent:
            path = site.parent / "data" / "outbox.sqlite3.orders"
            await until(path.exists)
            assert path.stat().st_mode & 0o777 == 0o600
            for nonsense in (b"\xff\xfe\n", b"[1, 2]\n", b"{}\n", b"x" * 100_000 + b"\n", b"null\n"):
                with socket_address(path) as address:
                    reader, writer = await asyncio.open_unix_connection(address)
                writer.write(nonsense)
                answer = await reader.read()
                assert not answer or json.loads(answer)["outcome"] == "refused"
                writer.close()
            assert (await shell(site, "25"))[0] == 0
            assert agent.pollers["b"].devices[0].state == "online"
