"""The estimation cascade: how a stretch without readings is filled, always meeting the register difference. Pure.

Order (NEM12 method numbers in brackets), each step only where its evidence covers the whole stretch:

1. the check meter that measures the same (11, 18);
2. a short gap whose difference is known: evenly (17);
3. the mean of the last like days, holidays after holidays (15, 14); where those were far warmer or colder, the day of
   the most similar temperature;
4. the same weekday of the year before (23), then the profile of the meter's class (57);
5. zero, where the register did not move or a person states the evidence (19).

Whatever gives the shape is then scaled to meet the known difference (24). Without a difference the amounts themselves
must be known: a check meter, like days or the year before. A class profile has no amount; nothing is invented.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.kit.money import share_largest_remainder
from cloud_api.metering.model import Method

SHORT_GAP = timedelta(hours=2)  # California VEE.
LIKE_DAYS = 3
LIKE_TEMPERATURE_K = 5.0  # Like days that were further from the day's mean outdoor temperature are not like it.
YEAR = timedelta(weeks=52)  # The same weekday of the year before.
_QUANTUM = Decimal("0.000001")

Profile = Mapping[tuple[date, time], Decimal]
"""Known quantities by local day and local start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known beside the gap itself."""

    known: Profile  # Of the register, for certain: the weeks around the gap and a year before.
    check: Mapping[datetime, Decimal] = field(default_factory=dict[datetime, Decimal])  # The check meter, by start.
    day_types: Mapping[date, str] = field(default_factory=dict[date, str])  # Holidays and make-up workdays.
    temperatures: Mapping[date, float] = field(default_factory=dict[date, float])  # Mean outdoor temperature, °C.
    class_profile: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])  # Weights by hour.
    is_zero_evident: bool = False  # A person states why nothing was used.

    def day_type(self, day: date) -> str:
        """Return what kind of day it is: weekday, weekend or holiday."""
        return self.day_types.get(day) or ("weekend" if day.weekday() >= 5 else "weekday")


class NothingKnown(Exception):
    """Nothing says how much was used: no difference, no check meter, no like day, no year before."""


def estimate(
    starts: Sequence[datetime], total: Decimal | None, evidence: Evidence, zone: ZoneInfo, *, step: timedelta
) -> tuple[Method, list[Decimal]]:
    """Return the method and a quantity for each interval of a gap; their sum is `total` where that is known.

    `starts` are consecutive. Raises NothingKnown when no step of the cascade gives an amount.
    """
    if total == 0 or (total is None and evidence.is_zero_evident):
        return Method.ZERO, [Decimal(0)] * len(starts)
    is_short = total is not None and step * len(starts) <= SHORT_GAP
    for method, find in _CASCADE:
        if is_short and method is not Method.CHECK_METER:
            break
        shape = find(starts, evidence, zone)
        if shape is None or (total is not None and not any(value > 0 for value in shape)):
            continue
        if total is not None:
            return method, scaled(total, shape)
        if method is not Method.CLASS_PROFILE:
            return method, [value.quantize(_QUANTUM) for value in shape]
    if total is None:
        raise NothingKnown
    return Method.LINEAR, scaled(total, [Decimal(1)] * len(starts))


def like_days(day: date, known_days: Sequence[date], type_of: Callable[[date], str] | None = None) -> list[date]:
    """Return the last known days of the same type before `day`, newest first."""
    kind = type_of or (lambda d: "weekend" if d.weekday() >= 5 else "weekday")
    return [d for d in sorted(known_days, reverse=True) if d < day and kind(d) == kind(day)][:LIKE_DAYS]


def _after_check_meter(starts: Sequence[datetime], evidence: Evidence, _: ZoneInfo) -> list[Decimal] | None:
    return [evidence.check[s] for s in starts] if all(s in evidence.check for s in starts) else None


def _after_like_days(starts: Sequence[datetime], evidence: Evidence, zone: ZoneInfo) -> list[Decimal] | None:
    days = _recent(starts, evidence, zone)

    def alike(day: date) -> list[date]:
        found = like_days(day, days, evidence.day_type)
        return [d for d in found if _degrees_apart(d, day, evidence) <= LIKE_TEMPERATURE_K]

    return _mean_of(starts, evidence.known, zone, alike)


def _after_similar_temperature(starts: Sequence[datetime], evidence: Evidence, zone: ZoneInfo) -> list[Decimal] | None:
    days = [d for d in _recent(starts, evidence, zone) if d in evidence.temperatures]

    def most_similar(day: date) -> list[date]:
        if day not in evidence.temperatures:
            return []
        same = [d for d in days if d != day and evidence.day_type(d) == evidence.day_type(day)]
        near = sorted(same, key=lambda d: (_degrees_apart(d, day, evidence), abs(d - day)))
        return near[:1]

    return _mean_of(starts, evidence.known, zone, most_similar)


def _after_previous_year(starts: Sequence[datetime], evidence: Evidence, zone: ZoneInfo) -> list[Decimal] | None:
    return _mean_of(starts, evidence.known, zone, lambda day: [day - YEAR])


def _after_class(starts: Sequence[datetime], evidence: Evidence, zone: ZoneInfo) -> list[Decimal] | None:
    local = [s.astimezone(zone) for s in starts]
    kinds = [evidence.day_type(at.date()) for at in local]
    if not all(kind in evidence.class_profile for kind in kinds):
        return None
    return [Decimal(evidence.class_profile[kind][at.hour]) for kind, at in zip(kinds, local, strict=True)]


_Find = Callable[[Sequence[datetime], Evidence, ZoneInfo], list[Decimal] | None]
_CASCADE: tuple[tuple[Method, _Find], ...] = (
    (Method.CHECK_METER, _after_check_meter),
    (Method.PROFILE, _after_like_days),
    (Method.SIMILAR_TEMPERATURE, _after_similar_temperature),
    (Method.PREVIOUS_YEAR, _after_previous_year),
    (Method.CLASS_PROFILE, _after_class),
)


def _recent(starts: Sequence[datetime], evidence: Evidence, zone: ZoneInfo) -> list[date]:
    """Return the known days of this season: last year's are a step of their own."""
    first = starts[0].astimezone(zone).date() - YEAR / 2
    return sorted({day for day, _ in evidence.known if day >= first})


def _degrees_apart(one: date, other: date, evidence: Evidence) -> float:
    """Return the difference of the days' temperatures; days whose temperature nobody knows do not differ."""
    if one not in evidence.temperatures or other not in evidence.temperatures:
        return 0.0
    return abs(evidence.temperatures[one] - evidence.temperatures[other])


def _mean_of(
    starts: Sequence[datetime], known: Profile, zone: ZoneInfo, days_for: Callable[[date], Sequence[date]]
) -> list[Decimal] | None:
    shape: list[Decimal] = []
    chosen: dict[date, Sequence[date]] = {}
    for start in starts:
        local = start.astimezone(zone)
        days = chosen.setdefault(local.date(), days_for(local.date()))
        values = [known[day, local.time()] for day in days if (day, local.time()) in known]
        if not values:
            return None
        shape.append(sum(values, Decimal(0)) / len(values))
    return shape


def scaled(total: Decimal, weights: Sequence[Decimal]) -> list[Decimal]:
    """Split a total by weights; what is finer than 10^-6 goes to the first part, so the sum is exact."""
    units = int(total / _QUANTUM)
    parts = [part * _QUANTUM for part in share_largest_remainder(units, [max(w, Decimal(0)) for w in weights])]
    parts[0] += total - units * _QUANTUM
    return parts
