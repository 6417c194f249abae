"""Alarms: list, journal, acknowledge, shelve, figures, evidence."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cloud_api.alarms import detail, figures, service
from cloud_api.alarms.model import AlarmId, JournalEntry, OpenAlarm
from cloud_api.api.auth import FacilitiesCall, StaffCall

router = APIRouter(prefix="/alarms", tags=["alarms"])


class Shelf(BaseModel):
    """A shelf has an end and a reason."""

    until: datetime
    reason: str = Field(min_length=1, max_length=500)


@router.get("")
async def list_alarms(
    call: StaffCall,
    site_id: int | None = None,
    with_suppressed: bool = False,  # noqa: FBT001, FBT002  # A query parameter.
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[OpenAlarm]:
    """Return open alarms, worst and newest first."""
    return await service.open_alarms(call.conn, site_id=site_id, with_suppressed=with_suppressed, limit=limit)


@router.get("/figures")
async def alarm_figures(call: StaffCall, days: Annotated[int, Query(ge=1, le=366)] = 30) -> figures.Report:
    """Return the figures of ISA-18.2 / IEC 62682 for the last days."""
    end = call.clock.now()
    return await figures.report(call.conn, end - timedelta(days=days), end)


@router.get("/{alarm_id}")
async def show_alarm(call: StaffCall, alarm_id: int) -> dict[str, Any]:
    """Return one alarm with its occurrences and what to check first, in both languages."""
    alarm = await service.alarm(call.conn, AlarmId(alarm_id))
    return {
        "alarm": alarm,
        "occurrences": await service.occurrences(call.conn, alarm.id),
        "playbook": {"zh": detail.playbook(alarm, "zh"), "en": detail.playbook(alarm, "en")},
    }


@router.get("/{alarm_id}/journal")
async def journal(call: StaffCall, alarm_id: int) -> list[JournalEntry]:
    """Return the newest 200 lines of the alarm's journal."""
    await service.alarm(call.conn, AlarmId(alarm_id))
    return await service.journal(call.conn, AlarmId(alarm_id))


@router.post("/{alarm_id}/acknowledge", status_code=204)
async def acknowledge(call: FacilitiesCall, alarm_id: int) -> None:
    """Record that you have seen the alarm; every channel falls silent."""
    await service.acknowledge(call.conn, call.clock, AlarmId(alarm_id), actor=call.viewer.login)


@router.post("/{alarm_id}/shelve", status_code=204)
async def shelve(call: FacilitiesCall, alarm_id: int, shelf: Shelf) -> None:
    """Put the alarm aside until an instant, with a reason."""
    await service.shelve(
        call.conn, call.clock, AlarmId(alarm_id), until=shelf.until, reason=shelf.reason, actor=call.viewer.login
    )


@router.post("/{alarm_id}/unshelve", status_code=204)
async def unshelve(call: FacilitiesCall, alarm_id: int) -> None:
    """End the shelf now."""
    await service.unshelve(call.conn, call.clock, AlarmId(alarm_id), actor=call.viewer.login)


@router.post("/{alarm_id}/reset", status_code=204)
async def reset(call: FacilitiesCall, alarm_id: int) -> None:
    """Release the latch of an alarm whose cause has gone."""
    await service.reset(call.conn, call.clock, AlarmId(alarm_id), actor=call.viewer.login)
