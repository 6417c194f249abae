"""Several API processes share the streams: what one remembers of a stream may be old, and does no harm."""

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
