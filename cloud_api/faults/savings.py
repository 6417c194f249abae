"""What a repair saved, measured: the waste in the data before it against the data after it.

Where the unit has a fitted baseline, waste is what it took above its expectation in the same weather and load; else it
is the rule's own measure, counted only while its condition held. The alarm's estimate plays no part. Water has no
baseline: what runs while the rule is judged (a leak: at night, when nobody draws) runs all day.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from cloud_api.faults import baselines, bindings, pricing
from cloud_api.faults.bindings import Equipment
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import FAULT, NO_EVAL, Evaluator
from cloud_api.faults.rules import Rule
from cloud_api.faults.series import Array

BEFORE_MAX = timedelta(days=7)
COVERAGE_MIN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Waste per day before and after a repair, in `unit`; None where the data say too little."""

    before: float | None
    after: float | None
    how: str
    unit: Literal["kWh", "m³"] = "kWh"

    @property
    def saved(self) -> float | None:
        """Return what is saved per day; negative when it became worse."""
        if self.before is None or self.after is None:
            return None
        return round(self.before - self.after, 1)


TOO_LITTLE = Measured(before=None, after=None, how="too_little_data")


async def measure(
    conn: AsyncConnection, *, equipment_id: int, rule_id: str, opened_at: datetime, mended_at: datetime, now: datetime
) -> Measured:
    """Compare the days (at most seven) before a repair with the time since it."""
    found = await bindings.bound_equipment(conn, equipment_id)
    rule = catalogue().rules.get(rule_id)
    if not found or rule is None or rule.spec.impact not in {"energy", "unbilled", "water"}:
        return TOO_LITTLE
    first = max(opened_at, mended_at - BEFORE_MAX)
    before = await bindings.columns_between(conn, found[0], first, mended_at)
    after = await bindings.columns_between(conn, found[0], mended_at, now)
    return compare(found[0], rule, before, after)


def compare(
    equipment: Equipment,
    rule: Rule,
    before: tuple[NDArray[np.int64], dict[str, Array]],
    after: tuple[NDArray[np.int64], dict[str, Array]],
) -> Measured:
    """Return the waste per day of both periods by the same measure; pure."""
    is_water = rule.spec.resource == "water"
    measures = (("baseline", _above_baseline), ("condition", _while_it_held))
    for how, waste in measures[1:] if is_water else measures:
        was, is_now = waste(equipment, rule, *before), waste(equipment, rule, *after)
        if was is not None and is_now is not None:
            return Measured(before=was, after=is_now, how=how, unit="m³" if is_water else "kWh")
    return TOO_LITTLE


def _above_baseline(
    equipment: Equipment, _rule: Rule, _seconds: NDArray[np.int64], columns: dict[str, Array]
) -> float | None:
    kinds = [baselines.KINDS[b.kind] for b in equipment.learned.baselines if b.kind != "cooling_valve"]
    kind = next((k for k in kinds if k.expected in columns and k.target in columns), None)
    if kind is None:
        return None
    excess = columns[kind.target] - columns[kind.expected]
    known = ~np.isnan(excess)
    # A machine at rest takes nothing above its expectation, and none is known of it.
    if not known.any() or (kind.target == "active_power" and known.mean() < COVERAGE_MIN):
        return None
    return _per_day(np.where(known, excess, 0.0))


def _while_it_held(
    equipment: Equipment, rule: Rule, seconds: NDArray[np.int64], columns: dict[str, Array]
) -> float | None:
    waste = pricing.waste_column(rule, columns, seconds, bindings.TICK_S, equipment.zone)
    if waste is None or np.isnan(waste).mean() > 1 - COVERAGE_MIN:
        return None
    at_once = replace(rule, delay_s=0.0, clear_s=0.0)
    evaluator = Evaluator(rules=[at_once], available=frozenset(columns), tick_s=bindings.TICK_S, zone=equipment.zone)
    codes = evaluator.run(seconds, columns)[rule.id].codes
    wasted = np.where((codes == FAULT) & ~np.isnan(waste), waste, 0.0)
    return _per_day(wasted[codes != NO_EVAL] if rule.spec.resource == "water" else wasted)


def _per_day(rate: Array) -> float | None:
    """Return kWh of kW, m³ of m³/h, per day; None without any."""
    return round(float(rate.mean()) * 24, 1) if len(rate) else None
