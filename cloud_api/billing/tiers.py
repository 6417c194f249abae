"""Split quantities over the steps of a tiered price, exactly. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from cloud_api.billing.tariff import Tiers

ANY_BUCKET = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """The part of a bucket's quantity that falls into one tier (from 1)."""

    tier: int
    bucket: str
    quantity: Fraction


def split(
    tiers: Tiers,
    slices: Sequence[tuple[str, Decimal]],
    *,
    before: Mapping[str, Decimal],
    factor: Fraction = Fraction(1),
) -> list[Portion]:
    """Return how much of each bucket falls into each tier.

    `slices` are (bucket, quantity) in order of time. `before` is the use already billed in the tier period: under
    "*" in all, or per bucket for `per_bucket`. `factor` shrinks the steps for a part of the tier period.
    """
    limits = [None if step.up_to is None else Fraction(step.up_to) * factor for step in tiers.steps]
    used_before = Fraction(before.get(ANY_BUCKET, sum(before.values(), Decimal(0))))
    match tiers.basis:
        case "cumulative_sequential":
            found = _in_order(limits, slices, used_before)
        case "per_bucket":
            found = {}
            for bucket, quantity in _by_bucket(slices).items():
                found |= _in_order(limits, [(bucket, quantity)], Fraction(before.get(bucket, Decimal(0))))
        case "proportional":
            found = _in_ratio(limits, slices, used_before)
    return [Portion(tier=t, bucket=b, quantity=q) for (t, b), q in sorted(found.items()) if q]


def _by_bucket(slices: Sequence[tuple[str, Decimal]]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for bucket, quantity in slices:
        totals[bucket] = totals.get(bucket, Decimal(0)) + quantity
    return totals


def _in_order(
    limits: Sequence[Fraction | None], slices: Sequence[tuple[str, Decimal]], used: Fraction
) -> dict[tuple[int, str], Fraction]:
    found: defaultdict[tuple[int, str], Fraction] = defaultdict(Fraction)
    tier = 0
    for bucket, quantity in slices:
        left = Fraction(quantity)
        while left:
            limit = limits[tier]
            if limit is not None and used >= limit:
                tier += 1
                continue
            part = left if limit is None else min(left, limit - used)
            found[tier + 1, bucket] += part
            used += part
            left -= part
    return dict(found)


def _in_ratio(
    limits: Sequence[Fraction | None], slices: Sequence[tuple[str, Decimal]], used: Fraction
) -> dict[tuple[int, str], Fraction]:
    by_bucket = _by_bucket(slices)
    total = sum(by_bucket.values(), Decimal(0))
    if not total:
        return {}
    steps = _in_order(limits, [(ANY_BUCKET, total)], used)
    return {
        (tier, bucket): part * Fraction(quantity) / Fraction(total)
        for (tier, _), part in steps.items()
        for bucket, quantity in by_bucket.items()
    }
