"""Bill runs and bills for finance: from the leases of a month to issued, paid and corrected bills."""

import asyncio
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from cloud_api.billing import corrections, service, settlement, verification
from cloud_api.billing.document.render import bill_pdf
from cloud_api.billing.inputs import find_site
from cloud_api.billing.states import TRANSITIONS, RunState, Step
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError, Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.money import round_parts
from cloud_api.kit.period import previous_month
from cloud_api.web.shared.bill_view import KINDS, STATES, UTILITIES, bill_view, days_chart, issue_views
from cloud_api.web.shared.charts import chart_response
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FinancePage, Page
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

EQUATION = ("tenants_kwh", "common_kwh", "owner_kwh", "loss_kwh")  # Together the main meter.
router = APIRouter(prefix="/console/bills")
NAV = NavItem(
    group="money",
    order=10,
    label=N_("Bill runs"),
    href="/console/bills",
    icon="bill",
    roles=frozenset({Role.FINANCE, Role.MANAGER}),
)

STEP_WORDS = {
    Step.REVIEW: N_("Mark as reviewed"),
    Step.APPROVE: N_("Approve"),
    Step.ISSUE: N_("Issue the bills"),
    Step.SEND_BACK: N_("Send back"),
    Step.CANCEL: N_("Cancel the run"),
}
FUNNEL = (RunState.CALCULATED, RunState.REVIEWED, RunState.APPROVED, RunState.ISSUED)


@router.get("")
async def list_runs(page: FinancePage) -> Response:
    """Show every run, what waits for a decision, and who is late."""
    organisation = page.viewer.organisation_id
    runs = [_run_row(row) for row in await service.list_runs(page.conn, organisation)]
    last = previous_month(page.clock.now(), page.zone).start.astimezone(page.zone).date()
    today = page.clock.now().astimezone(page.zone).date()
    return page.render(
        "console/bills.html",
        runs=runs,
        month=f"{last:%Y-%m}",
        adjustments=await corrections.list_adjustments(page.conn, organisation),
        questions=await corrections.open_questions(page.conn, organisation),
        arrears=await settlement.arrears(page.conn, organisation, today),
    )


@router.post("/runs")
async def start_run(page: FinancePage, month: Annotated[str, Form(max_length=7)]) -> Response:
    """Calculate a month's bills."""
    try:
        async with page.conn.transaction():
            site = await find_site(page.conn)
            run_id = await service.calculate_run(page.conn, site, month, actor=page.viewer.login, clock=page.clock)
    except DomainError as error:
        return page.redirect("/console/bills", notice=str(error))
    return page.redirect(f"/console/bills/runs/{run_id}", notice=_("Calculated."))


@router.get("/runs/{run_id}")
async def show_run(page: FinancePage, run_id: int) -> Response:
    """Show a run as a funnel, with the equation that has to close and what forbids issuing."""
    run = await service.get_run(page.conn, run_id)
    bills = [b | {"state_view": STATES[b["state"]], "issue_views": issue_views(b["issues"])} for b in run["bills"]]
    summary = run["summary"]
    return page.render(
        "console/bill_run.html",
        run=_run_row(run | {"starts_on": run["period"].lower, "ends_on": run["period"].upper}),
        bills=bills,
        summary=_shown(summary),
        blocking=issue_views(summary.get("blocking", [])),
        resale=summary.get("resale", {}),
        funnel=_funnel(run, bills),
        steps=[s | {"from_word": _word(s["from_state"]), "to_word": _word(s["to_state"])} for s in run["steps"]],
        actions=_actions(run, page),
        answer=_answer(run, bills),
    )


def _shown(summary: dict[str, Any]) -> dict[str, Decimal]:
    """Return the figures of a run; the equation's parts are rounded so that it closes as it is printed."""
    exact = {k: Decimal(v) for k, v in summary.items() if k.endswith(("kwh", "percent", "total"))}
    parts = [name for name in EQUATION if name in exact]
    return exact | dict(zip(parts, round_parts([exact[name] for name in parts]), strict=True))


def _word(state: str) -> str:
    return STATES[state][1]


def _run_row(row: dict[str, Any]) -> dict[str, Any]:
    summary = row["summary"]
    return row | {
        "state_view": STATES[row["state"]],
        "utility_name": UTILITIES[row["utility"]],
        "total": Decimal(summary.get("total", "0")),
        "bill_count": summary.get("bills", 0),
        "exception_count": summary.get("exceptions", 0),
    }


def _funnel(run: dict[str, Any], bills: list[dict[str, Any]]) -> list[dict[str, Any]]:
    own = [b for b in bills if b["kind"] == "bill"]
    reached = [s.value for s in FUNNEL].index(run["state"]) if run["state"] in FUNNEL else -1
    stages = [
        {"label": N_("Leases"), "count": len(own), "done": True},
        {"label": N_("Exceptions"), "count": sum(bool(b["issues"]) for b in own), "done": True},
    ]
    stages += [
        {"label": STATES[state.value][1], "count": len(own) if i <= reached else 0, "done": i <= reached}
        for i, state in enumerate(FUNNEL)
    ]
    return stages


def _actions(run: dict[str, Any], page: Page[StaffViewer]) -> list[dict[str, Any]]:
    """Return the steps that this person may take now; why one is closed stands beside it."""
    found = []
    for step in (Step.REVIEW, Step.APPROVE, Step.ISSUE, Step.SEND_BACK, Step.CANCEL):
        if (RunState(run["state"]), step) not in TRANSITIONS:
            continue
        closed = ""
        if step is Step.APPROVE and run["prepared_by"] == page.viewer.login:
            closed = _("You prepared this run; somebody else has to approve it.")
        elif step in {Step.APPROVE, Step.ISSUE} and run["reasons"]:
            closed = _("The points above have to be settled first.")
        found.append({"step": step.value, "label": STEP_WORDS[step], "closed": closed})
    return found


def _answer(run: dict[str, Any], bills: list[dict[str, Any]]) -> str:
    own = [b for b in bills if b["kind"] == "bill"]
    if run["state"] == RunState.ISSUED:
        return ngettext("One bill is issued.", "{count} bills are issued.", len(own))
    if run["reasons"]:
        return ngettext(
            "One point keeps this run from being issued.",
            "{count} points keep this run from being issued.",
            len(run["reasons"]),
        )
    return ngettext("One bill balances and waits.", "{count} bills balance and wait.", len(own))


@router.post("/runs/{run_id}/steps")
async def take_step(
    page: FinancePage,
    run_id: int,
    step: Annotated[str, Form(max_length=20)],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Review, approve, issue, send back or cancel a run."""
    try:
        wanted = Step(step)
        async with page.conn.transaction():
            await service.take_step(page.conn, run_id, wanted, actor=page.viewer.login, clock=page.clock, reason=reason)
    except (DomainError, ValueError) as error:
        return page.redirect(f"/console/bills/runs/{run_id}", notice=str(error))
    return page.redirect(f"/console/bills/runs/{run_id}", notice=_("Done."))


@router.get("/{bill_id}")
async def show_bill(page: FinancePage, bill_id: int) -> Response:
    """Show a bill with the evidence of each line, its questions and its history."""
    bill = await service.get_bill(page.conn, bill_id)
    return page.render(
        "console/bill.html",
        bill=bill_view(bill),
        run_id=bill["run_id"],
        tenant_id=bill["tenant_id"],
        questions=await corrections.questions(page.conn, bill_id),
        statement=[
            row | {"what_word": KINDS.get(row["what"], N_("Payment"))}
            for row in await settlement.statement(page.conn, bill["tenant_id"])
        ],
        today=page.clock.now().astimezone(page.zone).date(),
    )


@router.get("/{bill_id}/days.json")
async def days(page: FinancePage, bill_id: int) -> Response:
    """Return the bill's energy by day."""
    return chart_response(days_chart(await service.get_bill(page.conn, bill_id), page.language))


@router.get("/{bill_id}/pdf")
async def pdf(page: FinancePage, bill_id: int) -> Response:
    """Return the bill's PDF."""
    return await pdf_response(await service.get_bill(page.conn, bill_id))


async def pdf_response(bill: dict[str, Any]) -> Response:
    """Return a PDF with a file name of its own; the work runs beside the loop."""
    content = await asyncio.to_thread(bill_pdf, bill)
    name = f"{bill['number'] or 'draft-' + str(bill['id'])}.pdf"
    headers = {"Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "private, no-store"}
    return Response(content, media_type="application/pdf", headers=headers)


@router.get("/{bill_id}/proof")
async def proof(page: FinancePage, bill_id: int) -> Response:
    """Make the bill again from raw readings and show what differs."""
    verdict = await verification.verify_bill(page.conn, bill_id)
    return page.render("console/bill_proof.html", verdict=verdict, bill_id=bill_id)


@router.post("/{bill_id}/credit")
async def credit(
    page: FinancePage,
    bill_id: int,
    reason: Annotated[str, Form(max_length=500)],
    rebill: Annotated[str, Form(pattern="^(|true)$")] = "",
) -> Response:
    """Take an issued bill back by a credit note, and make it again when asked."""
    try:
        async with page.conn.transaction():
            numbers = await corrections.credit(
                page.conn, bill_id, reason=reason, actor=page.viewer.login, clock=page.clock, rebill=rebill == "true"
            )
    except DomainError as error:
        return page.redirect(f"/console/bills/{bill_id}", notice=str(error))
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
    bill = await service.get_bill(page.conn, bill_id)
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
        return page.redirect(f"/console/bills/{bill_id}", notice=str(error))
    return page.redirect(f"/console/bills/{bill_id}", notice=_("Payment recorded."))


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text.replace(",", "").strip())
    except InvalidOperation:
        raise Invalid(f"{text!r} is not an amount; write 1234.50") from None


@router.post("/questions/{question_id}")
async def answer(page: FinancePage, question_id: int, text: Annotated[str, Form(max_length=1000)]) -> Response:
    """Answer a tenant's question about a line."""
    try:
        async with page.conn.transaction():
            bill_id = await corrections.answer(
                page.conn, question_id, text=text, actor=page.viewer.login, clock=page.clock
            )
    except DomainError as error:
        return page.redirect("/console/bills", notice=str(error))
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
        return page.redirect("/console/bills", notice=str(error))
    return page.redirect("/console/bills", notice=_("Done."))


@router.get("/runs/{run_id}/export.csv")
async def export(page: FinancePage, run_id: int, delimiter: Annotated[str, Query(pattern="^[,;]$")] = ",") -> Response:
    """Return a run's lines for accounting: one row per line, with ledger account and tax code."""
    from cloud_api.billing.export import run_csv

    text = await run_csv(page.conn, run_id, delimiter=delimiter)
    headers = {"Content-Disposition": f'attachment; filename="bill-run-{run_id}.csv"'}
    return Response("\ufeff" + text, media_type="text/csv; charset=utf-8", headers=headers)
