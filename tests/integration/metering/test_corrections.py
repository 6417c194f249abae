from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloud_api.db.pool import transaction
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import Scope
from cloud_api.metering import corrections, exchanges
from cloud_api.metering import service as metering
from cloud_api.metering.corrections import Author, CorrectionRefused, RegisterNotFound
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.integration.metering.conftest import ENERGY

MIN = 60_000
START = NOW_MS - 2 * 3_600_000


def at(minute):
    return datetime.fromtimestamp((START + minute * MIN) / 1000, UTC)


@pytest.fixture
def author(meters):
    viewer = StaffViewer(
        user_id=1, organisation_id=meters.organisation_id, login="li", name="Li", roles=frozenset({Role.FACILITIES}),
        language="zh",
    )  # fmt: skip
    return Author(viewer=viewer, clock=fixed_clock(NOW), reason="old meter is broken")


@pytest.fixture
async def register(edge, meters):
    await edge.announce()
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    await edge.send([(n + 1, ENERGY, START + n * 5 * MIN, 1000 * n) for n in range(13)])
    await meters.recompute()
    return register


def staff(meters, organisation_id=None):
    return transaction(meters.pool, Scope(kind="staff", organisation_id=organisation_id or meters.organisation_id))


async def test_an_exchange_keeps_the_usage_on_both_sides(edge, meters, author, register):
    async with staff(meters) as conn:
        new = await exchanges.exchange(
            conn, author, register, at=at(60), closing=Decimal("12.5"), opening=Decimal("0.25")
        )
    await edge.send([(n + 20, ENERGY, START + (60 + n * 5) * MIN, 250 + 1000 * n) for n in range(1, 4)])
    await meters.recompute()
    assert sum(i.quantity for i in await meters.ledger(register)) == Decimal("12.5")
    assert sum(i.quantity for i in await meters.ledger(new)) == 3
    audit = await meters.execute("SELECT actor, action, reason FROM audit_entry WHERE action LIKE 'meter%%'")
    assert audit == [("li", "meter.exchange", "old meter is broken")]


async def test_an_exchange_that_contradicts_the_readings_is_refused(meters, author, register):
    for arguments in (
        {"at": at(60), "closing": Decimal(3), "opening": Decimal(0)},
        {"at": NOW + timedelta(days=1), "closing": Decimal(30), "opening": Decimal(0)},
    ):
        with pytest.raises(CorrectionRefused):
            async with staff(meters) as conn:
                await exchanges.exchange(conn, author, register, **arguments)
    with pytest.raises(Invalid):
        async with staff(meters) as conn:
            await exchanges.exchange(
                conn, author, register, at=at(60), closing=Decimal("13.0000000001"), opening=Decimal(0)
            )


async def test_a_wrong_reading_is_replaced_and_the_replacement_undone(edge, meters, author, register):
    before = [(i.quantity, i.quality) for i in await meters.ledger(register)]
    async with staff(meters) as conn:
        await corrections.exclude_reading(conn, author, register, taken_at=at(60), correct_value=Decimal(12))
    await edge.send([(30, ENERGY, START + 75 * MIN, 15_000)])
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [3, 3, 3, 3, 3]
    async with staff(meters) as conn:
        [decision] = await corrections.decisions(conn, (await meters.execute("SELECT id FROM meter"))[0][0])
        await corrections.undo(conn, author, register, kind="exclusion", decision_id=decision.id)
    await meters.recompute()
    assert [(i.quantity, i.quality) for i in await meters.ledger(register)][:4] == before


async def test_a_correction_goes_with_the_exclusion_that_brought_it(meters, author, register):
    before = [i.quantity for i in await meters.ledger(register)]
    for right in (Decimal(9), Decimal(10)):  # A second thought corrects the same reading again.
        async with staff(meters) as conn:
            await corrections.exclude_reading(conn, author, register, taken_at=at(45), correct_value=right)
        await meters.recompute()
        assert sum(i.quantity for i in (await meters.ledger(register))[:3]) == right
        async with staff(meters) as conn:
            meter = (await meters.execute("SELECT id FROM meter"))[0][0]
            [decision] = [d for d in await corrections.decisions(conn, meter) if d.undone_at is None]
            await corrections.undo(conn, author, register, kind="exclusion", decision_id=decision.id)
        await meters.recompute()
        assert [i.quantity for i in await meters.ledger(register)] == before


async def test_a_reading_by_hand_is_corrected_like_one_of_the_device(meters, author, register):
    async with staff(meters) as conn:
        await corrections.add_reading(conn, author, register, taken_at=at(57), value=Decimal(3))
        await corrections.exclude_reading(conn, author, register, taken_at=at(57), correct_value=Decimal("11.9"))
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [3, 3, 3, 3]
    async with staff(meters) as conn:
        lines = await metering.readings_between(conn, register, at(56), at(58))
    assert [(line.source, line.is_excluded) for line in lines] == [("correction", False), ("manual", True)]


async def test_a_register_whose_exchange_was_undone_takes_no_decision(meters, author, register):
    async with staff(meters) as conn:
        new = await exchanges.exchange(conn, author, register, at=at(60), closing=Decimal("12.5"), opening=Decimal(0))
        [[exchange_id]] = await (await conn.execute("SELECT id FROM meter_exchange")).fetchall()
        await exchanges.undo(conn, author, exchange_id)
    with pytest.raises(RegisterNotFound):
        async with staff(meters) as conn:
            await exchanges.exchange(conn, author, new, at=at(60), closing=Decimal(1), opening=Decimal(0))


async def test_a_ratio_applies_from_its_instant_until_it_is_undone(meters, author, register):
    async with staff(meters) as conn:
        await corrections.change_multiplier(conn, author, register, at=at(30), multiplier=Decimal(-40))
        await corrections.change_multiplier(conn, author, register, at=at(45), multiplier=Decimal(40))
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [3, 3, -120, 120]
    async with staff(meters) as conn:
        for decision in await corrections.decisions(conn, (await meters.execute("SELECT id FROM meter"))[0][0]):
            await corrections.undo(conn, author, register, kind=decision.kind, decision_id=decision.id)
    await meters.recompute()
    assert [i.quantity for i in await meters.ledger(register)] == [3, 3, 3, 3]


async def test_an_edit_needs_a_reason_and_replaces_the_one_before(meters, author, register):
    with pytest.raises(Invalid, match="reason"):
        Author(viewer=author.viewer, clock=author.clock, reason=" ")
    for quantity in (5, 6):
        async with staff(meters) as conn:
            await corrections.edit_interval(conn, author, register, starts_at=at(15), quantity=Decimal(quantity))
    await meters.recompute()
    assert [(i.quantity, i.quality) for i in await meters.ledger(register)][1] == (6, "edited")


async def test_a_register_of_another_organisation_is_not_there(meters, author, register):
    with pytest.raises(RegisterNotFound):
        async with staff(meters, meters.organisation_id + 1) as conn:
            await corrections.add_reading(conn, author, register, taken_at=at(0), value=Decimal(1))
