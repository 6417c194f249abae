"""Planned work: maintenance windows, preventive plans, and what repairs saved."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.forms import decimal, local_instant
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext
from cloud_api.workorders import service, upkeep

router = APIRouter(prefix="/console/upkeep")
NAV = NavItem(group="live", order=35, label=N_("Planned work"), href="/console/upkeep", icon="clock")


@router.get("")
async def show(
    page: StaffPage,
    equipment_id: Annotated[int | None, Query()] = None,
    show: Annotated[str, Query(pattern="^(now|past)$")] = "now",
) -> Response:
    """Show maintenance windows, preventive plans and verified savings."""
    windows = await upkeep.windows(page.conn, page.clock, past=show == "past")
    now = page.clock.now()
    running = sum(1 for w in windows if show == "now" and w["starts_at"] <= now)
    answer = (
        ngettext(
            "One piece of equipment is under maintenance.",
            "{count} pieces of equipment are under maintenance.",
            running,
        )
        if running
        else _("Nothing is under maintenance.")
    )
    return page.render(
        "console/upkeep.html",
        windows=windows,
        plans=await upkeep.plans(page.conn),
        savings=await service.verified_savings(page.conn),
        equipment=await upkeep.equipment(page.conn),
        chosen=equipment_id,
        show=show,
        answer=answer,
    )


@router.post("/windows")
async def open_window(
    page: FacilitiesPage,
    equipment_id: Annotated[int, Form()],
    starts_at: Annotated[str, Form(max_length=30)],
    ends_at: Annotated[str, Form(max_length=30)],
    reason: Annotated[str, Form(max_length=500)],
) -> Response:
    """Open a maintenance window; the times are the site's."""
    start = local_instant(_("From"), starts_at, page.zone)
    end = local_instant(_("To"), ends_at, page.zone)
    await upkeep.maintain(
        page.conn, equipment_id=equipment_id, start=start, end=end, reason=reason, actor=page.viewer.login
    )
    await upkeep.apply_windows(page.conn, page.clock)
    return page.redirect("/console/upkeep", notice=_("Its alarms stay silent in this time."))


@router.post("/windows/{window_id}/end")
async def end_window(page: FacilitiesPage, window_id: int) -> Response:
    """End a window now."""
    await upkeep.cancel_window(page.conn, page.clock, window_id, actor=page.viewer.login)
    return page.redirect("/console/upkeep", notice=_("The window has ended; its alarms sound again."))


@router.post("/plans")
async def add_plan(
    page: FacilitiesPage,
    equipment_id: Annotated[int, Form()],
    title_zh: Annotated[str, Form(max_length=200)],
    title_en: Annotated[str, Form(max_length=200)],
    every_days: Annotated[int, Form()],
    next_on: Annotated[date, Form()],
    window_hours: Annotated[str, Form(max_length=10)] = "4",
) -> Response:
    """Add a preventive plan."""
    await upkeep.add_plan(
        page.conn,
        equipment_id=equipment_id,
        title_zh=title_zh,
        title_en=title_en,
        every_days=every_days,
        next_on=next_on,
        window_hours=decimal(_("Window (h)"), window_hours),
    )
    return page.redirect("/console/upkeep", notice=_("Saved."))


@router.post("/plans/{plan_id}")
async def set_plan(page: FacilitiesPage, plan_id: int, is_enabled: Annotated[bool, Form()]) -> Response:
    """Switch a plan on or off."""
    await upkeep.set_plan(page.conn, plan_id, is_enabled=is_enabled)
    return page.redirect("/console/upkeep", notice=_("Saved."))
