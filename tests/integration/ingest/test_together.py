"""Small batches stored together, and latest values that move a moment after the batches of a burst."""

import asyncio
import random
from datetime import timedelta
from uuid import UUID

import orjson
import pytest

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.ingest.limits import counters
from cloud_api.ingest.message import read_batch
from cloud_api.ingest.service import Ingest
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry import service as telemetry
from tests.integration.ingest.conftest import NOW, NOW_MS

POWER = "meter-1/active_power"
ENERGY = "meter-1/active_energy_import"
# What the table says of the newest value, and what the observations say.
LATEST = "SELECT point_id, observed_at, value, exact, quality FROM latest_value ORDER BY 1"
NEWEST = (
    "SELECT DISTINCT ON (point_id) point_id, observed_at, value, mantissa * power(10::numeric, -scale), quality"
    " FROM observation ORDER BY point_id, observed_at DESC"
)


class Sender:
    """Hands batches of one gateway, in several streams, to the ingest of one process."""

    def __init__(self, edge, ingest, gateway):
        self.edge, self.ingest, self.gateway = edge, ingest, gateway
        self.sent = dict.fromkeys(range(8), 0)

    async def send(self, stream, *rows):
        """Send (point, at_ms, value) as the next numbers of the stream."""
        first = self.sent[stream] + 1
        last = self.sent[stream] = self.sent[stream] + len(rows)
        message = self.edge.message(
            [(seq, *row) for seq, row in enumerate(rows, start=first)], stream=str(UUID(int=stream + 1))
        )
        receipt = await self.ingest.accept(self.gateway, read_batch(orjson.dumps(message)))
        assert receipt.body()["accepted"] == [[first, last]]


@pytest.fixture
async def sender(pool, edge):
    await edge.announce()
    async with transaction(pool, SYSTEM) as conn:
        gateway = await devices.authenticate(conn, edge.credential)
    return Sender(edge, Ingest(pool=pool, clock=fixed_clock(NOW)), gateway)


async def test_batches_that_wait_at_the_same_moment_share_a_transaction(sender, rows_of):
    streams = range(8)
    await asyncio.gather(*(sender.send(n, (POWER, NOW_MS + n, 1.0)) for n in streams))
    await asyncio.gather(*(sender.send(n, (POWER, NOW_MS + 10 + n, 2.0)) for n in streams))
    assert await rows_of("SELECT count(*) FROM observation") == [(16,)]
    [[transactions]] = await rows_of("SELECT count(DISTINCT xmin::text) FROM observation WHERE value = 2")
    assert transactions < 8
    assert await rows_of("SELECT settled::text, accepted_count FROM ingest_stream") == [("{[1,3)}", 2)] * 8


async def test_a_batch_whose_stream_changed_elsewhere_holds_up_none_of_its_group(pool, sender, rows_of):
    other = Sender(sender.edge, Ingest(pool=pool, clock=fixed_clock(NOW)), sender.gateway)
    await asyncio.gather(*(sender.send(n, (POWER, NOW_MS + n, 1.0)) for n in range(8)))
    other.sent = dict(sender.sent)
    await other.send(5, (POWER, NOW_MS + 50, 2.0))
    sender.sent[5] = other.sent[5]
    split = counters["group_split"]
    await asyncio.gather(*(sender.send(n, (POWER, NOW_MS + 100 + n, 3.0)) for n in range(8)))
    assert counters["group_split"] == split + 1
    assert await rows_of("SELECT value, count(*) FROM observation GROUP BY 1 ORDER BY 1") == [(1, 8), (2, 1), (3, 8)]


async def test_two_batches_of_one_stream_at_once_are_both_stored(sender, rows_of):
    await sender.send(0, (POWER, NOW_MS, 1.0))
    await asyncio.gather(*(sender.send(0, (POWER, NOW_MS + n, 1.0 * n)) for n in range(1, 4)))
    assert await rows_of("SELECT settled::text FROM ingest_stream") == [("{[1,5)}",)]


async def test_the_first_batch_after_a_limit_is_set_leaves_its_copy_for_the_evaluator(sender, rows_of, pool):
    for n in range(2):
        await sender.send(0, (POWER, NOW_MS + n, 1.0))
    assert await rows_of("SELECT count(*) FROM observation_arrival") == [(0,)]
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO point_limit (organisation_id, point_id, kind, severity, value, clear_value, valid_from, set_by)"
            " SELECT organisation_id, id, 'above', 2, 5, 5, %s, 'test' FROM point LIMIT 1",
            (NOW,),
        )
    await sender.send(0, (POWER, NOW_MS + 3, 9.0))
    assert await rows_of("SELECT count(*), min(length(content)) FROM observation_arrival") == [(1, 25)]


async def test_late_batches_of_a_group_are_marked_each_with_its_own_stretch(sender, rows_of):
    day = 86_400_000
    await asyncio.gather(*(sender.send(n, (POWER, NOW_MS - day * (n + 1), 1.0)) for n in range(4)))
    marks = await rows_of("SELECT first_at, last_at, cardinality(point_ids) FROM series_mark ORDER BY 1 DESC")
    assert marks == [(NOW - timedelta(days=n + 1), NOW - timedelta(days=n + 1), 1) for n in range(4)]


async def test_the_values_of_a_burst_are_the_newest_stored_once_they_have_moved(sender, rows_of):
    rng = random.Random(3)
    for _ in range(60):
        await asyncio.gather(
            *(
                sender.send(stream, *(random_row(rng) for _ in range(rng.randint(1, 5))))
                for stream in rng.sample(range(8), 3)
            )
        )
    assert await rows_of("SELECT count(*) FROM ingest_stream WHERE latest_held_at IS NOT NULL") != [(0,)]
    await sender.ingest.close()
    assert await rows_of(LATEST) == await rows_of(NEWEST)


async def test_what_a_killed_process_held_is_found_among_the_observations(sender, rows_of, pool):
    while await rows_of(LATEST) == await rows_of(NEWEST):  # Until a batch of the burst is held, to be lost.
        at_ms = NOW_MS - 10**6 + sender.sent[0]
        await sender.send(0, (POWER, at_ms, float(at_ms)), (ENERGY, at_ms, at_ms))
    async with transaction(pool, SYSTEM) as conn:
        assert await telemetry.streams_held(conn, timedelta(hours=1)) == []
        [stream_id] = await telemetry.streams_held(conn, timedelta(0))
        await telemetry.catch_up_latest(conn, stream_id)
        assert await telemetry.streams_held(conn, timedelta(0)) == []
    assert await rows_of(LATEST) == await rows_of(NEWEST)
    await sender.ingest.close()


async def test_held_values_move_by_themselves_soon_after(sender, rows_of):
    for n in range(10):
        await sender.send(0, (POWER, NOW_MS + n, float(n)))
    for _ in range(400):
        if await rows_of(LATEST) == await rows_of(NEWEST):
            return
        await asyncio.sleep(0.05)
    pytest.fail("the latest values stay behind the observations")


def random_row(rng):
    at_ms = NOW_MS - rng.randrange(10**9)
    return rng.choice([(POWER, at_ms, rng.random()), (ENERGY, at_ms, rng.randrange(10**6))])
