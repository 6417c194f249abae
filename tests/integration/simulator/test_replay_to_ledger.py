"""Measured energy of a real office: file → simulated meter → socket → agent → outbox → HTTP → ledger → the file's sums."""

import asyncio
import contextlib
import csv
import gzip
import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.kit.clock import Clock as CloudClock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import service as metering
from cloud_api.operations.site_import import service as site_import
from edge_agent.agent import Agent
from edge_agent.settings import AgentSettings, load_site
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import load_plan
from edge_agent.simulator.replay import load_replay
from edge_agent.simulator.serve import serve_site
from edge_agent.simulator.world import World
from tests.support.broker import free_port
from tests.support.real_cloud import RealCloud

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
MAP = {
    "space": "5F-02",
    "time": "timestamp",
    "period_s": 300,
    "energy_kwh": ["plug_load_energy", "lighting_energy", "ceiling_fan_energy"],
    "people": "occupant_count",
    "co2_ppm": "indoor_co2",
    "temperature_c": "air_temperature",
}
METER = "meter-t502"  # Counts space 5F-02 and nothing else, in whole watt-hours.
QUARTER_S = 900


class HandClock:
    """The only clock of building and agent; the test moves it."""

    def __init__(self, at: datetime) -> None:
        self.ms = round(at.timestamp() * 1000)

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.ms / 1000


def energy_by_quarter(file: Path, day: str) -> list[Decimal]:
    """What the file says was used in each quarter of an hour of a day, in kWh."""
    sums = [Decimal(0)] * 96
    with gzip.open(file, "rt") as handle:
        for row in csv.DictReader(handle):
            if row["timestamp"].startswith(day):
                hour, minute = int(row["timestamp"][11:13]), int(row["timestamp"][14:16])
                sums[hour * 4 + minute // 15] += sum(Decimal(row[name]) for name in MAP["energy_kwh"])
    return sums


def small_site(folder: Path, cloud_url: str, credential: str) -> Path:
    """Of the demo site, the bus of the fifth floor."""
    site = yaml.safe_load((DEMO / "site.yaml").read_text())
    bus = next(bus for bus in site["buses"] if bus["name"] == "tcp-floor-5")
    (folder / "credential").write_text(credential)
    cloud = {"url": cloud_url, "credential_file": "credential"}
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump({"gateway": "gw-demo", "cloud": cloud, "buses": [bus | {"port": free_port()}]}))
    return path


@pytest.fixture
async def cloud(database, pool):
    cloud = RealCloud(database.app, pool)
    await cloud.start()
    yield cloud
    await cloud.stop()


async def credential_of_the_demo_site(pool) -> str:
    async with transaction(pool, SYSTEM) as conn:
        estate = site_import.read_estate(DEMO / "building.yaml")
        await site_import.import_estate(conn, estate, actor="test", clock=CloudClock())
        now = CloudClock().now()
        return await devices.add_gateway(conn, site_code="hz-park", name="gw-demo", actor="test", now=now)


async def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def live(agent: Agent, clock: HandClock, seconds: float) -> None:
    """Move the clock and let the agent do everything that is due by then."""
    clock.ms += round(seconds * 1000)
    poller = agent.pollers["tcp-floor-5"]
    slept = poller._waiter
    poller.wake()
    await until(lambda: poller._waiter not in {None, slept})


@contextlib.asynccontextmanager
async def running_agent(site_path: Path, folder: Path, clock: HandClock):
    agent = Agent(site_path, AgentSettings(data_dir=folder / "edge", status_port=0), clock=clock)
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        await running


async def test_measured_energy_reaches_the_ledger_as_it_stands_in_the_file(cloud, pool, tmp_path, shared_data) -> None:
    file = shared_data / "robod" / "office_room.csv.gz"
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(MAP))
    plan = load_plan(DEMO / "building.yaml", DEMO / "leases.csv")
    midnight = datetime(2026, 10, 19, tzinfo=plan.zone)
    begin = round(midnight.timestamp()) // 60
    replay = load_replay(file, tmp_path / "map.yaml", begin_minute=begin, plan=plan)
    clock = HandClock(midnight - timedelta(seconds=15))  # To connect, and to read what is read once.
    journal = FaultJournal()
    world = World(Building(plan, midnight, journal.at_minute, [replay]), journal, now_ms=clock.now_ms)
    site_path = small_site(tmp_path, cloud.url, await credential_of_the_demo_site(pool))
    alone = site_path.with_name("alone.yaml")
    alone.write_text(yaml.safe_dump({k: v for k, v in yaml.safe_load(site_path.read_text()).items() if k != "cloud"}))
    served = await serve_site(world, load_site(site_path))
    try:
        # The day passes in seconds, so the building lives it offline; the cloud, whose clock is today's, gets it after.
        async with running_agent(alone, tmp_path, clock) as agent:
            await until(lambda: "tcp-floor-5" in agent.pollers)
            for _ in range(15):
                await live(agent, clock, 1)
            for _ in range(96):
                await live(agent, clock, QUARTER_S)
        async with running_agent(site_path, tmp_path, clock) as agent:
            await until(
                lambda: not sum(agent.outbox.waiting().values()) and not agent.outbox.report()["buffered"], 60.0
            )
    finally:
        await served.close()
    await metering.recompute_all(pool, CloudClock())

    async with transaction(pool, SYSTEM) as conn:
        cursor = await conn.execute("SELECT id FROM meter WHERE code = %s", [METER])
        [[meter_id]] = await cursor.fetchall()
        stored = await metering.meter_intervals(conn, [meter_id], Period(midnight, midnight + timedelta(days=1)))
    measured = energy_by_quarter(file, "2021-09-07")
    assert len(stored) == 96
    assert all(interval.quality == "actual" for interval in stored)
    # The register counts whole watt-hours, and each minute has whole watts.
    assert max(abs(i.quantity - kwh) for i, kwh in zip(stored, measured, strict=True)) <= Decimal("0.0011")
    assert abs(sum(i.quantity for i in stored) - sum(measured)) <= Decimal("0.0011")
    assert sum(measured) > 15
