"""Use cases of work orders: from an alarm or a request, through the work, to a repair that the fault rule confirms."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cloud_api.alarms import detail
from cloud_api.alarms import service as alarms
from cloud_api.alarms.model import AlarmId
from cloud_api.alarms.price import price_per_unit
from cloud_api.db.queries import load_queries
from cloud_api.faults import savings
from cloud_api.identity.model import TenantViewer
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, Invalid, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.workorders.model import TRANSITIONS, Action, State, WorkOrderId

queries = load_queries(__file__)

# How long a mended fault must stay away before the order counts as confirmed.
CONFIRM_AFTER = timedelta(hours=24)
DUE_HOURS = {1: 4, 2: 24, 3: 72, 4: 336}
DUE_MAX = timedelta(days=730)
PHOTO_BYTES_MAX = 5_000_000
PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp")


class WorkOrderNotFound(NotFound):
    """There is no such work order, or it is not yours to see."""

    code = "work_order_not_found"


class ActionNotAllowed(DomainError):
    """The order's state does not allow the action."""

    code = "work_order_action_not_allowed"


async def from_alarm(conn: AsyncConnection, clock: Clock, alarm_id: AlarmId, *, actor: str) -> WorkOrderId:
    """Make an order of an alarm, its playbook as the checklist; an alarm that has an open order gets no second one."""
    alarm = await alarms.alarm(conn, alarm_id)
    existing = await rows(conn, queries.open_order_of_alarm, {"alarm_id": alarm_id})
    if existing:
        return existing[0]["id"]
    now = clock.now()
    kind, _, subject = alarm.subject.partition(":")
    order = await create(
        conn,
        now,
        site_id=alarm.site_id,
        alarm_id=alarm_id,
        equipment_id=int(subject) if kind == "equipment" else None,
        state=State.OPEN,
        priority=alarm.severity,
        title_zh=alarm.sentence_zh,
        title_en=alarm.sentence_en,
        due_at=now + timedelta(hours=DUE_HOURS[alarm.severity]),
        created_by=actor,
        estimated_per_day=alarm.params.get("kwh_per_day") or alarm.params.get("m3_per_day"),
        unit="m³" if alarm.params.get("m3_per_day") else "kWh",
    )
    steps = zip(detail.playbook(alarm, "zh"), detail.playbook(alarm, "en"), strict=True)
    for number, (zh, en) in enumerate(steps, start=1):
        await conn.execute(queries.add_step, {"id": order, "number": number, "zh": zh, "en": en})
    return order


async def request(
    conn: AsyncConnection,
    clock: Clock,
    *,
    site_id: int,
    title: str,
    description: str,
    actor: str,
    tenant_id: int | None = None,
    space_id: int | None = None,
) -> WorkOrderId:
    """Take a request of a tenant or of staff; it waits for approval."""
    if not title.strip():
        raise Invalid("say in a few words what is wrong")
    return await create(
        conn,
        clock.now(),
        site_id=site_id,
        tenant_id=tenant_id,
        space_id=space_id,
        kind="request",
        state=State.REQUESTED,
        title_zh=title.strip()[:200],
        title_en=title.strip()[:200],
        description=description[:4000],
        created_by=actor,
    )


async def act(
    conn: AsyncConnection,
    clock: Clock,
    order_id: WorkOrderId,
    action: Action,
    *,
    actor: str,
    assignee: str | None = None,
    reason: str = "",
) -> State:
    """Take an order one step on; anything not in the table is refused. Assigning needs a person, rejecting a reason."""
    found = await rows(conn, queries.order_for_change, {"id": order_id})
    if not found:
        raise WorkOrderNotFound
    order, now = found[0], clock.now()
    before = State(order["state"])
    after = TRANSITIONS.get((before, action))
    if after is None:
        raise ActionNotAllowed(
            "an order that is {state} cannot be changed by '{action}'",
            state=Text(before.value.replace("_", " ")),
            action=Text(action.value.replace("_", " ")),
        )
    if action is Action.ASSIGN and not (assignee or "").strip():
        raise Invalid("say who shall do it")
    if action in {Action.REJECT, Action.REOPEN} and not reason.strip():
        raise Invalid("give a reason")
    changed = _after(order, after, action, now, assignee)
    await conn.execute(queries.set_state, changed)
    await _note(
        conn, order_id, now, actor, "state", f"{before.value} → {after.value}" + (f": {reason}" if reason else "")
    )
    return after


async def set_due(conn: AsyncConnection, clock: Clock, order_id: WorkOrderId, due_at: datetime, *, actor: str) -> None:
    """Say by when an order is to be done; the history keeps the earlier time."""
    found = await order(conn, order_id)
    if found["closed_at"] is not None:
        raise Invalid("the order is closed")
    now = clock.now()
    if not now < due_at <= now + DUE_MAX:
        raise Invalid("the time to be done by lies in the future, within {days} days", days=DUE_MAX.days)
    await conn.execute(queries.set_due, {"id": order_id, "due_at": due_at})
    zone = ZoneInfo(found["time_zone"])
    words = [f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at else "–" for at in (found["due_at"], due_at)]
    await _note(conn, order_id, now, actor, "due", " → ".join(words))


async def comment(conn: AsyncConnection, clock: Clock, order_id: WorkOrderId, text: str, *, actor: str) -> None:
    """Add a comment."""
    await order(conn, order_id)
    if not text.strip():
        raise Invalid("the comment is empty")
    await _note(conn, order_id, clock.now(), actor, "comment", text.strip()[:4000])


async def add_photo(
    conn: AsyncConnection, clock: Clock, order_id: WorkOrderId, photo: bytes, photo_type: str, *, actor: str
) -> None:
    """Add a photo (JPEG, PNG or WebP, up to 5 MB)."""
    await order(conn, order_id)
    if photo_type not in PHOTO_TYPES or not photo or len(photo) > PHOTO_BYTES_MAX:
        raise Invalid("a photo must be JPEG, PNG or WebP and not larger than 5 MB")
    await _note(conn, order_id, clock.now(), actor, "photo", "", photo, photo_type)


async def tick(
    conn: AsyncConnection, clock: Clock, order_id: WorkOrderId, number: int, *, actor: str, is_done: bool
) -> None:
    """Mark a line of the checklist as done, or take that back."""
    await order(conn, order_id)
    values = {
        "id": order_id,
        "number": number,
        "actor": actor if is_done else None,
        "at": clock.now() if is_done else None,
    }
    if not await rows(conn, queries.tick_step, values):
        raise Invalid("the checklist has no line {number}", number=number)


async def add_part(
    conn: AsyncConnection, order_id: WorkOrderId, *, name: str, quantity: Decimal, cost: Decimal | None = None
) -> None:
    """Record a part that was used, with its cost in the site's currency when known."""
    await order(conn, order_id)
    if not name.strip() or quantity <= 0 or (cost is not None and cost < 0):
        raise Invalid("a part needs a name, a positive quantity and a cost that is not negative")
    values = {"id": order_id, "name": name.strip()[:200], "quantity": quantity, "cost": cost}
    await conn.execute(queries.add_part, values)


async def order(conn: AsyncConnection, order_id: WorkOrderId) -> dict[str, Any]:
    """Return one order; raises WorkOrderNotFound."""
    found = await rows(conn, queries.order, {"id": order_id})
    if not found:
        raise WorkOrderNotFound
    return found[0]


async def details(conn: AsyncConnection, order_id: WorkOrderId) -> dict[str, Any]:
    """Return an order with its checklist, parts and history."""
    values = {"id": order_id}
    return {
        "order": await order(conn, order_id),
        "steps": await rows(conn, queries.steps, values),
        "parts": await rows(conn, queries.parts, values),
        "entries": await rows(conn, queries.entries, values),
    }


async def photo(conn: AsyncConnection, order_id: WorkOrderId, entry_id: int) -> tuple[bytes, str]:
    """Return a photo and its media type."""
    await order(conn, order_id)
    found = await rows(conn, queries.photo, {"id": order_id, "entry_id": entry_id})
    if not found:
        raise NotFound
    return bytes(found[0]["photo"]), found[0]["photo_type"]


async def orders(conn: AsyncConnection, *, closed: bool = False) -> list[dict[str, Any]]:
    """Return open orders, the most urgent first; or closed ones, the newest first (at most 500)."""
    return await rows(conn, queries.orders, {"closed": closed})


async def access_requests(conn: AsyncConnection, viewer: TenantViewer) -> list[dict[str, Any]]:
    """Return what a tenant asked for: the only road from the portal to work orders."""
    return await rows(conn, queries.requests_of_tenant, {"tenant_id": viewer.tenant_id})


async def verified_savings(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return what confirmed repairs saved, measured before and after, the largest first."""
    return await rows(conn, queries.savings, {})


async def people(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the staff an order can be given to."""
    return await rows(conn, queries.people, {})


async def confirm_repairs(conn: AsyncConnection, clock: Clock) -> int:
    """Ask the fault rules about finished repairs: reopen what came back, confirm what stayed away; returns how many."""
    now, changed = clock.now(), 0
    for row in await rows(conn, queries.waiting_for_confirmation, {}):
        order_id = WorkOrderId(row["id"])
        if row["came_back"]:
            await act(conn, clock, order_id, Action.REOPEN, actor="system", reason="the fault is back")
        elif now >= row["confirm_at"]:
            await act(conn, clock, order_id, Action.CONFIRM, actor="system")
            await _measure(conn, order_id, row, now)
        else:
            continue
        changed += 1
    return changed


async def _measure(conn: AsyncConnection, order_id: WorkOrderId, row: Mapping[str, Any], now: datetime) -> None:
    """Say what the repair saved, by the data before and after; the alarm's estimate does not count."""
    if row["equipment_id"] is None:
        return
    measured = await savings.measure(
        conn, equipment_id=row["equipment_id"], rule_id=row["rule"], opened_at=row["opened_at"],
        mended_at=row["done_at"], now=now,
    )  # fmt: skip
    utility = "water" if measured.unit == "m³" else "electricity"
    price = None if measured.saved is None else await price_per_unit(conn, row["site_id"], now, utility)
    values = {
        "id": order_id,
        "before": measured.before,
        "after": measured.after,
        "unit": None if measured.saved is None else measured.unit,
        "money": None if price is None or measured.saved is None else round(measured.saved * float(price), 2),
        "at": now,
        "how": measured.how,
    }
    await conn.execute(queries.set_measured, values)


def _after(
    order: Mapping[str, Any], state: State, action: Action, now: datetime, assignee: str | None
) -> dict[str, Any]:
    done = now if state is State.DONE else order["done_at"]
    waits = now + CONFIRM_AFTER if state is State.DONE and order["alarm_id"] else None
    return {
        "id": order["id"],
        "state": state.value,
        "assignee": assignee.strip() if action is Action.ASSIGN and assignee else order["assignee"],
        "started_at": now if state is State.IN_PROGRESS else order["started_at"],
        "done_at": None if action is Action.REOPEN else done,
        "confirm_at": waits,
        "closed_at": now if state in {State.CONFIRMED, State.REJECTED} else None,
        "reopened_count": order["reopened_count"] + (action is Action.REOPEN),
    }


async def create(conn: AsyncConnection, now: datetime, **given: Any) -> WorkOrderId:
    """Insert an order with its first line of history; raises Invalid for a site that does not exist."""
    values = {
        "tenant_id": None, "space_id": None, "equipment_id": None, "alarm_id": None, "kind": "corrective",
        "priority": 3, "description": "", "due_at": None, "estimated_per_day": None, "unit": "kWh",
        "created_at": now,
    } | given  # fmt: skip
    values["state"] = str(values["state"])
    site = await rows(conn, queries.organisation_of_site, {"site_id": values["site_id"]})
    if not site:
        raise Invalid("there is no such site")
    values["organisation_id"] = site[0]["organisation_id"]
    created = WorkOrderId((await rows(conn, queries.insert_order, values))[0]["id"])
    await _note(conn, created, now, values["created_by"], "state", values["state"])
    return created


async def _note(
    conn: AsyncConnection,
    order_id: WorkOrderId,
    at: datetime,
    actor: str,
    kind: str,
    text: str,
    photo: bytes | None = None,
    photo_type: str | None = None,
) -> None:
    values = {
        "id": order_id, "at": at, "actor": actor, "kind": kind, "text": text, "photo": photo, "photo_type": photo_type,
    }  # fmt: skip
    await conn.execute(queries.add_entry, values)


async def rows(conn: AsyncConnection, query: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run one of the package's queries and return its rows."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(query, values)).fetchall()
