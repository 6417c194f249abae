from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from cloud_api.kit.period import local_day, slots
from cloud_api.operations.overview.daytype import is_working_day
from cloud_api.operations.tenant_usage.model import UsedInterval
from cloud_api.operations.tenant_usage.month import days_of, month_so_far

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 20, 4, 0, tzinfo=UTC)  # Noon in Hangzhou, a Friday.


def used(day, kwh, *, hours=1, missing=()):
    """Hourly intervals of a local day that share `kwh` evenly."""
    parts = list(slots(local_day(day, SHANGHAI), 60 * hours))
    return [
        UsedInterval(
            starts_at=p.start,
            ends_at=p.end,
            energy_kwh=Decimal(kwh) / len(parts),
            is_known=p.start.astimezone(SHANGHAI).hour not in missing,
            is_estimated=False,
        )
        for p in parts
    ]


def every_day(first, last, working=100, off=40):
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    return [one for day in days for one in used(day, working if is_working_day(day) else off)]


def month(intervals, now=NOW):
    today = now.astimezone(SHANGHAI).date()
    return month_so_far(days_of(intervals, SHANGHAI, now, lambda _: "all"), today)


def test_the_month_is_heading_for_what_the_coming_days_usually_use():
    # Ordinary days: 100 kWh on working days, 40 kWh on days off; twelve days are still to come with today.
    shown = month(every_day(date(2026, 2, 20), date(2026, 3, 19)))
    working = sum(1 for d in range(1, 20) if is_working_day(date(2026, 3, d)))
    assert shown.energy_kwh == pytest.approx(working * 100 + (19 - working) * 40)
    coming = [date(2026, 3, d) for d in range(20, 32)]
    expected = shown.energy_kwh + sum(100 if is_working_day(d) else 40 for d in coming)
    assert shown.low_kwh == pytest.approx(expected)
    assert shown.high_kwh == pytest.approx(expected)


def test_with_too_few_examples_nothing_is_foretold():
    shown = month(every_day(date(2026, 3, 17), date(2026, 3, 19)))
    assert (shown.low_kwh, shown.high_kwh) == (None, None)


def test_a_month_is_compared_with_whole_days_only():
    history = every_day(date(2026, 2, 1), date(2026, 3, 19))
    assert month(history).before_kwh is not None
    assert month(every_day(date(2026, 2, 3), date(2026, 3, 19))).before_kwh is None


def test_a_missing_hour_makes_a_day_incomplete():
    whole, holed = date(2026, 3, 3), date(2026, 3, 4)
    found = days_of(used(whole, 24) + used(holed, 24, missing={13}), SHANGHAI, NOW, lambda _: "all")
    assert [(d.day, d.is_complete) for d in found] == [(whole, True), (holed, False)]


def test_energy_is_split_by_the_period_of_each_interval():
    [day] = days_of(
        used(date(2026, 3, 3), 24), SHANGHAI, NOW, lambda at: "day" if at.astimezone(SHANGHAI).hour >= 8 else "night"
    )
    assert day.by_period == {"night": Decimal(8), "day": Decimal(16)}
    assert sum(day.by_period.values()) == day.energy_kwh
