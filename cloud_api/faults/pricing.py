"""What a fault wastes: the rule's `waste` expression (kW of electricity, or m³/h of water) on the data. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults import derived
from cloud_api.faults.evaluation import FAULT
from cloud_api.faults.expressions import Chunk, Expression, compile_expression
from cloud_api.faults.findings import Finding
from cloud_api.faults.rules import Rule, roles
from cloud_api.faults.series import Array

# Electricity per kilowatt of cooling where the plant's own figure is not known.
COP_DEFAULT = 4.0
_MEAN_TICKS = 30


def dearest(params: Mapping[str, Any]) -> tuple[float, float]:
    """Return a key that sorts alarms by what they cost: by money a day, then by energy; the dearest first."""
    return (-float(params.get("money_per_day") or 0), -float(params.get("kwh_per_day") or 0))


def waste_rate(
    rule: Rule, columns: Mapping[str, Array], seconds: NDArray[np.int64], tick_s: int, zone: ZoneInfo, last: int
) -> float | None:
    """Return the mean waste over the half hour before tick `last`; None when it cannot be said."""
    part = slice(max(0, last - _MEAN_TICKS + 1), last + 1)
    cut = {name: values[part] for name, values in columns.items()}
    values = waste_column(rule, cut, seconds[part], tick_s, zone)
    return None if values is None else _mean(values)


def waste_column(
    rule: Rule, columns: Mapping[str, Array], seconds: NDArray[np.int64], tick_s: int, zone: ZoneInfo
) -> Array | None:
    """Return the waste at each tick (kW or m³/h; NaN unknown); None when the rule names none or roles are missing."""
    if not rule.spec.waste:
        return None
    params = tuple(sorted((n, v) for n, v in rule.params.items() if n not in columns))
    expression = _compiled(rule.spec.waste, params)
    available = frozenset(columns)
    if not expression.roles <= available | derived.derivable(available):
        return None
    have = derived.compute(expression.roles, columns, seconds, tick_s, zone, {})
    if not expression.roles <= frozenset(have):
        return None
    return np.maximum(0.0, expression.run(Chunk(seconds=seconds, columns=have, tick_s=tick_s), {}))


def priced(
    finding: Finding, rule: Rule, waste: Array | None, codes: NDArray[np.int8], seconds: NDArray[np.int64]
) -> Finding:
    """Return the finding with what it wasted while it held, and per day at the hours its kind runs."""
    if waste is None:
        return finding
    inside = (seconds >= finding.confirmed_at.timestamp()) & (seconds < finding.end.timestamp()) & (codes == FAULT)
    mean = _mean(waste[inside])
    if mean is None:
        return finding
    hours = finding.fault_minutes / 60
    whole, daily = round(mean * hours, 1), round(mean * rule.spec.hours_per_day, 1)
    if rule.spec.resource == "water":
        return replace(finding, waste_m3=whole, m3_per_day=daily)
    return replace(finding, waste_kwh=whole, kwh_per_day=daily)


def _mean(values: Array) -> float | None:
    known = values[~np.isnan(values)]
    return round(max(0.0, float(known.mean())), 3) if len(known) else None


@cache
def _compiled(source: str, params: tuple[tuple[str, float], ...]) -> Expression:
    return compile_expression(source, frozenset(roles()) | derived.NAMES, dict(params))
