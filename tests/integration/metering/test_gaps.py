from datetime import timedelta

import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import Scope
from cloud_api.metering import gaps
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.integration.metering.conftest import ENERGY
from tests.integration.metering.test_corrections import staff

MIN = 60_000
WEEK = Period(NOW - timedelta(days=7), NOW)


@pytest.fixture
async def register(edge, meters):
    """Readings every five minutes of two hours, with half an hour of silence, until ten minutes ago."""
    await edge.announce()
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    await edge.send([(n + 1, ENERGY, NOW_MS - 130 * MIN + n * 5 * MIN, n * 100) for n in range(25) if not 8 < n < 15])
    await meters.recompute()
    return register


async def found(meters, clock=NOW):
    async with staff(meters) as conn:
        return [
            (g.silent_from, g.silent_to, g.cause, g.estimated_count)
            for g in await gaps.gaps(conn, fixed_clock(clock), WEEK)
        ]


def ago(minutes):
    return NOW - timedelta(minutes=minutes)


async def test_a_silence_is_listed_with_its_intervals_until_late_data_end_it(edge, meters, register):
    assert await found(meters) == [(ago(90), ago(55), "unknown", 3)]
    await edge.send([(30, ENERGY, NOW_MS - 75 * MIN, 850)])
    await meters.recompute()
    assert await found(meters) == []  # Fifteen and twenty minutes are within what the meter allows.
    stored = await meters.execute("SELECT count(*) FROM register_gap")
    assert stored == [(0,)]


async def test_recomputing_everything_finds_the_same_silences(meters, register):
    before = await meters.execute("SELECT * FROM register_gap")
    await meters.execute(
        "INSERT INTO dirty_range (register_id, starts_at, ends_at) SELECT id, '-infinity', 'infinity' FROM register"
    )
    await meters.recompute()
    assert await meters.execute("SELECT * FROM register_gap") == before
    assert len(before) == 1


async def test_a_silence_that_lasts_is_open_and_says_whom_nobody_hears(meters, register):
    later = NOW + timedelta(minutes=30)
    await meters.execute("UPDATE gateway SET last_seen_at = %s", later)
    assert (await found(meters, later))[0] == (ago(10), None, "unknown", 0)
    await meters.execute("UPDATE gateway SET last_seen_at = %s", NOW)
    assert (await found(meters, later))[0] == (ago(10), None, "waiting", 0)


async def test_silence_an_offline_device_and_unreadable_values_are_three_things(edge, meters, register):
    offline = {"seq": 40, "kind": "device.state", "device": "meter-1", "at_ms": NOW_MS - 88 * MIN,
               "received_at_ms": NOW_MS, "data": {"state": "offline"}}  # fmt: skip
    await edge.send([(41, ENERGY, NOW_MS - 80 * MIN, None, 2)])
    assert [g[2] for g in await found(meters)] == ["invalid"]
    await edge.send(events=[offline])
    assert [g[2] for g in await found(meters)] == ["offline"]


async def test_the_silences_of_others_are_not_there(meters, register):
    async with transaction(meters.pool, Scope(kind="staff", organisation_id=meters.organisation_id + 1)) as conn:
        assert await gaps.gaps(conn, fixed_clock(NOW), WEEK) == []
        assert await gaps.count(conn, WEEK) == 0
