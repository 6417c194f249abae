"""`cloud-api work`: orders, maintenance windows and preventive plans."""

import mimetypes
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out, listed
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid

app = typer.Typer(no_args_is_help=True, help="Work orders, maintenance windows, preventive plans.")


@app.command("orders")
def list_orders(closed: Annotated[bool, typer.Option(help="Closed orders instead of open ones.")] = False) -> None:
    """List work orders, the most urgent first."""
    from cloud_api.workorders import service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.orders(conn, closed=closed)
        lines = [
            f"{o['id']:>6}  {o['state']:<12}{o['assignee'] or '-':<16}{_day(o['due_at']):<12}{o['title_en']}"
            for o in found
        ]
        return listed(lines, "orders")

    print(carry_out(use_case))


@app.command()
def show(order_id: Annotated[int, typer.Argument(help="Number of the order.")]) -> None:
    """Show an order: its checklist, parts and history."""
    from cloud_api.workorders import service
    from cloud_api.workorders.model import WorkOrderId

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.details(conn, WorkOrderId(order_id))
        order = found["order"]
        return "\n".join(
            [
                f"{order['state']}  {order['assignee'] or '-'}  due {_day(order['due_at'])}  {order['title_en']}",
                *(f"  [{'x' if s['done_at'] else ' '}] {s['number']}. {s['text_en']}" for s in found["steps"]),
                *(f"  part: {p['quantity']} {p['name']}  {p['cost'] or ''}".rstrip() for p in found["parts"]),
                *(f"  {e['at']:%Y-%m-%d %H:%M} UTC  {e['actor']}  {e['kind']}  {e['text']}" for e in found["entries"]),
            ]
        )

    print(carry_out(use_case))


@app.command()
def request(
    site: Annotated[str, typer.Argument(help="Code of the site.")],
    title: Annotated[str, typer.Argument(help="What is wrong, in a few words.")],
    description: Annotated[str, typer.Option(help="More about it.")] = "",
) -> None:
    """Write down what someone asked for; it waits for approval."""
    from cloud_api.alarms import routing
    from cloud_api.workorders import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = [s["id"] for s in await routing.sites(conn) if s["code"] == site]
        if len(found) != 1:
            raise Invalid("there is no such site")
        order = await service.request(
            conn, clock, site_id=found[0], title=title, description=description, actor=actor()
        )
        return f"work order {order}"

    print(carry_out(use_case))


@app.command()
def due(
    order_id: Annotated[int, typer.Argument(help="Number of the order.")],
    at: Annotated[str, typer.Argument(help="By when, with its zone (2026-12-01T17:00+08:00).")],
) -> None:
    """Say by when an order is to be done."""
    from cloud_api.workorders import service
    from cloud_api.workorders.model import WorkOrderId

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        try:
            due_at = datetime.fromisoformat(at)
        except ValueError as error:
            raise Invalid("This is not a date with a time.") from error
        if due_at.tzinfo is None:
            raise Invalid("This is not a date with a time.")
        await service.set_due(conn, clock, WorkOrderId(order_id), due_at, actor=actor())
        return f"work order {order_id} is due by {due_at.isoformat()}"

    print(carry_out(use_case))


@app.command()
def comment(
    order_id: Annotated[int, typer.Argument(help="Number of the order.")],
    text: Annotated[str, typer.Argument(help="What to add to its history.")],
) -> None:
    """Add a comment to an order."""
    from cloud_api.workorders import service
    from cloud_api.workorders.model import WorkOrderId

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await service.comment(conn, clock, WorkOrderId(order_id), text, actor=actor())
        return "added"

    print(carry_out(use_case))


@app.command()
def photo(
    order_id: Annotated[int, typer.Argument(help="Number of the order.")],
    file: Annotated[Path, typer.Argument(help="JPEG, PNG or WebP, up to 5 MB.", exists=True, dir_okay=False)],
) -> None:
    """Add a photo to an order."""
    from cloud_api.workorders import service
    from cloud_api.workorders.model import WorkOrderId

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        kind = mimetypes.guess_type(file.name)[0] or ""
        await service.add_photo(conn, clock, WorkOrderId(order_id), file.read_bytes(), kind, actor=actor())
        return "added"

    print(carry_out(use_case))


@app.command()
def tick(
    order_id: Annotated[int, typer.Argument(help="Number of the order.")],
    number: Annotated[int, typer.Argument(help="Line of the checklist.")],
    undo: Annotated[bool, typer.Option("--undo", help="It is not done after all.")] = False,
) -> None:
    """Mark a line of the checklist as done."""
    from cloud_api.workorders import service
    from cloud_api.workorders.model import WorkOrderId

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await service.tick(conn, clock, WorkOrderId(order_id), number, actor=actor(), is_done=not undo)
        return f"line {number} is {'not ' if undo else ''}done"

    print(carry_out(use_case))


@app.command()
def part(
    order_id: Annotated[int, typer.Argument(help="Number of the order.")],
    name: Annotated[str, typer.Argument(help="What was used.")],
    quantity: Annotated[str, typer.Option(help="How many.")] = "1",
    cost: Annotated[str | None, typer.Option(help="In the site's currency.")] = None,
) -> None:
    """Record a part that was used."""
    from cloud_api.workorders import service
    from cloud_api.workorders.model import WorkOrderId

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        try:
            amount, price = Decimal(quantity), None if cost is None else Decimal(cost)
        except InvalidOperation as error:
            raise Invalid("Quantity and cost must be numbers.") from error
        await service.add_part(conn, WorkOrderId(order_id), name=name, quantity=amount, cost=price)
        return "added"

    print(carry_out(use_case))


@app.command("from-alarm")
def from_alarm(alarm_id: Annotated[int, typer.Argument(help="Number of the alarm.")]) -> None:
    """Make an order of an alarm, or name the one it has."""
    from cloud_api.alarms.model import AlarmId
    from cloud_api.workorders import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        return f"work order {await service.from_alarm(conn, clock, AlarmId(alarm_id), actor=actor())}"

    print(carry_out(use_case))


@app.command()
def act(
    order_id: Annotated[int, typer.Argument(help="Number of the order.")],
    action: Annotated[str, typer.Argument(help="approve, reject, assign, start, complete or reopen.")],
    to: Annotated[str | None, typer.Option(help="Who shall do it (assign).")] = None,
    reason: Annotated[str, typer.Option(help="Why (reject, reopen).")] = "",
) -> None:
    """Take an order one step on."""
    from cloud_api.workorders import service
    from cloud_api.workorders.model import Action, WorkOrderId

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        if action not in set(Action):
            raise Invalid("there is no action {action}", action=action)
        state = await service.act(
            conn, clock, WorkOrderId(order_id), Action(action), actor=actor(), assignee=to, reason=reason
        )
        return f"work order {order_id} is {state.value}"

    print(carry_out(use_case))


@app.command()
def maintain(
    equipment: Annotated[str, typer.Argument(help="Code of the equipment.")],
    hours: Annotated[float, typer.Option(help="How long from now.")],
    reason: Annotated[str, typer.Option(help="Why; people read it on the alarms.")],
) -> None:
    """Open a maintenance window now: the equipment's alarms stay silent in it."""
    from cloud_api.workorders import upkeep

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        now = clock.now()
        equipment_id = await upkeep.equipment_named(conn, equipment)
        end = now + timedelta(hours=hours)
        await upkeep.maintain(conn, equipment_id=equipment_id, start=now, end=end, reason=reason, actor=actor())
        await upkeep.apply_windows(conn, clock)
        return f"{equipment} is under maintenance until {end:%Y-%m-%d %H:%M} UTC"

    print(carry_out(use_case))


@app.command()
def windows() -> None:
    """List the maintenance windows that run or come."""
    from cloud_api.workorders import upkeep

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await upkeep.windows(conn, clock)
        lines = [
            f"{w['id']:>6}  {w['code']:<16}{w['starts_at']:%Y-%m-%d %H:%M} to {w['ends_at']:%Y-%m-%d %H:%M} UTC"
            f"  {w['reason']}"
            for w in found
        ]
        return listed(lines, "windows")

    print(carry_out(use_case))


@app.command("end-window")
def end_window(window_id: Annotated[int, typer.Argument(help="Number of the window.")]) -> None:
    """End a maintenance window now."""
    from cloud_api.workorders import upkeep

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await upkeep.cancel_window(conn, clock, window_id, actor=actor())
        return f"window {window_id} has ended"

    print(carry_out(use_case))


@app.command("plan")
def add_plan(
    equipment: Annotated[str, typer.Argument(help="Code of the equipment.")],
    title_zh: Annotated[str, typer.Option(help="What is to be done, in Chinese.")],
    title_en: Annotated[str, typer.Option(help="What is to be done, in English.")],
    every_days: Annotated[int, typer.Option(help="How often.")],
    first: Annotated[str, typer.Option(help="First day (2026-12-01).")],
    window_hours: Annotated[str, typer.Option(help="How long the alarms stay silent on the day.")] = "4",
) -> None:
    """Add a preventive plan."""
    from cloud_api.workorders import upkeep

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        try:
            next_on, hours = date.fromisoformat(first), Decimal(window_hours)
        except (ValueError, InvalidOperation) as error:
            raise Invalid("give the first day as 2026-12-01 and the hours as a number") from error
        equipment_id = await upkeep.equipment_named(conn, equipment)
        plan = await upkeep.add_plan(
            conn,
            equipment_id=equipment_id,
            title_zh=title_zh,
            title_en=title_en,
            every_days=every_days,
            next_on=next_on,
            window_hours=hours,
        )
        return f"plan {plan}"

    print(carry_out(use_case))


@app.command()
def plans() -> None:
    """List the preventive plans, the next due first."""
    from cloud_api.workorders import upkeep

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await upkeep.plans(conn)
        lines = [
            f"{p['id']:>6}  {p['next_on']}  every {p['every_days']} d"
            f"  {'' if p['is_enabled'] else '(off) '}{p['code']}: {p['title_en']}"
            for p in found
        ]
        return listed(lines, "plans")

    print(carry_out(use_case))


@app.command()
def savings() -> None:
    """List what confirmed repairs saved, measured before and after."""
    from cloud_api.workorders import service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.verified_savings(conn)
        lines = [
            f"{s['id']:>6}  {_amount(s['measured_before'])} -> {_amount(s['measured_after'])} {s['unit']}/day"
            f"  {s['saved_money_per_day'] if s['saved_money_per_day'] is not None else '-'} {s['currency']}/day"
            f"  ({s['measured_how']})  {s['title_en']}"
            for s in found
        ]
        return listed(lines, "confirmed repairs")

    print(carry_out(use_case))


def _day(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d}" if instant else "-"


def _amount(value: Decimal | None) -> str:
    return "?" if value is None else f"{value:.1f}"
