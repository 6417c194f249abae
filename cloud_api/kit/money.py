"""Exact money: half-up rounding to the cent, and shares that add up."""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from fractions import Fraction

CENT = Decimal("0.01")


def round_half_up(amount: Decimal, quantum: Decimal = CENT) -> Decimal:
    """Round half away from zero to `quantum`, as printed bills do (26.125 → 26.13); Decimal's default is half-even."""
    return amount.quantize(quantum, rounding=ROUND_HALF_UP)


def share_largest_remainder(total: int, weights: Sequence[int | Fraction | Decimal]) -> list[int]:
    """Split `total` smallest units by `weights` so that the parts sum to the whole.

    Each part is within one unit of its exact share. Units left over by rounding down go to the largest remainders; ties
    go to the earlier position, so the caller orders by a stable key. A negative total is split by its absolute value.
    Raises ValueError when no weight is positive.
    """
    if total >= 0 and all(type(w) is int and w >= 0 for w in weights) and any(weights):
        return _share_whole(total, [int(w) for w in weights])
    exact_weights = [Fraction(w) for w in weights]
    whole = sum(exact_weights)
    if whole <= 0 or any(w < 0 for w in exact_weights):
        raise ValueError("weights must not be negative and at least one must be positive")
    if total < 0:
        return [-part for part in share_largest_remainder(-total, weights)]
    exact = [total * w / whole for w in exact_weights]
    parts = [int(x) for x in exact]
    neediest = sorted(range(len(exact)), key=lambda i: exact[i] - parts[i], reverse=True)
    for i in neediest[: total - sum(parts)]:
        parts[i] += 1
    return parts


def _share_whole(total: int, weights: Sequence[int]) -> list[int]:
    """Share by whole weights: the same result without fractions, for the many shares of a large site."""
    whole = sum(weights)
    parts = [total * w // whole for w in weights]
    neediest = sorted(range(len(weights)), key=lambda i: total * weights[i] % whole, reverse=True)
    for i in neediest[: total - sum(parts)]:
        parts[i] += 1
    return parts


def round_parts(parts: Sequence[Decimal], quantum: Decimal = CENT) -> list[Decimal]:
    """Round the parts of a whole so that what is shown adds up: their sum is the rounded sum of the exact parts.

    Each part is within one `quantum` of its exact value. Negative parts are allowed (a loss may be a gain).
    """
    units = [part / quantum for part in parts]
    floors = [int(unit.to_integral_value(rounding=ROUND_FLOOR)) for unit in units]
    whole = round_half_up(sum(parts, Decimal(0)), quantum) / quantum
    neediest = sorted(range(len(parts)), key=lambda i: units[i] - floors[i], reverse=True)
    for i in neediest[: int(whole) - sum(floors)]:
        floors[i] += 1
    return [floor * quantum for floor in floors]
