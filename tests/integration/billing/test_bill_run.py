from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

import psycopg
import pytest

from cloud_api.billing import service as billing
from cloud_api.billing.states import NotIssuable, SamePerson, Step, StepRefused
from tests.integration.billing.small_site import CLOCK, SmallSite, brute_force, estate

NATIONAL_DAY = {date(2026, 10, 1) + timedelta(days=n) for n in range(7)}
OCTOBER = ("2026-10-01", "2026-11-01")
CENT = Decimal("0.01")


def some_kwh(seed):
    """A lively but repeatable load with three decimals."""
    return lambda at: Decimal((at.hour * 37 + at.minute * 11 + at.day * 7 + seed * 13) % 97) / 1000


def priced(buckets):
    """Lines as the tariff's text says: energy per bucket, funds on all, each rounded half-up once."""
    lines = [
        (buckets["valley"] * Decimal("0.31")),
        (buckets["peak"] * Decimal("1.07")),
        sum(buckets.values()) * Decimal("0.0292"),
    ]
    return sum((x.quantize(CENT, ROUND_HALF_UP) for x in lines), Decimal(0))


@pytest.fixture
async def two_rooms(conn):
    """Tenant a holds room r1 all month; b moves into r2 on the 11th, before that it is vacant."""
    site = SmallSite(conn)
    await site.build(
        estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60}),
        [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-10-11", "")],
    )
    await site.meter("m1", *OCTOBER, some_kwh(1))
    await site.meter("m2", *OCTOBER, some_kwh(2))
    await site.meter("common", *OCTOBER, some_kwh(3))
    await site.main_is_sum_of(["m1", "m2", "common"], *OCTOBER, loss=Decimal("0.002"))
    return site


async def test_every_bill_equals_a_brute_force_calculation_and_the_move_is_settled_at_midnight(two_rooms):
    run = await two_rooms.run()
    a, b, owner = [await two_rooms.bill(run, t) for t in ("a", "b", "owner")]
    assert a["total"] == priced(brute_force(two_rooms, "m1", *OCTOBER, holidays=NATIONAL_DAY))
    assert b["total"] == priced(brute_force(two_rooms, "m2", "2026-10-11", "2026-11-01", holidays=NATIONAL_DAY))
    vacant = brute_force(two_rooms, "m2", "2026-10-01", "2026-10-11", holidays=NATIONAL_DAY)
    assert Decimal(owner["snapshot"]["quantity"]) == sum(vacant.values())
    assert (a["state"], b["state"], owner["kind"]) == ("calculated", "calculated", "owner")


async def test_main_equals_tenants_owner_common_and_loss_to_the_last_digit(two_rooms):
    summary = (await two_rooms.run())["summary"]
    parts = [Decimal(summary[k]) for k in ("tenants_kwh", "owner_kwh", "common_kwh", "loss_kwh")]
    truth = sum(q for (code, _), q in two_rooms.truth.items() if code == "main")
    assert sum(parts) == Decimal(summary["main_kwh"]) == truth
    assert summary["blocking"] == []


async def test_a_bill_names_its_meters_readings_and_leases(two_rooms):
    run = await two_rooms.run()
    snapshot = (await two_rooms.bill(run, "b"))["snapshot"]
    (evidence,) = snapshot["evidence"]
    assert (evidence["meter"], evidence["from"], evidence["to"]) == (
        "m2",
        "2026-10-10T16:00:00Z",
        "2026-10-31T16:00:00Z",
    )
    opening, closing = evidence["opening"][0], evidence["closing"][0]
    assert Decimal(closing["value"]) - Decimal(opening["value"]) == Decimal(evidence["kwh"])
    assert [x["lease"] for x in snapshot["leases"]] == ["L2"]
    assert sum(Decimal(x["amount"]) for x in snapshot["lines"]) == Decimal(snapshot["total"])
    days = [sum((Decimal(v) for v in d["buckets"].values()), Decimal(0)) for d in snapshot["days"]]
    assert sum(days) == Decimal(snapshot["quantity"])


async def test_the_same_data_give_the_same_fingerprint_and_other_data_another(two_rooms):
    first = {b["tenant_code"]: b["sha256"] for b in (await two_rooms.run())["bills"]}
    assert {b["tenant_code"]: b["sha256"] for b in (await two_rooms.run())["bills"]} == first
    await two_rooms.conn.execute(
        "UPDATE interval SET quantity = quantity + 1 WHERE register_id IN (SELECT r.id FROM register r JOIN meter m ON m.id = r.meter_id WHERE m.code IN ('m1', 'main')) AND starts_at = '2026-10-20 04:00Z'"
    )
    again = {b["tenant_code"]: b["sha256"] for b in (await two_rooms.run())["bills"]}
    assert again["a"] != first["a"]


async def test_issued_bills_have_gap_free_numbers_and_can_never_change(two_rooms):
    run = await two_rooms.run(issue=True)
    assert run["state"] == "issued"
    assert [b["number"] for b in run["bills"] if b["kind"] == "bill"] == ["PARK-2026-B000001", "PARK-2026-B000002"]
    assert [s["to_state"] for s in run["steps"]] == ["calculated", "reviewed", "approved", "issued"]
    for change in (
        "UPDATE bill SET total = 1",
        "UPDATE bill SET snapshot = '{}'",
        "DELETE FROM bill",
        "UPDATE bill SET state = 'draft', number = NULL",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation):
            async with two_rooms.conn.transaction():
                await two_rooms.conn.execute(change + " WHERE kind = 'bill'")
    with pytest.raises(billing.RunExists, match="correct bills by credit note"):
        await two_rooms.run()


async def test_whoever_prepared_a_run_cannot_approve_it_and_steps_come_in_order(two_rooms):
    await billing.set_policy(two_rooms.conn, two_rooms.site, {"approval": "two_people"}, actor="test", clock=CLOCK)
    run = await two_rooms.run()
    with pytest.raises(StepRefused, match="a run that is calculated cannot issue"):
        await billing.take_step(two_rooms.conn, run["id"], Step.ISSUE, actor="boss", clock=CLOCK)
    await billing.take_step(two_rooms.conn, run["id"], Step.REVIEW, actor="preparer", clock=CLOCK)
    with pytest.raises(SamePerson):
        await billing.take_step(two_rooms.conn, run["id"], Step.APPROVE, actor="preparer", clock=CLOCK)
    await billing.take_step(two_rooms.conn, run["id"], Step.APPROVE, actor="boss", clock=CLOCK)
    assert await billing.take_step(two_rooms.conn, run["id"], Step.ISSUE, actor="preparer", clock=CLOCK) == "issued"
    with pytest.raises(billing.Invalid, match="asks for two people"):
        await billing.run_and_issue(two_rooms.conn, two_rooms.site, "2026-09", actor="x", clock=CLOCK)


async def test_missing_readings_put_the_bill_into_exception_and_forbid_issuing(conn):
    site = SmallSite(conn)
    await site.build(estate({"m1": ["r1"]}, areas={"r1": 100}), [("L1", "a", "r1", "2026-01-01", "")])
    await site.meter("m1", "2026-10-01", "2026-10-20", some_kwh(1))
    await site.meter("common", *OCTOBER, some_kwh(3))
    await site.main_is_sum_of(["m1", "common"], *OCTOBER)
    run = await site.run()
    (bill,) = [b for b in run["bills"] if b["kind"] == "bill"]
    assert bill["state"] == "exception"
    assert [i["code"] for i in bill["issues"]] == ["readings_missing"]
    await billing.take_step(conn, run["id"], Step.REVIEW, actor="x", clock=CLOCK)
    with pytest.raises(NotIssuable, match="meter m1: 1824 of 2976 intervals are known"):
        await billing.take_step(conn, run["id"], Step.APPROVE, actor="boss", clock=CLOCK)


async def test_an_unbalanced_run_cannot_be_issued(two_rooms):
    await two_rooms.settle()
    await two_rooms.conn.execute(
        "UPDATE interval i SET quantity = i.quantity * 2 FROM register r JOIN meter m ON m.id = r.meter_id WHERE r.id = i.register_id AND m.code = 'm1'"
    )
    await two_rooms.settle()
    run = await two_rooms.run()
    assert "unbalanced" in [i["code"] for i in run["summary"]["blocking"]]


async def test_estimated_energy_is_marked_and_above_the_limit_it_forbids_issuing(conn):
    site = SmallSite(conn)
    await site.build(estate({"m1": ["r1"]}, areas={"r1": 100}), [("L1", "a", "r1", "2026-01-01", "")])
    await site.meter("m1", *OCTOBER, some_kwh(1), skip=lambda at: date(2026, 10, 5) <= at.date() < date(2026, 10, 15))
    await site.meter("common", *OCTOBER, some_kwh(3))
    await site.main_is_sum_of(["m1", "common"], *OCTOBER)
    run = await site.run()
    bill = await site.bill(run, "a")
    assert Decimal(bill["snapshot"]["estimated_percent"]) > 20
    assert [i["code"] for i in bill["snapshot"]["issues"]] == ["estimated"]
    truth = sum(q for (code, _), q in site.truth.items() if code == "m1")
    assert Decimal(bill["snapshot"]["quantity"]) == truth  # The register's difference is kept whatever the gap.


async def test_two_rooms_on_one_meter_are_split_by_area_without_a_rest(conn):
    site = SmallSite(conn)
    await site.build(
        estate({"m1": ["r1", "r2", "r3"]}, areas={"r1": 10, "r2": 10, "r3": 10}),
        [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-01-01", "")],
    )
    await site.meter("m1", *OCTOBER, some_kwh(1))
    await site.meter("common", *OCTOBER, some_kwh(3))
    await site.main_is_sum_of(["m1", "common"], *OCTOBER)
    run = await site.run()
    kwh = [Decimal((await site.bill(run, t))["snapshot"]["quantity"]) for t in ("a", "b", "owner")]
    truth = sum(q for (code, _), q in site.truth.items() if code == "m1")
    assert sum(kwh) == truth
    assert all(abs(x - truth / 3) < Decimal("0.003") for x in kwh)


async def test_common_energy_can_be_shared_by_area_with_the_vacant_part_for_the_owner(two_rooms):
    await billing.set_policy(
        two_rooms.conn,
        two_rooms.site,
        {"common": {"area": 1}, "residual": "pro_rata_energy", "resale_tolerance": 99},
        actor="test",
        clock=CLOCK,
    )
    run = await two_rooms.run()
    summary = run["summary"]
    common = sum(q for (code, _), q in two_rooms.truth.items() if code == "common")
    shares = {}
    for tenant in ("a", "b", "owner"):
        usage = (await two_rooms.bill(run, tenant))["snapshot"]["usage"]
        shares[tenant] = sum((Decimal(u["common"]) for u in usage), Decimal(0))
    assert sum(shares.values()) == common == Decimal(summary["common_kwh"])
    weights = {"a": 100 * 31, "b": 60 * 21, "owner": 60 * 10}
    for tenant, weight in weights.items():
        assert abs(shares[tenant] - common * weight / sum(weights.values())) < Decimal("0.001")
    assert "common" in {x["source"] for x in (await two_rooms.bill(run, "a"))["snapshot"]["lines"]}


async def test_selling_dearer_than_the_landlord_bought_forbids_issuing(two_rooms):
    from cloud_api.billing.tariff_file import parse_tariff
    from tests.integration.billing.small_site import TARIFF

    cheaper = TARIFF.replace("test-tou", "purchase").replace("0.31", "0.30").replace("1.07", "0.90")
    await billing.import_tariff(
        two_rooms.conn, two_rooms.site, parse_tariff(cheaper).tariff, actor="test", clock=CLOCK, payers=["landlord"]
    )
    run = await two_rooms.run()
    assert {issue["code"] for issue in run["summary"]["blocking"]} == {"over_recovery"}
    sheet = (await two_rooms.bill(run, "a"))["snapshot"]["resale"]
    assert Decimal(sheet["recovered"]) - Decimal(sheet["paid_for_same_energy"]) == Decimal(sheet["over_recovery"]) > 0


async def test_a_month_that_is_not_over_and_a_site_without_tariff_are_refused(two_rooms):
    with pytest.raises(billing.Invalid, match="is not over yet"):
        await billing.calculate_run(two_rooms.conn, two_rooms.site, "2026-11", actor="x", clock=CLOCK)
    with pytest.raises(billing.Invalid, match="has no tariff for water"):
        await billing.calculate_run(two_rooms.conn, two_rooms.site, "2026-10", actor="x", clock=CLOCK, utility="water")


async def test_a_bill_is_made_again_from_raw_readings_even_when_the_ledger_is_gone(two_rooms):
    from cloud_api.billing import verification

    run = await two_rooms.run(issue=True)
    await two_rooms.conn.execute(
        "UPDATE interval i SET quantity = 0 FROM register r JOIN meter m ON m.id = r.meter_id WHERE r.id = i.register_id AND m.code IN ('m1', 'm2')"
    )
    verdicts = [
        await verification.verify_bill(two_rooms.conn, b["number"]) for b in run["bills"] if b["kind"] == "bill"
    ]
    assert [(v.holds, v.differences, v.recomputed == v.total) for v in verdicts] == [(True, (), True)] * 2
    assert all(v.holds for v in await verification.verify_run(two_rooms.conn, run["id"]))


async def test_verification_names_the_lines_that_a_changed_reading_moves(two_rooms):
    from cloud_api.billing import verification

    run = await two_rooms.run(issue=True)
    await two_rooms.conn.execute(
        "UPDATE reading SET value = value + 5 WHERE taken_at >= '2026-10-20 04:00Z' AND register_id IN (SELECT r.id FROM register r JOIN meter m ON m.id = r.meter_id WHERE m.code = 'm1')"
    )
    (number,) = [b["number"] for b in run["bills"] if b["tenant_code"] == "a"]
    verdict = await verification.verify_bill(two_rooms.conn, number)
    assert not verdict.holds
    assert any("energy peak: quantity" in d for d in verdict.differences)
    assert verdict.recomputed == verdict.total + Decimal("5.49")  # 5 kWh at 1.07, and funds rounded on their own line.


async def test_the_pdf_holds_both_languages_and_the_same_bill_gives_the_same_bytes(two_rooms):
    import io

    from pypdf import PdfReader

    from cloud_api.billing.document.render import bill_pdf

    run = await two_rooms.run(issue=True)
    bill = await two_rooms.bill(run, "b")
    pdf = bill_pdf(bill)
    assert pdf == bill_pdf(bill)
    text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    for words in (
        "PARK-2026-B000002",
        "电费账单",
        "Electricity",
        "租户 b",
        "Tenant b",
        "2026-10-11 – 2026-10-31",
        "m2",
        f"{bill['total']:,.2f}",
        "付款附言",
    ):
        assert words in text
    fonts = {
        f["/BaseFont"]
        for page in PdfReader(io.BytesIO(pdf)).pages
        for f in (x.get_object() for x in page["/Resources"]["/Font"].values())
    }
    assert all("NotoSans" in name for name in fonts)


async def test_the_utilitys_own_bill_decides_what_the_landlord_paid(two_rooms):
    from cloud_api.billing import utility_bill, utility_bill_entry

    main = sum(q for (code, _), q in two_rooms.truth.items() if code == "main")
    october = date(2026, 10, 1), date(2026, 11, 1)
    await two_rooms.settle()
    cheap = {"total": "100.00", "kwh": str(main), "lines": [{"name": "energy", "amount": "100.00"}]}
    words = await utility_bill.enter(two_rooms.conn, two_rooms.site, october, cheap, actor="x", clock=CLOCK)
    assert "our main meter counted" in str(words[1])
    assert "rated by the purchase tariff" in str(words[2])  # 100.00 is far below what the tariff asks.
    assert len(words) == 3
    run = await two_rooms.run()
    assert run["summary"]["resale"]["basis"] == "utility_bill"
    assert {i["code"] for i in run["summary"]["blocking"]} == {"over_recovery"}
    dear = cheap | {"total": "900.00", "lines": [{"name": "energy", "amount": "900.00"}], "kwh": str(main * 2)}
    words = await utility_bill.enter(two_rooms.conn, two_rooms.site, october, dear, actor="x", clock=CLOCK)
    assert "they differ by -50.00 %" in str(words[2])
    assert (await two_rooms.run())["summary"]["blocking"] == []
    with pytest.raises(utility_bill_entry.UtilityBillInvalid, match="the lines sum to 1, the total says 2"):
        utility_bill_entry.check({"total": 2, "kwh": 1, "lines": [{"name": "a", "amount": 1}]})
