"""The length of a meter's intervals changes on a date: both sides of it count, and nothing is lost."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.period import Period
from cloud_api.metering import analysis, corrections, length_changes, repository, service
from cloud_api.metering.corrections import Author, CorrectionRefused
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.integration.metering.conftest import ENERGY
from tests.integration.metering.test_corrections import staff

MIN, HOUR = 60_000, 3_600_000
LAST = NOW_MS // HOUR * HOUR
START = LAST - 6 * HOUR
WHOLE = Period(datetime.fromtimestamp(START / 1000, UTC), datetime.fromtimestamp(LAST / 1000, UTC))


def hour(n):
    return WHOLE.start + n * timedelta(hours=1)


@pytest.fixture
def author(meters):
    viewer = StaffViewer(
        user_id=1, organisation_id=meters.organisation_id, login="li", name="Li", roles=frozenset({Role.FACILITIES}),
        language="zh",
    )  # fmt: skip
    return Author(viewer=viewer, clock=fixed_clock(NOW), reason="the utility bills by the hour")


@pytest.fixture
async def meter(edge, meters):
    """Return a meter with six hours of readings, one every five minutes; 1 kWh in each."""
    await edge.announce()
    meter = await meters.meter()
    await meters.register(meter, point_id=await meters.point())
    await edge.send([(n + 1, ENERGY, START + n * 5 * MIN, 1000 * n) for n in range(73)])
    await meters.recompute()
    return meter


async def change(meters, author, meter, at, minutes):
    async with staff(meters) as conn:
        return await length_changes.change(conn, author, meter, at=at, minutes=minutes)


async def ledger(meters, meter):
    async with staff(meters) as conn:
        found = await repository.meter_intervals(conn, [meter], WHOLE, analysis.ENERGY)
    return [(i.starts_at, (i.ends_at - i.starts_at) // timedelta(minutes=1), i.quantity) for i in found]


async def test_the_ledger_before_the_date_keeps_its_length_and_the_energy_is_the_same(meters, author, meter):
    before = await ledger(meters, meter)
    await change(meters, author, meter, hour(2), 60)
    await change(meters, author, meter, hour(4), 5)
    await meters.recompute()
    after = await ledger(meters, meter)
    assert after[:8] == before[:8]
    assert [minutes for _, minutes, _ in after[8:]] == [60, 60, *[5] * 24]
    assert sum(q for *_, q in after) == sum(q for *_, q in before) == 72
    async with staff(meters) as conn:
        [energy] = (await service.energy_by_meter(conn, [meter], WHOLE)).values()
        demand = (await analysis.demand(conn, [meter], WHOLE))[meter]
    assert energy.is_complete
    assert energy.expected_count == 8 + 2 + 24
    assert demand.power_kw == 12


async def test_what_was_superseded_is_in_the_history_and_the_sums_by_day_follow(meters, author, meter):
    await change(meters, author, meter, hour(3), 60)
    await meters.recompute()
    revisions = await meters.execute(
        "SELECT count(*), sum(quantity) FROM interval_revision WHERE starts_at >= %s", hour(3)
    )
    assert revisions == [(12, Decimal(36))]
    days = await meters.execute("SELECT sum(interval_count), sum(quantity) FROM interval_day")
    assert days == [(12 + 3, Decimal(72))]


async def test_an_undone_change_leaves_the_ledger_as_it_was(meters, author, meter):
    before = await ledger(meters, meter)
    first = await change(meters, author, meter, hour(1), 60)
    second = await change(meters, author, meter, hour(3), 30)
    await meters.recompute()
    for decision in (first, second):
        async with staff(meters) as conn:
            await length_changes.undo(conn, author, meter, decision)
        await meters.recompute()
    assert await ledger(meters, meter) == before
    async with staff(meters) as conn:
        kinds = [(d.kind, d.what, d.undone_at is not None) for d in await corrections.decisions(conn, meter)]
    assert kinds == [("length", "30", True), ("length", "60", True)]


async def test_late_readings_on_both_sides_give_the_ledger_of_all_at_once(edge, meters, author, meter):
    await change(meters, author, meter, hour(3), 30)
    await meters.recompute()
    late = [(100 + n, ENERGY, START + n * 35 * MIN + MIN, 1000 * n * 7 + 900) for n in range(10)]
    await edge.send(late)
    await meters.recompute()
    found = await ledger(meters, meter)
    await meters.execute("DELETE FROM interval")
    await meters.execute(
        "INSERT INTO dirty_range (register_id, starts_at, ends_at) SELECT id, '-infinity', 'infinity' FROM register"
    )
    await meters.recompute()
    assert await ledger(meters, meter) == found
    assert sum(q for *_, q in found) == 72


async def test_a_change_ahead_waits_for_its_hour(edge, meters, author, meter):
    await change(meters, author, meter, hour(6), 60)
    await edge.send([(200 + n, ENERGY, LAST + n * 5 * MIN, 72_000 + 1000 * n) for n in range(1, 3)])
    await meters.recompute()
    assert len(await ledger(meters, meter)) == 24
    whole = await meters.execute("SELECT count(*) FROM interval WHERE starts_at >= %s", hour(6))
    assert whole == [(0,)]  # A quarter hour is over, but not the hour that now is an interval.


async def test_a_branch_balances_over_the_longest_intervals(edge, meters, author, meter):
    main = await meters.meter("main", use="main")
    await meters.execute("UPDATE meter SET parent_meter_id = %s WHERE id = %s", main, meter)
    await meters.register(main, multiplier=2, point_id=await meters.point())
    await change(meters, author, meter, hour(2), 60)
    await meters.recompute()
    async with staff(meters) as conn:
        buckets = await analysis.branch_balance(conn, main, WHOLE, by="interval")
    assert [(b.main, b.tenants, b.residual) for b in buckets] == [(6, 3, 3)] * 8 + [(24, 12, 12)] * 4


@pytest.mark.parametrize(
    ("at", "minutes", "says"),
    [
        (hour(2) + timedelta(minutes=15), 60, "full hour"),
        (hour(2), 15, "15 minutes then already"),
        (hour(2), 7, "1, 5, 15, 30, 60"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=8))), 60, "between 2000 and 2200"),
        (datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=8))), 60, "between 2000 and 2200"),
        (NOW.replace(minute=0, second=0, microsecond=0) + timedelta(days=500), 60, "days ahead"),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused_in_words(meters, author, meter, at, minutes, says):
    with pytest.raises((CorrectionRefused, Invalid), match=says):
        await change(meters, author, meter, at, minutes)


async def test_intervals_that_a_person_decided_are_not_cut_anew(meters, author, meter):
    [[register]] = await meters.execute("SELECT id FROM register")
    async with staff(meters) as conn:
        await corrections.edit_interval(conn, author, register, starts_at=hour(3), quantity=Decimal(9))
    with pytest.raises(CorrectionRefused, match="1 intervals from then on"):
        await change(meters, author, meter, hour(2), 60)
    await change(meters, author, meter, hour(4), 60)
