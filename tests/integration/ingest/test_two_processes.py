"""Several API processes share the streams: what one remembers of a stream may be old, and does no harm."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from cloud_api.kit.clock import Clock
from cloud_api.main import create_app
from cloud_api.settings import Settings
from tests.integration.ingest.conftest import CATALOGUE, NOW, NOW_MS, Edge

POWER = "meter-1/active_power"


@pytest.fixture
async def other(database, edge):
    """The same gateway's road to another process."""
    app = create_app(Settings(database_url=database.app, pool_size_max=2), Clock(source=lambda: NOW))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://other") as client,
    ):
        yield Edge(client=client, credential=edge.credential, stream=edge.stream)


def row(seq):
    return (seq, POWER, NOW_MS - 100_000 + seq, float(seq))


async def test_a_batch_sent_to_both_is_stored_once(edge, other, rows_of):
    await edge.announce()
    await edge.send([row(1)])
    await other.send([row(1), row(2)])
    assert (await edge.send([row(2), row(3)]))["accepted"] == [[2, 3]]
    assert (await other.send([row(1), row(2), row(3), row(4)]))["accepted"] == [[1, 4]]
    assert await rows_of("SELECT value FROM observation ORDER BY 1") == [(1,), (2,), (3,), (4,)]
    assert await rows_of("SELECT settled::text, accepted_count FROM ingest_stream") == [("{[1,5)}", 4)]


async def test_a_catalogue_changed_through_the_other_one_is_noticed(edge, other, rows_of):
    await edge.announce()
    await edge.send([row(1)])
    meter, door = CATALOGUE["devices"]
    new = {"name": "current_l1", "unit": "A"}
    await other.announce(CATALOGUE | {"revision": "r2", "devices": [meter | {"points": [*meter["points"], new]}, door]})
    receipt = await edge.send([(2, "meter-1/current_l1", NOW_MS, 5.0), row(3)])
    assert (receipt["accepted"], receipt["retry"]) == ([[2, 3]], [])
    assert await rows_of("SELECT count(*) FROM observation") == [(3,)]


async def test_a_rejection_made_by_one_is_told_by_the_other(edge, other):
    await edge.announce()
    await other.send([row(1)])
    first = await edge.send([(2, POWER, NOW_MS, "full"), row(3)])
    again = await other.send([(2, POWER, NOW_MS, 4.0), row(3)])
    assert first["rejected"] == again["rejected"] == [
        {"seq": 2, "code": "not_a_number", "reason": "value: must be a number"}
    ]  # fmt: skip


async def test_two_first_batches_of_a_new_month_at_once_are_both_kept(edge, other, rows_of):
    await edge.announce()
    other.stream = "00000000-0000-0000-0000-000000000002"
    months = [datetime(2025, month, 1, tzinfo=UTC) for month in range(1, 13)]
    for n, month in enumerate(months):
        at_ms = int(month.timestamp() * 1000)
        rows = [(2 * n + 1, POWER, at_ms - 1, 1.0), (2 * n + 2, POWER, at_ms, 2.0)]
        late = [(seq, point, at_ms + 1, value) for seq, point, at_ms, value in rows]
        receipts = await asyncio.gather(edge.send(rows), other.send(late))
        assert [receipt["accepted"] for receipt in receipts] == [[[2 * n + 1, 2 * n + 2]]] * 2
    assert await rows_of("SELECT count(*), count(DISTINCT (point_id, observed_at)) FROM observation") == [(48, 36)]
    assert await rows_of("SELECT settled::text FROM ingest_stream") == [("{[1,25)}",)] * 2
