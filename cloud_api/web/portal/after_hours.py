"""Air conditioning after hours for tenants: ask, see what was decided, take back."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Response

from cloud_api.identity.model import TenantViewer
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import after_hours, service
from cloud_api.web.console.after_hours import STATES
from cloud_api.web.shared.forms import local_instant
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import Page, PortalPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/portal/after-hours")
NAV = NavItem(group="portal", order=30, label=N_("Air conditioning"), href="/portal/after-hours", icon="fan")


@router.get("")
async def show(page: PortalPage) -> Response:
    """Show the form and the tenant's requests."""
    return await _show(page)


async def _show(page: Page[TenantViewer], problem: DomainError | None = None) -> Response:
    site = (await service.shown_site(page.conn, None))[0]
    now = page.clock.now()
    viewer = page.viewer
    found = await after_hours.requests(page.conn, viewer.organisation_id, tenant_id=viewer.tenant_id)
    evening = now.astimezone(page.zone).replace(hour=18, minute=0)
    if evening < now + timedelta(hours=1):
        evening += timedelta(days=1)
    return page.render(
        "portal/after_hours.html",
        status=200 if problem is None else problem.status,
        problem=problem,
        spaces=await after_hours.spaces_of(page.conn, viewer.tenant_id, now.astimezone(page.zone).date()),
        requests=[row | {"state_view": STATES[row["state"]]} for row in found],
        policy=await after_hours.find_policy(page.conn, site),
        starts=f"{evening:%Y-%m-%dT%H:%M}",
        ends=f"{evening + timedelta(hours=2):%Y-%m-%dT%H:%M}",
    )


@router.post("")
async def ask(
    page: PortalPage,
    space: Annotated[str, Form(max_length=40)],
    starts: Annotated[str, Form(max_length=20)],
    ends: Annotated[str, Form(max_length=20)],
) -> Response:
    """Ask for air conditioning in an own space."""
    try:
        async with page.conn.transaction():
            site = await service.site_of_tenant(page.conn, page.viewer.tenant_id, space)
            done = await after_hours.request(
                page.conn,
                site,
                tenant_id=page.viewer.tenant_id,
                space=space,
                starts=local_instant(_("From"), starts, page.zone),
                ends=local_instant(_("To"), ends, page.zone),
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return await _show(page, error)
    approved = done["state"] == "approved"
    return page.redirect("/portal/after-hours", notice=_("Booked.") if approved else _("Asked; the park decides."))


@router.post("/{request_id}/cancel")
async def cancel(page: PortalPage, request_id: int) -> Response:
    """Take an own request back before it begins."""
    who = {"actor": page.viewer.login, "clock": page.clock}
    await after_hours.cancel(page.conn, request_id, tenant_id=page.viewer.tenant_id, **who)
    return page.redirect("/portal/after-hours", notice=_("Cancelled; it is not charged."))
