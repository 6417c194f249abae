"""The mirror against a real server that speaks InfluxDB's write API, and that goes away and comes back."""

import asyncio
import contextlib
import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.settings import Settings
from cloud_api.telemetry import mirror as mirrors
from cloud_api.telemetry.mirror import Mirror
from tests.integration.ingest.conftest import NOW, NOW_MS, client, edge, site  # noqa: F401  # Fixtures.
from tests.support.broker import free_port

SERVER = "/usr/bin/victoria-metrics"
pytestmark = pytest.mark.skipif(
    not Path(SERVER).exists() and not os.environ.get("CI"), reason="needs victoria-metrics (tests/services/install.sh)"
)
POWER = "meter-1/active_power"


class VictoriaMetrics:
    """What was written survives `stop` and `start`."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder

    async def start(self) -> None:
        self._process = subprocess.Popen(  # noqa: ASYNC220  # It returns at once.
            [SERVER, f"-storageDataPath={self._folder}", f"-httpListenAddr={self.url[7:]}", "-retentionPeriod=100y",
             "-dedup.minScrapeInterval=1ms"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(30), httpx.AsyncClient() as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{self.url}/health")).status_code == 200:
                        return
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    async def values(self, field: str = "value") -> dict[int, float]:
        """Return what it holds of one point, by instant."""
        query = {"match[]": f'observation_{field}{{device="meter-1",point="active_power",site="park",unit="W"}}'}
        async with httpx.AsyncClient() as http:
            await http.get(f"{self.url}/internal/force_flush")
            answer = await http.get(f"{self.url}/api/v1/export", params=query)
        found: dict[int, float] = {}
        for line in answer.text.splitlines():
            series = json.loads(line)
            found |= dict(zip(series["timestamps"], series["values"], strict=True))
        return found


@pytest.fixture
async def victoria(tmp_path):
    server = VictoriaMetrics(tmp_path)
    await server.start()
    yield server
    server.stop()


@pytest.fixture
async def mirror(database, pool, victoria, monkeypatch):
    monkeypatch.setattr(mirrors, "BACKOFF_S", (0.2,))
    settings = Settings(database_url=database.app, influx_url=victoria.url, influx_token="t")
    task = asyncio.create_task(Mirror(pool, fixed_clock(NOW), settings).run())
    async with asyncio.timeout(10):
        while not (await mirrors.state(pool))["is_on"]:  # noqa: ASYNC110  # The database tells.
            await asyncio.sleep(0.05)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def rows(first, count):
    return [(seq, POWER, NOW_MS - 10**7 + seq * 1000, float(seq)) for seq in range(first, first + count)]


def drawn(*batches):
    return {at_ms: value for batch in batches for _, _, at_ms, value in batch}


async def until_drained(pool, task):
    async with asyncio.timeout(15):
        while (await mirrors.state(pool))["waiting"]:  # The database tells.
            assert not task.done(), task.exception()
            await asyncio.sleep(0.1)


async def test_every_observation_arrives_whether_small_batch_or_large(edge, pool, victoria, mirror):  # noqa: F811
    await edge.announce()
    small, large = rows(1, 300), rows(301, 4_000)
    await edge.send(small)
    await edge.send(large)
    await edge.send([(4_301, POWER, NOW_MS, None, 3)])
    await until_drained(pool, mirror)
    assert await victoria.values() == drawn(small, large)
    assert (await victoria.values("quality"))[NOW_MS] == 3
    assert (await mirrors.state(pool))["refused_count"] == 0


async def test_while_the_server_is_away_ingest_goes_on_and_nothing_is_lost(edge, pool, victoria, mirror):  # noqa: F811
    await edge.announce()
    batches = [rows(1 + n * 50, 50) for n in range(8)]
    await edge.send(batches[0])
    await until_drained(pool, mirror)
    victoria.stop()
    for batch in batches[1:6]:
        assert (await edge.send(batch))["rejected"] == []
    await asyncio.sleep(1)
    away = await mirrors.state(pool)
    assert away["waiting"] == 5
    assert away["refused_count"] > 0
    assert away["last_error"]
    await victoria.start()
    for batch in batches[6:]:
        await edge.send(batch)
    await until_drained(pool, mirror)
    assert await victoria.values() == drawn(*batches)
    assert (await mirrors.state(pool))["written_count"] == 400


async def test_a_full_outbox_leaves_spans_and_still_loses_nothing(edge, pool, victoria, mirror):  # noqa: F811
    await edge.announce()
    batches = [rows(1 + n * 50, 50) for n in range(4)]
    await edge.send(batches[0])
    await until_drained(pool, mirror)
    victoria.stop()
    async with transaction(pool, SYSTEM) as conn:  # As if 20,000 batches waited between these two.
        await conn.execute(
            "INSERT INTO mirror_batch (id, first_at, last_at) OVERRIDING SYSTEM VALUE"
            " SELECT id, min(observed_at), max(observed_at) FROM observation, unnest(ARRAY[-30000, -1]) id GROUP BY id"
        )
    for batch in batches[1:]:
        await edge.send(batch)
    async with transaction(pool, SYSTEM) as conn:
        cursor = await conn.execute("SELECT count(*) FROM mirror_batch WHERE content IS NULL")
        assert await cursor.fetchone() == (5,)
    await victoria.start()
    await until_drained(pool, mirror)
    assert await victoria.values() == drawn(*batches)


async def test_switched_off_it_costs_ingest_nothing(edge, pool):  # noqa: F811
    await edge.announce()
    await edge.send(rows(1, 10))
    assert (await mirrors.state(pool))["waiting"] == 0
    await mirrors.switch(pool, is_on=True)
    await edge.send(rows(11, 10))
    assert (await mirrors.state(pool))["waiting"] == 1
    await mirrors.switch(pool, is_on=False)
    assert (await mirrors.state(pool))["waiting"] == 0
