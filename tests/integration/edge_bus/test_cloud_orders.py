"""What the cloud's answer to a heartbeat asks for: a point set, a configuration applied."""

import asyncio
import struct
import time

from edge_agent.agent import Agent
from edge_agent.settings import AgentSettings
from tests.integration.edge_bus.servers import Request, Server, serving
from tests.support.contract_cloud import ContractCloud

THERMOSTAT = """\
profile: test_thermostat
kind: modbus
category: hvac
label: {en: Thermostat, zh: 温控器}
products: [{brand: None, model: Test}]
source: Made up for the tests of commands.
confidence: documented
notes: No real device.
points:
  - {name: room_temperature_setpoint, address: 5, type: int16, scale: 0.1, write: {range: [16, 28]}}
"""


class Thermostat:
    def __init__(self) -> None:
        self.setpoint = 220
        self.writes: list[int] = []

    async def answer(self, request: Request, server: Server) -> bytes:
        if request.function == 6:
            self.setpoint = request.count
            self.writes.append(request.count)
            return request.mbap(struct.pack(">BHH", 6, request.address, request.count))
        return request.mbap(bytes([request.function, 2]) + struct.pack(">H", self.setpoint))


def site_text(cloud: str, port: int, name: str) -> str:
    device = f"{{name: {name}, profile: test_thermostat, unit: 1, poll_s: 0.2, writes: [room_temperature_setpoint]}}"
    bus = f"{{name: b, transport: tcp, host: 127.0.0.1, port: {port}, devices: [{device}]}}"
    return f"gateway: gw\nprofiles: profiles\ncloud: {{url: '{cloud}', credential_file: secret}}\nbuses: [{bus}]\n"


async def until(condition, timeout_s: float = 40.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.05)


async def test_a_command_is_carried_out_once_and_a_new_configuration_is_applied(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "test_thermostat.yaml").write_text(THERMOSTAT, encoding="utf-8")
    (tmp_path / "secret").write_text("secret\n", encoding="utf-8")
    thermostat, cloud = Thermostat(), ContractCloud()
    address = await cloud.start()
    command = {"id": "c-1", "device": "fcu-1", "point": "room_temperature_setpoint", "by": "li", "why": "too cold"}
    async with serving(thermostat.answer) as server:
        path = tmp_path / "site.yaml"
        path.write_text(site_text(address, server.port, "fcu-1"), encoding="utf-8")
        agent = Agent(path, AgentSettings(data_dir=tmp_path / "data", status_port=0))
        stop = asyncio.Event()
        cloud.heartbeat_answer = {"commands": [{**command, "value": 24}, {**command, "id": "c-2", "value": 40}]}
        task = asyncio.create_task(agent.run(stop))
        try:
            results = lambda: {  # noqa: E731
                event["data"]["id"]: event["data"]
                for batch in cloud.batches
                for event in batch.get("events", [])
                if event["kind"] == "command.result"
            }
            await until(lambda: len(results()) == 2)
            assert results()["c-1"]["outcome"] == "done"
            assert results()["c-1"]["shown"] == 24
            assert results()["c-2"]["outcome"] == "refused"
            assert results()["c-2"]["reason"].startswith("out_of_range")
            newer = site_text(address, server.port, "fcu-2")
            cloud.heartbeat_answer = {**cloud.heartbeat_answer, "configuration": {"version": 3, "site": newer}}
            await until(lambda: any(beat.get("configuration", {}).get("version") == 3 for beat in cloud.heartbeats))
            assert [device.config.name for device in agent.pollers["b"].devices] == ["fcu-2"]
            assert thermostat.writes == [240]
        finally:
            stop.set()
            await task
            await cloud.stop()
