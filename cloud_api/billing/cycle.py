"""Billing cycles: the days from one anchor day to the next, such as from the 26th to the 25th. Pure.

A cycle starts on the anchor day of a month; where the month is shorter, on its last day, and on the anchor day again
afterwards. So each calendar month is the start of exactly one cycle, and that month is the cycle's bill month.
"""

from calendar import monthrange
from datetime import date, timedelta

from cloud_api.kit.errors import Invalid

Days = tuple[date, date]
"""Local days `[first, after)`."""


def month_of(text: str) -> Days:
    """Return the first day of a month written YYYY-MM and the first of the next. Raises Invalid."""
    try:
        first = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise Invalid("{text!r} is not a month; write 2026-10", text=text) from None
    return first, _next_month(first)


def cycle_of(month: str, cycle_day: int) -> Days:
    """Return the cycle that starts in a month written YYYY-MM. Raises Invalid."""
    first, after = month_of(month)
    return _anchor(first, cycle_day), _anchor(after, cycle_day)


def cycle_around(day: date, cycle_day: int) -> Days:
    """Return the cycle that holds a day."""
    first = day.replace(day=1)
    if day < _anchor(first, cycle_day):
        first = (first - timedelta(days=1)).replace(day=1)
    return _anchor(first, cycle_day), _anchor(_next_month(first), cycle_day)


def full_cycle(first: date, after: date, cycle_day: int) -> Days:
    """Return the cycle that `[first, after)` is a part of; days that no cycle holds are a cycle of their own."""
    cycle = cycle_around(first, cycle_day)
    return cycle if after <= cycle[1] else (first, after)


def _anchor(first_of_month: date, cycle_day: int) -> date:
    return first_of_month.replace(day=min(cycle_day, monthrange(first_of_month.year, first_of_month.month)[1]))


def _next_month(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
