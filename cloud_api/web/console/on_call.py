"""On call: rotas with their shifts, planned ahead, exchanged and handed over."""

from datetime import date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Response

from cloud_api.alarms import rota
from cloud_api.notify import service
from cloud_api.web.shared.page import FacilitiesPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/on-call")
WEEKS = (4, 12, 26, 52)
SHIFTS_SHOWN = 20


@router.get("")
async def show(page: FacilitiesPage) -> Response:
    """Show who is on call now and who comes next."""
    found = await rota.rotas(page.conn, page.clock)
    shifts = {r["id"]: await rota.shifts_of(page.conn, page.clock, r["id"], limit=SHIFTS_SHOWN) for r in found}
    on_call = [r["on_call"] for r in found if r["on_call"]]
    answer = _("On call now: {names}.").format(names=", ".join(on_call)) if on_call else _("Nobody is on call now.")
    return page.render(
        "console/on_call.html",
        rotas=found,
        shifts=shifts,
        channels=await service.list_channels(page.conn),
        answer=answer if found else _("There is no rota yet: choose who takes turns."),
        today=page.clock.now().astimezone(page.zone).date(),
        weeks=WEEKS,
    )


@router.post("")
async def save(
    page: FacilitiesPage,
    name: Annotated[str, Form(min_length=1, max_length=100)],
    channels: Annotated[list[int], Form(min_length=1)],
    starts_on: Annotated[date, Form()],
    weeks: Annotated[int, Form(ge=1, le=52)] = 12,
    turn_days: Annotated[int, Form(ge=1, le=31)] = 7,
    handover_hour: Annotated[int, Form(ge=0, le=23)] = 9,
    holiday_channel_id: Annotated[str, Form(pattern="^[0-9]*$")] = "",
) -> Response:
    """Make a rota, or plan it anew."""
    await rota.save(
        page.conn,
        organisation_id=page.viewer.organisation_id,
        name=name,
        channels=channels,
        starts_on=starts_on,
        days=weeks * 7,
        turn_days=turn_days,
        handover_hour=handover_hour,
        time_zone=page.zone.key,
        holiday_channel_id=int(holiday_channel_id) if holiday_channel_id else None,
    )
    return page.redirect("/console/on-call", notice=_("Saved."))


@router.post("/{rota_id}/give")
async def give(
    page: FacilitiesPage,
    rota_id: int,
    channel_id: Annotated[int, Form()],
    day: Annotated[date, Form()],
    days: Annotated[int, Form(ge=1, le=31)] = 1,
) -> Response:
    """Give days to someone else."""
    found = next((r for r in await rota.rotas(page.conn, page.clock) if r["id"] == rota_id), None)
    hour = found["handover_hour"] if found else 0
    starts_at = datetime.combine(day, time(hour), page.zone)
    ends_at = datetime.combine(day + timedelta(days=days), time(hour), page.zone)
    await rota.give(page.conn, rota_id, channel_id=channel_id, starts_at=starts_at, ends_at=ends_at)
    return page.redirect("/console/on-call", notice=_("Saved."))


@router.post("/{rota_id}/remove")
async def remove(page: FacilitiesPage, rota_id: int) -> Response:
    """Remove a rota with its shifts and routes."""
    await rota.remove(page.conn, rota_id)
    return page.redirect("/console/on-call", notice=_("Removed."))
