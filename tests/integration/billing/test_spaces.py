"""Areas by period, divided spaces and doors, each with what a bill or a lease says of it. Meters as in test_moves."""

from datetime import date
from decimal import Decimal

import psycopg
import pytest

from cloud_api.billing import service as billing
from cloud_api.billing.inputs import Pins, find_policy, find_site, load_inputs
from cloud_api.db.pool import transaction
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM
from cloud_api.leasing import access
from cloud_api.leasing import service as leasing
from cloud_api.leasing.access import Card
from cloud_api.operations.tenancy import changes, spaces
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.operations.tenancy.handover import HandoverRefused
from tests.integration.billing.small_site import SmallSite, estate
from tests.integration.billing.test_moves import CLOCK, WHO, park  # noqa: F401  # A fixture.

CARD = "hmac-sha256:0123456789abcdef0123456789abcdef"


async def rows(conn, statement, *values):
    return await (await conn.execute(statement, values)).fetchall()


def shared(bill):
    return sum(Decimal(u["common"]) for u in bill["snapshot"]["usage"])


async def test_a_changed_area_counts_from_its_day_in_the_shares_of_common_energy(park):  # noqa: F811
    """The common meter's 744 kWh by area: a 100 m2, then 140 from the 11th; b 40; vacant 60."""
    site = await leasing.find_site(park.conn)
    await billing.set_policy(park.conn, park.site, {"common": {"area": "1"}}, actor="x", clock=CLOCK)
    change = {"area_m2": Decimal(140), "area_kind": "gross", "from_day": date(2026, 10, 11)}
    assert await spaces.change_area(park.conn, site, "r1", **change, **WHO) == []
    run = await park.run()
    assert run["summary"]["blocking"] == []
    mine, whole = 100 * 10 + 140 * 21, 200 * 10 + 240 * 21
    a = await park.bill(run, "a")
    assert abs(shared(a) - Decimal(744) * mine / whole) < Decimal("0.0001")
    assert [x["area_m2"] for x in a["snapshot"]["leases"]] == ["100", "140"]
    lease = await tenancy.lease_details(
        park.conn, site, await tenancy.lease_id(park.conn, site, "L1"), date(2026, 11, 10)
    )
    assert (lease["area_m2"], lease["holdings"][0]["area_kind"]) == (140, "gross")


async def test_an_area_as_known_on_an_earlier_day_is_the_old_one(pool, database):
    async with transaction(pool, SYSTEM) as conn:
        await SmallSite(conn).build(estate({"m1": ["r1"]}, areas={"r1": 100}), [("L1", "a", "r1", "2026-01-01", "")])
    async with transaction(pool, SYSTEM) as conn:
        [(then,)] = await rows(conn, "SELECT now()")
    async with transaction(pool, SYSTEM) as conn:
        site = await leasing.find_site(conn)
        change = {"area_m2": Decimal(90), "area_kind": "net", "from_day": date(2026, 10, 11)}
        await spaces.change_area(conn, site, "r1", **change, **WHO)
    async with transaction(pool, SYSTEM) as conn:
        known = "SELECT a.area_m2 FROM space_area_as_known(%s) a JOIN space s ON s.id = a.space_id AND s.code = 'r1' ORDER BY a.valid"
        assert await rows(conn, known, then) == [(100,)]
        [(now,)] = await rows(conn, "SELECT now()")
        assert await rows(conn, known, now) == [(100,), (90,)]
        billed = await find_site(conn)
        pins = Pins(known_at=then, tariff_revision=1, policy=await find_policy(conn, billed))
        month = (date(2026, 10, 1), date(2026, 11, 1))
        before, _ = await load_inputs(conn, billed, "electricity", *month, pins=pins)
        assert [s.area_m2 for s in before.spaces] == [100]
        assert [t.area_m2 for t in before.tenancies] == [100]


async def test_the_database_refuses_two_areas_of_a_space_on_one_day(park):  # noqa: F811
    again = "INSERT INTO space_area (organisation_id, space_id, area_m2) SELECT organisation_id, id, 5 FROM space WHERE code = 'r1'"
    with pytest.raises(psycopg.errors.ExclusionViolation, match="one_area_per_space_and_day"):
        await park.conn.execute(again)


async def test_an_area_cannot_change_before_a_change_that_is_known_already(park):  # noqa: F811
    site = await leasing.find_site(park.conn)
    later = {"area_m2": Decimal(90), "area_kind": "net", "from_day": date(2026, 10, 11)}
    await spaces.change_area(park.conn, site, "r1", **later, **WHO)
    with pytest.raises(Invalid, match="changes after 2026-10-05 already"):
        await spaces.change_area(park.conn, site, "r1", **later | {"from_day": date(2026, 10, 5)}, **WHO)


async def test_a_part_of_a_space_is_sub_let_and_the_parts_are_equal_to_the_whole(park):  # noqa: F811
    """Tenant a sub-lets 25 of the 100 m2 of r1 to b from the 16th: a quarter of the meter's energy is b's."""
    site = await leasing.find_site(park.conn)
    await changes.sublet(
        park.conn, site, "L1", space="r1", to_tenant="b", new_number="L1-S", first=date(2026, 10, 16),
        last_day=None, readings={}, area_m2=Decimal(25), **WHO,
    )  # fmt: skip
    shares = await rows(
        park.conn,
        "SELECT s.code, x.share FROM meter_space x JOIN space s ON s.id = x.space_id JOIN meter m ON m.id = x.meter_id"
        " WHERE m.code = 'm1' AND upper_inf(x.valid) ORDER BY 1",
    )
    assert shares == [("r1-1", Decimal("0.75")), ("r1-2", Decimal("0.25"))]
    run = await park.run()
    assert run["summary"]["blocking"] == []
    a, b = [Decimal((await park.bill(run, who))["snapshot"]["quantity"]) for who in "ab"]
    assert a == 15 * 24 + 16 * 24 * Decimal("0.75")
    assert b == 31 * 24 + 16 * 24 * Decimal("0.25")
    today = await rows(park.conn, "SELECT sum(area_m2) FROM space_area a JOIN space s ON s.id = a.space_id"
                                  " WHERE s.code LIKE 'r1%%' AND a.valid @> date '2026-11-10'")  # fmt: skip
    assert today == [(100,)]


async def test_parts_that_do_not_add_up_to_the_space_are_refused(park):  # noqa: F811
    site = await leasing.find_site(park.conn)
    for parts in ({"x": 60, "y": 30}, {"x": 100}, {"x": 120, "y": -20}):
        areas = {code: Decimal(area) for code, area in parts.items()}
        with pytest.raises(Invalid, match="sum to 100 m2"):
            await spaces.split_space(park.conn, site, "r1", parts=areas, from_day=date(2026, 10, 16), **WHO)


async def test_a_lease_cannot_end_under_a_sub_lease_that_goes_on(park):  # noqa: F811
    site = await leasing.find_site(park.conn)
    await changes.sublet(
        park.conn, site, "L1", space="r1", to_tenant="b", new_number="L1-S", first=date(2026, 10, 16),
        last_day=None, readings={}, area_m2=Decimal(25), **WHO,
    )  # fmt: skip
    names = await rows(park.conn, "SELECT code, name_en FROM space WHERE code LIKE 'r1-%%' ORDER BY 1")
    assert names == [("r1-1", "r1 1"), ("r1-2", "r1 2")]
    out = {"last_day": date(2026, 10, 20), "readings": {}, "without_final_bill": "test"}
    with pytest.raises(HandoverRefused, match="sub-lease L1-S still runs"):
        await tenancy.move_out(park.conn, site, "L1", **out, **WHO)
    await tenancy.move_out(park.conn, site, "L1-S", **out, **WHO)
    await tenancy.move_out(park.conn, site, "L1", **out, **WHO)


async def door(conn, code, *served):
    await conn.execute(
        "INSERT INTO equipment (organisation_id, site_id, code, name_zh, name_en, brick_class, attributes)"
        " SELECT organisation_id, id, %(c)s, %(c)s, %(c)s, 'Access_Reader', jsonb_build_object('device', %(c)s::text) FROM site",
        {"c": code},
    )
    await conn.execute(
        "INSERT INTO equipment_serves SELECT e.id, s.id FROM equipment e, space s WHERE e.code = %s AND s.code = ANY(%s)",
        (code, list(served)),
    )


async def doors_of(conn, lease):
    found = await rows(
        conn,
        "SELECT e.code, lower(r), upper(r) FROM (SELECT x.equipment_id, unnest(range_agg(x.valid)) AS r"
        " FROM access_entitlement x JOIN lease l ON l.id = x.lease_id AND l.number = %s GROUP BY 1) p"
        " JOIN equipment e ON e.id = p.equipment_id ORDER BY 1, 2",
        lease,
    )
    return [(code, str(first), str(after)) for code, first, after in found]


async def test_a_lease_opens_the_doors_of_its_spaces_from_move_in_to_move_out(park):  # noqa: F811
    conn, site = park.conn, await leasing.find_site(park.conn)
    await door(conn, "front", "r1", "r2", "r3")
    await door(conn, "d2", "r2")
    tenant = (await tenancy.find_tenant(conn, site, "b"))["id"]
    term = {"first": date(2026, 10, 5), "last_day": None}
    await tenancy.apply(conn, site, tenant_id=tenant, number="L9", spaces=["r2"], **term, **WHO)
    await tenancy.review(conn, site, "L9", approve=True, reason="", **WHO)
    assert await doors_of(conn, "L9") == []  # Held, not yet handed over.
    await tenancy.move_in(conn, site, "L9", readings={}, **WHO)
    assert await doors_of(conn, "L9") == [("d2", "2026-10-05", "None"), ("front", "2026-10-05", "None")]
    out = {"last_day": date(2026, 10, 20), "readings": {}, "without_final_bill": "test"}
    await tenancy.move_out(conn, site, "L9", **out, **WHO)
    assert await doors_of(conn, "L9") == [("d2", "2026-10-05", "2026-10-21"), ("front", "2026-10-05", "2026-10-21")]


async def test_a_room_taken_or_given_back_takes_its_door_along(park):  # noqa: F811
    conn, site = park.conn, await leasing.find_site(park.conn)
    await door(conn, "d1", "r1")
    await door(conn, "d2", "r2")
    await changes.take_space(conn, site, "L1", space="r2", from_day=date(2026, 10, 10), readings={}, **WHO)
    assert ("d2", "2026-10-10", "None") in await doors_of(conn, "L1")
    await changes.give_back_space(conn, site, "L1", space="r2", last_day=date(2026, 10, 19), readings={}, **WHO)
    assert ("d2", "2026-10-10", "2026-10-20") in await doors_of(conn, "L1")


async def test_the_last_move_out_ends_the_cards_and_cards_are_never_plain_numbers(park):  # noqa: F811
    conn, site = park.conn, await leasing.find_site(park.conn)
    cards = [Card(credential=CARD, tenant="a", first=date(2026, 1, 1))]
    assert await access.record_cards(conn, site, cards, **WHO) == 1
    assert await access.record_cards(conn, site, cards, **WHO) == 0
    for wrong, words in (
        (Card(credential="12345", tenant="a", first=date(2026, 1, 1)), "never as its number"),
        (Card(credential=CARD, tenant="zz", first=date(2026, 1, 1)), "there is no tenant zz"),
        (Card(credential=CARD, tenant="b", first=date(2026, 1, 1)), "two tenants on one day"),
    ):
        with pytest.raises(Invalid, match=words):
            await access.record_cards(conn, site, [wrong], **WHO)
    out = {"last_day": date(2026, 10, 20), "readings": {}, "without_final_bill": "test"}
    await tenancy.move_out(conn, site, "L1", **out, **WHO)
    assert await rows(conn, "SELECT upper(valid) FROM access_card") == [(date(2026, 10, 21),)]
