"""kill -9 of API, worker and database while a known set is sent: the ledger equals that of an undisturbed run."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest

from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.db.pool import make_pool, transaction
from cloud_api.devices import service as devices
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import service as metering

COMMAND = Path(sys.executable).with_name("cloud-api")
START = datetime(2026, 3, 2, tzinfo=UTC)
POINTS = 4
READINGS = 1_200
BATCH = 60
CATALOGUE = {
    "v": 1,
    "revision": "1",
    "devices": [{"name": f"meter-{n}", "points": [{"name": "energy", "scale": 3}]} for n in range(POINTS)],
}


class Cloud:
    """Database, API and worker as processes, each of which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.server = EmbeddedServer(folder / "postgres")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        self.server.start()
        bootstrap(self.server.addresses("postgres").superuser, "cloud", self.server.passwords())
        migrate(self.server.addresses("cloud").owner)
        self.app_url = self.server.addresses("cloud").app
        for name in ("serve", "worker"):
            self.run(name)

    def run(self, name: str) -> None:
        environment = os.environ | {
            "CLOUD_DATABASE_URL": self.app_url,
            "CLOUD_PORT": str(self.port),
        }
        self.processes[name] = subprocess.Popen([COMMAND, name], env=environment, stderr=subprocess.DEVNULL)

    def kill(self, name: str) -> None:
        if name == "database":
            os.killpg(self.server.pid, signal.SIGKILL)
            time.sleep(0.3)
            self.server.start()
        else:
            self.processes[name].kill()
            self.processes[name].wait()
            self.run(name)

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.server.stop()


@pytest.fixture
def cloud(tmp_path):
    tmp_path.chmod(0o755)
    cloud = Cloud(tmp_path)
    cloud.start()
    yield cloud
    cloud.stop()


def known_set() -> list[tuple[int, int, int, int]]:
    """Return (seq, point, at_ms, mantissa): growing registers with silences and false zeros."""
    rng = random.Random(11)
    rows, values, at = [], [0] * POINTS, START
    for seq in range(1, READINGS + 1):
        point = seq % POINTS
        if point == 0:
            at += timedelta(minutes=rng.choice([1, 2, 5, 5, 45]))
        values[point] += rng.randrange(0, 900)
        rows.append((seq, point, int(at.timestamp() * 1000), 0 if rng.random() < 0.01 else values[point]))
    return rows


async def set_up(cloud: Cloud) -> str:
    async with make_pool(cloud.app_url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
        [organisation] = await (
            await conn.execute("INSERT INTO organisation (code, name_zh, name_en) VALUES ('f','f','f') RETURNING id")
        ).fetchone()
        [site] = await (
            await conn.execute(
                "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s,'f','f','f') RETURNING id",
                (organisation,),
            )
        ).fetchone()
        credential = await devices.add_gateway(conn, site_code="f", name="gw", actor="test", now=datetime.now(UTC))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{cloud.port}") as client:
        await until_answered(client, "PUT", "/ingest/v1/catalogue", credential, CATALOGUE)
    async with make_pool(cloud.app_url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "WITH m AS (INSERT INTO meter (organisation_id, site_id, code, name_zh, name_en, use)"
            " SELECT %(o)s, %(s)s, d.name, d.name, d.name, 'tenant' FROM device d RETURNING id, code)"
            " INSERT INTO register (organisation_id, meter_id, quantity, unit, point_id)"
            " SELECT %(o)s, m.id, 'active_energy_import', 'kWh', p.id"
            "   FROM m JOIN device d ON d.name = m.code JOIN point p ON p.device_id = d.id",
            {"o": organisation, "s": site},
        )
    return credential


async def until_answered(client, method, path, credential, body):
    deadline = time.monotonic() + 120
    while True:
        try:
            answer = await client.request(
                method, path, json=body, headers={"Authorization": f"Bearer {credential}"}, timeout=20
            )
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            return answer.json()
        assert answer is None or answer.status_code in {429, 500, 503}, answer.text
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.1)


async def send_all(cloud: Cloud, credential: str, faults: list[str]) -> None:
    """Send the set as an agent does: a batch is sent again until it has its receipt."""
    rows, stream = known_set(), str(uuid.UUID(int=7))
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    rng = random.Random(5)
    when = dict(zip(sorted(rng.sample(range(1, len(batches)), len(faults))), faults, strict=True))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{cloud.port}") as client:
        for number, batch in enumerate(batches):
            message = {
                "v": 1, "stream": stream, "points": [f"meter-{n}/energy" for n in range(POINTS)], "scales": [3] * POINTS,
                "seq": [r[0] for r in batch], "point": [r[1] for r in batch], "at_ms": [r[2] for r in batch],
                "value": [r[3] for r in batch], "quality": [0] * len(batch), "events": [],
            }  # fmt: skip
            sending = asyncio.create_task(until_answered(client, "POST", "/ingest/v1/batches", credential, message))
            if number in when:
                await asyncio.sleep(rng.random() * 0.05)  # Somewhere inside the batch.
                await asyncio.to_thread(cloud.kill, when[number])
            receipt = await sending
            assert receipt["accepted"] == [[batch[0][0], batch[-1][0]]]


def ledger_of(url: str):
    with psycopg.connect(url) as conn:
        conn.execute("SELECT set_config('app.viewer_kind', 'system', false)")
        intervals = conn.execute(
            "SELECT m.code, i.starts_at, i.quantity, i.quality, i.reason, i.source_from, i.source_to FROM app.interval i"
            " JOIN app.register r ON r.id = i.register_id JOIN app.meter m ON m.id = r.meter_id ORDER BY 1, 2"
        ).fetchall()
        stored = conn.execute("SELECT count(*), count(DISTINCT (point_id, observed_at, mantissa)) FROM app.observation")
        return intervals, stored.fetchone()


async def test_kills_at_random_instants_leave_the_ledger_of_an_undisturbed_run(cloud, tmp_path):
    async def run(faults):
        credential = await set_up(cloud)
        await send_all(cloud, credential, faults)
        async with make_pool(cloud.app_url, size_max=2) as pool:
            deadline = time.monotonic() + 60
            while True:
                await metering.recompute_all(pool, Clock())
                async with transaction(pool, SYSTEM) as conn:
                    waiting = await metering.count_dirty(conn)
                if waiting <= POINTS or time.monotonic() > deadline:  # The interval that is not over keeps its mark.
                    break
                await asyncio.sleep(0.2)
        return ledger_of(cloud.app_url)

    disturbed, stored = await run(["serve", "database", "worker", "serve", "database"])
    assert stored == (READINGS, READINGS)
    cloud.stop()
    undisturbed_cloud = Cloud(tmp_path / "undisturbed")
    (tmp_path / "undisturbed").mkdir()
    (tmp_path / "undisturbed").chmod(0o755)
    undisturbed_cloud.start()
    try:
        cloud = undisturbed_cloud
        undisturbed, _ = await run([])
    finally:
        undisturbed_cloud.stop()
    assert disturbed == undisturbed
    assert len(undisturbed) > 100
