"""Work orders: list, from an alarm, request, step on, comment."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.alarms.model import AlarmId
from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.workorders import service
from cloud_api.workorders.model import Action, WorkOrderId

router = APIRouter(prefix="/work-orders", tags=["work orders"])


class FromAlarm(BaseModel):
    """Which alarm the order is about."""

    alarm_id: int


class Request(BaseModel):
    """What someone asks for."""

    site_id: int
    title: Annotated[str, Field(min_length=1, max_length=200)]
    description: Annotated[str, Field(max_length=4000)] = ""


class Step(BaseModel):
    """What to do with an order: approve, reject, assign, start, complete, reopen."""

    action: Action
    assignee: Annotated[str | None, Field(max_length=100)] = None
    reason: Annotated[str, Field(max_length=500)] = ""


class Comment(BaseModel):
    """Something to add to the history."""

    text: Annotated[str, Field(min_length=1, max_length=4000)]


@router.get("")
async def list_orders(call: StaffCall, closed: bool = False) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002
    """Return open orders, the most urgent first, or closed ones."""
    return await service.orders(call.conn, closed=closed)


@router.post("", status_code=201)
async def request(call: StaffCall, wanted: Request) -> dict[str, int]:
    """Ask for something; the order waits for approval."""
    order = await service.request(
        call.conn,
        call.clock,
        site_id=wanted.site_id,
        title=wanted.title,
        description=wanted.description,
        actor=call.viewer.login,
    )
    return {"id": order}


@router.post("/from-alarm", status_code=201)
async def from_alarm(call: FacilitiesCall, wanted: FromAlarm) -> dict[str, int]:
    """Make an order of an alarm, or return the one it has."""
    order = await service.from_alarm(call.conn, call.clock, AlarmId(wanted.alarm_id), actor=call.viewer.login)
    return {"id": order}


@router.get("/{order_id}")
async def show(call: StaffCall, order_id: int) -> dict[str, Any]:
    """Return one order with checklist, parts and history."""
    return await service.details(call.conn, WorkOrderId(order_id))


@router.post("/{order_id}/act")
async def act(call: FacilitiesCall, order_id: int, step: Step) -> dict[str, str]:
    """Take the order one step on; returns its new state."""
    state = await service.act(
        call.conn,
        call.clock,
        WorkOrderId(order_id),
        step.action,
        actor=call.viewer.login,
        assignee=step.assignee,
        reason=step.reason,
    )
    return {"state": state.value}


@router.post("/{order_id}/comments", status_code=204)
async def comment(call: StaffCall, order_id: int, said: Comment) -> None:
    """Add a comment."""
    await service.comment(call.conn, call.clock, WorkOrderId(order_id), said.text, actor=call.viewer.login)
