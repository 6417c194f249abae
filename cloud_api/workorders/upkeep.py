"""Maintenance windows and preventive plans: planned work that keeps alarms silent and makes its own orders."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from cloud_api.alarms import service as alarms
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.workorders import service
from cloud_api.workorders.model import State
from cloud_api.workorders.service import queries, rows

WINDOW_MAX = timedelta(days=30)
EVERY_DAYS_MAX, WINDOW_HOURS_MAX = 3650, 240


async def maintain(
    conn: AsyncConnection, *, equipment_id: int, start: datetime, end: datetime, reason: str, actor: str
) -> None:
    """Open a maintenance window: the equipment's alarms stay silent in it."""
    if not reason.strip() or end <= start:
        raise Invalid("a maintenance window needs a reason and an end after its start")
    if end - start > WINDOW_MAX:
        raise Invalid("a maintenance window lasts at most {days} days", days=WINDOW_MAX.days)
    values = {"equipment_id": equipment_id, "start": start, "end": end, "reason": reason.strip(), "created_by": actor}
    if not await rows(conn, queries.add_window, values):
        raise NotFound


async def apply_windows(conn: AsyncConnection, clock: Clock) -> int:
    """Take the alarms of equipment under maintenance out of service until the window ends; returns how many."""
    changed = 0
    for window in await rows(conn, queries.windows_now, {"now": clock.now()}):
        changed += await alarms.take_out_of_service(
            conn, clock, f"equipment:{window['equipment_id']}", until=window["until"], reason=window["reason"]
        )
    return changed


async def add_plan(
    conn: AsyncConnection,
    *,
    equipment_id: int,
    title_zh: str,
    title_en: str,
    every_days: int,
    next_on: date,
    window_hours: Decimal = Decimal(4),
) -> int:
    """Add a preventive plan; on its day it makes an order and a maintenance window."""
    if not title_zh.strip() or not title_en.strip():
        raise Invalid("a plan needs a title in both languages")
    if not 1 <= every_days <= EVERY_DAYS_MAX or not 0 <= window_hours <= WINDOW_HOURS_MAX:
        raise Invalid(
            "a plan comes every 1 to {days} days, its window lasts 0 to {hours} hours",
            days=EVERY_DAYS_MAX,
            hours=WINDOW_HOURS_MAX,
        )
    values = {
        "equipment_id": equipment_id, "title_zh": title_zh.strip()[:200], "title_en": title_en.strip()[:200],
        "every_days": every_days, "next_on": next_on, "window_hours": window_hours,
    }  # fmt: skip
    found = await rows(conn, queries.add_plan, values)
    if not found:
        raise NotFound
    return found[0]["id"]


async def run_plans(conn: AsyncConnection, clock: Clock) -> int:
    """Make the orders of preventive plans whose day has come; returns how many. Running it again changes nothing."""
    now = clock.now()
    due = await rows(conn, queries.plans_due, {"now": now})
    for plan in due:
        await service.create(
            conn,
            now,
            site_id=plan["site_id"],
            equipment_id=plan["equipment_id"],
            kind="preventive",
            state=State.OPEN,
            priority=4,
            title_zh=plan["title_zh"],
            title_en=plan["title_en"],
            due_at=now + timedelta(days=7),
            created_by="system",
        )
        if plan["window_hours"] > 0:
            end = now + timedelta(hours=float(plan["window_hours"]))
            reason = plan["title_zh"]
            await maintain(conn, equipment_id=plan["equipment_id"], start=now, end=end, reason=reason, actor="system")
        next_on = plan["next_on"]
        while next_on <= now.date():
            next_on += timedelta(days=plan["every_days"])
        await conn.execute(queries.advance_plan, {"id": plan["id"], "next_on": next_on})
    return len(due)


async def windows(conn: AsyncConnection, clock: Clock, *, past: bool = False) -> list[dict[str, Any]]:
    """Return the windows that run or come, or the past ones (at most 200)."""
    return await rows(conn, queries.windows, {"now": clock.now(), "past": past})


async def cancel_window(conn: AsyncConnection, clock: Clock, window_id: int, *, actor: str) -> None:
    """End a window now: the equipment's alarms sound again where their condition still holds."""
    found = await rows(conn, queries.cancel_window, {"id": window_id, "now": clock.now(), "actor": actor})
    if not found:
        raise NotFound
    still = {w["equipment_id"] for w in await rows(conn, queries.windows_now, {"now": clock.now()})}
    if found[0]["equipment_id"] not in still:
        await alarms.return_to_service(conn, clock, f"equipment:{found[0]['equipment_id']}", actor=actor)


async def plans(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the preventive plans, the next due first."""
    return await rows(conn, queries.plans, {})


async def set_plan(conn: AsyncConnection, plan_id: int, *, is_enabled: bool, next_on: date | None = None) -> None:
    """Switch a plan on or off, or move its next day."""
    if not await rows(conn, queries.set_plan, {"id": plan_id, "is_enabled": is_enabled, "next_on": next_on}):
        raise NotFound


async def equipment(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return what can be maintained: id, code, names."""
    return await rows(conn, queries.equipment, {})


async def equipment_named(conn: AsyncConnection, code: str) -> int:
    """Return the id of an equipment by its code; raises Invalid when none or several have it."""
    found = await rows(conn, queries.equipment_by_code, {"code": code})
    if len(found) != 1:
        raise Invalid("no single equipment has the code {code}", code=code)
    return found[0]["id"]
