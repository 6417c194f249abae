"""The real agent and the real cloud: a point set from afar, a site file handed out, a bad one rolled back."""

import asyncio
from datetime import UTC, datetime

from cloud_api.db.pool import transaction
from cloud_api.devices import commands, configurations
from cloud_api.devices import service as devices
from cloud_api.kit.scope import SYSTEM
from edge_agent.agent import Agent
from edge_agent.settings import AgentSettings
from tests.integration.edge_bus.servers import serving
from tests.integration.edge_bus.test_cloud_orders import THERMOSTAT, Thermostat, site_text
from tests.support.real_cloud import RealCloud


async def eventually(condition, timeout_s=60):
    async with asyncio.timeout(timeout_s):
        while not (found := await condition()):  # noqa: ASYNC110  # Another program is waited for.
            await asyncio.sleep(0.1)
    return found


async def test_a_point_is_set_and_a_site_file_applied_from_the_cloud(database, pool, tmp_path):
    cloud = RealCloud(database.app, pool)
    await cloud.start()
    (tmp_path / "secret").write_text(await cloud.add_gateway(), encoding="utf-8")
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "test_thermostat.yaml").write_text(THERMOSTAT, encoding="utf-8")
    thermostat, path, stop = Thermostat(), tmp_path / "site.yaml", asyncio.Event()
    async with serving(thermostat.answer) as server:

        def site_file(device):
            return site_text(cloud.url, server.port, device).replace("gateway: gw\n", "gateway: gw-1\n")

        path.write_text(site_file("fcu-1"), encoding="utf-8")
        agent = Agent(path, AgentSettings(data_dir=tmp_path / "data", status_port=0))
        task = asyncio.create_task(agent.run(stop))
        try:

            async def names():
                async with transaction(pool, SYSTEM) as conn:
                    return {d["name"]: d for d in await devices.devices(conn)}

            await eventually(names)
            async with transaction(pool, SYSTEM) as conn:
                gateway = await devices.gateway_named(conn, "gw-1")
                point = await commands.point_by_address(conn, "gw-1", "fcu-1/room_temperature_setpoint")
                now = datetime.now(UTC)
                await commands.order(conn, point, value="24.5", why="too cold", actor="li", now=now)
                broken = site_file("fcu-1").replace("test_thermostat", "test_thermostad")
                await configurations.offer(conn, gateway, site_file=broken, why="a typo", actor="li", now=now)

            async def done():
                async with transaction(pool, SYSTEM) as conn:
                    [command] = await commands.commands(conn, datetime.now(UTC), gateway_id=gateway)
                return command["state"] == "done" and command

            assert (await eventually(done))["shown"] == 24.5
            assert thermostat.writes == [245]

            async def newest():
                async with transaction(pool, SYSTEM) as conn:
                    return (await configurations.versions(conn, gateway))[0]

            async def refused():
                return (await newest())["state"] == "refused" and await newest()

            [problem] = (await eventually(refused))["problems"]
            assert "did you mean “test_thermostat”?" in problem or "test_thermostad" in problem
            async with transaction(pool, SYSTEM) as conn:
                await configurations.offer(
                    conn, gateway, site_file=site_file("fcu-2"), why="renamed", actor="li", now=datetime.now(UTC)
                )

            async def renamed():
                found = await names()
                return "fcu-2" in found and found["fcu-1"]["retired_at"] and (await newest())["state"] == "trying"

            await eventually(renamed)
        finally:
            stop.set()
            await task
            await cloud.stop()
