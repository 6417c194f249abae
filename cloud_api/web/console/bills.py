"""A bill for finance: its evidence and proof, payments, credit notes, questions and proposed corrections."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response
from psycopg import AsyncConnection

from cloud_api.billing import corrections, settlement, verification
from cloud_api.billing.access import access_bill
from cloud_api.billing.documents import bill_document, document_name
from cloud_api.billing.fapiao import einvoice
from cloud_api.kit.errors import DomainError, Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.bill_view import KINDS, bill_view, days_chart
from cloud_api.web.shared.charts import chart_response
from cloud_api.web.shared.line_view import line_context
from cloud_api.web.shared.page import FinancePage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import say

router = APIRouter(prefix="/console/bills")


@router.get("/{bill_id}")
async def show_bill(page: FinancePage, bill_id: int) -> Response:
    """Show a bill with the evidence of each line, its questions and its history."""
    bill = await access_bill(page.conn, page.viewer, bill_id)
    return page.render(
        "console/bill.html",
        bill=bill_view(bill),
        run_id=bill["run_id"],
        tenant_id=bill["tenant_id"],
        questions=await corrections.questions(page.conn, bill_id),
        notes=await corrections.credit_notes(page.conn, bill_id),
        corrects=(bill["corrects_bill_id"], bill["corrects_number"]),
        einvoice=await einvoice(page.conn, bill) if bill["number"] else None,
        statement=[
            row | {"what_word": KINDS.get(row["what"], N_("Payment"))}
            for row in await settlement.statement(page.conn, bill["tenant_id"])
        ],
        today=page.clock.now().astimezone(page.zone).date(),
    )


@router.get("/{bill_id}/lines/{number}")
async def show_line(
    page: FinancePage, bill_id: int, number: int, day: Annotated[str, Query(max_length=10)] = ""
) -> Response:
    """Show what a line rests on: its days and, for one of them, the quarter hours beside the register."""
    bill = await access_bill(page.conn, page.viewer, bill_id)
    return page.render("console/bill_line.html", **await line_context(page.conn, bill, number, day))


@router.get("/{bill_id}/days.json")
async def days(page: FinancePage, bill_id: int) -> Response:
    """Return the bill's energy by day."""
    return chart_response(days_chart(await access_bill(page.conn, page.viewer, bill_id), page.language))


@router.get("/{bill_id}/pdf")
async def pdf(page: FinancePage, bill_id: int) -> Response:
    """Return the bill's PDF."""
    return await pdf_response(page.conn, await access_bill(page.conn, page.viewer, bill_id))


async def pdf_response(conn: AsyncConnection, bill: Mapping[str, Any]) -> Response:
    """Return a bill's PDF with a file name of its own."""
    headers = {"Content-Disposition": f'inline; filename="{document_name(bill)}"', "Cache-Control": "private, no-store"}
    return Response(await bill_document(conn, bill), media_type="application/pdf", headers=headers)


@router.get("/{bill_id}/proof")
async def proof(page: FinancePage, bill_id: int) -> Response:
    """Make the bill again from raw readings and show what differs."""
    await access_bill(page.conn, page.viewer, bill_id)
    verdict = await verification.verify_bill(page.conn, bill_id)
    return page.render("console/bill_proof.html", verdict=verdict, bill_id=bill_id)


@router.post("/{bill_id}/credit")
async def credit(
    page: FinancePage,
    bill_id: int,
    reason: Annotated[str, Form(max_length=500)],
    rebill: Annotated[str, Form(pattern="^(|true)$")] = "",
    line: Annotated[str, Form(pattern=r"^\d{0,4}$")] = "",
    part: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Take an issued bill, or a line of it, back by a credit note, and make it again when asked."""
    await access_bill(page.conn, page.viewer, bill_id)
    try:
        async with page.conn.transaction():
            lines = {int(line): _amount(part) if part.strip() else None} if line else None
            numbers = await corrections.credit(
                page.conn,
                bill_id,
                reason=reason,
                actor=page.viewer.login,
                clock=page.clock,
                rebill=rebill == "true",
                lines=lines,
            )
    except DomainError as error:
        return page.redirect(f"/console/bills/{bill_id}", notice=say(error))
    return page.redirect(
        f"/console/bills/{bill_id}", notice=_("Written: {numbers}", numbers=", ".join(numbers.values()))
    )


@router.post("/{bill_id}/payments")
async def pay(
    page: FinancePage,
    bill_id: int,
    amount: Annotated[str, Form(max_length=20)],
    received_on: Annotated[date, Form()],
    reference: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Record a payment for this bill first, then for the oldest."""
    bill = await access_bill(page.conn, page.viewer, bill_id)
    try:
        async with page.conn.transaction():
            await settlement.record_payment(
                page.conn,
                organisation_id=page.viewer.organisation_id,
                tenant_id=bill["tenant_id"],
                amount=_amount(amount),
                received_on=received_on,
                actor=page.viewer.login,
                clock=page.clock,
                reference=reference.strip(),
                currency=bill["currency"],
                bill_number=bill["number"],
            )
    except DomainError as error:
        return page.redirect(f"/console/bills/{bill_id}", notice=say(error))
    return page.redirect(f"/console/bills/{bill_id}", notice=_("Payment recorded."))


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text.replace(",", "").strip())
    except InvalidOperation:
        raise Invalid("{text!r} is not an amount; write 1234.50", text=text) from None


@router.post("/questions/{question_id}")
async def answer(page: FinancePage, question_id: int, text: Annotated[str, Form(max_length=1000)]) -> Response:
    """Answer a tenant's question about a line."""
    try:
        async with page.conn.transaction():
            bill_id = await corrections.answer(
                page.conn, question_id, text=text, actor=page.viewer.login, clock=page.clock
            )
    except DomainError as error:
        return page.redirect("/console/bills", notice=say(error))
    return page.redirect(f"/console/bills/{bill_id}", notice=_("Answered."))


@router.post("/adjustments/{adjustment_id}")
async def decide(
    page: FinancePage,
    adjustment_id: int,
    decision: Annotated[str, Form(pattern="^(accept|reject)$")],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Accept a proposed correction (credit note and corrected bill), or reject it with a reason."""
    try:
        async with page.conn.transaction():
            await corrections.decide_adjustment(
                page.conn,
                adjustment_id,
                accept=decision == "accept",
                reason=reason,
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return page.redirect("/console/bills", notice=say(error))
    return page.redirect("/console/bills", notice=_("Done."))
