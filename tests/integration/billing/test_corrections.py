from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from cloud_api.billing import corrections, inputs, line_evidence, service, settlement
from cloud_api.billing.states import Step
from cloud_api.billing.verification import verify_bill
from cloud_api.kit.clock import fixed_clock
from tests.integration.billing.small_site import CLOCK
from tests.integration.billing.test_bill_run import two_rooms  # noqa: F401

LATER = fixed_clock(datetime(2026, 12, 20, 2, 0, tzinfo=UTC))


async def issued(site, tenant="a"):
    run = await site.run(issue=True)
    return await site.bill(run, tenant)


async def late_reading(site, kwh=5, clock=CLOCK):
    await site.conn.execute(
        "UPDATE reading SET value = value + %s WHERE taken_at >= '2026-10-20 04:00Z' AND register_id IN"
        " (SELECT r.id FROM register r JOIN meter m ON m.id = r.meter_id WHERE m.code IN ('m1', 'main'))",
        (kwh,),
    )
    await site.conn.execute(
        "INSERT INTO dirty_range (register_id, starts_at, ends_at) SELECT r.id, '2026-10-20 03:00Z', '2026-10-20 05:00Z'"
        " FROM register r JOIN meter m ON m.id = r.meter_id WHERE m.code IN ('m1', 'main')"
    )
    await site.settle(clock)


async def test_a_lines_days_are_those_the_bill_used_and_later_corrections_stand_beside_them(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    numbers = range(1, len(bill["snapshot"]["lines"]) + 1)
    before = {n: await line_evidence.of_line(two_rooms.conn, bill, n) for n in numbers}
    assert {(e.differs, e.unexplained) for e in before.values()} == {(0, 0)}
    await late_reading(two_rooms, clock=LATER)
    after = {n: await line_evidence.of_line(two_rooms.conn, bill, n) for n in numbers}
    assert {n: [(d.day, d.quantity) for d in e.days] for n, e in after.items()} == {
        n: [(d.day, d.quantity) for d in e.days] for n, e in before.items()
    }
    assert {e.unexplained for e in after.values()} == {0}
    number, found = next((n, e) for n, e in after.items() if e.differs)
    assert {d.day.isoformat(): d.corrected for d in found.days if d.corrected} == {"2026-10-20": found.differs}
    quarters = await line_evidence.of_day(two_rooms.conn, bill, number, date(2026, 10, 20))
    changed = [q for q in quarters if q.today is not None and q.counts]
    assert sum(q.today - q.quantity for q in changed) == found.differs


async def test_a_credit_note_and_its_bill_sum_to_zero_on_every_line(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    numbers = await corrections.credit(two_rooms.conn, bill["id"], reason="wrong tenant", actor="x", clock=CLOCK)
    note = await service.get_bill(two_rooms.conn, numbers["credit_note"])
    assert note["number"] == "PARK-2026-C000001"
    assert (note["total"] + bill["total"], note["net"] + bill["net"], note["tax"] + bill["tax"]) == (0, 0, 0)
    for old, new in zip(bill["snapshot"]["lines"], note["snapshot"]["lines"], strict=True):
        assert Decimal(old["amount"]) + Decimal(new["amount"]) == 0
    assert note["corrects_number"] == bill["number"]
    assert (await service.get_bill(two_rooms.conn, bill["id"]))["state"] == "credited"
    with pytest.raises(corrections.NotCreditable):
        await corrections.credit(two_rooms.conn, bill["id"], reason="again", actor="x", clock=CLOCK)
    assert (await verify_bill(two_rooms.conn, note["number"])).holds


async def test_lines_and_amounts_are_taken_back_one_after_another_until_bill_and_notes_sum_to_zero(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    lines = bill["snapshot"]["lines"]
    await pay(two_rooms, bill, bill["total"], "r1")

    async def credit(what, reason="wrong share"):
        numbers = await corrections.credit(
            two_rooms.conn, bill["id"], reason=reason, actor="x", clock=CLOCK, lines=what
        )
        return await service.get_bill(two_rooms.conn, numbers["credit_note"])

    first = await credit({1: Decimal("3.33")})
    assert (first["total"], first["corrects_number"]) == (Decimal("-3.33"), bill["number"])
    (line,) = first["snapshot"]["lines"]
    assert Decimal(line["tax"]) == -(Decimal("3.33") * 13 / 113).quantize(Decimal("0.01"))
    assert (await service.get_bill(two_rooms.conn, bill["id"]))["state"] == "issued"
    assert (await settlement.statement(two_rooms.conn, bill["tenant_id"]))[-1]["balance"] == Decimal("-3.33")
    assert (await verify_bill(two_rooms.conn, first["number"])).holds
    for wrong, words in (
        ({1: Decimal(lines[0]["amount"])}, "is left of it"), ({1: Decimal(-1)}, "cannot be taken back"),
        ({1: Decimal("0.001")}, "cannot be taken back"), ({99: None}, "no line 99"), ({}, "at least one line"),
    ):  # fmt: skip
        with pytest.raises(corrections.Invalid, match=words):
            await credit(wrong)
    second = await credit({1: None})
    assert second["total"] == Decimal("3.33") - Decimal(lines[0]["amount"])
    with pytest.raises(corrections.Invalid, match="taken back in full already"):
        await credit({1: None})
    numbers = await corrections.credit(two_rooms.conn, bill["id"], reason="all", actor="x", clock=CLOCK, rebill=True)
    third = await service.get_bill(two_rooms.conn, numbers["credit_note"])
    for key in ("net", "tax", "total"):
        assert bill[key] + first[key] + second[key] + third[key] == 0, key
    assert (await service.get_bill(two_rooms.conn, bill["id"]))["state"] == "credited"
    assert len(await corrections.credit_notes(two_rooms.conn, bill["id"])) == 3
    found = {b["number"]: b["open_amount"] for b in await service.bills_of_tenant(two_rooms.conn, bill["tenant_id"])}
    assert found[numbers["rebill"]] == 0  # What was paid settles the corrected bill.


async def test_a_credited_part_is_no_longer_open(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    await corrections.credit(two_rooms.conn, bill["id"], reason="r", actor="x", clock=CLOCK, lines={1: Decimal("1.00")})
    found = {b["number"]: b["open_amount"] for b in await service.bills_of_tenant(two_rooms.conn, bill["tenant_id"])}
    assert found[bill["number"]] == bill["total"] - 1


async def test_late_data_propose_a_correction_line_by_line_and_the_issued_bill_stays(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    await two_rooms.conn.execute("UPDATE ledger_change SET changed_at = changed_at - interval '1 day'")
    assert await corrections.propose_adjustments(two_rooms.conn, CLOCK) == 0
    await late_reading(two_rooms)
    await two_rooms.conn.execute("UPDATE ledger_change SET changed_at = now() WHERE changed_at = %s", (CLOCK.now(),))
    assert await corrections.propose_adjustments(two_rooms.conn, LATER) == 1
    (proposal,) = await corrections.list_adjustments(two_rooms.conn, bill["organisation_id"])
    assert proposal["difference"] == Decimal("5.49")
    assert [(x["name"]["en"], x["difference"]) for x in proposal["content"]["lines"]] == [
        ("Energy", "5.35"),
        ("Funds", "0.14"),
    ]
    assert (await service.get_bill(two_rooms.conn, bill["id"]))["total"] == bill["total"]
    numbers = await corrections.decide_adjustment(
        two_rooms.conn, proposal["id"], accept=True, reason="", actor="x", clock=LATER
    )
    rebill = await service.get_bill(two_rooms.conn, numbers["rebill"])
    assert (rebill["total"], rebill["corrects_number"]) == (bill["total"] + Decimal("5.49"), bill["number"])
    assert await corrections.list_adjustments(two_rooms.conn, bill["organisation_id"]) == []


async def test_readings_corrected_while_a_run_waits_for_its_issue_are_proposed_and_fall_when_taken_back(two_rooms):  # noqa: F811
    run = await two_rooms.run()
    # What other transactions committed after the run was opened is not in its snapshot.
    await two_rooms.conn.execute("UPDATE bill_run SET known_transaction = '1'")
    await two_rooms.conn.execute("UPDATE ledger_change SET transaction_id = '3'")
    await late_reading(two_rooms)
    for step in Step.REVIEW, Step.APPROVE, Step.ISSUE:
        await service.take_step(two_rooms.conn, run["id"], step, actor=f"{step}er", clock=CLOCK)
    bill = await two_rooms.bill(run, "a")
    await two_rooms.conn.execute("UPDATE ledger_change SET changed_at = %s - interval '1 day'", (CLOCK.now(),))
    assert await corrections.propose_adjustments(two_rooms.conn, LATER) >= 1
    proposals = await corrections.list_adjustments(two_rooms.conn, bill["organisation_id"])
    assert Decimal("5.49") in {p["difference"] for p in proposals}
    assert await corrections.propose_adjustments(two_rooms.conn, LATER) == 0

    await late_reading(two_rooms, kwh=-5)
    await two_rooms.conn.execute(
        "UPDATE ledger_change SET changed_at = %s + interval '1 day' WHERE changed_at = %s", (LATER.now(), CLOCK.now())
    )
    assert await corrections.propose_adjustments(two_rooms.conn, fixed_clock(LATER.now() + timedelta(days=2))) == 0
    assert await corrections.list_adjustments(two_rooms.conn, bill["organisation_id"]) == []


async def pay(site, bill, amount, reference, **more):
    return await settlement.record_payment(
        site.conn, organisation_id=bill["organisation_id"], tenant_id=bill["tenant_id"], amount=Decimal(amount),
        received_on=date(2026, 11, 12), actor="x", clock=CLOCK, reference=reference, **more,
    )  # fmt: skip


async def test_a_payment_settles_the_oldest_bill_and_the_statement_adds_up(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    part = (bill["total"] / 3).quantize(Decimal("0.01"))
    assert await pay(two_rooms, bill, part, "r1") == {bill["number"]: part}
    assert await pay(two_rooms, bill, bill["total"], "r2") == {bill["number"]: bill["total"] - part}
    rows = await settlement.statement(two_rooms.conn, bill["tenant_id"])
    assert [r["what"] for r in rows] == ["bill", "payment", "payment"]
    assert rows[-1]["balance"] == -part  # Paid too much: credit for the next bill.
    with pytest.raises(settlement.PaymentKnown, match="r2 was recorded before"):
        await pay(two_rooms, bill, "1.00", "r2")
    with pytest.raises(settlement.Invalid):
        await pay(two_rooms, bill, "0.001", "r3")


async def test_a_statement_goes_by_the_sites_days_and_what_is_owed_stands_before_what_pays_it(two_rooms):  # noqa: F811
    await two_rooms.settle()
    evening = fixed_clock(datetime(2026, 11, 11, 23, 30, tzinfo=UTC))  # The 12th in Hangzhou.
    run_id = await service.run_and_issue(two_rooms.conn, two_rooms.site, "2026-10", actor="x", clock=evening)
    bill = await two_rooms.bill(await service.get_run(two_rooms.conn, run_id), "a")
    await pay(two_rooms, bill, "1.00", "A paid on the 12th")
    rows = await settlement.statement(two_rooms.conn, bill["tenant_id"])
    assert [(r["what"], r["on_day"]) for r in rows] == [(what, date(2026, 11, 12)) for what in ("bill", "payment")]


async def test_money_on_a_credited_bill_settles_the_corrected_one(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    await pay(two_rooms, bill, bill["total"], "r1")
    numbers = await corrections.credit(two_rooms.conn, bill["id"], reason="meter", actor="x", clock=CLOCK, rebill=True)
    found = {b["number"]: b["open_amount"] for b in await service.bills_of_tenant(two_rooms.conn, bill["tenant_id"])}
    assert found[numbers["rebill"]] == 0
    assert (await settlement.statement(two_rooms.conn, bill["tenant_id"]))[-1]["balance"] == 0


async def test_what_was_paid_on_a_named_bill_stays_there_when_a_part_of_it_is_taken_back(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    await two_rooms.conn.execute(  # An older bill, still open.
        "INSERT INTO bill OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(b, jsonb_build_object('id', 10 ^ 9,"
        " 'number', 'OLD', 'run_id', NULL, 'due_on', '2026-09-30'))).* FROM bill b WHERE b.id = %s",
        (bill["id"],),
    )

    async def paid():
        cursor = await two_rooms.conn.execute(
            "SELECT b.number, p.reference, a.amount FROM payment_allocation a JOIN payment p ON p.id = a.payment_id"
            " JOIN bill b ON b.id = a.bill_id"
        )
        return {(number, reference): amount for number, reference, amount in await cursor.fetchall()}

    first = bill["total"] - 3
    await pay(two_rooms, bill, first, "r1", bill_number=bill["number"])
    await pay(two_rooms, bill, "2.00", "r2", bill_number=bill["number"])
    there = {(bill["number"], "r1"): first, (bill["number"], "r2"): Decimal("2.00")}
    await corrections.credit(two_rooms.conn, bill["id"], reason="r", actor="x", clock=CLOCK, lines={1: Decimal("0.60")})
    assert await paid() == there  # 0.40 is still open.
    await corrections.credit(two_rooms.conn, bill["id"], reason="r", actor="x", clock=CLOCK, lines={1: Decimal("1.00")})
    # Only what is beyond the bill now is free, of the newest payment, and settles the older bill.
    assert await paid() == there | {(bill["number"], "r2"): Decimal("1.40"), ("OLD", "r2"): Decimal("0.60")}
    await corrections.credit(two_rooms.conn, bill["id"], reason="r", actor="x", clock=CLOCK)
    assert {number for number, _ in await paid()} == {"OLD"}


async def test_arrears_list_what_is_late_with_the_fee_of_the_sites_policy(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    await service.set_policy(two_rooms.conn, two_rooms.site, {"late_fee_daily": "0.0005"}, actor="x", clock=CLOCK)
    assert await settlement.arrears(two_rooms.conn, bill["organisation_id"], date(2026, 11, 25)) == []
    rows = await settlement.arrears(two_rooms.conn, bill["organisation_id"], date(2026, 12, 25))
    (late,) = [r for r in rows if r["number"] == bill["number"]]
    assert (late["days_late"], late["open_amount"]) == (30, bill["total"])
    assert late["late_fee"] == max(Decimal("1.00"), (bill["total"] * Decimal("0.015")).quantize(Decimal("0.01")))


async def test_a_deposit_cannot_be_overdrawn_and_a_day_burns_once(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)

    async def move(account, amount, kind, on):
        return await settlement.move_account(
            two_rooms.conn, organisation_id=bill["organisation_id"], tenant_id=bill["tenant_id"], account=account,
            amount=Decimal(amount), kind=kind, on_day=on, actor="x", clock=CLOCK,
        )  # fmt: skip

    assert await move("deposit", "500", "paid_in", date(2026, 11, 1)) == 500
    with pytest.raises(settlement.Invalid, match="the deposit holds 500"):
        await move("deposit", "-600", "paid_out", date(2026, 11, 2))
    await move("prepaid", "100", "paid_in", date(2026, 11, 1))
    assert await move("prepaid", "-12.5", "burn", date(2026, 11, 2)) == Decimal("87.5")
    assert await move("prepaid", "-12.5", "burn", date(2026, 11, 2)) == Decimal("87.5")
    assert (await settlement.balances(two_rooms.conn, bill["tenant_id"]))["prepaid"] == Decimal("87.5")


async def test_a_question_about_a_line_reaches_finance_and_its_answer_the_tenant(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    with pytest.raises(corrections.Invalid, match="there is no line 99"):
        await corrections.ask(two_rooms.conn, bill, line=99, question="?", actor="t", clock=CLOCK)
    await corrections.ask(two_rooms.conn, bill, line=1, question="Why so much?", actor="t", clock=CLOCK)
    (waiting,) = await corrections.open_questions(two_rooms.conn, bill["organisation_id"])
    await corrections.answer(
        two_rooms.conn, waiting["id"], text="The laboratory ran all night.", actor="f", clock=CLOCK
    )
    (answered,) = await corrections.questions(two_rooms.conn, bill["id"])
    assert answered["answer"] == "The laboratory ran all night."
    assert await corrections.open_questions(two_rooms.conn, bill["organisation_id"]) == []


async def test_a_credit_note_lowers_what_the_year_recovered_and_a_corrected_bill_raises_it(two_rooms):  # noqa: F811
    conn, site = two_rooms.conn, two_rooms.site
    bill = await issued(two_rooms)

    async def recovered():
        return (await inputs.resale_between(conn, site, "electricity", date(2026, 1, 1), date(2027, 1, 1)))[0]

    whole = await recovered()
    bills = (await service.get_run(conn, bill["run_id"]))["bills"]
    assert whole == sum(b["total"] for b in bills if b["kind"] == "bill")
    await corrections.credit(conn, bill["id"], reason="x", actor="x", clock=CLOCK, lines={1: Decimal("3.33")})
    assert await recovered() == whole - Decimal("3.33")
    await late_reading(two_rooms)
    numbers = await corrections.credit(conn, bill["id"], reason="late", actor="x", clock=CLOCK, rebill=True)
    rebill = await service.get_bill(conn, numbers["rebill"])
    assert rebill["total"] > bill["total"]
    assert await recovered() == whole - bill["total"] + rebill["total"]


async def test_a_corrected_bill_that_recovers_more_than_was_paid_is_refused(two_rooms):  # noqa: F811
    bill = await issued(two_rooms)
    # Every other tenant paid more than its energy cost meanwhile, say by bills of another kind: no room is left.
    await two_rooms.conn.execute(
        "UPDATE bill_run SET summary = jsonb_set(summary, '{resale,recovered}',"
        " to_jsonb(((summary #>> '{resale,recovered}')::numeric + 5)::text))"
    )
    with pytest.raises(corrections.Invalid, match=r"tenants would pay 5.* more than the landlord paid"):
        await corrections.credit(two_rooms.conn, bill["id"], reason="x", actor="x", clock=CLOCK, rebill=True)
