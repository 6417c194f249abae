import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import analysis
from cloud_api.metering import service as metering
from cloud_api.metering.recompute import recompute_due
from cloud_api.telemetry.columns import Observations
from cloud_api.telemetry.repository import copy_observations
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.integration.metering.conftest import ENERGY

MIN = 60_000
START = NOW_MS - 6 * 3_600_000  # 06:00 UTC, on the edge of an interval.


def facts(intervals):
    return [(i.starts_at, i.quantity, i.quality, i.method, i.reason, i.source_from, i.source_to) for i in intervals]


async def test_readings_become_intervals(edge, meters):
    await edge.announce()
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    await edge.send([(n + 1, ENERGY, START + n * 5 * MIN, 1000 * n) for n in range(13)])
    await meters.recompute()
    found = await meters.ledger(register)
    assert [i.quantity for i in found] == [3, 3, 3, 3]
    assert {(i.quality, i.revision) for i in found} == {("actual", 1)}
    assert found[0].starts_at == datetime(2026, 3, 10, 6, tzinfo=UTC)


async def test_a_point_that_is_bound_late_shows_its_whole_past(edge, meters):
    await edge.announce()
    await edge.send([(n + 1, ENERGY, START + n * 15 * MIN, 1000 * n) for n in range(5)])
    await meters.recompute()
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [1, 1, 1, 1]


async def test_a_late_reading_recomputes_what_it_touches_and_keeps_the_old_value(edge, meters):
    await edge.announce()
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    await edge.send([(1, ENERGY, START, 0), (2, ENERGY, START + 60 * MIN, 8000)])
    await meters.recompute()
    assert [(i.quantity, i.quality) for i in await meters.ledger(register)] == [(2, "estimated")] * 4
    await edge.send([(3, ENERGY, START + 30 * MIN, 7000)])
    await meters.recompute()
    found = await meters.ledger(register)
    assert [i.quantity for i in found] == [Decimal("3.5"), Decimal("3.5"), Decimal("0.5"), Decimal("0.5")]
    assert {i.revision for i in found} == {2}
    old = await meters.execute("SELECT quantity, revision FROM interval_revision ORDER BY starts_at")
    assert old == [(2, 1)] * 4
    async with transaction(meters.pool, SYSTEM) as conn:
        [change] = await metering.changes_after(conn, 0)
    assert (change.register_id, change.ends_at - change.starts_at) == (register, timedelta(hours=1))


async def test_any_order_of_arrival_any_repetition_and_any_recomputation_give_the_same_ledger(edge, meters):
    await edge.announce()
    rng = random.Random(7)
    value, course = 0, []
    at = START - 20 * 60 * MIN
    for n in range(400):
        at += rng.choice([1, 1, 2, 5, 40]) * MIN // 2
        value += rng.randrange(0, 500)
        course.append((n + 1, ENERGY, at, 0 if rng.random() < 0.05 else value))
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    shuffled = course[:]
    rng.shuffle(shuffled)
    for first in range(0, len(shuffled), 20):
        await edge.send(sorted(shuffled[first : first + 30]))  # Overlapping, so some are sent twice.
        if rng.random() < 0.6:
            await asyncio.gather(meters.recompute(), meters.recompute())
    await meters.recompute()
    streamed = facts(await meters.ledger(register))
    await meters.execute("DELETE FROM interval")
    await meters.execute(
        "INSERT INTO dirty_range (register_id, starts_at, ends_at) SELECT id, '-infinity', 'infinity' FROM register"
    )
    await meters.recompute()
    assert facts(await meters.ledger(register)) == streamed
    assert await metering_marks(meters) <= 1  # The interval that is not over.
    assert len(streamed) > 50


async def metering_marks(meters):
    async with transaction(meters.pool, SYSTEM) as conn:
        return await metering.count_dirty(conn)


async def test_values_of_the_interval_that_is_not_over_leave_one_mark(edge, meters):
    await edge.announce()
    await meters.register(await meters.meter(), point_id=await meters.point())
    await meters.recompute()
    for n in range(20):
        await edge.send([(n + 1, ENERGY, NOW_MS + n * 1000, n)])
    assert await metering_marks(meters) == 1
    await meters.recompute()
    assert await metering_marks(meters) == 1


async def test_an_exchanged_meter_counts_both_registers_in_the_interval_of_the_exchange(edge, meters):
    await edge.announce()
    meter = await meters.meter()
    at = datetime.fromtimestamp((START + 20 * MIN) / 1000, UTC)
    old = await meters.register(meter, point_id=await meters.point(), open_period=f"(,{at.isoformat()})")
    new = await meters.register(meter, open_period=f"[{at.isoformat()},)")
    await edge.send([(n + 1, ENERGY, START + n * 5 * MIN, 900_000 + 1000 * n) for n in range(4)])
    insert = (
        "INSERT INTO reading (register_id, taken_at, value, source, received_at) VALUES (%s, %s, %s, 'exchange', now())"
    )
    await meters.execute(insert, old, at, 904)
    await meters.execute(insert, new, at, 0)
    await meters.execute(insert, new, at + timedelta(minutes=10), 4)
    await meters.execute(insert, new, at + timedelta(minutes=25), 10)
    await meters.recompute()
    period = Period(at - timedelta(hours=1), at + timedelta(hours=1))
    async with transaction(meters.pool, SYSTEM) as conn:
        found = await metering.meter_intervals(conn, [meter], period)
        energy = await metering.energy_by_meter(conn, [meter], period)
    assert [i.quantity for i in found] == [3, 1 + 4, 6]
    assert energy[meter].quantity == 14
    assert energy[meter].is_complete is False


async def test_days_are_summed_in_the_zone_of_the_site(edge, meters):
    await edge.announce()
    register = await meters.register(await meters.meter(interval_minutes=60), point_id=await meters.point())
    midnight = datetime(2026, 3, 8, 16, tzinfo=UTC)  # In Shanghai.
    first = int(midnight.timestamp() * 1000) - 2 * 3_600_000
    await edge.send([(n + 1, ENERGY, first + n * 3_600_000, n * 1000) for n in range(5)])
    await meters.recompute()
    rows = await meters.execute(
        "SELECT day::text, quantity, interval_count FROM interval_day WHERE register_id = %s", register
    )
    assert sorted(rows) == [("2026-03-08", 2, 2), ("2026-03-09", 2, 2)]


async def test_an_edited_interval_outlives_recomputation_until_the_edit_is_undone(edge, meters):
    await edge.announce()
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    await edge.send([(n + 1, ENERGY, START + n * 15 * MIN, 1000 * n) for n in range(4)])
    await meters.recompute()
    start = (await meters.ledger(register))[1].starts_at
    edit = await meters.insert(
        "interval_edit",
        {"register_id": register, "starts_at": start, "quantity": 9, "reason": "seal broken", "actor": "test",
         "created_at": start},
    )  # fmt: skip
    await edge.send([(9, ENERGY, START + 20 * MIN, 1500)])
    await meters.recompute()
    assert [(i.quantity, i.quality) for i in await meters.ledger(register)][1] == (9, "edited")
    await meters.execute("UPDATE interval_edit SET undone_at = now() WHERE id = %s", edit)
    await meters.recompute()
    assert [(i.quantity, i.quality) for i in await meters.ledger(register)][1] == (1, "actual")


@pytest.mark.parametrize(
    ("minutes", "width", "power_kw"), [(1, 15, 16), (5, 15, 16), (15, 15, 16), (30, 30, 10), (60, 60, 7)]
)
async def test_demand_is_of_a_quarter_of_an_hour_or_of_the_interval_where_that_is_longer(
    edge, meters, minutes, width, power_kw
):
    """4 kWh fall into the second quarter, 1 kWh into each other one: 16 kW, or 10 and 7 over longer intervals."""
    await edge.announce()
    meter = await meters.meter(interval_minutes=minutes)
    await meters.register(meter, point_id=await meters.point())
    shown, rows = 0, []
    for minute in range(121):
        rows.append((minute + 1, ENERGY, START + minute * MIN, shown // 15))
        shown += 4000 if 15 <= minute < 30 else 1000
    await edge.send(rows)
    await meters.recompute()
    async with transaction(meters.pool, SYSTEM) as conn:
        found = (await analysis.demand(conn, [meter], Period(NOW - timedelta(hours=6), NOW)))[meter]
    assert found.ends_at - found.starts_at == timedelta(minutes=width)
    assert round(found.power_kw, 1) == power_kw


async def five_minutes(edge, meters):
    """Return a register whose first reading left the one mark of the interval from now on."""
    await edge.announce()
    register = await meters.register(await meters.meter(interval_minutes=5), point_id=await meters.point())
    await meters.recompute()
    await edge.send([(1, ENERGY, NOW_MS, 0)])
    return register


async def first_interval(meters, register):
    return [i.quantity for i in await meters.ledger(register) if i.starts_at == NOW]


async def test_a_batch_that_shares_a_mark_and_commits_late_is_counted(edge, meters):
    register = await five_minutes(edge, meters)
    await edge.send([(2, ENERGY, NOW_MS + 280_000, 620)])
    rows = Observations(
        point_id=np.array([await meters.point()]), at_ms=np.array([NOW_MS + 270_000]), value=np.array([0.9]),
        mantissa=np.array([900]), quality=np.array([0]), scale=np.array([3]),
    )  # fmt: skip
    async with transaction(meters.pool, SYSTEM) as late:
        # As app.accept_batches stores a reading that is older than the newest: the latest value stays.
        await copy_observations(late, rows)
        await metering.mark_dirty(late, *rows.spans(), NOW)
        # A gateway whose clock is ahead ends the interval meanwhile.
        await edge.send([(3, ENERGY, NOW_MS + 330_000, 1000)])
        await meters.recompute()
        assert await metering_marks(meters) == 2  # The shared one is held, the other's interval is not over.
    await meters.recompute()
    assert await metering_marks(meters) == 1
    streamed = facts(await meters.ledger(register))
    await meters.execute(
        "INSERT INTO dirty_range (register_id, starts_at, ends_at) SELECT id, '-infinity', 'infinity' FROM register"
    )
    await meters.recompute()
    assert facts(await meters.ledger(register)) == streamed != []


async def test_a_batch_that_finds_its_mark_taken_leaves_another(edge, meters):
    register = await five_minutes(edge, meters)
    await edge.send([(2, ENERGY, NOW_MS + 330_000, 1000)])
    async with transaction(meters.pool, SYSTEM) as worker:
        assert (await recompute_due(worker, fixed_clock(NOW))).registers == 1
        await edge.send([(3, ENERGY, NOW_MS + 270_000, 600)])
    await meters.recompute()
    assert await first_interval(meters, register) == [Decimal("0.8")]
