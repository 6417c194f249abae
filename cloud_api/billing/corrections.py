"""Use cases that correct issued bills: credit note and rebill, proposals from late data, questions of tenants."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import resale, service, settlement
from cloud_api.billing.charge import Issue
from cloud_api.billing.compose import compose
from cloud_api.billing.credit_note import left_of, part_snapshot, reversed_snapshot
from cloud_api.billing.repository import Row, as_json, one, queries, rows, store
from cloud_api.billing.run_model import BillDraft, RunInputs, RunResult
from cloud_api.billing.snapshot import fingerprint
from cloud_api.billing.verification import inputs_again
from cloud_api.db import queue
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, Invalid, NotFound
from cloud_api.kit.i18n import Text

CHANGED_BILLS_MAX = 200
QUESTION_LENGTH_MAX = 1000


class NotCreditable(DomainError):
    """Only an issued bill that was not credited yet can be credited."""

    code = "not_creditable"


async def credit(
    conn: AsyncConnection,
    bill: str | int,
    *,
    reason: str,
    actor: str,
    clock: Clock,
    rebill: bool = False,
    lines: Mapping[int, Decimal | None] | None = None,
) -> dict[str, str]:
    """Take an issued bill back, and make it again from today's data when `rebill` is set. Returns the numbers given.

    In full, the credit note is the bill with every amount reversed (less what earlier notes took), so that bill and
    notes sum to zero per line, tax group and document. With `lines` (number → amount, None for the whole line) only
    those are taken back and the bill stays issued until nothing is left of it. Each document names the bill it
    corrects. The corrected bill uses the old bill's tariff revision and parameters. Payments beyond what is left become
    free and settle what is open.
    """
    row = await service.get_bill(conn, bill)
    await one(conn, queries.lock_bill, {"bill_id": row["id"]})
    row = await service.get_bill(conn, row["id"])
    if row["state"] != "issued" or row["kind"] not in {"bill", "rebill", "final"}:
        raise NotCreditable(
            "bill {bill} is {state}: only an issued bill can be credited",
            bill=row["number"] or row["id"],
            state=Text(row["state"]),
        )
    if not reason.strip():
        raise Invalid("a credit note needs a reason")
    if lines is not None and rebill:
        raise Invalid("a bill is made again only when it is taken back in full")
    again = await _made_again(conn, row) if rebill else None
    notes = [note["snapshot"] for note in await credit_notes(conn, row["id"])]
    if lines is None and notes:
        lines = {number: None for number, amount in left_of(row["snapshot"], notes).items() if amount}
    if lines is None:
        note, is_last = reversed_snapshot(row, reason), True
    else:
        note, is_last = part_snapshot(row, notes, lines, reason)
    numbers = {"credit_note": await _add(conn, row, "credit_note", note, clock)}
    if is_last:
        await store(conn, queries.mark_credited, {"bill_id": row["id"]})
    await store(conn, queries.release, {"bill_id": row["id"]})
    if again is not None:
        numbers["rebill"] = await _add(conn, row, "rebill", again | {"reason": reason}, clock)
    values = {"organisation_id": row["organisation_id"], "run_id": row["run_id"], "bill_id": row["id"]}
    values |= {"at": clock.now(), "actor": actor, "reason": reason}
    values |= {"from_state": "issued", "to_state": "credited" if is_last else "issued"}
    await store(conn, queries.add_step, values)
    await settlement.settle_with_credit(conn, organisation_id=row["organisation_id"], tenant_id=row["tenant_id"])
    return numbers


async def credit_notes(conn: AsyncConnection, bill_id: int) -> list[Row]:
    """Return the credit notes of a bill, oldest first."""
    return await rows(conn, queries.credit_notes, {"bill_id": bill_id})


async def _made_again(conn: AsyncConnection, row: Row) -> dict[str, Any]:
    if row["run_id"] is None:
        raise Invalid(
            "bill {number} does not come from a run: credit it and correct the readings first", number=row["number"]
        )
    inputs = await inputs_again(conn, row)
    result = compose(inputs)
    draft = next((d for d in result.bills if d.tenant_id == row["tenant_id"]), None)
    if draft is None:
        raise Invalid("today's data give this tenant no bill for the period; credit without making it again")
    issues = [*draft.issues, *await _over_recoveries(conn, row, inputs, result, draft)]
    if issues:
        raise Invalid("the corrected bill cannot be issued:{issues}", issues=[i.text for i in issues])
    return draft.snapshot | {"kind": "rebill", "corrects": row["number"]}


async def _over_recoveries(
    conn: AsyncConnection, row: Row, inputs: RunInputs, result: RunResult, draft: BillDraft
) -> list[Issue]:
    """Return what the corrected bill would recover too much, in its run's period and year, beside what was issued."""
    if row["kind"] == "final":  # Its energy is in the sheet of the cycle's run.
        return []
    first, after = inputs.starts_on, inputs.ends_on
    year = date(first.year, 1, 1), date(first.year + 1, 1, 1)
    notes = [note["snapshot"] for note in await credit_notes(conn, row["id"])]
    charged = sum((resale.recovered_of(s["lines"]) for s in (row["snapshot"], *notes)), Decimal(0))
    change = draft.recovered - charged
    recovered, paid_then = await loading.resale_between(conn, inputs.site, inputs.utility, first, after)
    in_year, paid_in_year = await loading.resale_between(conn, inputs.site, inputs.utility, *year)
    paid = Decimal(result.summary["resale"]["paid_for_same_energy"])
    over, over_year = recovered + change - paid, in_year + change - paid_in_year + paid_then - paid
    return resale.over_recoveries(over, over_year, inputs.policy.resale_tolerance)


async def _add(conn: AsyncConnection, row: Row, kind: str, snapshot: dict[str, Any], clock: Clock) -> str:
    site = await loading.find_site(conn, site_id=row["site_id"])
    policy = await loading.find_policy(conn, site)
    today = clock.now().astimezone(ZoneInfo(site.time_zone)).date()
    (number,) = await service.take_numbers(conn, site, today.year, kind, 1)
    values = {"bill_id": row["id"], "kind": kind, "number": number, "at": clock.now()}
    values |= {"net": Decimal(snapshot["net"]), "tax": Decimal(snapshot["tax"]), "total": Decimal(snapshot["total"])}
    values |= {"due_on": today + timedelta(days=policy.due_days), "sha256": fingerprint(snapshot)}
    added = await one(conn, queries.add_document, values | {"snapshot": as_json(snapshot)})
    assert added is not None
    await queue.defer(conn, "operations:bills_issued", bill_id=added["id"])
    return number


async def propose_adjustments(conn: AsyncConnection, clock: Clock) -> int:
    """Look for issued bills whose readings changed since, and propose what would change; returns how many proposals.

    The difference is rate(new) - rate(old), both with the old tariff revision. A person accepts or rejects it. Where
    nothing would change (any more), an open proposal falls.
    """
    proposed = 0
    changed = await rows(conn, queries.changed_bills, {"limit": CHANGED_BILLS_MAX})
    for found in changed:
        row = await service.get_bill(conn, found["id"])
        inputs = await inputs_again(conn, row)
        draft = next((d for d in compose(replace(inputs)).bills if d.tenant_id == row["tenant_id"]), None)
        new = [] if draft is None else draft.snapshot["lines"]
        total = Decimal(0) if draft is None else draft.total
        content = {
            "lines": line_differences(row["snapshot"]["lines"], new),
            "old": str(row["total"]),
            "new": str(total),
        }
        values = {"organisation_id": row["organisation_id"], "tenant_id": row["tenant_id"], "bill_id": row["id"]}
        values |= {key: found[key] for key in ("known_snapshot", "known_transaction")} | {"at": clock.now()}
        if not content["lines"] and total == row["total"]:
            await store(conn, queries.void_adjustment, values)
            continue
        values |= {"difference": total - row["total"], "content": as_json(content)}
        await one(conn, queries.add_adjustment, values)
        proposed += 1
    return proposed


def line_differences(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each line whose quantity or amount differs, by component, bucket, tier and source."""

    def key(line: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(str(line.get(k)) for k in ("component", "version", "bucket", "tier", "source"))

    before, after = {key(x): x for x in old}, {key(x): x for x in new}
    found = []
    for k in dict.fromkeys([*before, *after]):
        a, b = before.get(k), after.get(k)
        line = a or b or {}
        amounts = [Decimal(x["amount"]) if x else Decimal(0) for x in (a, b)]
        quantities = [x["quantity"] if x else "0" for x in (a, b)]
        if amounts[0] != amounts[1] or quantities[0] != quantities[1]:
            found.append(
                {"name": line["name"], "bucket_name": line["bucket_name"], "unit": line["unit"]}
                | {"old_quantity": quantities[0], "new_quantity": quantities[1]}
                | {"old_amount": str(amounts[0]), "new_amount": str(amounts[1])}
                | {"difference": str(amounts[1] - amounts[0])}
            )
    return found


async def bills_touched(
    conn: AsyncConnection, organisation_id: int, meters: Sequence[tuple[str, datetime, datetime]]
) -> list[Row]:
    """Return the bills made from meters' readings in stretches (code, first, last), newest first; at most 200.

    `places` of each are the stretches it was made from.

    An issued one among them gets a proposed adjustment when its amount changes; the others are calculated anew.
    """
    if not meters:
        return []
    codes, firsts, lasts = zip(*meters, strict=True)
    arguments = {"organisation_id": organisation_id, "code": list(codes), "first": list(firsts), "last": list(lasts)}
    return await rows(conn, queries.bills_of_meters, arguments | {"limit": CHANGED_BILLS_MAX})


async def issued_before(conn: AsyncConnection, meter_id: int) -> date | None:
    """Return the first day that no issued bill of a meter's site and utility covers; None when there is none."""
    found = await one(conn, queries.issued_before, {"meter_id": meter_id})
    return found["day"] if found else None


async def list_adjustments(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the proposals that wait for a decision."""
    return await rows(conn, queries.adjustments, {"organisation_id": organisation_id})


async def decide_adjustment(
    conn: AsyncConnection, adjustment_id: int, *, accept: bool, reason: str, actor: str, clock: Clock
) -> dict[str, str]:
    """Accept a proposal (credit note and corrected bill) or reject it with a reason. Returns the numbers given."""
    if not accept and not reason.strip():
        raise Invalid("rejecting a correction needs a reason")
    values = {"id": adjustment_id, "state": "accepted" if accept else "rejected", "at": clock.now()}
    decided = await one(conn, queries.decide_adjustment, values | {"actor": actor, "reason": reason})
    if decided is None:
        raise NotFound("there is no open proposal {adjustment_id}", adjustment_id=adjustment_id)
    if not accept:
        return {}
    why = reason.strip() or "corrected readings"
    return await credit(conn, decided["bill_id"], reason=why, actor=actor, clock=clock, rebill=True)


async def ask(conn: AsyncConnection, row: Row, *, line: int, question: str, actor: str, clock: Clock) -> int:
    """Store a tenant's question about a line (from 1) of its bill; finance answers on the same evidence."""
    text = question.strip()
    if not text or len(text) > QUESTION_LENGTH_MAX:
        raise Invalid("a question has 1 to {longest} characters", longest=QUESTION_LENGTH_MAX)
    if not 1 <= line <= len(row["snapshot"]["lines"]):
        raise Invalid(
            "the bill has {count} lines; there is no line {line}", count=len(row["snapshot"]["lines"]), line=line
        )
    values = {"organisation_id": row["organisation_id"], "tenant_id": row["tenant_id"], "bill_id": row["id"]}
    values |= {"line": line, "question": text, "at": clock.now(), "actor": actor}
    found = await one(conn, queries.add_dispute, values)
    assert found is not None
    return found["id"]


async def questions(conn: AsyncConnection, bill_id: int) -> list[Row]:
    """Return the questions about a bill and their answers."""
    return await rows(conn, queries.disputes_of_bill, {"bill_id": bill_id})


async def open_questions(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the questions that wait for an answer."""
    return await rows(conn, queries.open_disputes, {"organisation_id": organisation_id})


async def answer(conn: AsyncConnection, question_id: int, *, text: str, actor: str, clock: Clock) -> int:
    """Answer a question once; returns the bill's id."""
    if not text.strip():
        raise Invalid("an answer cannot be empty")
    values = {"id": question_id, "answer": text.strip(), "at": clock.now(), "actor": actor}
    found = await one(conn, queries.answer_dispute, values)
    if found is None:
        raise NotFound("there is no open question {question_id}", question_id=question_id)
    return found["bill_id"]
