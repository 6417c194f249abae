from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from cloud_api.billing import settlement
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.leasing import service as leasing
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.operations.tenancy.handover import HandoverRefused
from tests.integration.billing.small_site import SmallSite, estate

CLOCK = fixed_clock(datetime(2026, 11, 20, 2, 0, tzinfo=UTC))


async def scalar(conn, statement, *values):
    return (await (await conn.execute(statement, values)).fetchone())[0]


@pytest.fixture
async def park(conn):
    """Tenant a holds r1; b has asked for r1 from the 11th of November."""
    site = SmallSite(conn)
    await site.build(
        estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60}), [("L1", "a", "r1", "2026-01-01", "")]
    )
    return await leasing.find_site(conn)


async def apply(conn, park, number="L2", spaces=("r1",)):
    tenant = await scalar(conn, "SELECT id FROM tenant WHERE code = 'a'")
    return await tenancy.apply(
        conn,
        park,
        tenant_id=tenant,
        number=number,
        first=date(2026, 11, 11),
        last_day=None,
        spaces=spaces,
        actor="x",
        clock=CLOCK,
    )


async def test_a_tenancy_goes_from_application_to_move_out_with_readings_and_deposit(conn, park):
    tenant = await scalar(conn, "SELECT id FROM tenant WHERE code = 'a'")
    ids = {"organisation_id": park.organisation_id, "tenant_id": tenant, "actor": "x", "clock": CLOCK}
    await settlement.move_account(
        conn, account="deposit", amount=Decimal(500), kind="paid_in", on_day=date(2026, 1, 1), **ids
    )
    out = await tenancy.move_out(
        conn, park, "L1", last_day=date(2026, 11, 3), readings={"m1": Decimal("1234.5")}, actor="x", clock=CLOCK,
        without_final_bill="read by hand; the month's run bills it",
    )  # fmt: skip
    assert out["readings"] == {"m1": Decimal("1234.5")}
    assert await scalar(conn, "SELECT upper(term) FROM lease_space") == date(2026, 11, 4)
    await apply(conn, park)
    await tenancy.review(conn, park, "L2", approve=True, reason="", actor="boss", clock=CLOCK)
    opening = await tenancy.move_in(conn, park, "L2", readings={"m1": Decimal(1240)}, actor="x", clock=CLOCK)
    assert opening == {"m1": Decimal(1240)}
    assert await scalar(conn, "SELECT count(*) FROM hvac_hours") == 6
    assert await scalar(conn, "SELECT array_agg(step ORDER BY id) FROM lease_step") == [
        "move_out",
        "application",
        "approved",
        "move_in",
    ]
    assert await scalar(conn, "SELECT count(*) FROM reading WHERE source = 'handover'") == 2


async def test_a_space_cannot_be_handed_over_with_an_open_account_or_without_a_reading(conn, park):
    with pytest.raises(HandoverRefused, match="meter m1 has no reading at the handover"):
        await tenancy.move_out(conn, park, "L1", last_day=date(2026, 11, 3), readings={}, actor="x", clock=CLOCK)
    assert await scalar(conn, "SELECT status FROM lease WHERE number = 'L1'") == "active"
    await conn.execute("UPDATE lease_space SET term = '[2026-01-01,2026-11-04)'")  # Ended on paper, never handed back.
    await apply(conn, park)
    await tenancy.review(conn, park, "L2", approve=True, reason="", actor="boss", clock=CLOCK)
    with pytest.raises(HandoverRefused, match="still has the open account of lease L1"):
        await tenancy.move_in(conn, park, "L2", readings={"m1": Decimal(1)}, actor="x", clock=CLOCK)


async def test_steps_out_of_order_and_spaces_that_are_held_are_refused(conn, park):
    with pytest.raises(Invalid, match="lease L1 is active; this step begins at approved"):
        await tenancy.move_in(conn, park, "L1", readings={}, actor="x", clock=CLOCK)
    await apply(conn, park)
    with pytest.raises(HandoverRefused, match="another lease holds one of the spaces"):
        await tenancy.review(conn, park, "L2", approve=True, reason="", actor="boss", clock=CLOCK)
    with pytest.raises(Invalid, match="needs a reason"):
        await tenancy.review(conn, park, "L2", approve=False, reason=" ", actor="boss", clock=CLOCK)
    with pytest.raises(Invalid, match="is not over yet"):
        await tenancy.move_out(conn, park, "L1", last_day=date(2026, 12, 3), readings={}, actor="x", clock=CLOCK)
