"""The demo building on real sockets, read by another implementation of Modbus."""

import asyncio
import socket
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from edge_agent.drivers.modbus.codec import decode_point
from edge_agent.model import Quality
from edge_agent.settings import RtuBus, RtuOverTcpBus, Site, load_site
from edge_agent.simulator.control import Control
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import load_plan
from edge_agent.simulator.serve import Served, ServeError, serve_site
from edge_agent.simulator.site_copy import Changes, render_site
from edge_agent.simulator.world import World

DEMO = Path(__file__).parents[3] / "deploy" / "demo"


def free_base_port(count: int) -> int:
    """The first of `count` neighbouring free ports."""
    for base in range(31_000, 60_000, 100):
        probes = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return base
    raise RuntimeError("no free ports")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    file = tmp_path / "site.yaml"
    changes = Changes(base_port=free_base_port(12), serial_folder=tmp_path)
    file.write_text(render_site((DEMO / "site.yaml").read_text(), changes))
    return load_site(file)


@pytest.fixture
async def world():
    plan = load_plan(DEMO / "building.yaml", DEMO / "leases.csv")
    start = datetime(2026, 10, 19, 10, 30, tzinfo=plan.zone)
    journal = FaultJournal()
    return World(
        Building(plan, start, journal.at_minute), journal, now_ms=lambda: round(start.timestamp() * 1000) + 1234
    )


@pytest.fixture
async def served(world: World, site: Site):
    opened: Served = await serve_site(world, site)
    yield opened
    await opened.close()


def client_of(bus):
    if isinstance(bus, RtuBus):
        return AsyncModbusSerialClient(bus.serial, baudrate=bus.baud, retries=0, timeout=1)
    framer = FramerType.RTU if isinstance(bus, RtuOverTcpBus) else FramerType.SOCKET
    return AsyncModbusTcpClient(bus.host, port=bus.port, framer=framer, retries=0, timeout=1)


async def test_every_device_answers_on_its_bus_with_what_its_image_holds(served: Served, site: Site) -> None:
    for bus in site.buses:
        client = client_of(bus)
        assert await client.connect(), bus.name
        for device in bus.devices:
            image = served.images[device.name]
            point = next(p for p in image.profile.points if not p.is_text and not p.function.is_bits)
            read = client.read_input_registers if point.function == "input" else client.read_holding_registers
            answer = await read(point.address, count=point.count, device_id=device.unit)
            assert not answer.isError(), (device.name, answer)
            assert answer.registers == list(image.read(point.function.read_code, point.address, point.count))
        client.close()


async def test_one_line_serves_several_units_and_refuses_addresses_outside_the_map(served: Served, site: Site) -> None:
    bus = next(bus for bus in site.buses if isinstance(bus, RtuOverTcpBus))
    client = client_of(bus)
    await client.connect()
    energies = set()
    for device in bus.devices[:6]:
        point = served.images[device.name].profile.point("active_energy_import")
        answer = await client.read_input_registers(point.address, count=point.count, device_id=device.unit)
        value, quality = decode_point(point, answer.registers)
        assert quality is Quality.GOOD
        energies.add(value)
    assert len(energies) == 6
    refused = await client.read_holding_registers(60_000, count=2, device_id=1)
    assert refused.isError()
    assert refused.exception_code == 2
    client.close()


async def test_a_silenced_device_behind_a_gateway_leaves_its_neighbours_alone(
    served: Served, site: Site, world: World
) -> None:
    bus = next(bus for bus in site.buses if bus.name == "tcp-floor-3")
    world.journal.set("meter-t301", "silent", at_ms=world.now_ms())
    client = client_of(bus)
    await client.connect()
    silent = await client.read_input_registers(0x48, count=2, device_id=2)
    neighbour = await client.read_input_registers(0x48, count=2, device_id=3)
    assert silent.exception_code == 0x0B
    assert not neighbour.isError()
    world.journal.clear("meter-t301", at_ms=world.now_ms())
    assert not (await client.read_input_registers(0x48, count=2, device_id=2)).isError()
    client.close()


async def test_a_stream_that_is_not_modbus_is_cut_and_the_next_client_is_served(served: Served, site: Site) -> None:
    bus = site.buses[0]
    reader, writer = await asyncio.open_connection(bus.host, bus.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert await reader.read() == b""
    writer.close()
    client = client_of(bus)
    await client.connect()
    assert not (await client.read_holding_registers(3059, count=2, device_id=1)).isError()
    client.close()


async def test_a_taken_port_is_named_with_the_remedy_and_nothing_stays_open(world: World, site: Site) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.buses[3].port))
        taken.listen()
        with pytest.raises(ServeError, match=r"bus tcp-floor-3: .* choose other ports"):
            await serve_site(world, site)
    await (await serve_site(world, site)).close()  # The buses before it had been closed again.


async def test_the_control_channel_breaks_mends_and_overrides(world: World, served: Served) -> None:
    server = await Control(world, list(served.images)).serve("127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert (await client.put("/faults/meter-t301", json={"kind": "silent"})).json()["kind"] == "silent"
        assert [f["target"] for f in (await client.get("/faults")).json()] == ["meter-t301"]
        assert (await client.delete("/faults/meter-t301")).json() == {"target": "meter-t301", "ended": 1}
        assert (await client.get("/faults")).json() == []
        await client.put("/overrides/meter-t301/active_power_total", json={"value": 4321})
        assert world.overrides["meter-t301", "active_power_total"] == 4321
        refused = await client.put("/faults/ahu-3", json={"kind": "phase_loss"})
        assert (refused.status_code, "is for meter-*" in refused.json()["detail"]) == (422, True)
        assert (await client.put("/overrides/nobody/x", json={"value": 1})).status_code == 404
        assert (await client.put("/faults/ahu-3", content=b"{")).status_code == 422
        assert (await client.get("/nothing")).status_code == 404
    server.close()
    await server.wait_closed()
