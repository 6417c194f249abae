"""The evaluator of limits: woken by each stored batch, it judges the limits of its points, in one transaction.

Taking a batch away, its verdicts, their alarms and what routing must look at commit together; after a crash the batch
is still there. What is in memory can be read back at any time: verdicts from the alarms, the rest from latest values.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

from cloud_api.alarms import late, repository, service, states
from cloud_api.alarms.limits import FAULT, NEVER_QUIET, NO_EVAL, OK, Limit, LimitSet, instant, limit_from_row
from cloud_api.alarms.model import AlarmId, Report
from cloud_api.alarms.wording import limit_params
from cloud_api.faults.evaluation import VERDICTS
from cloud_api.faults.model import Verdict
from cloud_api.telemetry import arrivals

log = structlog.get_logger()
queries = repository.queries

LIMITS_MAX = 200_000
LATE_PER_TURN = 50
# A gateway sends a heartbeat every 10 s; without one for longer, its newest observation does not speak for the others.
HEARTBEAT_GRACE = timedelta(seconds=15)
CATCHING_UP_AFTER = timedelta(minutes=1)
_CATCH_UP_MARGIN_MS = 600_000


async def load(conn: AsyncConnection) -> LimitSet:
    """Read all limits and where each stands; what is not as its newest value says is noted to be judged again."""
    rows = await repository.rows(conn, queries.limits, {"limit": LIMITS_MAX})
    by_id = {row["id"]: row for row in rows}
    found = LimitSet([limit_from_row(row) for row in rows])
    unclear: dict[int, datetime] = {}
    for number, limit in enumerate(found.limits):
        row = by_id[limit.id]
        if row["observed_at"] is not None:
            _stand(found, number, row)
            if found.verdict[number] != _said(row["verdict"]) and (row["verdict"] or found.verdict[number] == FAULT):
                unclear[limit.id] = max(row["observed_at"], limit.valid_from)
    await _note_late(conn, unclear)
    log.info("limits_loaded", count=len(found), unclear=len(unclear))
    return found


async def turn(conn: AsyncConnection, limits: LimitSet, now: datetime) -> list[AlarmId]:
    """Judge what has arrived, then what is late, then let the delays end; returns the alarms that changed."""
    if await arrivals.waiting(conn) >= arrivals.WAITING_MAX:
        await _catch_up(conn, limits)
    rows, _batches = await arrivals.take(conn)
    taken = limits.take(rows)
    await _note_late(conn, {limits.limits[n].id: instant(ms) for n, ms in taken.late.items()})
    changed = await _report(conn, limits, taken.changes, now)
    changed += await _judge_late(conn, limits, now)
    return changed + await run_timers(conn, limits, now)


async def run_timers(conn: AsyncConnection, limits: LimitSet, now: datetime) -> list[AlarmId]:
    """Let the delays end that the data of their gateway reach beyond, and shelves by the clock."""
    changed = []
    for row in await repository.rows(conn, queries.limit_timers_due, {"now": now}):
        alarm = repository.alarm_from_row(row)
        policy = service.policy_of(alarm.rule, alarm.policy)
        state, transitions = states.advance(alarm.state, policy, now, _known_until(row, limits, now))
        if transitions:
            await service.store(conn, alarm, state, policy, transitions, now)
            changed.append(alarm.id)
    return changed


def _known_until(row: dict[str, Any], limits: LimitSet, now: datetime) -> datetime:
    """Return how far a gateway's data are complete: as far as it has sent, unless it says that older ones wait."""
    newest_ms = limits.gateway_ms.get(row["gateway_id"])
    newest = min(now, instant(newest_ms)) if newest_ms is not None else None
    heard, waiting = row["last_seen_at"], row["waiting_since"]
    if heard is None:
        return newest or now
    if waiting is not None and heard - waiting > CATCHING_UP_AFTER:
        return min(heard, waiting)
    # It had sent everything when it was heard; what was observed since then proves a little more.
    return max(heard, min(newest, heard + HEARTBEAT_GRACE)) if newest else heard


async def _report(
    conn: AsyncConnection, limits: LimitSet, changes: Sequence[tuple[int, int, int]], now: datetime
) -> list[AlarmId]:
    if not changes:
        return []
    raised = [limits.limits[n] for n, _, verdict in changes if verdict == FAULT]
    described = await describe(conn, raised, now) if raised else {}
    return await service.report(
        conn,
        [limit_report(limits.limits[n], VERDICTS[verdict], instant(ms), described) for n, ms, verdict in changes],
        now,
    )


async def describe(conn: AsyncConnection, raised: Sequence[Limit], now: datetime) -> dict[int, dict[str, Any]]:
    """Return what the sentences of these limits say about their points: where, and whom it affects."""
    points = sorted({limit.point_id for limit in raised})
    rows = await repository.rows(conn, queries.points_described, {"points": points})
    ids = sorted({row["equipment_id"] for row in rows if row["equipment_id"]})
    contexts: dict[int, dict[str, Any]] = {}
    if ids:
        found = await repository.rows(conn, queries.equipment_context, {"ids": ids, "day": now.date()})
        contexts = {row["id"]: row for row in found}
    return {row["point_id"]: row | {"equipment": contexts.get(row["equipment_id"])} for row in rows}


def limit_report(limit: Limit, verdict: Verdict, at: datetime, described: dict[int, dict[str, Any]]) -> Report:
    """Return the verdict about a limit as the alarm core takes it."""
    point = described.get(limit.point_id)
    return Report(
        organisation_id=limit.organisation_id,
        site_id=limit.site_id,
        subject=limit.subject,
        rule=limit.rule,
        severity=limit.severity,
        verdict=verdict,
        at=at,
        params=limit_params(limit.kind.value, limit.value, at, point) if point and verdict is Verdict.FAULT else {},
        policy=limit.policy,
        # The machine's delays end in `run_timers`, where it is known how far the data reach.
        known_until=at,
    )


async def _judge_late(conn: AsyncConnection, limits: LimitSet, now: datetime) -> list[AlarmId]:
    rows = await repository.rows(conn, queries.late_limits, {"limit": LATE_PER_TURN})
    changed: list[AlarmId] = []
    for row in rows:
        number = limits.number_of.get(row["id"])
        if number is None:
            continue
        limit = limits.limits[number]
        described = await describe(conn, [limit], now)
        judged = await late.judge_again(conn, limit, row["late_from"], now, described)
        limits.verdict[number] = judged.verdict
        limits.has_alarm[number] |= judged.has_alarm
        limits.last_value[number] = judged.last_value
        limits.quiet_since_ms[number] = (
            NEVER_QUIET if judged.verdict != OK else judged.since_ms or limits.quiet_since_ms[number]
        )
        limits.frontier_ms[number] = max(judged.frontier_ms, int(limits.frontier_ms[number]))
        changed += judged.changed
    if rows:
        await conn.execute(queries.judged_again, {"ids": [row["id"] for row in rows]})
    return changed


async def _catch_up(conn: AsyncConnection, limits: LimitSet) -> None:
    """After the queue overflowed while nobody judged, read the stored observations since the last judged instead."""
    log.warning("arrivals_overflowed", limits=len(limits))
    await arrivals.forget(conn)
    judged_until = {limit.id: int(ms) for limit, ms in zip(limits.limits, limits.frontier_ms.tolist(), strict=True)}
    since = {
        limit.id: max(limit.valid_from, instant(max(0, judged_until[limit.id] - _CATCH_UP_MARGIN_MS)))
        for limit in limits.limits
    }
    await _note_late(conn, since)


async def _note_late(conn: AsyncConnection, late_from: dict[int, datetime]) -> None:
    if late_from:
        await conn.execute(queries.note_late, {"ids": list(late_from), "instants": list(late_from.values())})


def _stand(limits: LimitSet, number: int, row: dict[str, Any]) -> None:
    """Set what a limit remembers from its newest value and its alarm."""
    limit, observed_ms = limits.limits[number], int(row["observed_at"].timestamp() * 1000)
    limits.frontier_ms[number] = observed_ms
    gateway = limit.gateway_id
    limits.gateway_ms[gateway] = max(observed_ms, limits.gateway_ms.get(gateway, observed_ms))
    limits.verdict[number] = late.standing(limit, _said(row["verdict"]), row["latest"], row["quality"])
    if row["latest"] is not None:
        limits.last_value[number] = row["latest"]
    limits.has_alarm[number] = row["verdict"] is not None
    if row["active"] or row["fault_since"]:
        limits.quiet_since_ms[number] = NEVER_QUIET
    elif row["ok_since"]:
        limits.quiet_since_ms[number] = max(int(row["ok_since"].timestamp() * 1000), _ms_of(limit.valid_from))


def _ms_of(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _said(verdict: str | None) -> int:
    return NO_EVAL if verdict is None else VERDICTS.index(Verdict(verdict))
