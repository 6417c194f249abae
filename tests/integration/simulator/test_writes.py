"""Setting points of simulated devices, with the agent's own client and with another implementation of Modbus."""

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge_agent.clock import SystemClock
from edge_agent.drivers.modbus.client import Line
from edge_agent.settings import TcpBus
from edge_agent.simulator.serve import serve_site
from edge_agent.writes import Guard, Order, Writer, WriteRefused
from tests.integration.simulator.test_sockets import site, world  # noqa: F401  # Fixtures.


@pytest.fixture
async def ahu(site, world):  # noqa: F811  # The fixture imported above.
    served = await serve_site(world, site)
    bus, config = next((bus, device) for bus, device in site.modbus_devices() if device.name == "ahu-3")
    assert isinstance(bus, TcpBus)
    yield bus, config, served.images["ahu-3"].profile
    await served.close()


def order(value: float, point: str = "room_temperature_setpoint") -> Order:
    return Order(device="ahu-3", point=point, value=value, by="li", why="guests", release_after_s=60)


async def test_the_agent_sets_a_point_reads_it_back_and_releases_it(ahu, tmp_path):
    bus, config, profile = ahu
    writer, line = Writer(Guard.load(tmp_path / "writes.json"), SystemClock()), Line(bus)
    try:
        assert await writer.write(line, config, profile, order(24.5)) == 24.5
        (release,) = writer.releases()
        assert await writer.write(line, config, profile, release, is_release=True) == 23
        with pytest.raises(WriteRefused, match=r"writes: \[supply_air_temperature_setpoint\]"):
            await writer.write(line, config, profile, order(14, "supply_air_temperature_setpoint"))
    finally:
        await line.close()


async def test_other_registers_and_values_out_of_range_are_refused_as_by_a_device(ahu):
    bus, config, _ = ahu
    client = AsyncModbusTcpClient(bus.host, port=bus.port)
    await client.connect()
    try:

        async def code(address: int, *words: int) -> int:
            answer = await client.write_registers(address, list(words), device_id=config.unit)
            return answer.exception_code if answer.isError() else 0

        assert await code(21, 245, 300) == 0  # Room temperature 24.5 °C and static pressure 300 Pa.
        shown = await client.read_holding_registers(21, count=2, device_id=config.unit)
        assert shown.registers == [245, 300]
        assert await code(0, 200) == 2  # A measured value.
        assert await code(21, 990) == 3
        assert await code(20, 140, 245, 300, 900, 1) == 2  # The last one is no setpoint.
        coil = await client.write_coil(0, True, device_id=config.unit)  # Their interface.
        assert not coil.isError()
        assert (await client.read_coils(0, count=1, device_id=config.unit)).bits[0]
    finally:
        client.close()
