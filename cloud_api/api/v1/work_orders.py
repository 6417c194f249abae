"""Work orders: list, from an alarm, request, step on, comment."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Response, UploadFile
from pydantic import AwareDatetime, BaseModel, Field

from cloud_api.alarms.model import AlarmId
from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.workorders import service, upkeep
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


class Due(BaseModel):
    """By when an order is to be done."""

    due_at: AwareDatetime


class Comment(BaseModel):
    """Something to add to the history."""

    text: Annotated[str, Field(min_length=1, max_length=4000)]


class Tick(BaseModel):
    """Whether a line of the checklist is done."""

    is_done: bool = True


class Part(BaseModel):
    """A part that was used."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    quantity: Annotated[Decimal, Field(gt=0)] = Decimal(1)
    cost: Annotated[Decimal | None, Field(ge=0)] = None


class Window(BaseModel):
    """When an equipment is under maintenance, and why."""

    equipment_id: int
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class Plan(BaseModel):
    """What is to be done regularly; on its day it makes an order and a maintenance window."""

    equipment_id: int
    title_zh: Annotated[str, Field(min_length=1, max_length=200)]
    title_en: Annotated[str, Field(min_length=1, max_length=200)]
    every_days: Annotated[int, Field(ge=1, le=upkeep.EVERY_DAYS_MAX)]
    next_on: date
    window_hours: Annotated[Decimal, Field(ge=0, le=upkeep.WINDOW_HOURS_MAX)] = Decimal(4)


class PlanChange(BaseModel):
    """Whether a plan runs, and its next day."""

    is_enabled: bool
    next_on: date | None = None


@router.get("/savings")
async def savings(call: StaffCall) -> list[dict[str, Any]]:
    """Return what confirmed repairs saved, measured before and after, the largest first."""
    return await service.verified_savings(call.conn)


@router.get("/windows")
async def windows(call: StaffCall, past: bool = False) -> list[dict[str, Any]]:  # noqa: FBT001, FBT002
    """Return the maintenance windows that run or come, or the past ones."""
    return await upkeep.windows(call.conn, call.clock, past=past)


@router.post("/windows", status_code=204)
async def open_window(call: FacilitiesCall, window: Window) -> None:
    """Plan maintenance: the equipment's alarms stay silent in it, their evaluation goes on."""
    await upkeep.maintain(
        call.conn,
        equipment_id=window.equipment_id,
        start=window.starts_at,
        end=window.ends_at,
        reason=window.reason,
        actor=call.viewer.login,
    )
    await upkeep.apply_windows(call.conn, call.clock)


@router.delete("/windows/{window_id}", status_code=204)
async def cancel_window(call: FacilitiesCall, window_id: int) -> None:
    """End a window now."""
    await upkeep.cancel_window(call.conn, call.clock, window_id, actor=call.viewer.login)


@router.get("/plans")
async def plans(call: StaffCall) -> list[dict[str, Any]]:
    """Return the preventive plans, the next due first."""
    return await upkeep.plans(call.conn)


@router.post("/plans", status_code=201)
async def add_plan(call: FacilitiesCall, plan: Plan) -> dict[str, int]:
    """Add a preventive plan."""
    return {"id": await upkeep.add_plan(call.conn, **plan.model_dump())}


@router.put("/plans/{plan_id}", status_code=204)
async def set_plan(call: FacilitiesCall, plan_id: int, change: PlanChange) -> None:
    """Switch a plan on or off, or move its next day."""
    await upkeep.set_plan(call.conn, plan_id, is_enabled=change.is_enabled, next_on=change.next_on)


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


@router.put("/{order_id}/due", status_code=204)
async def set_due(call: FacilitiesCall, order_id: int, due: Due) -> None:
    """Say by when the order is to be done; the history keeps the earlier time."""
    await service.set_due(call.conn, call.clock, WorkOrderId(order_id), due.due_at, actor=call.viewer.login)


@router.post("/{order_id}/comments", status_code=204)
async def comment(call: StaffCall, order_id: int, said: Comment) -> None:
    """Add a comment."""
    await service.comment(call.conn, call.clock, WorkOrderId(order_id), said.text, actor=call.viewer.login)


@router.put("/{order_id}/steps/{number}", status_code=204)
async def tick(call: FacilitiesCall, order_id: int, number: int, done: Tick) -> None:
    """Mark a line of the checklist as done, or take that back."""
    await service.tick(
        call.conn, call.clock, WorkOrderId(order_id), number, actor=call.viewer.login, is_done=done.is_done
    )


@router.post("/{order_id}/parts", status_code=204)
async def add_part(call: FacilitiesCall, order_id: int, part: Part) -> None:
    """Record a part that was used."""
    await service.add_part(call.conn, WorkOrderId(order_id), name=part.name, quantity=part.quantity, cost=part.cost)


@router.post("/{order_id}/photos", status_code=204)
async def add_photo(call: FacilitiesCall, order_id: int, photo: UploadFile) -> None:
    """Add a photo (JPEG, PNG or WebP, up to 5 MB)."""
    content = await photo.read(service.PHOTO_BYTES_MAX + 1)
    await service.add_photo(
        call.conn, call.clock, WorkOrderId(order_id), content, photo.content_type or "", actor=call.viewer.login
    )


@router.get("/{order_id}/photos/{entry_id}", response_class=Response)
async def photo(call: StaffCall, order_id: int, entry_id: int) -> Response:
    """Return a photo; `entries` of the order name its number."""
    content, media_type = await service.photo(call.conn, WorkOrderId(order_id), entry_id)
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})
