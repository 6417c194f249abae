"""What a fault wastes: the rule's `waste` expression (kW of electricity) on the data behind the verdict. Pure."""

from collections.abc import Mapping
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults import derived
from cloud_api.faults.expressions import Chunk, Expression, compile_expression
from cloud_api.faults.rules import Rule, roles
from cloud_api.faults.series import Array

# Electricity per kilowatt of cooling where the plant's own figure is not known.
COP_DEFAULT = 4.0
HOURS_PER_DAY_DEFAULT = 12.0
_MEAN_TICKS = 30


def waste_kw(
    rule: Rule, columns: Mapping[str, Array], seconds: NDArray[np.int64], tick_s: int, zone: ZoneInfo, last: int
) -> float | None:
    """Return the mean waste over the half hour before tick `last`; None when it cannot be said."""
    if not rule.spec.waste:
        return None
    part = slice(max(0, last - _MEAN_TICKS + 1), last + 1)
    cut = {name: values[part] for name, values in columns.items()}
    params = tuple(sorted((n, v) for n, v in rule.params.items() if n not in cut))
    expression = _compiled(rule.spec.waste, params)
    available = frozenset(cut)
    if not expression.roles <= available | derived.derivable(available):
        return None
    have = derived.compute(expression.roles, cut, seconds[part], tick_s, zone, {})
    if not expression.roles <= frozenset(have):
        return None
    values = expression.run(Chunk(seconds=seconds[part], columns=have, tick_s=tick_s), {})
    known = values[~np.isnan(values)]
    return round(max(0.0, float(known.mean())), 3) if len(known) else None


@cache
def _compiled(source: str, params: tuple[tuple[str, float], ...]) -> Expression:
    return compile_expression(source, frozenset(roles()) | derived.NAMES, dict(params))
