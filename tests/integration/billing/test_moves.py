"""Moves in the life of a lease, each with the bill of its month checked to the cent by hand.

Every meter counts 1 kWh an hour. October 2026 has 18 work days (8 h valley, 16 h peak) and 13 days off (24 h valley):
National Day 1-7, the weekends but Saturday the 10th, which is made up. The tariff is small_site.TARIFF.
"""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from cloud_api.billing import coverage, settlement
from cloud_api.billing.tariff_file import load_tariff
from cloud_api.kit.errors import Invalid
from cloud_api.leasing import service as leasing
from cloud_api.leasing.import_file import Parsed, parse_leases
from cloud_api.operations.site_import import service as site_import
from cloud_api.operations.site_import.model import EstateFile
from cloud_api.operations.tenancy import changes, meter_shares
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.operations.tenancy.handover import HandoverRefused
from tests.integration.billing.small_site import CLOCK, SmallSite, estate

OCTOBER = ("2026-10-01", "2026-11-01")
WHO = {"actor": "x", "clock": CLOCK}
CENT = Decimal("0.01")


def bill_of(work_days, days_off):
    """Write the bill of so many metered days by hand: energy per bucket, funds, each line rounded half-up."""
    valley, peak = work_days * 8 + days_off * 24, work_days * 16
    lines = [valley * Decimal("0.31"), peak * Decimal("1.07"), (valley + peak) * Decimal("0.0292")]
    return sum((line.quantize(CENT, ROUND_HALF_UP) for line in lines), Decimal(0))


@pytest.fixture
async def park(conn):
    """Tenant a holds r1, b holds r3; r2 is vacant. Every room has a meter of its own."""
    site = SmallSite(conn)
    await site.build(
        estate({"m1": ["r1"], "m2": ["r2"], "m3": ["r3"]}, areas={"r1": 100, "r2": 60, "r3": 40}),
        [("L1", "a", "r1", "2026-01-01", ""), ("L3", "b", "r3", "2026-01-01", "")],
    )
    for code in ("m1", "m2", "m3", "common"):
        await site.meter(code, *OCTOBER, lambda _: Decimal("0.25"))
    await site.main_is_sum_of(["m1", "m2", "m3", "common"], *OCTOBER)
    return site


async def totals(park):
    run = await park.run()
    assert run["summary"]["blocking"] == []
    owner = await park.bill(run, "owner")
    return {b["tenant_code"]: b["total"] for b in run["bills"]} | {"owner kWh": Decimal(owner["snapshot"]["quantity"])}


async def test_a_room_taken_in_the_middle_of_a_month_is_paid_from_that_midnight(park):
    site = await leasing.find_site(park.conn)
    done = await changes.take_space(park.conn, site, "L1", space="r2", from_day=date(2026, 10, 16), readings={}, **WHO)
    assert done.readings == {"m2": Decimal(1000) + 15 * 24}  # The meter read itself at midnight.
    found = await totals(park)
    assert found["a"] == bill_of(18 + 11, 13 + 5) == Decimal("735.26")
    assert found["owner kWh"] == 15 * 24  # r2 from the 1st to the 15th.


async def test_a_room_given_back_is_the_owners_from_the_next_midnight(park):
    site = await leasing.find_site(park.conn)
    await changes.take_space(park.conn, site, "L1", space="r2", from_day=date(2026, 10, 1), readings={}, **WHO)
    with pytest.raises(Invalid, match="lease L3 does not hold r2"):
        await changes.give_back_space(
            park.conn, site, "L3", space="r2", last_day=date(2026, 10, 11), readings={}, **WHO
        )
    await changes.give_back_space(park.conn, site, "L1", space="r2", last_day=date(2026, 10, 11), readings={}, **WHO)
    found = await totals(park)
    assert found["a"] == bill_of(18 + 3, 13 + 8)  # r2: 8th, 9th, 10th worked; 1-7 and 11 off.
    assert found["owner kWh"] == 20 * 24
    with pytest.raises(Invalid, match="r1 is the only space of lease L1: move it out instead"):
        await changes.give_back_space(
            park.conn, site, "L1", space="r1", last_day=date(2026, 10, 20), readings={}, **WHO
        )
    # The space was closed by its own handover: another lease may take it while L1 goes on.
    await changes.take_space(park.conn, site, "L3", space="r2", from_day=date(2026, 10, 12), readings={}, **WHO)


async def test_a_sub_let_room_is_paid_by_the_sub_tenant_for_its_term_and_by_the_tenant_around_it(park):
    site = await leasing.find_site(park.conn)
    await changes.take_space(park.conn, site, "L1", space="r2", from_day=date(2026, 10, 1), readings={}, **WHO)
    await changes.sublet(
        park.conn, site, "L1", space="r2", to_tenant="b", new_number="L1-S", first=date(2026, 10, 12),
        last_day=date(2026, 10, 25), readings={}, **WHO,
    )  # fmt: skip
    found = await totals(park)
    assert found["b"] == bill_of(18 + 10, 13 + 4)  # r2 from the 12th to the 25th.
    assert found["a"] == bill_of(18 + 8, 13 + 9)
    with pytest.raises(Invalid, match="does not hold r2 on 2026-10-20"):
        await changes.sublet(
            park.conn, site, "L1", space="r2", to_tenant="b", new_number="L1-T", first=date(2026, 10, 20),
            last_day=None, readings={}, **WHO,
        )  # fmt: skip


async def test_two_tenants_become_one_and_each_pays_its_own_days(park):
    site = await leasing.find_site(park.conn)
    a, b = [(await settlement.find_tenant(park.conn, site.organisation_id, code))["id"] for code in "ab"]
    ids = {"organisation_id": site.organisation_id, **WHO}
    await settlement.move_account(
        park.conn, tenant_id=b, account="deposit", amount=Decimal(500), kind="paid_in", on_day=date(2026, 1, 1), **ids
    )
    done = await changes.merge(
        park.conn, site, from_tenant="b", into_tenant="a", on_day=date(2026, 10, 19), readings={}, **WHO
    )
    assert list(done) == ["L3"]
    found = await totals(park)
    assert found["b"] == bill_of(3 + 5, 10)  # r3 from the 1st to the 18th.
    assert found["a"] == bill_of(18 + 10, 13 + 3)
    assert (await settlement.balances(park.conn, a))["deposit"] == 500
    assert (await settlement.balances(park.conn, b))["deposit"] == 0
    leases = {x["number"]: x for x in await tenancy.list_leases(park.conn, site.organisation_id, date(2026, 11, 10))}
    assert (leases["L3"]["status"], leases["L3-a"]["status"], leases["L3-a"]["tenant"]) == ("ended", "active", "a")


async def test_a_merger_at_two_sites_cuts_each_lease_at_the_midnight_of_its_own_site(park):
    """The other park is in Berlin, seven hours behind in summer; its lease is cut at its own midnight."""
    conn, site = park.conn, await leasing.find_site(park.conn)
    file = estate({"mz": ["z1"]}, areas={"z1": 10}).model_dump(mode="json")
    berlin = file["site"] | {"code": "berlin", "time_zone": "Europe/Berlin"}
    await site_import.import_estate(conn, EstateFile.model_validate(file | {"site": berlin}), **WHO)
    other = await leasing.find_site(conn, "berlin")
    parsed = Parsed()
    parse_leases([{"lease": "LZ", "tenant": "b", "space": "z1", "first_day": "2026-01-01", "last_day": ""}], parsed)
    await leasing.import_leases(conn, other, parsed, source="test", **WHO)
    values = [("2026-10-18T21:59Z", 5), ("2026-10-18T22:00Z", 7), ("2026-10-18T16:00Z", 3)]
    for at, value in values:
        await conn.execute(
            "INSERT INTO reading (register_id, taken_at, value, source, received_at) SELECT r.id, %s, %s, 'import', %s"
            " FROM register r JOIN meter m ON m.id = r.meter_id AND m.code = 'mz'",
            (at, value, at),
        )
    day = date(2026, 10, 19)
    done = await changes.merge(conn, site, from_tenant="b", into_tenant="a", on_day=day, readings={}, **WHO)
    assert {number: change.readings.get("mz") for number, change in done.items()} == {"L3": None, "LZ": 7}
    assert set(done["L3"].readings) == {"m3"}


async def test_a_reading_of_a_meter_that_two_sites_have_is_refused_at_a_merger(park):
    conn, site = park.conn, await leasing.find_site(park.conn)
    file = estate({"m3": ["z1"]}, areas={"z1": 10}).model_dump(mode="json")
    second = EstateFile.model_validate(file | {"site": file["site"] | {"code": "second"}})
    await site_import.import_estate(conn, second, **WHO)
    parsed = Parsed()
    parse_leases([{"lease": "LZ", "tenant": "b", "space": "z1", "first_day": "2026-01-01", "last_day": ""}], parsed)
    await leasing.import_leases(conn, await leasing.find_site(conn, "second"), parsed, source="test", **WHO)
    wanted = {"from_tenant": "b", "into_tenant": "a", "on_day": date(2026, 10, 19), "readings": {"m3": Decimal(1)}}
    with pytest.raises(HandoverRefused, match="meter m3 is at several sites"):
        await changes.merge(conn, site, **wanted, **WHO)


async def test_a_meter_is_divided_by_area_and_the_parts_sum_to_one(park):
    site = await leasing.find_site(park.conn)
    day = date(2026, 10, 12)
    shares = await meter_shares.shares_by_area(park.conn, site, ["r1", "r2", "hall"], day)
    assert sum(shares.values()) == 1
    assert abs(shares["r1"] - Decimal(100) / 210) < Decimal("1e-11")
    await meter_shares.set_meter_shares(park.conn, site, "m1", shares=shares, from_day=day, **WHO)
    _, found = await meter_shares.history(park.conn, site, "m1")
    assert [row["space"] for row in found if row["ends_at"] is None] == ["hall", "r1", "r2"]
    with pytest.raises(Invalid, match="sum to 1"):
        await meter_shares.set_meter_shares(park.conn, site, "m1", shares={}, from_day=day, **WHO)


async def test_a_meter_assigned_to_nobody_holds_the_run_up_until_it_is_divided(park):
    """m2 loses its space for the first ten days: 240 kWh of nobody's; its share is set from the 1st, and the run is free."""
    site = await leasing.find_site(park.conn)
    await park.conn.execute(
        "UPDATE meter_space SET valid = tstzrange('2026-10-11 00:00+08', NULL) WHERE meter_id ="
        " (SELECT id FROM meter WHERE code = 'm2')"
    )
    [blocking] = (await park.run())["summary"]["blocking"]
    assert blocking["code"] == "meter_unassigned"
    assert blocking["text"].startswith(
        "meter m2 measures no space from 2026-10-01 to 2026-10-11 and counted 240.00 kWh"
    )
    assert "divide it over spaces from that day on" in blocking["text"]
    first = {"shares": {"r2": Decimal(1)}, "from_day": date(2026, 10, 1)}
    await meter_shares.set_meter_shares(park.conn, site, "m2", **first, **WHO)
    assert (await park.run())["summary"]["blocking"] == []
    with pytest.raises(Invalid, match="shares of m2 begin after 2026-10-05 already"):
        await meter_shares.set_meter_shares(park.conn, site, "m2", **first | {"from_day": date(2026, 10, 5)}, **WHO)


async def test_people_and_area_follow_an_amendment_from_its_day_in_the_shares_of_the_month(park):
    """The common meter's 744 kWh are shared by people and days: a 10 people, then 30 from the 17th; b 10."""
    site = await leasing.find_site(park.conn)
    await changes.amend(park.conn, site, "L1", on_day=date(2026, 1, 1), people=10, **WHO)
    await changes.amend(park.conn, site, "L3", on_day=date(2026, 1, 1), people=10, **WHO)
    await changes.amend(park.conn, site, "L1", on_day=date(2026, 10, 17), people=30, areas={"r1": Decimal(120)}, **WHO)
    from cloud_api.billing import service as billing

    await billing.set_policy(park.conn, park.site, {"common": {"head_count": "1"}}, actor="x", clock=CLOCK)
    run = await park.run()
    a = (await park.bill(run, "a"))["snapshot"]
    shared = sum(Decimal(u["common"]) for u in a["usage"])
    a_days, b_days = 10 * 16 + 30 * 15, 10 * 31
    assert abs(shared - Decimal(744) * a_days / (a_days + b_days)) < Decimal("0.0001")
    holdings = [(x["from"], x["to"], x["area_m2"]) for x in a["leases"]]
    assert holdings == [("2026-10-01", "2026-10-17", "100"), ("2026-10-17", "2026-11-01", "120")]


async def test_a_meter_shared_anew_divides_its_energy_from_that_midnight(conn):
    site = SmallSite(conn)
    await site.build(
        estate({"m1": ["r1", "r2"]}, areas={"r1": 100, "r2": 100}),
        [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-01-01", "")],
    )
    await site.meter("m1", *OCTOBER, lambda _: Decimal("0.25"))
    await site.meter("common", *OCTOBER, lambda _: Decimal("0.25"))
    await site.main_is_sum_of(["m1", "common"], *OCTOBER)
    where = await leasing.find_site(conn)
    with pytest.raises(Invalid, match="have to sum to 1"):
        await meter_shares.set_meter_shares(
            conn, where, "m1", shares={"r1": Decimal("0.5")}, from_day=date(2026, 10, 12), **WHO
        )
    shares = {"r1": Decimal("0.75"), "r2": Decimal("0.25")}
    await meter_shares.set_meter_shares(conn, where, "m1", shares=shares, from_day=date(2026, 10, 12), **WHO)
    run = await site.run()
    a = (await site.bill(run, "a"))["snapshot"]
    assert Decimal(a["quantity"]) == 11 * 24 * Decimal("0.5") + 20 * 24 * Decimal("0.75")


async def test_a_change_over_issued_bills_names_them_and_the_run_can_be_made_again_as_it_was(park):
    await park.run(issue=True)
    site = await leasing.find_site(park.conn)
    known_before = (await (await park.conn.execute("SELECT count(*) FROM fact_history")).fetchone())[0]
    done = await changes.amend(park.conn, site, "L1", on_day=date(2026, 10, 20), areas={"r1": Decimal(90)}, **WHO)
    assert done.bills_to_correct == ["PARK-2026-B000001"]
    after = (await (await park.conn.execute("SELECT count(*) FROM fact_history")).fetchone())[0]
    assert after > known_before  # What was known before stays.


async def test_a_space_of_another_lease_without_reading_or_in_the_future_cannot_be_taken(park):
    site = await leasing.find_site(park.conn)
    with pytest.raises(HandoverRefused, match="space r3 still has the open account of lease L3"):
        await changes.take_space(park.conn, site, "L1", space="r3", from_day=date(2026, 10, 16), readings={}, **WHO)
    with pytest.raises(HandoverRefused, match="meter m2 has no reading at the handover"):
        await changes.take_space(park.conn, site, "L1", space="r2", from_day=date(2026, 11, 5), readings={}, **WHO)
    with pytest.raises(Invalid, match="has not begun"):
        await changes.take_space(park.conn, site, "L1", space="r2", from_day=date(2026, 12, 5), readings={}, **WHO)
    with pytest.raises(Invalid, match="hall is common area"):
        await changes.take_space(park.conn, site, "L1", space="hall", from_day=date(2026, 10, 5), readings={}, **WHO)
    with pytest.raises(Invalid, match="overlap or end before they begin"):
        hours = [(1, "08:00", "18:00"), (1, "17:00", "19:00")]
        await changes.amend(park.conn, site, "L1", on_day=date(2026, 10, 5), hours=hours, **WHO)


async def test_the_same_file_after_a_move_changes_nothing_and_news_from_the_source_do(park):
    site = await leasing.find_site(park.conn)
    await changes.take_space(park.conn, site, "L1", space="r2", from_day=date(2026, 10, 16), readings={}, **WHO)
    from cloud_api.leasing.import_file import Parsed, parse_leases

    keys = ("lease", "tenant", "space", "first_day", "last_day")

    async def import_row(*row):
        parsed = Parsed()
        parse_leases([dict(zip(keys, row, strict=True))], parsed)
        return await leasing.import_leases(park.conn, site, parsed, source="test", actor="x", clock=CLOCK)

    again = await import_row("L1", "a", "r1", "2026-01-01", "")
    assert (again.created, again.changed, again.unchanged) == (0, 0, 1)
    assert "r1, r2" in {
        x["spaces"] for x in await tenancy.list_leases(park.conn, site.organisation_id, date(2026, 11, 10))
    }
    news = await import_row("L1", "a", "r1", "2026-01-01", "2027-12-31")
    assert news.changed == 1


async def test_the_final_bill_is_issued_in_the_move_out_and_the_month_bills_nothing_twice(park):
    """Tenant b moves out on the 20th: r3 from the 1st to the 20th has 10 work days and 10 days off."""
    from cloud_api.billing import service as billing
    from cloud_api.billing import verification

    site = await leasing.find_site(park.conn)
    await park.settle()
    # Water has a price here, for what a leak costs, and no meter: nobody has a last bill of it.
    water = load_tariff(Path(coverage.__file__).parent / "tariffs" / "water.yaml").tariff
    await billing.import_tariff(park.conn, park.site, water, actor="test", clock=CLOCK)
    tenant = (await settlement.find_tenant(park.conn, site.organisation_id, "b"))["id"]
    ids = {"organisation_id": site.organisation_id, "tenant_id": tenant, **WHO}
    await settlement.move_account(
        park.conn, account="deposit", amount=Decimal(1000), kind="paid_in", on_day=date(2026, 1, 1), **ids
    )
    done = await tenancy.move_out(park.conn, site, "L3", last_day=date(2026, 10, 20), readings={}, **WHO)
    (number,) = done["final_bills"]
    assert number == "PARK-2026-F000001"
    bill = await billing.get_bill(park.conn, number)
    assert (bill["kind"], bill["total"]) == ("final", bill_of(10, 10))
    assert (bill["starts_on"], bill["ends_on"]) == (date(2026, 10, 1), date(2026, 10, 21))
    assert (done["deposit_used"], done["deposit_left"]) == (bill["total"], 1000 - bill["total"])
    assert (await settlement.statement(park.conn, tenant))[-1]["balance"] == 0
    verdict = await verification.verify_bill(park.conn, number)
    assert verdict.holds, verdict.differences
    run = await park.run(issue=True)
    assert run["summary"]["blocking"] == []
    assert {b["tenant_code"] for b in run["bills"]} == {"a", "owner"}
    assert Decimal(run["summary"]["tenants_kwh"]) == 744 + 20 * 24


async def test_a_move_out_waits_for_what_keeps_its_final_bill_from_being_issued(park):
    site = await leasing.find_site(park.conn)
    await park.settle()
    with pytest.raises(HandoverRefused, match="meter m3 has no reading at the handover"):
        await tenancy.move_out(park.conn, site, "L3", last_day=date(2026, 11, 3), readings={}, **WHO)
    with pytest.raises(HandoverRefused, match="the final bill cannot be issued"):
        async with park.conn.transaction():
            await tenancy.move_out(
                park.conn, site, "L3", last_day=date(2026, 11, 3), readings={"m3": Decimal(1816)}, **WHO
            )
    done = await tenancy.move_out(
        park.conn, site, "L3", last_day=date(2026, 11, 3), readings={"m3": Decimal(1816)}, **WHO,
        without_final_bill="the common meter is out until the 5th",
    )  # fmt: skip
    assert done["final_bills"] == []
