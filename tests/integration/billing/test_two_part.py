"""Two-part tariffs and cost share in a run: demand, power factor and the utility's own lines, against plain arithmetic."""

from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from cloud_api.billing import service as billing
from cloud_api.billing import utility_bill, utility_bill_entry
from cloud_api.billing.power_factor import adjustment_percent, power_factor
from cloud_api.billing.verification import verify_bill
from tests.integration.billing.small_site import CLOCK, ZONE, SmallSite, estate
from tests.integration.billing.test_bill_run import OCTOBER, some_kwh

TWO_PART = """
tariff: two-part
name: {zh: 两部制, en: Two-part}
versions:
  - version: v1
    valid_from: 2020-01-01
    components:
      - {code: energy, name: {zh: 电量, en: Energy}, kind: energy, price: 0.7}
      - code: basic
        name: {zh: 基本电费, en: Basic charge}
        kind: demand
        price: 40
        day_count: thirtieth
        demand: {window_min: 15, rule: RULE}
      - {code: pf, name: {zh: 力调, en: Power factor}, kind: pf, pf_standard: 0.90, base_codes: [energy, basic]}
"""
PEAK = datetime(2026, 10, 14, 10, 30, tzinfo=ZONE)


def peaky(seed, at_peak):
    return lambda at: at_peak if at == PEAK else some_kwh(seed)(at)


def highest_kw(site, code, first="2026-10-01"):
    start = datetime.fromisoformat(first).replace(tzinfo=ZONE)
    return max(q for (c, at), q in site.truth.items() if c == code and at >= start) * 4


async def built(conn, *, rule="actual", kvarh=Decimal("0.05"), **policy):
    site = SmallSite(conn)
    file = estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60}).model_dump(mode="json")
    for meter in file["meters"]:
        if meter["code"] == "main" and kvarh is not None:
            point = {"point": "main/reactive_energy_import", "unit": "kvarh"}
            meter["registers"]["reactive_energy_import"] = point
    leases = [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-10-11", "")]
    tariff = TWO_PART.replace("RULE", rule)
    await site.build(type(estate({}, areas={"r": 1})).model_validate(file), leases, tariff=tariff, **policy)
    await site.meter("m1", *OCTOBER, peaky(1, Decimal("0.5")))
    await site.meter("m2", *OCTOBER, some_kwh(2))
    await site.meter("common", *OCTOBER, some_kwh(3))
    await site.main_is_sum_of(["m1", "m2", "common"], *OCTOBER, loss=Decimal("0.002"))
    if kvarh is not None:
        await site.conn.execute(
            "DELETE FROM reading q USING register r WHERE r.id = q.register_id AND r.quantity = 'reactive_energy_import'"
        )
        await site.conn.execute(
            "INSERT INTO reading (register_id, taken_at, value, source, received_at)"
            " SELECT r.id, g, 100 + %s * (row_number() OVER (ORDER BY g) - 1), 'import', g FROM register r,"
            " generate_series(timestamptz '2026-09-30 16:00Z', '2026-10-31 16:00Z', interval '15 minutes') g"
            " WHERE r.quantity = 'reactive_energy_import'",
            (kvarh,),
        )
    return site


def lines_of(bill):
    return {line["component"]: line for line in bill["snapshot"]["lines"]}


async def test_a_tenant_pays_its_own_quarter_hour_maximum_and_the_main_meters_power_factor(conn):
    site = await built(conn, resale_tolerance=9999)
    run = await site.run()
    assert run["reasons"] == []
    main_kwh = sum(q for (c, _), q in site.truth.items() if c == "main")
    percent = adjustment_percent(power_factor(main_kwh, Decimal("0.05") * 2976), Decimal("0.90"))
    for tenant, meter, first, months in (("a", "m1", "2026-10-01", 1), ("b", "m2", "2026-10-11", Fraction(21, 30))):
        lines = lines_of(await site.bill(run, tenant))
        kw = highest_kw(site, meter, first)
        assert Decimal(lines["basic"]["quantity"]) == kw
        exact = Fraction(kw) * 40 * months
        assert abs(Fraction(Decimal(lines["basic"]["amount"])) - exact) <= Fraction(1, 200)
        base = Decimal(lines["energy"]["amount"]) + Decimal(lines["basic"]["amount"])
        assert abs(Decimal(lines["pf"]["amount"]) - base * percent / 100) <= Decimal("0.005")
    assert Decimal(lines_of(await site.bill(run, "a"))["basic"]["quantity"]) == 2  # 0.5 kWh in a quarter of an hour.


async def test_the_policies_of_demand_and_power_factor_change_what_is_charged(conn):
    site = await built(conn, resale_tolerance=9999, demand_basis="site_maximum", pf_share="landlord")
    run = await site.run()
    highest = max((q, at) for (c, at), q in site.truth.items() if c == "main")[1]
    for tenant, meter in (("a", "m1"), ("b", "m2")):
        lines = lines_of(await site.bill(run, tenant))
        assert Decimal(lines["basic"]["quantity"]) == site.truth[meter, highest] * 4
        assert "pf" not in lines


async def test_a_contract_on_the_lease_decides_and_its_absence_forbids_issuing(conn):
    site = await built(conn, rule="contract105", resale_tolerance=9999)
    run = await site.run()
    assert any("needs the contract demand in kW" in reason for reason in run["reasons"])
    await conn.execute("UPDATE lease SET attributes = attributes || '{\"contract_kw\": 1.5}'")
    run = await site.run()
    assert run["reasons"] == []
    # 2 kW against 1.5 kW: the contract, and twice what lies above 105 % of it.
    assert Decimal(lines_of(await site.bill(run, "a"))["basic"]["quantity"]) == Decimal("1.5") + 2 * (
        2 - Decimal("1.575")
    )


async def test_a_ratchet_looks_back_at_what_the_ledger_measured_in_earlier_months(conn):
    site = await built(conn, rule="ratchet, ratchet: {percent: 80, months_back: 2}", resale_tolerance=9999)
    # One quarter of an hour of 0.75 kWh in September, before which and after which nothing was used.
    peak = datetime(2026, 9, 14, 10, 30, tzinfo=ZONE)
    await site.meter("m1", "2026-09-01", "2026-09-30", lambda at: Decimal("0.75") if at == peak else 0, start="999.25")
    run = await site.run()
    assert run["reasons"] == []
    line = lines_of(await site.bill(run, "a"))["basic"]
    assert Decimal(line["quantity"]) == Decimal("2.4")  # 80 % of 3 kW; October's own 2 kW are less.
    assert Decimal(line["amount"]) == 96
    # Tenant b moved in on 11 October: nobody's earlier peak is its own.
    assert Decimal(lines_of(await site.bill(run, "b"))["basic"]["quantity"]) == highest_kw(site, "m2", "2026-10-11")
    assert (await verify_bill(conn, (await site.bill(run, "a"))["id"])).holds


async def test_without_reactive_readings_the_power_factor_is_an_exception_not_a_zero(conn):
    site = await built(conn, kvarh=None, resale_tolerance=9999)
    run = await site.run()
    assert any("needs the reactive energy" in reason for reason in run["reasons"])


async def test_two_part_charges_count_against_what_the_landlord_paid(conn):
    site = await built(conn)
    run = await site.run()
    sheet = run["summary"]["resale"]
    # Everybody's own maximum together is more than the main meter's: the cap sees it.
    assert Decimal(sheet["over_recovery"]) > 1
    assert {i["code"] for i in run["summary"]["blocking"]} == {"over_recovery"}


# --- Cost share -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def shared(conn):
    site = SmallSite(conn)
    leases = [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-10-11", "")]
    file = estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60})
    await site.build(file, leases, resale_mode="cost_share", common={"area": 1}, residual="pro_rata_energy")
    await site.meter("m1", *OCTOBER, some_kwh(1))
    await site.meter("m2", *OCTOBER, some_kwh(2))
    await site.meter("common", *OCTOBER, some_kwh(3))
    await site.main_is_sum_of(["m1", "m2", "common"], *OCTOBER, loss=Decimal("0.002"))
    await site.settle()
    return site


async def enter(site, kwh=None):
    main = sum(q for (code, _), q in site.truth.items() if code == "main")
    content = {
        "total": "333.33",
        "kwh": str(main if kwh is None else kwh),
        "lines": [
            {"name": "峰段电费", "name_en": "Peak energy", "amount": "200.01", "bucket": "peak"},
            {"name": "谷段电费", "name_en": "Valley energy", "amount": "60.00", "bucket": "valley"},
            {"name": "基本电费", "name_en": "Basic charge", "amount": "80.02", "driver": "area"},
            {"name": "退补电费", "name_en": "Adjustment", "amount": "-6.70"},
        ],
    }
    await utility_bill.enter(
        site.conn, site.site, (date(2026, 10, 1), date(2026, 11, 1)), content, actor="x", clock=CLOCK
    )


async def test_cost_share_divides_every_line_of_the_utilitys_bill_without_a_cent_left(shared):
    await enter(shared)
    run = await shared.run()
    assert run["reasons"] == []
    bills = {t: await shared.bill(run, t) for t in ("a", "b", "owner")}
    for name, paid in (("峰段电费", "200.01"), ("谷段电费", "60.00"), ("基本电费", "80.02"), ("退补电费", "-6.70")):
        parts = [
            Decimal(x["amount"]) for b in bills.values() for x in b["snapshot"]["lines"] if x["name"]["zh"] == name
        ]
        assert sum(parts) == Decimal(paid)
        assert len(parts) == 3
    assert sum(b["total"] for b in bills.values()) == Decimal("333.33")
    usage = {t: {u["bucket"]: u for u in b["snapshot"]["usage"]} for t, b in bills.items()}
    peak = {t: sum(Decimal(u["peak"][k]) for k in ("own", "common", "loss")) for t, u in usage.items()}
    [line] = [x for x in bills["a"]["snapshot"]["lines"] if x["name"]["zh"] == "峰段电费"]
    assert abs(Decimal(line["amount"]) - Decimal("200.01") * peak["a"] / sum(peak.values())) < Decimal("0.01")
    sheet = run["summary"]["resale"]
    assert (sheet["mode"], sheet["basis"]) == ("cost_share", "utility_bill")
    tenants = bills["a"]["total"] + bills["b"]["total"]
    assert Decimal(sheet["recovered"]) == tenants


async def test_cost_share_without_the_utilitys_bill_or_with_other_energy_cannot_be_issued(shared):
    assert [i["code"] for i in (await shared.run())["summary"]["blocking"]] == ["utility_bill_missing"]
    main = sum(q for (code, _), q in shared.truth.items() if code == "main")
    await enter(shared, kwh=main * Decimal("1.05"))
    assert [i["code"] for i in (await shared.run())["summary"]["blocking"]] == ["utility_bill_differs"]
    with pytest.raises(utility_bill_entry.UtilityBillInvalid, match="is no driver"):
        utility_bill_entry.check({"total": 1, "kwh": 1, "lines": [{"name": "a", "amount": 1, "driver": "moon"}]})


async def test_a_cost_share_bill_is_made_again_from_raw_readings(shared):
    from cloud_api.billing import verification

    await enter(shared)
    run = await shared.run(issue=True)
    assert (await billing.get_run(shared.conn, run["id"]))["state"] == "issued"
    assert all(v.holds for v in await verification.verify_run(shared.conn, run["id"]))
