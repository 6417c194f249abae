"""Sums for charts say what the observations say, whenever they came."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.ids import PointId
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.operations.storage import service as storage
from cloud_api.telemetry import series
from cloud_api.telemetry.course import Silence
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.integration.metering.conftest import client, edge, meters, site  # noqa: F401

POWER = "meter-1/active_power"
MINUTE_MS = 60_000
DAYS = timedelta(days=30)


@pytest.fixture
async def point(edge, meters):  # noqa: F811
    await edge.announce()
    await meters.execute("UPDATE series_state SET summed_until = %s", NOW - timedelta(hours=2))
    return await meters.point(POWER)


async def sum_all(pool, now=NOW):
    more = True
    while more:
        async with transaction(pool, SYSTEM) as conn:
            more = await series.sum_due(conn, fixed_clock(now))


async def course(pool, point, period, **options):
    async with transaction(pool, SYSTEM) as conn:
        return await series.course(conn, PointId(point), period, now=NOW, **options)


async def plain(meters, point, shown):  # noqa: F811
    """The same course by the plainest query."""
    rows = await meters.execute(
        "SELECT date_bin(%s, observed_at, %s), avg(value), min(value), max(value), count(*) FROM observation"
        " WHERE point_id = %s AND quality <= 1 AND observed_at >= %s AND observed_at < %s GROUP BY 1 ORDER BY 1",
        shown.step, shown.steps[0].starts_at, point, shown.steps[0].starts_at, NOW,
    )  # fmt: skip
    return [(at, pytest.approx(mean), low, high, count) for at, mean, low, high, count in rows]


def facts(shown):
    return [(s.starts_at, s.mean, s.low, s.high, s.count) for s in shown.steps if s.count]


@pytest.mark.parametrize("seed", range(4))
async def test_sums_equal_the_observations_in_any_order_of_arrival(pool, edge, meters, point, seed):  # noqa: F811
    chance = random.Random(seed)
    seq = 0
    for _ in range(6):
        size = chance.choice([3, 40, 2500])  # One statement, or a COPY.
        reach = chance.choice([5, 200, 20_000])  # Minutes back from now: in time, and late.
        rows = []
        for _ in range(size):
            seq += 1
            rows.append((seq, POWER, NOW_MS - chance.randint(0, reach * MINUTE_MS), chance.randint(-500, 500) / 4,
                         chance.choice([0, 0, 0, 1])))  # fmt: skip
        await edge.send(rows)
        if chance.random() < 0.7:
            await sum_all(pool, NOW - timedelta(minutes=chance.randint(0, 90)))
        shown = await course(
            pool, point, Period(NOW - timedelta(days=14, minutes=7), NOW), steps_max=chance.choice([90, 900])
        )
        assert facts(shown) == await plain(meters, point, shown)  # Summed or not, the chart is right.
    await sum_all(pool)
    assert await meters.execute("SELECT count(*) FROM series_mark") == [(0,)]
    shown = await course(pool, point, Period(NOW - DAYS, NOW), steps_max=300)
    assert facts(shown) == await plain(meters, point, shown)


async def test_sums_outlive_their_observations(pool, edge, meters, point):  # noqa: F811
    await edge.send([(n + 1, POWER, NOW_MS - n * 10 * MINUTE_MS, float(n % 7)) for n in range(600)])
    await sum_all(pool)
    period = Period(NOW - timedelta(days=4), NOW)
    before = await course(pool, point, period, steps_max=100)
    await sum_all(pool, NOW + timedelta(days=600))
    await storage.tend(pool, fixed_clock(NOW + timedelta(days=600)))
    assert await meters.execute("SELECT count(*) FROM observation") == [(0,)]
    after = await course(pool, point, period, steps_max=100)
    assert facts(after) == facts(before)
    fine = await course(pool, point, Period(NOW - timedelta(hours=1), NOW))
    assert fine.step == timedelta(minutes=15)
    # Late data of that time do not replace what was summed from more of them.
    await edge.send([(1001, POWER, NOW_MS - 20 * MINUTE_MS, 999.0)])
    await sum_all(pool, NOW + timedelta(days=600))
    assert facts(await course(pool, point, period, steps_max=100)) == facts(before)


async def test_a_gap_says_why(pool, edge, meters, point):  # noqa: F811
    """Four hours of a value a minute: offline from 60 to 90, unreadable from 120 to 150, silent from 180 to 210."""
    start_ms = NOW_MS - 240 * MINUTE_MS
    rows = [
        (n + 1, POWER, start_ms + n * MINUTE_MS, 5.0, 0)
        for n in range(240)
        if not any(first <= n < first + 30 for first in (60, 120, 180))
    ]
    rows.append((301, POWER, start_ms + 60 * MINUTE_MS, None, 3))
    rows += [(400 + n, POWER, start_ms + (120 + n) * MINUTE_MS, None, 2) for n in range(30)]
    await edge.send(rows)
    first = datetime.fromtimestamp(start_ms / 1000, UTC)
    period = Period(first, NOW)
    expected = [
        (first + timedelta(minutes=60), first + timedelta(minutes=90), Silence.OFFLINE),
        (first + timedelta(minutes=120), first + timedelta(minutes=150), Silence.INVALID),
        (first + timedelta(minutes=180), first + timedelta(minutes=210), Silence.UNKNOWN),
    ]
    for _ in range(2):  # From observations, then from sums.
        fine = await course(pool, point, period, steps_max=130)
        rough = await course(pool, point, period, steps_max=17)
        assert [(g.starts_at, g.ends_at, g.reason) for g in fine.gaps] == expected
        assert [(g.starts_at, g.ends_at, g.reason) for g in rough.gaps] == expected
        await sum_all(pool)


async def test_the_worker_catches_up_after_a_long_stop(pool, edge, meters, point):  # noqa: F811
    await meters.execute("UPDATE series_state SET summed_until = %s", NOW - timedelta(days=5))
    values = ", ".join(f"({point}, '{(NOW - timedelta(hours=n)).isoformat()}', {n}, 0)" for n in range(1, 100))
    await meters.execute("SELECT ensure_observation_partitions(%s, %s)", NOW - timedelta(days=5), NOW)
    await meters.execute(f"INSERT INTO observation (point_id, observed_at, value, quality) VALUES {values}")
    await sum_all(pool)
    [(rows,)] = await meters.execute("SELECT count(*) FROM observation_series WHERE step_s = 900")
    assert rows == 99
