"""Limits of the checks, by class of meter."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.metering import limits
from cloud_api.metering.corrections import Author
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/check-limits")
NAV = NavItem(group="energy", order=35, label=N_("Check limits"), href="/console/check-limits", icon="settings")


@router.get("")
async def show(page: StaffPage) -> Response:
    """Show what holds for each class, and who set it."""
    organisation_id = page.viewer.organisation_id
    found = await limits.of_classes(page.conn, organisation_id)
    return page.render(
        "console/check_limits.html",
        classes={use: asdict(values) for use, values in found.items()},
        names=list(limits.RANGES),
        history=await limits.history(page.conn, organisation_id),
    )


@router.post("/{use}")
async def set_class(
    page: FacilitiesPage, request: Request, use: str, reason: Annotated[str, Form(max_length=500)]
) -> Response:
    """Set the limits of a class as the form shows them; `reset` goes back to the built-in ones."""
    author = Author(viewer=page.viewer, clock=page.clock, reason=reason)
    form = await request.form()
    if "reset" in form:
        await limits.reset_class(page.conn, author, use)
        return page.redirect("/console/check-limits", notice=_("The built-in limits hold again."))
    values = {name: str(form[name]) for name in limits.RANGES if name in form}
    await limits.set_class(page.conn, author, use, values)
    return page.redirect("/console/check-limits", notice=_("The limits hold from the next check on."))
