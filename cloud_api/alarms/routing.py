"""Who is told of what: from the journal into the outbox, in the order of the journal.

An announcement goes to every route that fits; steps with `after_minutes` are put in ahead and taken back when someone
acknowledges. An incident (several alarms of one equipment) is told once per channel. Acknowledging, clearing, shelving
or explaining an alarm takes back on every channel what has not left yet; the first word of a critical alarm outlives
its clearing.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.alarms import repository, service, wording
from cloud_api.alarms.detail import first_step
from cloud_api.alarms.model import Alarm
from cloud_api.alarms.rota import HOLIDAY_REGION
from cloud_api.alarms.states import Kind, Suppression
from cloud_api.billing.inputs import find_calendar
from cloud_api.kit.errors import Invalid
from cloud_api.notify import outbox
from cloud_api.notify import service as notify
from cloud_api.notify.outbox import GROUP_WAIT, Entry

# A recovery is told when the fault has stayed away for its rule's time for relapses, within these bounds: what ends
# together is told together.
RELAPSE_WAIT_MIN, RELAPSE_WAIT_MAX = timedelta(minutes=1), timedelta(minutes=10)

# The routes found so far in one turn, by what they depend on.
Routes = dict[tuple[int, int, int, str], list[dict[str, Any]]]


async def dispatch(conn: AsyncConnection, now: datetime) -> int:
    """Route the journal lines not seen yet; returns how many. Runs in one transaction with their removal."""
    rows = await repository.rows(conn, repository.queries.undispatched, {})
    routes: Routes = {}
    for row in rows:
        alarm = repository.alarm_from_row(row)
        topic = f"alarm:{alarm.id}:{row['journal_occurrence']}"
        match Kind(row["kind"]):
            case Kind.ANNUNCIATED | Kind.REALARMED:
                await _announce(conn, alarm, topic, row, now, routes)
            case Kind.REOPENED:
                if await outbox.relapse(conn, topic):
                    await _announce(conn, alarm, topic, row, now, routes)
            case Kind.CLEARED:
                await _recover(conn, alarm, topic, row, now)
            case _:
                await outbox.cancel(conn, topic)
    if rows:
        await conn.execute(repository.queries.dispatched, {"ids": [r["journal_id"] for r in rows]})
    return len(rows)


async def repeat(conn: AsyncConnection, now: datetime) -> int:
    """Say again what nobody has acknowledged since the route's repetition; returns how many."""
    due = await repository.rows(conn, repository.queries.due_repeats, {"now": now})
    for row in due:
        fields = {k: row[k] for k in row if k not in {"told_count", "quiet_from", "quiet_to", "time_zone"}}
        due_at = now if row["severity"] == 1 else _after_quiet_hours(row, now, ZoneInfo(row["time_zone"]))
        entry = Entry(**fields, transition=f"repeat-{row['told_count']}", due_at=due_at)
        await outbox.enqueue(conn, entry, now)
    return len(due)


async def add_route(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    channel_id: int | None = None,
    rota_id: int | None = None,
    site_id: int | None = None,
    rule_prefix: str = "",
    severity_max: int = 3,
    after_minutes: int = 0,
    quiet_from: int | None = None,
    quiet_to: int | None = None,
    repeat_minutes: int = 240,
    fallback_channel_id: int | None = None,
    hours_from: int | None = None,
    hours_to: int | None = None,
    days: str = "all",
) -> int:
    """Add a route to a channel or a rota; returns its id. Hours and quiet hours are the site's."""
    if (channel_id is None) == (rota_id is None):
        raise Invalid("a route leads to a channel or to a rota: name one of them")
    if (quiet_from is None) != (quiet_to is None):
        raise Invalid("quiet hours need a beginning and an end")
    if (hours_from is None) != (hours_to is None):
        raise Invalid("the hours of a route need a beginning and an end")
    values = {k: v for k, v in locals().items() if k != "conn"}
    if site_id is not None and site_id not in {site["id"] for site in await sites(conn)}:
        raise Invalid("there is no site {site_id}", site_id=site_id)
    await notify.require_channels(conn, [c for c in (channel_id, fallback_channel_id) if c is not None])
    return (await repository.rows(conn, repository.queries.add_route, values))[0]["id"]


async def routes(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the routes of the viewer's organisation, earliest step first."""
    return await repository.rows(conn, repository.queries.list_routes, {})


async def sites(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the sites that a route can be limited to."""
    return await repository.rows(conn, repository.queries.list_sites, {})


async def remove_route(conn: AsyncConnection, route_id: int) -> bool:
    """Remove a route; False when there is none."""
    return bool(await repository.rows(conn, repository.queries.remove_route, {"id": route_id}))


async def _announce(
    conn: AsyncConnection, alarm: Alarm, topic: str, row: Mapping[str, Any], now: datetime, routes: Routes
) -> None:
    if alarm.state.suppression is not Suppression.NONE:
        return
    is_present = row["journal_occurrence"] == alarm.state.occurrence
    if (is_present and alarm.state.acknowledged) or (not is_present and alarm.severity > 1):
        return
    transition = "opened" if row["kind"] == Kind.ANNUNCIATED else f"{row['kind']}-{row['journal_id']}"
    is_relapse = row["kind"] == Kind.REOPENED  # Its siblings have been waited for once already.
    text_zh, text_en = _with_first_step(alarm, *_sentences(alarm, row))
    zone = ZoneInfo(row["time_zone"])
    for route in await _routes_for(conn, alarm, now, routes):
        speaks_at = (now + timedelta(minutes=route["after_minutes"])).astimezone(zone)
        if not await _holds(conn, route, speaks_at) or await _is_part_of_an_incident(conn, alarm, route["channel_id"]):
            continue
        step = route["after_minutes"]
        await outbox.enqueue(
            conn,
            Entry(
                organisation_id=alarm.organisation_id,
                topic=topic,
                transition=transition if not step else f"{transition}-after-{step}",
                channel_id=route["channel_id"],
                fallback_channel_id=route["fallback_channel_id"],
                group_key=f"site:{alarm.site_id}",
                severity=alarm.severity,
                text_zh=text_zh,
                text_en=text_en,
                due_at=_due(route, alarm, now, zone, wait=timedelta(0) if is_relapse else GROUP_WAIT),
                repeat_minutes=route["repeat_minutes"],
                route_id=route["id"],
            ),
            now,
        )


async def _recover(conn: AsyncConnection, alarm: Alarm, topic: str, row: Mapping[str, Any], now: datetime) -> None:
    """Tell those who were told, once it has stayed away for a while; whoever was not told is spared both messages."""
    # A critical alarm that sounded is told even when it was over before its message left; others are not worth it.
    await outbox.cancel(conn, topic, kept_until=now if alarm.severity == 1 else None)
    policy = service.policy_of(alarm.rule, alarm.policy)
    due_at = now + max(RELAPSE_WAIT_MIN, min(policy.reopen_within, RELAPSE_WAIT_MAX))
    text_zh, text_en = _sentences(alarm, row)
    for channel in await outbox.told(conn, topic):
        if channel["sends_recovery"]:
            entry = Entry(
                organisation_id=alarm.organisation_id,
                topic=topic,
                transition=f"cleared-{row['journal_id']}" if channel["recoveries"] else "cleared",
                channel_id=channel["channel_id"],
                group_key=f"site:{alarm.site_id}",
                severity=alarm.severity,
                text_zh=f"已恢复：{text_zh}",
                text_en=f"Cleared: {text_en}",
                due_at=_after_quiet_hours(channel, due_at, ZoneInfo(row["time_zone"])),
                route_id=channel["route_id"],
            )
            await outbox.enqueue(conn, entry, now)


async def _routes_for(conn: AsyncConnection, alarm: Alarm, now: datetime, routes: Routes) -> list[dict[str, Any]]:
    key = (alarm.organisation_id, alarm.site_id, alarm.severity, alarm.rule)
    if key not in routes:
        values = {**dict(zip(("organisation_id", "site_id", "severity", "rule"), key, strict=True)), "now": now}
        routes[key] = await repository.rows(conn, repository.queries.routes_for, values)
    return routes[key]


async def _is_part_of_an_incident(conn: AsyncConnection, alarm: Alarm, channel_id: int) -> bool:
    if not alarm.subject.startswith("equipment:"):
        return False
    values = {
        "site_id": alarm.site_id,
        "subject": alarm.subject,
        "id": alarm.id,
        "severity": alarm.severity,
        "channel_id": channel_id,
    }
    return (await repository.rows(conn, repository.queries.incident_is_told, values))[0]["is_told"]


async def _holds(conn: AsyncConnection, route: Mapping[str, Any], local: datetime) -> bool:
    """Whether a route holds at a site's local time: its hours, and workdays or days off by the calendar."""
    if not _is_within(local.hour, route["hours_from"], route["hours_to"], otherwise=True):
        return False
    if route["days"] == "all":
        return True
    kind = (await find_calendar(conn, HOLIDAY_REGION)).kind(local.date())
    return (kind == "workday") == (route["days"] == "workdays")


def _is_within(hour: int, start: int | None, end: int | None, *, otherwise: bool) -> bool:
    """Whether an hour lies in [start, end), over midnight if need be; `otherwise` when there are no such hours."""
    if start is None or end is None or start == end:
        return otherwise
    return start <= hour < end if start < end else hour >= start or hour < end


def _due(route: Mapping[str, Any], alarm: Alarm, now: datetime, zone: ZoneInfo, *, wait: timedelta) -> datetime:
    """Return when a route may speak: after its step and a short wait for siblings, and not in quiet hours."""
    due = now + timedelta(minutes=route["after_minutes"])
    if alarm.severity == 1:
        return due
    return _after_quiet_hours(route, due + wait, zone)


def _after_quiet_hours(route: Mapping[str, Any], due: datetime, zone: ZoneInfo) -> datetime:
    """Return when a message below critical may leave: when it is due, or at the end of the route's quiet hours."""
    start, end = route["quiet_from"], route["quiet_to"]
    local = due.astimezone(zone)
    if end is None or not _is_within(local.hour, start, end, otherwise=False):
        return due
    wakes = local.replace(hour=end, minute=0, second=0, microsecond=0)
    return wakes if wakes > local else wakes + timedelta(days=1)


def _with_first_step(alarm: Alarm, zh: str, en: str) -> tuple[str, str]:
    """Return the sentences with what to check first."""
    return f"{zh}。先查：{first_step(alarm.rule, 'zh')}", f"{en}. Check first: {first_step(alarm.rule, 'en')}"


def _sentences(alarm: Alarm, row: Mapping[str, Any]) -> tuple[str, str]:
    is_present = row["journal_occurrence"] == alarm.state.occurrence
    opened_at = (alarm.state.opened_at if is_present else None) or row["at"]
    return wording.sentences(alarm.rule, alarm.params, opened_at, ZoneInfo(row["time_zone"]))
