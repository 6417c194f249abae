"""A tenant's bills: what, how much, why, and how to question it."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from cloud_api.billing import corrections, service, settlement
from cloud_api.billing.access import access_bill
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.console.bills import pdf_response
from cloud_api.web.shared.bill_view import KINDS, STATES, UTILITIES, bill_view, days_chart
from cloud_api.web.shared.charts import chart_response
from cloud_api.web.shared.line_view import line_context
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import PortalPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import say

router = APIRouter(prefix="/portal/bills")
NAV = NavItem(group="portal", order=20, label=N_("Bills"), href="/portal/bills", icon="bill")


@router.get("")
async def list_bills(page: PortalPage) -> Response:
    """List what was issued, what is open, and the statement of account."""
    found = await service.bills_of_tenant(page.conn, page.viewer.tenant_id)
    bills: list[dict[str, Any]] = [
        {
            **bill,
            "state_view": STATES[bill["state"]],
            "kind_name": KINDS[bill["kind"]],
            "utility_name": UTILITIES[bill["utility"]],
        }
        for bill in found
    ]
    owed = [b for b in bills if b["state"] == "issued" and b["kind"] != "credit_note" and b["open_amount"] > 0]
    return page.render(
        "portal/bills.html",
        bills=bills,
        owed=sum(b["open_amount"] for b in owed),
        statement=await settlement.statement(page.conn, page.viewer.tenant_id),
        balances=await settlement.balances(page.conn, page.viewer.tenant_id),
    )


@router.get("/{bill_id}")
async def show_bill(page: PortalPage, bill_id: int, line: Annotated[int, Query(ge=1)] = 1) -> Response:
    """Show one bill with the evidence of each line."""
    bill = await access_bill(page.conn, page.viewer, bill_id)
    return page.render(
        "portal/bill.html",
        bill=bill_view(bill),
        questions=await corrections.questions(page.conn, bill_id),
        notes=await corrections.credit_notes(page.conn, bill_id),
        corrects=(bill["corrects_bill_id"], bill["corrects_number"]),
        asked_line=line,
    )


@router.get("/{bill_id}/lines/{number}")
async def show_line(
    page: PortalPage, bill_id: int, number: int, day: Annotated[str, Query(max_length=10)] = ""
) -> Response:
    """Show what a line rests on: its days and, for one of them, the quarter hours beside the register."""
    bill = await access_bill(page.conn, page.viewer, bill_id)
    return page.render("portal/bill_line.html", **await line_context(page.conn, bill, number, day))


@router.get("/{bill_id}/days.json")
async def days(page: PortalPage, bill_id: int) -> Response:
    """Return the bill's energy by day."""
    return chart_response(days_chart(await access_bill(page.conn, page.viewer, bill_id), page.language))


@router.get("/{bill_id}/pdf")
async def pdf(page: PortalPage, bill_id: int) -> Response:
    """Return the bill's PDF."""
    return await pdf_response(page.conn, await access_bill(page.conn, page.viewer, bill_id))


@router.post("/{bill_id}/questions")
async def ask(
    page: PortalPage,
    bill_id: int,
    line: Annotated[int, Form(ge=1)],
    question: Annotated[str, Form(max_length=1000)],
) -> Response:
    """Question a line; finance sees it with the same evidence."""
    bill = await access_bill(page.conn, page.viewer, bill_id)
    try:
        async with page.conn.transaction():
            await corrections.ask(
                page.conn, bill, line=line, question=question, actor=page.viewer.login, clock=page.clock
            )
    except DomainError as error:
        return page.redirect(f"/portal/bills/{bill_id}", notice=say(error))
    return page.redirect(f"/portal/bills/{bill_id}", notice=_("Your question was sent."))
