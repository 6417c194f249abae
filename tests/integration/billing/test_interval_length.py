"""Bills of a month in which a meter's intervals change their length: the same money, and issued months stay."""

from datetime import datetime

import pytest

from cloud_api.billing import verification
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.metering.corrections import Author, CorrectionRefused
from cloud_api.operations import interval_length
from tests.integration.billing.small_site import CLOCK, ZONE
from tests.integration.billing.test_bill_run import NATIONAL_DAY, OCTOBER, brute_force, priced, two_rooms  # noqa: F401


async def change(site, code, local, minutes):
    row = await (await site.conn.execute("SELECT id, organisation_id FROM meter WHERE code = %s", (code,))).fetchone()
    viewer = StaffViewer(
        user_id=1, organisation_id=row[1], login="li", name="Li", roles=frozenset({Role.FACILITIES}), language="zh"
    )
    author = Author(viewer=viewer, clock=CLOCK, reason="the utility reads by the hour")
    at = datetime.fromisoformat(local).replace(tzinfo=ZONE)
    return await interval_length.change(site.conn, author, row[0], at=at, minutes=minutes)


async def test_a_length_that_changes_in_the_month_leaves_every_bill_as_it_was(two_rooms):  # noqa: F811
    await two_rooms.settle()
    await change(two_rooms, "m1", "2026-10-12T10:00", 60)
    await change(two_rooms, "m1", "2026-10-20T00:00", 30)
    await change(two_rooms, "main", "2026-10-15T00:00", 30)
    run = await two_rooms.run(issue=True)
    bill = await two_rooms.bill(run, "a")
    assert bill["total"] == priced(brute_force(two_rooms, "m1", *OCTOBER, holidays=NATIONAL_DAY))
    [[count]] = await (
        await two_rooms.conn.execute(
            "SELECT count(*) FROM interval i JOIN register r ON r.id = i.register_id JOIN meter m ON m.id = r.meter_id"
            " WHERE m.code = 'm1'"
        )
    ).fetchall()
    assert count == (11 * 24 + 10) * 4 + (7 * 24 + 14) + 12 * 24 * 2
    assert all(v.holds for v in await verification.verify_run(two_rooms.conn, run["id"]))


async def test_a_month_whose_bills_are_issued_is_not_cut_anew(two_rooms):  # noqa: F811
    await two_rooms.run(issue=True)
    with pytest.raises(CorrectionRefused, match="bills made from m1 are issued up to 2026-11-01"):
        await change(two_rooms, "m1", "2026-10-31T23:00", 60)
    with pytest.raises(CorrectionRefused, match="bills made from main are issued"):
        await change(two_rooms, "main", "2026-10-31T23:00", 60)
    assert await change(two_rooms, "m1", "2026-11-01T00:00", 60)
