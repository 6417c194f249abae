"""The agent against a cloud that has enough: it waits as long as it is told, and nothing is lost or doubled."""

import asyncio
from datetime import UTC, datetime
from itertools import pairwise

import httpx
import pytest

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.kit.scope import SYSTEM
from edge_agent.outbox import Outbox
from tests.integration.edge.test_agent_to_cloud import CATALOGUE, NOW_MS, drain, frame, running
from tests.support.real_cloud import RealCloud

BATCHES = "/ingest/v1/batches"


@pytest.fixture
async def cloud_with(database, pool):
    started = []

    async def start(**settings):
        cloud = RealCloud(database.app, pool, **settings)
        await cloud.start()
        started.append(cloud)
        return cloud

    yield start
    for cloud in started:
        await cloud.stop()


def filled(path, seconds):
    outbox = Outbox(path)
    outbox.use_scales(CATALOGUE.scales())
    fill(outbox, seconds)
    return outbox


def fill(outbox, seconds):
    for second in seconds:
        outbox.append([frame("meter-1", second)])
    outbox.flush()


def assert_the_agent_waited(cloud, credential, status):
    """After each refusal with that status the next batch came no sooner than the cloud had said."""
    said = [answer for answer in cloud.answers if answer.path == BATCHES and answer.credential == credential]
    refused = [(answer, following) for answer, following in pairwise(said) if answer.status == status]
    assert refused, f"the cloud never answered {status}: {[answer.status for answer in said]}"
    for answer, following in refused:
        assert answer.retry_after_s is not None
        assert answer.retry_after_s >= 1
        assert following.asked_at_s - answer.answered_at_s >= answer.retry_after_s


async def test_a_gateway_above_its_share_is_slowed_down_and_loses_nothing(cloud_with, tmp_path):
    cloud = await cloud_with(ingest_observations_per_second=300, ingest_observations_burst=1_000)
    credential = await cloud.add_gateway()
    outbox = filled(tmp_path / "outbox.db", range(600))
    async with running(outbox, cloud, credential) as uplink:
        await drain(outbox)
        fill(outbox, range(600, 1_000))
        await drain(outbox)
        assert uplink.status.state == "connected"
    outbox.close()
    assert_the_agent_waited(cloud, credential, 429)
    stored = await cloud.stored()
    assert len(stored) == len({row[:3] for row in stored}) == 2_000


async def test_a_cloud_without_a_free_place_is_left_alone_as_long_as_it_says(cloud_with, pool, tmp_path):
    cloud = await cloud_with(ingest_batches_at_work=1, ingest_batches_waiting=1)
    credential = await cloud.add_gateway()
    async with transaction(pool, SYSTEM) as conn:
        other = await devices.add_gateway(conn, site_code="park", name="gw-2", actor="test", now=datetime.now(UTC))
    outbox = filled(tmp_path / "outbox.db", range(100))
    async with httpx.AsyncClient(base_url=cloud.url, headers={"Authorization": f"Bearer {other}"}) as gw_2:
        catalogue = {"v": 1, "revision": "1", "devices": [{"name": "meter-9", "points": [{"name": "active_power"}]}]}
        assert (await gw_2.put("/ingest/v1/catalogue", json=catalogue)).status_code == 200
        async with pool.connection() as conn:
            # A database that is slow to write keeps the only place taken.
            await conn.execute("LOCK TABLE app.ingest_stream IN EXCLUSIVE MODE")
            slow = asyncio.create_task(gw_2.post(BATCHES, json=one_observation(), timeout=60))
            await until(lambda: someone_waits(conn))
            async with running(outbox, cloud, credential):
                await until(lambda: any_answer(cloud, 503))
                assert sum(outbox.waiting().values())
                await conn.rollback()
                assert (await slow).json()["accepted"] == [[1, 1]]
                await drain(outbox)
    outbox.close()
    assert_the_agent_waited(cloud, credential, 503)
    stored = await cloud.stored()
    assert len(stored) == len({row[:3] for row in stored}) == 201


async def until(is_so):
    async with asyncio.timeout(20):
        while not await is_so():  # noqa: ASYNC110  # What others do is for reading, not for waiting.
            await asyncio.sleep(0.02)


async def someone_waits(conn):
    [count] = await (await conn.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")).fetchone()
    return count > 0


async def any_answer(cloud, status):
    return any(answer.status == status for answer in cloud.answers)


def one_observation():
    return {
        "v": 1, "stream": "00000000-0000-0000-0000-000000000009", "points": ["meter-9/active_power"], "scales": [None],
        "seq": [1], "point": [0], "at_ms": [NOW_MS], "value": [1.0], "quality": [0],
    }  # fmt: skip
