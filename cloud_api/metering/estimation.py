"""The estimation cascade: how a stretch without readings is filled, always meeting the register difference. Pure.

Order (NEM12 method numbers in brackets): a short gap linearly (17); a longer one after the mean of the last like days
(15); without like days flat; then scaled so that the parts meet the known difference (24).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.kit.money import share_largest_remainder
from cloud_api.metering.model import Method

SHORT_GAP = timedelta(hours=2)  # California VEE.
LIKE_DAYS = 3
_QUANTUM = Decimal("0.000001")

Profile = Mapping[tuple[date, time], Decimal]
"""Known quantities by local day and local start."""


def estimate(
    starts: Sequence[datetime], total: Decimal | None, known: Profile, zone: ZoneInfo, *, step: timedelta
) -> tuple[Method, list[Decimal]]:
    """Return the method and a quantity for each interval of a gap; their sum is `total` where that is known.

    `starts` are consecutive. Raises ValueError when neither the total nor any like day is known: nothing is invented.
    """
    shape = _shape(starts, known, zone) if step * len(starts) > SHORT_GAP else None
    if total is None:
        shape = shape or _shape(starts, known, zone)
        if shape is None:
            raise ValueError("neither the difference over the gap nor a like day is known")
        return Method.PROFILE, [value.quantize(_QUANTUM) for value in shape]
    if shape is None or not any(value > 0 for value in shape):
        return Method.LINEAR, _scaled(total, [Decimal(1)] * len(starts))
    return Method.PROFILE, _scaled(total, shape)


def like_days(day: date, known_days: Sequence[date]) -> list[date]:
    """Return the last known days of the same type before `day`, newest first."""
    return [d for d in sorted(known_days, reverse=True) if d < day and _type(d) == _type(day)][:LIKE_DAYS]


def _shape(starts: Sequence[datetime], known: Profile, zone: ZoneInfo) -> list[Decimal] | None:
    days = sorted({day for day, _ in known})
    shape: list[Decimal] = []
    for start in starts:
        local = start.astimezone(zone)
        values = [known[day, local.time()] for day in like_days(local.date(), days) if (day, local.time()) in known]
        if not values:
            return None
        shape.append(sum(values, Decimal(0)) / len(values))
    return shape


def _scaled(total: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Split a total by weights; what is finer than 10^-6 goes to the first part, so the sum is exact."""
    units = int(total / _QUANTUM)
    parts = [part * _QUANTUM for part in share_largest_remainder(units, [max(w, Decimal(0)) for w in weights])]
    parts[0] += total - units * _QUANTUM
    return parts


def _type(day: date) -> str:
    return "weekend" if day.weekday() >= 5 else "weekday"
