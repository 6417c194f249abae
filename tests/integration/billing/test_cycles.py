"""Billing from the 26th to the 25th: runs, the utility's bill of the same days, and a change of the cycle day."""

from datetime import UTC, date, datetime
from decimal import Decimal

import psycopg
import pytest

from cloud_api.billing import service as billing
from cloud_api.billing import utility_bill, verification
from cloud_api.billing.final_bill import issue_final_bills
from cloud_api.billing.utility_bill_entry import UtilityBillInvalid
from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.scope import SYSTEM
from tests.integration.billing.small_site import CLOCK, TARIFF, SmallSite, brute_force, estate
from tests.integration.billing.test_bill_run import NATIONAL_DAY, priced, some_kwh

METERED = ("2026-09-01", "2026-11-01")
CYCLE = date(2026, 9, 26), date(2026, 10, 26)
OCTOBER = date(2026, 10, 1), date(2026, 11, 1)
FEE = "      - {code: fee, name: {zh: 表费, en: Meter fee}, kind: fixed, price: 30, vat_rate: 0.13}\n"


async def built(conn, *, tariff=TARIFF, **policy):
    site = SmallSite(conn)
    leases = [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-10-11", "")]
    file = estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60})
    await site.build(file, leases, tariff=tariff, **policy)
    for seed, code in enumerate(("m1", "m2", "common"), 1):
        await site.meter(code, *METERED, some_kwh(seed))
    await site.main_is_sum_of(["m1", "m2", "common"], *METERED, loss=Decimal("0.002"))
    await site.settle()
    return site


def main_kwh(site, days):
    first, after = (datetime.combine(day, datetime.min.time()).isoformat() for day in days)
    return sum(brute_force(site, "main", first, after).values())


def bill_of(site, days, amount="260.00"):
    lines = [{"name": "电费", "name_en": "Energy", "amount": amount}]
    return {"total": amount, "kwh": str(main_kwh(site, days)), "lines": lines}


def days_of(run):
    return run["period"].lower, run["period"].upper


async def test_a_run_from_the_26th_to_the_25th_bills_exactly_those_days(conn):
    site = await built(conn, cycle_day=26)
    run = await site.run("2026-09", issue=True)
    assert days_of(run) == CYCLE
    a, b = [await site.bill(run, tenant) for tenant in "ab"]
    assert a["total"] == priced(brute_force(site, "m1", "2026-09-26", "2026-10-26", holidays=NATIONAL_DAY))
    assert b["total"] == priced(brute_force(site, "m2", "2026-10-11", "2026-10-26", holidays=NATIONAL_DAY))
    assert a["snapshot"]["cycle"] == {"from": "2026-09-26", "to": "2026-10-26"}
    assert all(v.holds for v in await verification.verify_run(conn, run["id"]))
    with pytest.raises(billing.RunExists):
        await site.run("2026-09")
    with pytest.raises(billing.Invalid, match="it is billed from 2026-10-26 to 2026-11-25"):
        await site.run("2026-10")


async def test_after_a_change_of_the_cycle_day_every_day_is_billed_once_and_a_monthly_fee_by_its_days(conn):
    site = await built(conn, tariff=TARIFF + FEE)
    september = await site.run("2026-09", issue=True)
    await billing.set_policy(conn, site.site, {"cycle_day": 26}, actor="x", clock=CLOCK)
    rest = await site.run("2026-09", issue=True)
    assert [days_of(run) for run in (september, rest)] == [
        (date(2026, 9, 1), date(2026, 10, 1)),
        (date(2026, 10, 1), date(2026, 10, 26)),
    ]
    fees = []
    for run in (september, rest):
        lines = (await site.bill(run, "a"))["snapshot"]["lines"]
        fees += [Decimal(line["amount"]) for line in lines if line["component"] == "fee"]
    assert fees == [Decimal("30.00"), Decimal("25.00")]  # 25 of the cycle's 30 days.
    assert all(v.holds for v in await verification.verify_run(conn, rest["id"]))
    with pytest.raises(billing.RunExists):
        await site.run("2026-09")


async def test_the_database_refuses_a_second_run_over_some_of_the_same_days(conn):
    site = await built(conn, cycle_day=26)
    await site.run("2026-09")
    with pytest.raises(psycopg.errors.ExclusionViolation, match="days_billed_once"):
        await conn.execute(
            "INSERT INTO bill_run (organisation_id, site_id, utility, period, state, prepared_by, created_at)"
            " SELECT organisation_id, id, 'electricity', '[2026-10-01,2026-11-01)', 'draft', 'x', now() FROM site"
        )


async def test_a_final_bill_begins_with_the_running_cycle(conn):
    site = await built(conn, cycle_day=26, resale_tolerance=9999)
    run = await site.run("2026-09", issue=True)
    a = await site.bill(run, "a")
    await conn.execute("UPDATE lease_space SET term = daterange(lower(term), '2026-10-30') WHERE tenant_id = %s",
                       (a["tenant_id"],))  # fmt: skip
    (number,) = await issue_final_bills(
        conn,
        site.site,
        a["tenant_id"],
        date(2026, 10, 30),
        actor="x",
        clock=fixed_clock(datetime(2026, 10, 30, tzinfo=UTC)),
    )
    final = await billing.get_bill(conn, number)
    assert (final["starts_on"], final["ends_on"]) == (date(2026, 10, 26), date(2026, 10, 30))
    assert final["total"] == priced(brute_force(site, "m1", "2026-10-26", "2026-10-30"))


async def test_the_utilitys_bill_of_any_days_is_compared_with_our_ledger_over_exactly_them(conn):
    site = await built(conn)
    await utility_bill.enter(conn, site.site, CYCLE, bill_of(site, CYCLE), actor="x", clock=CLOCK)
    compared = await utility_bill.compare(conn, site.site, CYCLE, bill_of(site, CYCLE))
    assert compared.energy.ours == compared.energy.theirs == main_kwh(site, CYCLE)
    rated = priced(brute_force(site, "main", "2026-09-26", "2026-10-26", holidays=NATIONAL_DAY))
    assert abs(compared.amount.ours - rated) <= Decimal("0.02")  # Exact here, rounded by line there.
    october = await utility_bill.compare(conn, site.site, OCTOBER, bill_of(site, CYCLE))
    assert october.energy.ours == main_kwh(site, OCTOBER) != compared.energy.ours


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (OCTOBER, "stand on the bill that was entered for 2026-09-26 to 2026-10-25"),
        ((date(2026, 8, 1), date(2026, 8, 1)), "a bill covers 1 to 100 days"),
        ((date(2026, 1, 1), date(2026, 8, 1)), "a bill covers 1 to 100 days"),
        ((date(2026, 10, 26), date(2026, 11, 26)), "the last day is not over yet"),
    ],
)
async def test_days_that_a_bill_cannot_cover_are_refused(conn, days, words):
    site = await built(conn)
    await utility_bill.enter(conn, site.site, CYCLE, bill_of(site, CYCLE), actor="x", clock=CLOCK)
    with pytest.raises(UtilityBillInvalid, match=words):
        await utility_bill.enter(conn, site.site, days, bill_of(site, CYCLE), actor="x", clock=CLOCK)


async def test_cost_share_divides_the_utilitys_bill_of_the_same_days_and_says_when_they_are_others(conn):
    site = await built(conn, resale_mode="cost_share")
    await utility_bill.enter(conn, site.site, CYCLE, bill_of(site, CYCLE), actor="x", clock=CLOCK)
    (reason,) = (await site.run("2026-10"))["reasons"]
    assert "the utility's bill 2026-09-26 to 2026-10-25; set the billing parameter cycle_day to 26" in reason
    await billing.set_policy(conn, site.site, {"cycle_day": 26}, actor="x", clock=CLOCK)
    run = await site.run("2026-09", issue=True)
    bills = [await site.bill(run, tenant) for tenant in ("a", "b", "owner")]
    assert sum(bill["total"] for bill in bills) == Decimal("260.00")
    assert run["summary"]["resale"]["basis"] == "utility_bill"


async def test_a_replaced_or_removed_utilitys_bill_leaves_what_was_issued_provable(pool):
    async with transaction(pool, SYSTEM) as conn:
        site = await built(conn, resale_mode="cost_share", cycle_day=26)
        await utility_bill.enter(conn, site.site, CYCLE, bill_of(site, CYCLE), actor="x", clock=CLOCK)
    async with transaction(pool, SYSTEM) as conn:
        site.conn = conn
        run = await site.run("2026-09", issue=True)
    async with transaction(pool, SYSTEM) as conn:
        await utility_bill.enter(conn, site.site, CYCLE, bill_of(site, CYCLE, "999.00"), actor="x", clock=CLOCK)
    async with transaction(pool, SYSTEM) as conn:
        (row,) = await utility_bill.entered(conn, site.site.organisation_id)
        assert row["total"] == Decimal("999.00")
        assert all(v.holds for v in await verification.verify_run(conn, run["id"]))
        await utility_bill.remove(conn, site.site.organisation_id, row["id"])
    async with transaction(pool, SYSTEM) as conn:
        assert await utility_bill.entered(conn, site.site.organisation_id) == []
        assert all(v.holds for v in await verification.verify_run(conn, run["id"]))
