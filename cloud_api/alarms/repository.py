"""Alarms in the database: `(conn, …) → model`; it neither decides nor commits."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cloud_api.alarms.communication import DeviceFacts, GatewayFacts, PanelFacts
from cloud_api.alarms.model import Alarm, AlarmId, JournalEntry, Report
from cloud_api.alarms.states import Kind, Policy, State, Suppression, Transition
from cloud_api.db.queries import load_queries
from cloud_api.faults.model import Verdict

queries = load_queries(__file__)

_STATE_FIELDS = tuple(f.name for f in fields(State))
_NOTIFIED_MAX = 50
_DISPATCHED = {
    Kind.ANNUNCIATED,
    Kind.REALARMED,
    Kind.REOPENED,
    Kind.ACKNOWLEDGED,
    Kind.CLEARED,
    Kind.SHELVED,
    Kind.SUPPRESSED,
}
_MARKS = {Kind.ANNUNCIATED, Kind.REALARMED, Kind.ACKNOWLEDGED, Kind.CLEARED, Kind.REOPENED}


async def gateway_facts(conn: AsyncConnection) -> list[GatewayFacts]:
    """Return every enabled gateway."""
    async with conn.cursor(row_factory=class_row(GatewayFacts)) as cursor:
        return await (await cursor.execute(queries.gateway_facts)).fetchall()


async def device_facts(conn: AsyncConnection) -> list[DeviceFacts]:
    """Return every device in use of an enabled gateway."""
    async with conn.cursor(row_factory=class_row(DeviceFacts)) as cursor:
        return await (await cursor.execute(queries.device_facts)).fetchall()


async def panel_facts(conn: AsyncConnection, now: datetime) -> list[PanelFacts]:
    """Return the feeders that have meters behind them, with the devices of these."""
    async with conn.cursor(row_factory=class_row(PanelFacts)) as cursor:
        return await (await cursor.execute(queries.panel_facts, {"now": now})).fetchall()


async def alarms_by_rules(conn: AsyncConnection, rules: Sequence[str]) -> list[Alarm]:
    """Return and lock all conditions of these rules."""
    return [alarm_from_row(row) for row in await rows(conn, queries.alarms_by_rules, {"rules": list(rules)})]


async def alarms_by_keys(conn: AsyncConnection, keys: Sequence[tuple[int, str, str]]) -> list[Alarm]:
    """Return and lock the conditions of these (site, subject, rule)."""
    sites, subjects, rules = ([k[i] for k in keys] for i in range(3))
    found = await rows(conn, queries.alarms_by_keys, {"sites": sites, "subjects": subjects, "rules": rules})
    return [alarm_from_row(row) for row in found]


async def alarms_with_timer_due(conn: AsyncConnection, now: datetime) -> list[Alarm]:
    """Return and lock the conditions whose next timer has ended."""
    return [alarm_from_row(row) for row in await rows(conn, queries.alarms_with_timer_due, {"now": now})]


async def alarm_for_change(conn: AsyncConnection, alarm_id: AlarmId) -> Alarm | None:
    """Return and lock one condition; None when it is not there or not yours."""
    found = await rows(conn, queries.alarm_for_change, {"id": alarm_id})
    return alarm_from_row(found[0]) if found else None


async def insert_alarms(conn: AsyncConnection, reports: Sequence[Report]) -> list[Alarm]:
    """Create (or find) the conditions that reports speak of, one per (site, subject, rule)."""
    values = {
        "organisations": [r.organisation_id for r in reports],
        "sites": [r.site_id for r in reports],
        "subjects": [r.subject for r in reports],
        "rules": [r.rule for r in reports],
        "severities": [r.severity for r in reports],
        "params": [Jsonb(dict(r.params)) for r in reports],
    }
    return [alarm_from_row(row) for row in await rows(conn, queries.insert_alarms, values)]


async def store(
    conn: AsyncConnection,
    alarm: Alarm,
    transitions: Iterable[Transition],
    *,
    next_timer_at: datetime | None,
    recorded_at: datetime,
    actor: str = "system",
    reason: str = "",
    is_told: bool = True,
) -> None:
    """Write a condition's state, its occurrence and its journal lines, which routing sees unless `is_told` is false."""
    await conn.execute(
        queries.store_state,
        asdict(alarm.state)
        | {
            "id": alarm.id,
            "severity": alarm.severity,
            "params": Jsonb(dict(alarm.params)),
            "suppression_reason": alarm.suppression_reason,
            "next_timer_at": next_timer_at,
            "policy": _policy_to_json(alarm.policy),
        },
    )
    for transition in transitions:
        line = {
            "organisation_id": alarm.organisation_id,
            "alarm_id": alarm.id,
            "occurrence": transition.occurrence,
            "kind": transition.kind.value,
            "at": transition.at,
            "recorded_at": recorded_at,
            "actor": actor,
            "reason": reason,
            "detail": Jsonb({}),
            "params": Jsonb(dict(alarm.params)),
        }
        if transition.kind is Kind.OPENED:
            await conn.execute(queries.open_occurrence, line)
        if transition.kind in _MARKS:
            await conn.execute(queries.mark_occurrence, line)
        await conn.execute(queries.insert_journal, line | {"is_dispatched": is_told and transition.kind in _DISPATCHED})


async def notify_live(conn: AsyncConnection, alarm_ids: Sequence[AlarmId]) -> None:
    """Tell the pages which alarms changed; above a limit only that some did."""
    payloads: list[dict[str, Any]] = [{"kind": "alarm", "id": i} for i in alarm_ids]
    if len(payloads) > _NOTIFIED_MAX:
        payloads = [{"kind": "alarm", "id": None}]
    for payload in payloads:
        await conn.execute(queries.notify_live, {"payload": json.dumps(payload)})


async def journal(conn: AsyncConnection, alarm_id: AlarmId, limit: int) -> list[JournalEntry]:
    """Return the newest lines of an alarm's journal."""
    async with conn.cursor(row_factory=class_row(JournalEntry)) as cursor:
        await cursor.execute(queries.journal_of_alarm, {"alarm_id": alarm_id, "limit": limit})
        return await cursor.fetchall()


async def rows(conn: AsyncConnection, query: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run a named statement and return its rows as dictionaries."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(query, values)).fetchall()


def alarm_from_row(row: Mapping[str, Any]) -> Alarm:
    """Read a row of `alarm`."""
    values = {name: row[name] for name in _STATE_FIELDS}
    values["verdict"] = Verdict(values["verdict"])
    values["suppression"] = Suppression(values["suppression"])
    return Alarm(
        id=row["id"],
        organisation_id=row["organisation_id"],
        site_id=row["site_id"],
        subject=row["subject"],
        rule=row["rule"],
        severity=row["severity"],
        params=row["params"],
        state=State(**values),
        suppression_reason=row["suppression_reason"],
        policy=_policy_from_json(row["policy"]),
    )


def _policy_to_json(policy: Policy | None) -> Jsonb | None:
    if policy is None:
        return None
    values = asdict(policy)
    return Jsonb({k: v.total_seconds() if isinstance(v, timedelta) else v for k, v in values.items()})


def _policy_from_json(stored: Mapping[str, Any] | None) -> Policy | None:
    if stored is None:
        return None
    values = dict(stored)
    for name in ("on_delay", "off_delay", "hold_back", "reopen_within", "realarm_after"):
        values[name] = None if values[name] is None else timedelta(seconds=values[name])
    return Policy(**values)
