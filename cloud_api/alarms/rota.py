"""Who is on call: turns planned ahead in local days, holidays, exchanged shifts, and the word at a hand-over."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.alarms import repository, service
from cloud_api.billing.inputs import find_calendar
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.notify import outbox
from cloud_api.notify import service as notify
from cloud_api.notify.outbox import Entry

queries = repository.queries
PLANNED_DAYS_MAX = 400
HOLIDAY_REGION = "CN"
_TOLD_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One channel is on call in [starts_at, ends_at)."""

    channel_id: int
    starts_at: datetime
    ends_at: datetime


def plan(
    channels: Sequence[int],
    *,
    starts_on: date,
    days: int,
    turn_days: int,
    handover: time,
    zone: ZoneInfo,
    holidays: Collection[date] = (),
    holiday_channel: int | None = None,
) -> list[Shift]:
    """Return the shifts of `days` days: turns in order of `channels`; holidays go to `holiday_channel`. Pure.

    A day runs from one hand-over to the next, so a holiday begins at the hand-over of its morning. The turns go on
    counting over holidays: nobody's turn moves because of one.
    """
    shifts: list[Shift] = []
    for number in range(days):
        day = starts_on + timedelta(days=number)
        channel = channels[number // turn_days % len(channels)]
        if holiday_channel is not None and day in holidays:
            channel = holiday_channel
        start, end = (
            datetime.combine(d, handover, zone).astimezone(ZoneInfo("UTC")) for d in (day, day + timedelta(days=1))
        )
        if shifts and shifts[-1].channel_id == channel:
            shifts[-1] = Shift(channel_id=channel, starts_at=shifts[-1].starts_at, ends_at=end)
        else:
            shifts.append(Shift(channel_id=channel, starts_at=start, ends_at=end))
    return shifts


def hand(shifts: Sequence[Shift], given: Shift) -> list[Shift]:
    """Return `shifts` with one period given to a channel; what it overlaps is cut. Pure."""
    kept = []
    for shift in shifts:
        pieces = (
            (shift.starts_at, min(shift.ends_at, given.starts_at)),
            (max(shift.starts_at, given.ends_at), shift.ends_at),
        )
        kept += [Shift(channel_id=shift.channel_id, starts_at=a, ends_at=b) for a, b in pieces if a < b]
    return sorted([*kept, given], key=lambda s: s.starts_at)


async def save(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    name: str,
    channels: Sequence[int],
    starts_on: date,
    days: int = 84,
    turn_days: int = 7,
    handover_hour: int = 9,
    time_zone: str = "Asia/Shanghai",
    holiday_channel_id: int | None = None,
) -> int:
    """Make a rota, or plan one of that name anew from `starts_on`; returns its id. What has passed stays as it was."""
    if not channels:
        raise Invalid("a rota needs at least one channel")
    if not 1 <= days <= PLANNED_DAYS_MAX:
        raise Invalid("a rota is planned for 1 to {days} days", days=PLANNED_DAYS_MAX)
    await notify.require_channels(conn, [*channels, *([holiday_channel_id] if holiday_channel_id else [])])
    zone = ZoneInfo(time_zone)
    calendar = await find_calendar(conn, HOLIDAY_REGION)
    shifts = plan(
        channels,
        starts_on=starts_on,
        days=days,
        turn_days=turn_days,
        handover=time(handover_hour),
        zone=zone,
        holidays=calendar.holidays.keys(),
        holiday_channel=holiday_channel_id,
    )
    values = {
        "organisation_id": organisation_id,
        "name": name,
        "handover_hour": handover_hour,
        "turn_days": turn_days,
        "time_zone": time_zone,
        "holiday_channel_id": holiday_channel_id,
    }
    rota_id = (await repository.rows(conn, queries.save_rota, values))[0]["id"]
    await _put(conn, rota_id, shifts)
    return rota_id


async def give(conn: AsyncConnection, rota_id: int, *, channel_id: int, starts_at: datetime, ends_at: datetime) -> None:
    """Give a period of a rota to a channel: an exchanged shift, a sick day."""
    if not starts_at < ends_at <= starts_at + timedelta(days=62):
        raise Invalid("a shift has an end after its beginning, within two months")
    if not await repository.rows(conn, queries.rota_by_id, {"id": rota_id}):
        raise NotFound
    await notify.require_channels(conn, [channel_id])
    await _put(conn, rota_id, [Shift(channel_id=channel_id, starts_at=starts_at, ends_at=ends_at)])


async def rotas(conn: AsyncConnection, clock: Clock) -> list[dict[str, Any]]:
    """Return the rotas with who is on call now and until when."""
    return await repository.rows(conn, queries.list_rotas, {"now": clock.now()})


async def shifts_of(conn: AsyncConnection, clock: Clock, rota_id: int, *, limit: int = 60) -> list[dict[str, Any]]:
    """Return the present and coming shifts of a rota."""
    return await repository.rows(conn, queries.list_shifts, {"rota_id": rota_id, "now": clock.now(), "limit": limit})


async def remove(conn: AsyncConnection, rota_id: int) -> None:
    """Remove a rota with its shifts and routes."""
    if not await repository.rows(conn, queries.remove_rota, {"id": rota_id}):
        raise NotFound


async def hand_over(conn: AsyncConnection, now: datetime) -> int:
    """Tell those whose shift has begun what is open; returns how many were told. A rota's first shift counts too."""
    begun = await repository.rows(conn, queries.shifts_begun, {"now": now})
    for shift in begun:
        found = await service.open_alarms(conn, organisation_id=shift["organisation_id"], limit=service.OPEN_MAX)
        zone = ZoneInfo(shift["time_zone"])
        until = shift["ends_at"].astimezone(zone).strftime("%m-%d %H:%M")
        lines_zh = [a.sentence_zh for a in found[:_TOLD_MAX]]
        lines_en = [a.sentence_en for a in found[:_TOLD_MAX]]
        entry = Entry(
            organisation_id=shift["organisation_id"],
            topic=f"shift:{shift['id']}",
            transition="handover",
            channel_id=shift["channel_id"],
            severity=3,
            text_zh="\n".join([f"{shift['name']}：您值班至 {until}，未关闭的报警 {len(found)} 条。", *lines_zh]),
            text_en="\n".join(
                [f"{shift['name']}: you are on call until {until}; alarms open: {len(found)}.", *lines_en]
            ),
            due_at=now,
        )
        await outbox.enqueue(conn, entry, now)
    return len(begun)


async def _put(conn: AsyncConnection, rota_id: int, given: Sequence[Shift]) -> None:
    """Write shifts over what was planned for the same time."""
    first, last = given[0].starts_at, given[-1].ends_at
    rows = await repository.rows(conn, queries.take_shifts, {"rota_id": rota_id, "start": first, "end": last})
    planned = [Shift(channel_id=r["channel_id"], starts_at=r["starts_at"], ends_at=r["ends_at"]) for r in rows]
    for shift in given:
        planned = hand(planned, shift)
    told = {(r["channel_id"], r["starts_at"]): r["handed_over_at"] for r in rows}
    await conn.execute(
        queries.add_shifts,
        {
            "rota_id": rota_id,
            "channels": [s.channel_id for s in planned],
            "starts": [s.starts_at for s in planned],
            "ends": [s.ends_at for s in planned],
            "told": [told.get((s.channel_id, s.starts_at)) for s in planned],
        },
    )
