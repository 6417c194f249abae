"""A tenant books air conditioning after hours, and pays for it by the tariff on the bill of the month."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from cloud_api.billing import service as billing
from cloud_api.billing import verification
from cloud_api.billing.cli import TEMPLATES
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import NotFound
from cloud_api.leasing import after_hours
from cloud_api.leasing import service as leasing
from cloud_api.operations.tenancy import changes
from tests.integration.billing.small_site import CLOCK, SmallSite, estate

OCTOBER = ("2026-10-01", "2026-11-01")
MORNING = fixed_clock(datetime(2026, 10, 13, 1, 0, tzinfo=UTC))  # A Tuesday, 09:00 in Hangzhou.


def local(hour, minute=0):
    return datetime(2026, 10, 13, hour - 8, minute, tzinfo=UTC)


@pytest.fixture
async def park(conn):
    site = SmallSite(conn)
    await site.build(
        estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60}),
        [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-01-01", "")],
    )
    for code in ("m1", "m2", "common"):
        await site.meter(code, *OCTOBER, lambda _: Decimal("0.25"))
    await site.main_is_sum_of(["m1", "m2", "common"], *OCTOBER)
    text = (TEMPLATES / "after-hours-hvac.yaml").read_text(encoding="utf-8")
    await billing.import_tariff(conn, site.site, parse_tariff(text).tariff, actor="test", clock=CLOCK)
    where = await leasing.find_site(conn)
    hours = [(day, "08:00", "18:00") for day in range(1, 6)]
    await changes.amend(conn, where, "L1", on_day=date(2026, 1, 1), hours=hours, actor="x", clock=CLOCK)
    return site


async def ask(park, tenant, space, starts, ends, clock=MORNING):
    where = await leasing.find_site(park.conn)
    row = await (await park.conn.execute("SELECT id FROM tenant WHERE code = %s", [tenant])).fetchone()
    return await after_hours.request(
        park.conn, where, tenant_id=row[0], space=space, starts=starts, ends=ends, actor=tenant, clock=clock
    )


async def test_booked_hours_stand_on_the_bill_and_not_in_the_resold_energy(park):
    before = await park.run()
    done = await ask(park, "a", "r1", local(17), local(20, 10))  # To 18:00 it belongs to the lease.
    assert done["state"] == "approved"
    assert (done["starts_at"], done["ends_at"]) == (local(18), local(20, 30))
    run = await park.run(issue=True)
    bill = await park.bill(run, "a")
    (line,) = [x for x in bill["snapshot"]["lines"] if x["source"] == "after_hours"]
    assert (line["component"], Decimal(line["quantity"]), line["unit"]) == ("hvac", Decimal("2.5"), "h")
    assert Decimal(line["amount"]) == Decimal("150.00")  # 2.5 h at 60.
    assert bill["total"] == (await park.bill(before, "a"))["total"] + 150
    assert run["summary"]["resale"]["recovered"] == before["summary"]["resale"]["recovered"]
    assert (await verification.verify_bill(park.conn, bill["id"])).holds


async def test_a_late_request_waits_for_a_person_and_can_be_taken_back_until_it_begins(park):
    late = await ask(park, "a", "r1", local(18), local(19), clock=fixed_clock(local(17, 30)))
    assert late["state"] == "requested"
    with pytest.raises(after_hours.RequestRefused, match="there is a request for this space and time already"):
        await ask(park, "a", "r1", local(18, 30), local(20))
    who = {"actor": "manager", "clock": fixed_clock(local(17, 45))}
    await after_hours.decide(park.conn, late["id"], approve=True, reason="", **who)
    with pytest.raises(NotFound):
        await after_hours.cancel(park.conn, late["id"], actor="a", clock=fixed_clock(local(18, 5)))
    await after_hours.cancel(park.conn, late["id"], **who)
    run = await park.run()
    assert all(x["source"] != "after_hours" for x in (await park.bill(run, "a"))["snapshot"]["lines"])


@pytest.mark.parametrize(
    ("tenant", "space", "starts", "ends", "words"),
    [
        ("a", "r1", local(9, 30), local(11), "belongs to your lease"),
        ("a", "r2", local(19), local(20), "r2 is not a space of your lease"),
        ("a", "r1", local(20), local(19), "end has to be after"),
        ("a", "r1", local(8), local(20), "start has passed"),
    ],
)
async def test_what_cannot_be_asked_for_is_refused_with_the_reason(park, tenant, space, starts, ends, words):
    with pytest.raises(after_hours.RequestRefused, match=words):
        await ask(park, tenant, space, starts, ends)
