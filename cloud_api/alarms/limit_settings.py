"""Use cases of limits: set, remove, list. The evaluator hears of every change when the transaction commits."""

from datetime import timedelta
from math import isfinite
from typing import Any

from psycopg import AsyncConnection

from cloud_api.alarms import repository, service, states
from cloud_api.alarms.limits import RULES, Kind
from cloud_api.faults.model import Verdict
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.ids import PointId

queries = repository.queries
LISTED_MAX = 2000
DELAY_MAX = timedelta(days=1)
# Of the limit itself; ISA-18.2 and EEMUA 191 start at 1 to 5 % of the range, by the kind of signal.
DEADBAND = 0.02


async def set_limit(
    conn: AsyncConnection,
    clock: Clock,
    point_id: PointId,
    *,
    kind: str,
    value: float,
    severity: int = 3,
    clear_value: float | None = None,
    on_delay_s: int = 0,
    off_delay_s: int = 0,
    is_latching: bool = False,
    actor: str,
) -> int:
    """Set a point's limit of a kind and severity, in the point's unit; an earlier one is replaced. Returns its id.

    Without a value to clear at, a limit above or below gets a deadband: a signal that wavers by 1 % is told once.
    """
    clear = _default_clear(kind, value) if clear_value is None else clear_value
    _check(kind, value, clear, on_delay_s, off_delay_s)
    rows = await repository.rows(
        conn,
        queries.set_limit,
        {
            "point_id": point_id,
            "kind": kind,
            "severity": severity,
            "value": value,
            "clear_value": clear,
            "on_delay_s": on_delay_s,
            "off_delay_s": off_delay_s,
            "is_latching": is_latching,
            "now": clock.now(),
            "set_by": actor,
        },
    )
    if not rows:
        raise NotFound
    await conn.execute(queries.tell_limits_changed)
    return rows[0]["id"]


async def remove_limit(conn: AsyncConnection, clock: Clock, limit_id: int) -> None:
    """Remove a limit; an alarm it raised ends now."""
    rows = await repository.rows(conn, queries.remove_limit, {"id": limit_id})
    if not rows:
        raise NotFound
    await conn.execute(queries.tell_limits_changed)
    rule = f"{RULES[Kind(rows[0]['kind'])]}/{rows[0]['severity']}"
    found = await repository.rows(
        conn, queries.alarm_of_limit, {"subject": f"point:{rows[0]['point_id']}", "rule": rule}
    )
    now = clock.now()
    for row in found:
        alarm = repository.alarm_from_row(row)
        policy = states.Policy(acknowledged_by_return=True)
        state, done = states.observe(alarm.state, policy, Verdict.OK, now)
        await service.store(conn, alarm, state, policy, done, now)


async def limits(conn: AsyncConnection, point_id: PointId | None = None) -> list[dict[str, Any]]:
    """Return the limits of a point, or all (at most 2000)."""
    return await repository.rows(conn, queries.list_limits, {"point_id": point_id, "limit": LISTED_MAX})


def _default_clear(kind: str, value: float) -> float:
    band = DEADBAND * abs(value)
    return {Kind.ABOVE: value - band, Kind.BELOW: value + band}.get(Kind(kind), value) if kind in set(Kind) else value


def _check(kind: str, value: float, clear: float, on_delay_s: int, off_delay_s: int) -> None:
    if kind not in set(Kind):
        raise Invalid("there is no limit of kind {kind!r}: use {kinds}", kind=kind, kinds=tuple(Kind))
    if not (isfinite(value) and isfinite(clear)):
        raise Invalid("a limit is a number")
    if kind == Kind.ABOVE and clear > value:
        raise Invalid("an upper limit must clear at or below the limit itself, or the alarm could never end")
    if kind == Kind.BELOW and clear < value:
        raise Invalid("a lower limit must clear at or above the limit itself, or the alarm could never end")
    if kind == Kind.STEP and value <= 0:
        raise Invalid("a step must be larger than zero")
    if kind in {Kind.EQUALS, Kind.STEP} and clear != value:
        raise Invalid("a limit of kind {kind} has no value of its own to clear at", kind=kind)
    if not all(0 <= s <= DELAY_MAX.total_seconds() for s in (on_delay_s, off_delay_s)):
        raise Invalid("a delay lies between 0 s and one day")
