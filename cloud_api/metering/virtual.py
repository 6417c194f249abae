"""Meters that are computed from others: sums and differences over any depth; cycles are refused. Pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from cloud_api.kit.errors import DomainError
from cloud_api.kit.ids import MeterId
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
    """Return the virtual meter's intervals; one in which a measured meter has no row has none either."""
    by_start: dict[object, list[MeterInterval]] = {}
    for interval in measured:
        by_start.setdefault((interval.starts_at, interval.ends_at), []).append(interval)
    return [
        MeterInterval(
            meter_id=meter_id,
            starts_at=rows[0].starts_at,
            ends_at=rows[0].ends_at,
            quantity=sum((factors[row.meter_id] * row.quantity for row in rows), Decimal(0)),
            quality=max((row.quality for row in rows), key=_RANK.index),
        )
        for _, rows in sorted(by_start.items(), key=lambda item: item[1][0].starts_at)
        if len(rows) == len(factors)
    ]


def ratio(numerator: Decimal, denominator: Decimal) -> Decimal | None:
    """Return the ratio of two sums (a plant's efficiency, a share); None where there is nothing to divide by."""
    return numerator / denominator if denominator else None
