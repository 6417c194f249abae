"""Meters that are computed from others: sums and differences over any depth; cycles are refused. Pure.

Meters whose intervals differ in length are compared over the longest among them at each time.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal

from cloud_api.kit.errors import DomainError
from cloud_api.kit.ids import MeterId
from cloud_api.kit.period import Period
from cloud_api.metering.model import MeterInterval

Terms = Mapping[MeterId, Sequence[tuple[MeterId, Decimal]]]
DEPTH_MAX = 50
_RANK = ("actual", "estimated", "edited", "missing")


class FormulaRefused(DomainError):
    """A virtual meter cannot be computed from itself."""

    code = "formula_refused"
    status = 422


def flatten(meter_id: MeterId, terms: Terms) -> dict[MeterId, Decimal]:
    """Return the measured meters behind a meter with their factors; a meter without terms is its own measure.

    Raises FormulaRefused for a cycle, naming the way round.
    """
    return _flatten(meter_id, terms, ())


def _flatten(meter_id: MeterId, terms: Terms, path: tuple[MeterId, ...]) -> dict[MeterId, Decimal]:
    if meter_id in path or len(path) > DEPTH_MAX:
        raise FormulaRefused(
            "the formula goes round in a circle: {circle}", circle=" → ".join(map(str, (*path, meter_id)))
        )
    if not terms.get(meter_id):
        return {meter_id: Decimal(1)}
    total: dict[MeterId, Decimal] = {}
    for input_id, factor in terms[meter_id]:
        for leaf, inner in _flatten(input_id, terms, (*path, meter_id)).items():
            total[leaf] = total.get(leaf, Decimal(0)) + factor * inner
    return {leaf: factor for leaf, factor in total.items() if factor}


def combine(
    meter_id: MeterId, factors: Mapping[MeterId, Decimal], measured: Sequence[MeterInterval]
) -> list[MeterInterval]:
    """Return the virtual meter's intervals; one that a measured meter does not cover is not there."""
    return [
        MeterInterval(
            meter_id=meter_id,
            starts_at=whole.start,
            ends_at=whole.end,
            quantity=sum((factors[i] * row.quantity for i, rows in parts.items() for row in rows), Decimal(0)),
            quality=worst(row for rows in parts.values() for row in rows),
        )
        for whole, parts in together(measured)
        if len(parts) == len(factors) and all(covers(rows, whole) for rows in parts.values())
    ]


def together(intervals: Sequence[MeterInterval]) -> Iterator[tuple[Period, dict[MeterId, list[MeterInterval]]]]:
    """Yield the intervals of several meters, by meter, over the longest among them at each time, in order of time."""
    whole: Period | None = None
    parts: dict[MeterId, list[MeterInterval]] = {}
    for interval in sorted(intervals, key=lambda i: (i.starts_at, i.starts_at - i.ends_at)):
        if whole is None or interval.starts_at >= whole.end:
            if whole is not None:
                yield whole, parts
            whole, parts = Period(interval.starts_at, interval.ends_at), defaultdict(list)
        parts[interval.meter_id].append(interval)
    if whole is not None:
        yield whole, parts


def covers(rows: Sequence[MeterInterval], whole: Period) -> bool:
    """Tell whether one meter's intervals are all there in a stretch."""
    return sum((row.ends_at - row.starts_at for row in rows), timedelta(0)) == whole.duration


def worst(rows: Iterable[MeterInterval]) -> str:
    """Return the quality that says least of what several intervals are worth together."""
    return max((row.quality for row in rows), key=_RANK.index)


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal | None:
    """Return the ratio of two sums (a plant's efficiency, a share); None where there is nothing to divide by."""
    return numerator / denominator if denominator else None
