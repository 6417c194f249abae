"""Agent → broker → two workers of one host application, one of them killed again and again: nothing lost, nothing twice."""

import asyncio
import os
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.kit.scope import SYSTEM
from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox import Outbox
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.mqtt import SparkplugDestination, SparkplugUplink
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint
from tests.support.broker import MOSQUITTO, Broker

pytestmark = pytest.mark.skipif(
    not Path(MOSQUITTO).exists() and not os.environ.get("CI"), reason="needs mosquitto (tests/services/install.sh)"
)
COMMAND = Path(sys.executable).with_name("cloud-api")
DEVICES = [f"meter-{n}" for n in range(4)]
CATALOGUE = Catalogue(
    devices=tuple(
        CatalogueDevice(
            name=name, label="", profile="p", profile_revision="r", bus="b", address="a", poll_s=1, timeout_s=10,
            points=(
                CataloguePoint(name="energy", kind="sensor", quantity="e", unit="kWh", scale=3),
                CataloguePoint(name="power", kind="sensor", quantity="p", unit="W"),
            ),
        )
        for name in DEVICES
    )
)  # fmt: skip


class Workers:
    """Processes of `cloud-api sparkplug`, by name."""

    def __init__(self, database_url, port):
        self._environment = os.environ | {
            "CLOUD_DATABASE_URL": database_url,
            "CLOUD_MQTT_URL": f"mqtt://127.0.0.1:{port}",
        }
        self._running: dict[str, subprocess.Popen] = {}

    def start(self, name):
        self._running[name] = subprocess.Popen(
            [COMMAND, "sparkplug", "--name", name], env=self._environment, stdout=subprocess.DEVNULL
        )

    def kill(self, name):
        self._running[name].kill()
        self._running.pop(name).wait()

    def stop(self):
        for process in self._running.values():
            process.terminate()
            process.wait(15)


async def stored(pool):
    async with transaction(pool, SYSTEM) as conn:
        cursor = await conn.execute(
            "SELECT d.name, p.name, (extract(epoch FROM o.observed_at) * 1000)::bigint, o.value, o.mantissa, o.scale"
            " FROM observation o JOIN point p ON p.id = o.point_id JOIN device d ON d.id = p.device_id"
            " WHERE o.quality = 0 ORDER BY 3, 1, 2"
        )
        return await cursor.fetchall()


async def until(condition, seconds=90):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  # Another process fulfils it.
            await asyncio.sleep(0.2)


async def test_two_workers_share_the_load_and_a_kill_loses_nothing(database, pool, tmp_path):
    rng = random.Random(23)
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "WITH o AS (INSERT INTO organisation (code, name_zh, name_en) VALUES ('park', '园', 'Park') RETURNING id)"
            " INSERT INTO site (organisation_id, code, name_zh, name_en) SELECT id, 'park', '一', 'One' FROM o"
        )
        await devices.add_gateway(conn, site_code="park", name="gw-1", actor="test", now=datetime.now(UTC))
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker").start()
    workers = Workers(database.app, broker.port)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.use_scales(CATALOGUE.scales())
    destination = SparkplugDestination(
        host="127.0.0.1", port=broker.port, group="park", node="gw-1", primary_host="wattlease", data_qos=1
    )
    uplink = SparkplugUplink(destination, outbox, catalogue=lambda: CATALOGUE, backoff=Backoff(first_s=0.05, max_s=0.2))
    for name in ("a", "b"):
        workers.start(name)
    tasks = [asyncio.create_task(uplink.run()), asyncio.create_task(outbox.run())]
    expected = []
    try:
        start_ms = int(datetime.now(UTC).timestamp() * 1000) - 60_000
        for n in range(120):
            at_ms = start_ms + n * 137
            for i, device in enumerate(DEVICES):
                energy, power = 1_000_000 * (i + 1) + n, round(rng.uniform(0, 5000), 2)
                outbox.append([
                    Frame(device=device, observed_at_ms=at_ms, points=("energy", "power"), values=(energy, power),
                          qualities=(Quality.GOOD, Quality.GOOD))
                ])  # fmt: skip
                expected += [
                    (device, "energy", at_ms, energy / 1000, energy, 3),
                    (device, "power", at_ms, power, None, None),
                ]
            if n == 60:
                event = Event(
                    kind="door.access", device=DEVICES[0], at_ms=at_ms, received_at_ms=at_ms, data={"door": "1"}
                )
                outbox.append([], [event])
            if n % 30 == 20:
                victim = rng.choice("ab")
                workers.kill(victim)
                await asyncio.sleep(rng.random() * 0.5)
                workers.start(victim)
            await asyncio.sleep(0.1)

        async def all_there():
            return len(await stored(pool)) >= len(expected)

        await until(all_there)
        assert await stored(pool) == sorted(expected, key=lambda row: (row[2], row[0], row[1]))
        async with transaction(pool, SYSTEM) as conn:
            [kinds] = await (await conn.execute("SELECT array_agg(kind) FROM event")).fetchone()
            states = await (await conn.execute("SELECT DISTINCT state FROM device")).fetchall()
        assert kinds == ["door.access"]
        assert states == [("online",)]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        outbox.close()

    async def all_offline():
        async with transaction(pool, SYSTEM) as conn:
            return await (await conn.execute("SELECT DISTINCT state FROM device")).fetchall() == [("offline",)]

    try:
        await until(all_offline, seconds=20)
    finally:
        workers.stop()
        broker.stop()
