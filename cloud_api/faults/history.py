"""Learning a unit's own normal from its stored data: on days a person names, or by itself once, on quiet days."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.faults import baselines, bindings, derived, learning, replay, settings
from cloud_api.faults.bindings import Equipment
from cloud_api.faults.findings import Finding
from cloud_api.faults.learning import Learned
from cloud_api.faults.trend import Trend
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.period import local_day

log = structlog.get_logger()
queries = load_queries(__file__)

LOOK_BACK_DAYS = 14
DAYS_MIN, DAYS_MAX = 3, 31
# By itself a unit learns only from a long quiet stretch, and only once: what creeps in later must not become normal.
QUIET_DAYS_MIN = 7
UNITS_PER_RUN = 20
BY_ITSELF = "system"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What was learned, and from which days."""

    learned: Learned
    days: tuple[date, ...]


def can_learn(equipment: Equipment) -> bool:
    """Whether anything about this kind of equipment can be learned."""
    known = frozenset(derived.derivable(equipment.available))
    return equipment.family in baselines.OF_FAMILY or bool(known & frozenset(derived.LEARNED))


async def learn(
    conn: AsyncConnection, *, equipment_id: int, days: Sequence[date] | None, by: str, now: datetime
) -> Lesson:
    """Fit a unit on the named days, or on those of the last fortnight on which no rule found anything; keep it.

    Raises NotFound, and Invalid when the days say too little.
    """
    found = await bindings.bound_equipment(conn, equipment_id)
    if not found:
        raise NotFound
    lesson = await study(conn, found[0], days=days, now=now)
    if len(lesson.days) < DAYS_MIN:
        raise Invalid("{least} days in good order are needed, found {found}", least=DAYS_MIN, found=len(lesson.days))
    if not lesson.learned.constants and not lesson.learned.baselines:
        raise Invalid("these days hold too little to learn from: name others, or bind more points")
    await _keep(conn, found[0], lesson, by, now)
    return lesson


async def study(conn: AsyncConnection, equipment: Equipment, *, days: Sequence[date] | None, now: datetime) -> Lesson:
    """Fit without keeping. Without named days: those of the last fortnight on which no fixed rule found anything."""
    today = now.astimezone(equipment.zone).date()
    wanted = list(days or (today - timedelta(days=n) for n in range(LOOK_BACK_DAYS, 0, -1)))
    if len(wanted) > DAYS_MAX:
        raise Invalid("name at most {most} days", most=DAYS_MAX)
    blank = replace(equipment, learned=Learned())
    data = await _trend(conn, blank, wanted)
    if days is None:
        done = replay.replay((await settings.rules_of(conn, blank))[0], data)
        faulty = {day for f in done.findings for day in _days_of(f, data.zone)}
        wanted = [d for d in wanted if d not in faulty]
    inside = learning.on_days(data, wanted)
    known = np.zeros(len(data.seconds), dtype=bool)
    for point in equipment.points:
        known |= ~np.isnan(data.columns[point.role])
    present = [d for d in wanted if known[learning.on_days(data, [d])].mean() > 0.5]
    learned = learning.fit_unit(equipment.family, data, inside & known) if present else Learned()
    return Lesson(learned=learned, days=tuple(present))


async def forget(conn: AsyncConnection, equipment_id: int) -> bool:
    """Give up what was learned of a unit; False when there was nothing."""
    return bool(await all_rows(conn, queries.forget_model, {"equipment_id": equipment_id}))


async def model(conn: AsyncConnection, equipment_id: int) -> dict[str, Any] | None:
    """Return what is kept of a unit: content, days, by whom and when; None before it has learned."""
    found = await all_rows(conn, queries.models, {"equipment_id": equipment_id})
    return found[0] if found else None


async def learn_quiet_units(conn: AsyncConnection, now: datetime) -> int:
    """Let units that have never learned do so on a long quiet stretch; returns how many did."""
    known = {row["equipment_id"] for row in await all_rows(conn, queries.models, {"equipment_id": None})}
    waiting = [e for e in await bindings.bound_equipment(conn) if e.id not in known and can_learn(e) and e.watermark]
    done = 0
    for equipment in waiting:
        if done >= UNITS_PER_RUN:
            log.info("fault_learning_limited", left=len(waiting) - done)
            break
        lesson = await study(conn, equipment, days=None, now=now)
        if len(lesson.days) >= QUIET_DAYS_MIN and (lesson.learned.constants or lesson.learned.baselines):
            await _keep(conn, equipment, lesson, BY_ITSELF, now)
            done += 1
    return done


async def _keep(conn: AsyncConnection, equipment: Equipment, lesson: Lesson, by: str, now: datetime) -> None:
    values = {
        "equipment_id": equipment.id,
        "content": Jsonb(learning.as_json(lesson.learned)),
        "healthy_days": list(lesson.days),
        "fitted_by": by,
        "fitted_at": now,
    }
    await conn.execute(queries.store_model, values)


def _days_of(finding: Finding, zone: ZoneInfo) -> list[date]:
    first, last = finding.start.astimezone(zone).date(), finding.end.astimezone(zone).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


async def _trend(conn: AsyncConnection, equipment: Equipment, days: Sequence[date]) -> Trend:
    parts = []
    for day in sorted(set(days)):
        # One day at a time, so that a fortnight of seconds never lies in memory at once.
        period = local_day(day, equipment.zone)
        parts.append(await bindings.columns_between(conn, equipment, period.start, period.end))
    seconds = np.concatenate([s for s, _ in parts])
    columns = {name: np.concatenate([c[name] for _, c in parts]) for name in parts[0][1]}
    return Trend(seconds=seconds, columns=columns, tick_s=bindings.TICK_S, zone=equipment.zone)
