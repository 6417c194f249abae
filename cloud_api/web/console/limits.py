"""Limits on points: all of them on one page, and setting or removing one on the page of its point."""

from typing import Annotated

from fastapi import APIRouter, Form, Response

from cloud_api.alarms import limit_settings
from cloud_api.kit.ids import PointId
from cloud_api.web.shared.page import FacilitiesPage, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/limits")


@router.get("")
async def show(page: StaffPage) -> Response:
    """List the limits of all points."""
    limits = await limit_settings.limits(page.conn)
    answer = (
        ngettext("One limit is watched.", "{count} limits are watched.", len(limits))
        if limits
        else _("No point has a limit yet: open a device and choose a point.")
    )
    return page.render("console/limits.html", limits=limits, answer=answer)


@router.post("/points/{point_id}")
async def set_limit(
    page: FacilitiesPage,
    point_id: int,
    device_id: Annotated[int, Form()],
    kind: Annotated[str, Form(pattern="^(above|below|equals|step)$")],
    value: Annotated[float, Form()],
    severity: Annotated[int, Form(ge=1, le=4)] = 3,
    clear_value: Annotated[str, Form(pattern=r"^(-?[0-9]+([.][0-9]+)?)?$")] = "",
    on_delay_s: Annotated[int, Form(ge=0, le=86400)] = 0,
    off_delay_s: Annotated[int, Form(ge=0, le=86400)] = 0,
) -> Response:
    """Set a limit of a point."""
    await limit_settings.set_limit(
        page.conn,
        page.clock,
        PointId(point_id),
        kind=kind,
        value=value,
        severity=severity,
        clear_value=float(clear_value) if clear_value else None,
        on_delay_s=on_delay_s,
        off_delay_s=off_delay_s,
        actor=page.viewer.login,
    )
    return page.redirect(f"/console/devices/{device_id}/points/{point_id}", notice=_("Saved."))


@router.post("/{limit_id}/remove")
async def remove(page: FacilitiesPage, limit_id: int) -> Response:
    """Remove a limit; an alarm it raised ends."""
    await limit_settings.remove_limit(page.conn, page.clock, limit_id)
    return page.redirect("/console/limits", notice=_("Removed."))
