"""How much of a year's heating falls on some days: the degree-day table of VDI 2067 (Gradtagszahlen). Pure."""

from calendar import monthrange
from datetime import date, timedelta
from fractions import Fraction

_PER_MILLE = {1: 170, 2: 150, 3: 130, 4: 80, 5: 40, 9: 30, 10: 80, 11: 120, 12: 160}
_SUMMER, _SUMMER_DAYS = 40, 92
"""June to August together, spread evenly over their days; the other months over theirs."""


def degree_day_share(first: date, after: date) -> Fraction:
    """Return the part of a year's heating that the days `[first, after)` take; a calendar year is exactly one."""
    days = (first + timedelta(days=n) for n in range((after - first).days))
    return sum((_per_day(day) for day in days), Fraction(0)) / 1000


def _per_day(day: date) -> Fraction:
    if day.month in _PER_MILLE:
        return Fraction(_PER_MILLE[day.month], monthrange(day.year, day.month)[1])
    return Fraction(_SUMMER, _SUMMER_DAYS)
