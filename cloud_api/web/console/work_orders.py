"""Work orders: what is to be done, by whom, until when, and what became of it."""

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Query, Response, UploadFile

from cloud_api.alarms import routing
from cloud_api.alarms.model import AlarmId
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext
from cloud_api.workorders import service
from cloud_api.workorders.model import Action, State, WorkOrderId, actions_of

router = APIRouter(prefix="/console/work-orders")
NAV = NavItem(group="live", order=30, label=N_("Work orders"), href="/console/work-orders", icon="work")


@router.get("")
async def list_orders(page: StaffPage, show: Annotated[str, Query(pattern="^(open|closed)$")] = "open") -> Response:
    """List open orders, the most urgent first, or closed ones."""
    orders = await service.orders(page.conn, closed=show == "closed")
    late = sum(1 for o in orders if show == "open" and o["due_at"] and o["due_at"] < page.clock.now())
    answer = ngettext("One order.", "{count} orders.", len(orders)) if orders else _("Nothing is to be done.")
    if late:
        answer = ngettext("One order is late.", "{count} orders are late.", late)
    sites = await routing.sites(page.conn)
    return page.render(
        "console/work_orders.html", fragment="orders", orders=orders, show=show, answer=answer, sites=sites
    )


@router.post("")
async def request(
    page: FacilitiesPage,
    site_id: Annotated[int, Form()],
    title: Annotated[str, Form(min_length=1, max_length=200)],
    description: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Write down what someone asked for; it waits for approval like a tenant's request."""
    order = await service.request(
        page.conn, page.clock, site_id=site_id, title=title, description=description, actor=page.viewer.login
    )
    return page.redirect(f"/console/work-orders/{order}")


@router.post("/from-alarm/{alarm_id}")
async def from_alarm(page: FacilitiesPage, alarm_id: int) -> Response:
    """Make an order of an alarm, or go to the one it has."""
    order = await service.from_alarm(page.conn, page.clock, AlarmId(alarm_id), actor=page.viewer.login)
    return page.redirect(f"/console/work-orders/{order}")


@router.get("/{order_id}")
async def show_order(page: StaffPage, order_id: int) -> Response:
    """Show one order with checklist, parts and history."""
    found = await service.details(page.conn, WorkOrderId(order_id))
    actions = [a.value for a in actions_of(State(found["order"]["state"])) if a is not Action.CONFIRM]
    due, zone = found["order"]["due_at"], ZoneInfo(found["order"]["time_zone"])
    return page.render(
        "console/work_order.html",
        **found,
        actions=actions,
        due_local=f"{due.astimezone(zone):%Y-%m-%dT%H:%M}" if due else "",
        people=await service.people(page.conn),
    )


@router.post("/{order_id}/act")
async def act(
    page: FacilitiesPage,
    order_id: int,
    action: Annotated[Action, Form()],
    assignee: Annotated[str, Form(max_length=100)] = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Take the order one step on."""
    await service.act(
        page.conn,
        page.clock,
        WorkOrderId(order_id),
        action,
        actor=page.viewer.login,
        assignee=assignee or None,
        reason=reason,
    )
    return page.redirect(f"/console/work-orders/{order_id}", notice=_("Done."))


@router.post("/{order_id}/steps/{number}")
async def tick(page: FacilitiesPage, order_id: int, number: int, is_done: Annotated[bool, Form()] = True) -> Response:  # noqa: FBT002
    """Mark a line of the checklist."""
    await service.tick(page.conn, page.clock, WorkOrderId(order_id), number, actor=page.viewer.login, is_done=is_done)
    return page.redirect(f"/console/work-orders/{order_id}")


@router.post("/{order_id}/due")
async def set_due(page: FacilitiesPage, order_id: int, due_at: Annotated[str, Form(max_length=20)]) -> Response:
    """Say by when the order is to be done, in the site's time."""
    found = await service.order(page.conn, WorkOrderId(order_id))
    try:
        local = datetime.fromisoformat(due_at).replace(tzinfo=ZoneInfo(found["time_zone"]))
    except ValueError as error:
        raise Invalid("This is not a date with a time.") from error
    await service.set_due(page.conn, page.clock, WorkOrderId(order_id), local, actor=page.viewer.login)
    return page.redirect(f"/console/work-orders/{order_id}", notice=_("Done."))


@router.post("/{order_id}/comment")
async def comment(page: FacilitiesPage, order_id: int, text: Annotated[str, Form(max_length=4000)]) -> Response:
    """Add a comment."""
    await service.comment(page.conn, page.clock, WorkOrderId(order_id), text, actor=page.viewer.login)
    return page.redirect(f"/console/work-orders/{order_id}")


@router.post("/{order_id}/parts")
async def add_part(
    page: FacilitiesPage,
    order_id: int,
    name: Annotated[str, Form(max_length=200)],
    quantity: Annotated[str, Form(max_length=20)] = "1",
    cost: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Record a part that was used."""
    try:
        amount, price = Decimal(quantity), Decimal(cost) if cost.strip() else None
    except InvalidOperation as error:
        raise Invalid("Quantity and cost must be numbers.") from error
    await service.add_part(page.conn, WorkOrderId(order_id), name=name, quantity=amount, cost=price)
    return page.redirect(f"/console/work-orders/{order_id}")


@router.post("/{order_id}/photos")
async def add_photo(page: FacilitiesPage, order_id: int, photo: UploadFile) -> Response:
    """Add a photo."""
    content = await photo.read(service.PHOTO_BYTES_MAX + 1)
    await service.add_photo(
        page.conn, page.clock, WorkOrderId(order_id), content, photo.content_type or "", actor=page.viewer.login
    )
    return page.redirect(f"/console/work-orders/{order_id}")


@router.get("/{order_id}/photos/{entry_id}")
async def photo(page: StaffPage, order_id: int, entry_id: int) -> Response:
    """Return one photo."""
    content, media_type = await service.photo(page.conn, WorkOrderId(order_id), entry_id)
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})
