"""What the simulator said is what the cloud has: every exact value once, none twice, none lost, over a restart."""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from edge_agent.agent import Agent
from edge_agent.settings import AgentSettings, load_site
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import load_plan
from edge_agent.simulator.serve import serve_site
from edge_agent.simulator.world import ServedLedger, World, system_now_ms
from tests.support.broker import free_port
from tests.support.real_cloud import RealCloud

DEMO = Path(__file__).parents[3] / "deploy" / "demo"


@pytest.fixture
async def cloud(database, pool):
    cloud = RealCloud(database.app, pool)
    await cloud.start()
    yield cloud
    await cloud.stop()


def fast_site(folder: Path, cloud: RealCloud, credential: str) -> Path:
    """Two floors of the demo site, read twice a second."""
    (folder / "credential").write_text(credential)
    buses = []
    for bus in yaml.safe_load((DEMO / "site.yaml").read_text())["buses"]:
        if bus["name"] in {"tcp-floor-2", "tcp-floor-5"}:
            fast = [device | {"poll_s": 0.5} for device in bus["devices"]]
            buses.append(bus | {"port": free_port(), "devices": fast})
    path = folder / "site.yaml"
    to = {"url": cloud.url, "credential_file": "credential"}
    path.write_text(yaml.safe_dump({"gateway": "gw-1", "cloud": to, "buses": buses}))
    return path


async def live(site_path: Path, folder: Path, seconds: float) -> None:
    """Run the agent for a while, and stop it with whatever it still holds in its outbox."""
    agent = Agent(site_path, AgentSettings(data_dir=folder / "edge", status_port=0))
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    await asyncio.sleep(seconds)
    stop.set()
    await running


async def until_settled(site_path: Path, folder: Path) -> None:
    agent = Agent(site_path, AgentSettings(data_dir=folder / "edge", status_port=0))
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    deadline = time.monotonic() + 30
    while sum(agent.outbox.waiting().values()) or agent.outbox.report()["buffered"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    stop.set()
    await running


def served_in(file: Path) -> Counter[tuple[str, str, int]]:
    """Every exact value that was served: device, point, mantissa."""
    said: Counter[tuple[str, str, int]] = Counter()
    for line in file.read_text().splitlines():
        entry = json.loads(line)
        for point, (mantissa, _scale) in entry["values"].items():
            said[entry["device"], point, mantissa] += 1
    return said


async def test_every_value_served_is_stored_once_over_restarts_of_agent_and_cloud(cloud, tmp_path) -> None:
    plan = load_plan(DEMO / "building.yaml", DEMO / "leases.csv")
    journal = FaultJournal()
    yesterday = datetime.now(UTC).astimezone(plan.zone) - timedelta(days=1)
    world = World(Building(plan, yesterday, journal.at_minute), journal)
    world.instant()
    world.served = ServedLedger(tmp_path / "served.jsonl")
    site_path = fast_site(tmp_path, cloud, await cloud.add_gateway())
    served = await serve_site(world, load_site(site_path))
    await live(site_path, tmp_path, 3.0)
    await cloud.stop()
    await live(site_path, tmp_path, 3.0)
    await cloud.start()
    await live(site_path, tmp_path, 2.0)
    await served.close()
    world.served.close()
    await until_settled(site_path, tmp_path)

    said = served_in(tmp_path / "served.jsonl")
    stored: Counter[tuple[str, str, int]] = Counter()
    for device, point, at_ms, _value, mantissa, scale, quality in await cloud.stored():
        if scale is not None and quality == 0:
            stored[device, point, mantissa] += 1
            assert abs(at_ms - system_now_ms()) < 120_000
    assert sum(said.values()) > 200
    assert stored - said == Counter()
    # One answer per bus may be on its way whenever the agent stops: served, but never read.
    stops, buses, values_per_answer = 4, 2, 8
    assert sum((said - stored).values()) <= stops * buses * values_per_answer
    assert {key[:2] for key in stored} == {key[:2] for key in said}
