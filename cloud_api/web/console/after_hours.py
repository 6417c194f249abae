"""Air conditioning after hours for staff: what waits for a decision, what is booked, by which parameters."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from cloud_api.identity.model import Role
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import after_hours, service
from cloud_api.web.shared.forms import decimal
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import AfterHoursPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext, say

router = APIRouter(prefix="/console/after-hours")
NAV = NavItem(
    group="estate",
    order=40,
    label=N_("After hours"),
    href="/console/after-hours",
    icon="fan",
    roles=frozenset({Role.FACILITIES, Role.LEASING, Role.MANAGER}),
)
STATES = {
    "requested": ("warning", N_("waits for approval")),
    "approved": ("ok", N_("approved")),
    "rejected": ("offline", N_("rejected")),
    "cancelled": ("offline", N_("cancelled")),
}


@router.get("")
async def show(page: AfterHoursPage, site: Annotated[str | None, Query(max_length=40)] = None) -> Response:
    """Show requests, those that wait first, and the parameters of a site."""
    where, every = await service.shown_site(page.conn, site)
    found = await after_hours.requests(page.conn, page.viewer.organisation_id)
    waiting = sum(row["state"] == "requested" for row in found)
    return page.render(
        "console/after_hours.html",
        requests=[row | {"state_view": STATES[row["state"]]} for row in found],
        booked=await after_hours.booked(page.conn, page.viewer.organisation_id, page.clock.now()),
        policy=await after_hours.find_policy(page.conn, where),
        site=where,
        sites=every,
        answer=ngettext("One request waits for approval.", "{count} requests wait for approval.", waiting)
        if waiting
        else _("No request waits for approval."),
    )


@router.post("/{request_id}")
async def decide(
    page: AfterHoursPage,
    request_id: int,
    decision: Annotated[str, Form(pattern="^(approve|reject)$")],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Approve or reject a request."""
    try:
        await after_hours.decide(
            page.conn,
            request_id,
            approve=decision == "approve",
            reason=reason,
            actor=page.viewer.login,
            clock=page.clock,
        )
    except DomainError as error:
        return page.redirect("/console/after-hours", notice=say(error))
    return page.redirect("/console/after-hours", notice=_("Done."))


@router.post("/policy/parameters")
async def set_policy(
    page: AfterHoursPage,
    approval: Annotated[str, Form(pattern="^(automatic|by_staff)$")],
    notice_hours: Annotated[str, Form(max_length=4)],
    minimum_minutes: Annotated[str, Form(max_length=4)],
    block_minutes: Annotated[int, Form()],
    site: Annotated[str | None, Form(max_length=40)] = None,
) -> Response:
    """Change the parameters of a site."""
    where, _every = await service.shown_site(page.conn, site)
    back = f"/console/after-hours?site={where.code}"
    try:
        content = {
            "approval": approval,
            "notice_hours": int(decimal(_("Notice, hours"), notice_hours)),
            "minimum_minutes": int(decimal(_("Least charged, minutes"), minimum_minutes)),
            "block_minutes": block_minutes,
        }
        await after_hours.set_policy(page.conn, where, content, actor=page.viewer.login, clock=page.clock)
    except DomainError as error:
        return page.redirect(back, notice=say(error))
    return page.redirect(back, notice=_("Done."))
