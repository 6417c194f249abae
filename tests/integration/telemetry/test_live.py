import asyncio

from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry import service as telemetry
from cloud_api.telemetry.live import QUEUE_MAX, LiveBus, Notice, Subscription, audience_of, event_stream
from tests.integration.ingest.conftest import NOW_MS, client, edge, rows_of, site  # noqa: F401

POWER = "meter-1/active_power"


async def _next(subscription, kind):
    async with asyncio.timeout(5):
        while (notice := await subscription.next()).kind != kind:
            pass
        return notice


async def test_an_accepted_value_reaches_the_subscribers_of_its_organisation_only(database, pool, edge, site):  # noqa: F811
    await edge.announce()
    async with LiveBus(database_url=database.app, pool=pool).running() as bus:
        with bus.subscribe(audience_of(site[0])) as ours, bus.subscribe(audience_of(site[0] + 1)) as others:
            await _next(ours, "resync")  # It listens now.
            await edge.send([(1, POWER, NOW_MS - 100, 1500.5)])
            notice = await _next(ours, "values")
            [value] = notice.data["values"]
            assert (value["value"], value["quality"], value["at_ms"]) == (1500.5, 0, NOW_MS - 100)
            await edge.send([(2, POWER, NOW_MS - 3_600_000, 1.0)])  # Late: nothing moves.
            async with transaction(pool, SYSTEM) as conn:
                await telemetry.notify(conn, {"kind": "alarm", "id": 7})
            assert (await ours.next()).data == {"id": 7}
            assert (await _next(others, "alarm")).data == {"id": 7}


async def test_a_lost_connection_is_made_again_and_everyone_fetches_anew(database, pool, server):
    async with LiveBus(database_url=database.app, pool=pool).running() as bus:
        with bus.subscribe() as subscription:
            await _next(subscription, "resync")
            async with transaction(pool, SYSTEM) as conn:
                await conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE query = 'LISTEN live' AND datname = current_database()"
                )
            await _next(subscription, "resync")


async def test_a_reader_that_is_too_slow_is_told_to_fetch_anew():
    subscription = Subscription(audience=lambda notice: notice)
    for n in range(QUEUE_MAX + 1):
        subscription.offer(Notice(kind="alarm", data={"id": n}))
    assert (await subscription.next()).kind == "resync"


async def test_a_tenant_sees_the_values_of_its_points_only():
    see = audience_of(1, frozenset({5}))
    notice = Notice(kind="values", organisation_id=1, data={"values": [{"point": 5}, {"point": 6}]})
    assert see(notice).data == {"values": [{"point": 5}]}
    assert see(Notice(kind="values", organisation_id=1, data={"values": [{"point": 6}]})) is None


async def test_notices_are_written_as_server_sent_events(pool):
    bus = LiveBus(database_url="", pool=pool)
    stream = event_stream(bus, lambda notice: notice)
    assert await anext(stream) == b"retry: 2000\n\n"
    bus.publish(Notice(kind="alarm", data={"id": 1}))
    assert await anext(stream) == b'event: alarm\ndata: {"id":1}\n\n'
    await stream.aclose()
