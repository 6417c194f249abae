"""Live evaluation: the evaluator of each equipment follows the stored data, tick by tick, in event time.

A gateway says with each heartbeat what still waits in its outbox: the evaluator goes as far as the data are complete
and no further. While a gateway is away nothing is judged; when it comes back, its backlog is judged as if it had been
there all along, however it travelled.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.faults import learning, pricing
from cloud_api.faults.bindings import TICK_S, Equipment, bound_equipment, columns_between
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import NO_EVAL, VERDICTS, Evaluator, Verdicts
from cloud_api.faults.model import Verdict
from cloud_api.faults.rules import Rule
from cloud_api.faults.series import Array
from cloud_api.faults.settings import Settings, chosen, settings

log = structlog.get_logger()
queries = load_queries(__file__)

# Observations of one instant may be split over two batches.
SETTLE = timedelta(seconds=5)
# How much one turn judges at most, and how far back a new evaluator starts.
TICKS_MAX = 1440
FIRST_LOOK_BACK = timedelta(hours=24)
# What data, settings or memory that do not fit raise; errors of the database are not among them.
_BROKEN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A rule's verdict about an equipment that holds from `at` on; `onset` is when its condition began."""

    equipment: Equipment
    rule: Rule
    verdict: Verdict
    at: datetime
    onset: datetime
    evidence: Mapping[str, float] = field(default_factory=dict)
    waste_rate: float | None = None  # kW, or m³/h where the rule's resource is water.


async def evaluate(conn: AsyncConnection) -> list[Change]:
    """Judge what has arrived for every equipment and return the changes of verdicts, in order of event time.

    The evaluators' memory is stored in the same transaction: either both count or neither.
    """
    known = {row["equipment_id"]: row for row in await all_rows(conn, queries.evaluators, {})}
    set_by_people = await settings(conn)
    changes: list[Change] = []
    for equipment in await bound_equipment(conn):
        try:
            changes += await _evaluate_one(
                conn, equipment, known.get(equipment.id), set_by_people.get(equipment.id, {})
            )
        except _BROKEN as error:  # What is wrong with one unit stops no other.
            log.exception("fault_evaluation_failed", equipment=equipment.code, error=str(error))
    return sorted(changes, key=lambda c: (c.at, c.equipment.id, c.rule.id))


async def applicability(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return per equipment the rules' verdicts and, for those that cannot be judged, the missing roles."""
    return await all_rows(conn, queries.applicability, {})


async def problems(conn: AsyncConnection) -> list[str]:
    """Return everything that was left out so that the rest can work: rules, bindings, settings; with reasons."""
    set_by_people = await settings(conn)
    found = list(catalogue().problems)
    for equipment in await bound_equipment(conn):
        _, unfit = chosen(equipment, set_by_people.get(equipment.id, {}))
        found += [f"{equipment.code}: {problem}" for problem in (*equipment.problems, *unfit)]
    return found


async def _evaluate_one(
    conn: AsyncConnection, equipment: Equipment, row: dict[str, Any] | None, set_here: Settings
) -> list[Change]:
    if equipment.watermark is None:
        return []
    rules, _ = chosen(equipment, set_here)
    available = equipment.available
    bindings = _fingerprint(rules, equipment)
    end = equipment.watermark - SETTLE
    # A change of bindings or parameters starts afresh: an old memory would not fit the new expressions.
    is_new = row is None or row["bindings"] != bindings
    start = end - FIRST_LOOK_BACK if row is None else row["evaluated_through"]
    memory = {} if is_new or row is None else json.loads(row["memory"])
    before = {} if row is None else {k: v for k, v in row["verdicts"].items() if k in {r.id for r in rules}}
    end = min(end, start + timedelta(seconds=TICKS_MAX * TICK_S))
    if end - start < timedelta(seconds=TICK_S):
        return []
    seconds, columns = await columns_between(conn, equipment, start, end)
    if not len(seconds):
        return []
    evaluator = Evaluator(rules=rules, available=available, tick_s=TICK_S, zone=equipment.zone, memory=memory)
    found = evaluator.run(seconds, columns)
    changes = [c for rule in rules for c in _changes(equipment, rule, found[rule.id], seconds, columns, before)]
    after = {rule.id: VERDICTS[int(found[rule.id].codes[-1])].value for rule in rules}
    await conn.execute(
        queries.store_evaluator,
        {
            "equipment_id": equipment.id,
            "organisation_id": equipment.organisation_id,
            "evaluated_through": datetime.fromtimestamp(int(seconds[-1]), UTC),
            "bindings": bindings,
            "memory": json.dumps(evaluator.memory),
            "verdicts": Jsonb(after),
            "missing": Jsonb({k: list(v) for k, v in evaluator.missing().items()}),
        },
    )
    return changes


def _changes(
    equipment: Equipment,
    rule: Rule,
    verdicts: Verdicts,
    seconds: NDArray[np.int64],
    columns: Mapping[str, Array],
    before: Mapping[str, str],
) -> list[Change]:
    was = before.get(rule.id)
    previous = np.concatenate(([_code(was)], verdicts.codes[:-1]))
    changed = []
    for i in np.flatnonzero(verdicts.codes != previous).tolist():
        verdict = VERDICTS[int(verdicts.codes[i])]
        at = datetime.fromtimestamp(int(seconds[i]), UTC)
        onset, evidence, waste = at, {}, None
        if verdict is Verdict.FAULT:
            onset = at - timedelta(seconds=TICK_S * (int(verdicts.runs[i]) - 1))
            evidence = _evidence(columns, max(0, i - int(verdicts.runs[i]) + 1), i)
            waste = pricing.waste_rate(rule, columns, seconds, TICK_S, equipment.zone, i)
        changed.append(
            Change(
                equipment=equipment, rule=rule, verdict=verdict, at=at, onset=onset, evidence=evidence, waste_rate=waste
            )
        )
    return changed


def _code(verdict: str | None) -> int:
    return NO_EVAL if verdict is None else VERDICTS.index(Verdict(verdict))


def _evidence(columns: Mapping[str, Array], first: int, last: int) -> dict[str, float]:
    found = {}
    for name, values in sorted(columns.items()):
        part = values[first : last + 1]
        known = part[~np.isnan(part)]
        if len(known):
            found[name] = round(float(known.mean()), 2)
    return found


def _fingerprint(rules: Sequence[Rule], equipment: Equipment) -> str:
    text = json.dumps(
        [[r.id, r.spec.model_dump(), dict(r.params), r.delay_s, r.clear_s] for r in rules]
        + [[p.role, p.point_id] for p in equipment.points]
        + [sorted(equipment.constants), sorted(equipment.available)]
        + [[h.role, h.how, [str(equipment.sources[s]) for s in h.sources]] for h in equipment.host]
        + [learning.as_json(equipment.learned)]
    )
    return hashlib.sha256(text.encode()).hexdigest()
