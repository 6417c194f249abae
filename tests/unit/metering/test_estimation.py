from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.metering.estimates import class_profiles
from cloud_api.metering.estimation import YEAR, Evidence, NothingKnown, estimate
from cloud_api.metering.model import Method

ZONE = ZoneInfo("Asia/Shanghai")
STEP = timedelta(minutes=15)
DAY = date(2026, 3, 11)  # A Wednesday.
STARTS = [datetime(2026, 3, 11, tzinfo=ZONE).astimezone(UTC) + n * STEP for n in range(96)]


def history(*days):
    """Quantities of whole days: (day, kWh per interval)."""
    return {
        (day, (datetime(2026, 3, 11, tzinfo=ZONE) + n * STEP).time()): Decimal(value)
        for day, value in days
        for n in range(96)
    }


def filled(total=None, **evidence):
    method, parts = estimate(STARTS, total, Evidence(**{"known": {}} | evidence), ZONE, step=STEP)
    return method, sum(parts)


def test_a_check_meter_comes_first_and_is_scaled_to_the_difference():
    check = {at: Decimal(n % 4) for n, at in enumerate(STARTS)}
    known = history((DAY - timedelta(days=1), 5))
    assert filled(check=check, known=known) == (Method.CHECK_METER, 144)
    assert filled(Decimal(100), check=check, known=known) == (Method.CHECK_METER, 100)
    del check[STARTS[5]]  # Only what covers the whole stretch is evidence.
    assert filled(check=check, known=known) == (Method.PROFILE, 480)


def test_a_holiday_is_like_the_holidays_before_and_a_makeup_day_like_a_weekday():
    known = history((DAY - timedelta(days=1), 4), (DAY - timedelta(days=20), 1), (DAY - timedelta(days=3), 2))
    assert filled(known=known) == (Method.PROFILE, (4 + 1) * 48)  # A Tuesday and a Thursday.
    holidays = {DAY: "holiday", DAY - timedelta(days=20): "holiday"}
    assert filled(known=known, day_types=holidays) == (Method.PROFILE, 96)
    makeup = {
        DAY - timedelta(days=1): "holiday",
        DAY - timedelta(days=3): "weekday",
        DAY - timedelta(days=20): "weekend",
    }
    assert filled(known=known, day_types=makeup) == (Method.PROFILE, 2 * 96)


def test_like_days_of_other_weather_give_way_to_the_day_of_the_most_similar_temperature():
    days = [DAY - timedelta(days=d) for d in (1, 2, 5, 6, 7)]  # Weekdays.
    known = history(*((day, n + 1) for n, day in enumerate(days)))
    warm = dict.fromkeys(days[:4], 12.0) | {DAY: 31.0, days[4]: 30.0}
    assert filled(known=known, temperatures=warm) == (Method.SIMILAR_TEMPERATURE, 5 * 96)
    assert filled(known=known, temperatures=dict.fromkeys([*days, DAY], 12.0)) == (Method.PROFILE, 2 * 96)


def test_the_year_before_comes_after_this_season_and_the_class_after_that():
    assert filled(known=history((DAY - YEAR, 3))) == (Method.PREVIOUS_YEAR, 3 * 96)
    assert filled(Decimal(50), class_profile=class_profiles()["tenant"]) == (Method.CLASS_PROFILE, 50)
    with pytest.raises(NothingKnown):
        filled(class_profile=class_profiles()["tenant"])  # A shape is no amount.


def test_zero_needs_evidence():
    assert filled(Decimal(0)) == (Method.ZERO, 0)
    assert filled(is_zero_evident=True) == (Method.ZERO, 0)
    assert filled(Decimal(7), is_zero_evident=True) == (Method.LINEAR, 7)


def test_a_short_gap_is_linear_whatever_the_history():
    method, parts = estimate(STARTS[:8], Decimal(8), Evidence(known=history((DAY - YEAR, 3))), ZONE, step=STEP)
    assert (method, parts) == (Method.LINEAR, [Decimal(1)] * 8)


def test_every_class_has_a_whole_day_of_every_kind():
    for profile in class_profiles().values():
        assert set(profile) == {"weekday", "weekend", "holiday"}
        assert all(len(weights) == 24 and min(weights) > 0 for weights in profile.values())


@given(
    total=st.decimals(0, 10**6, places=6),
    per_interval=st.lists(st.decimals(0, 50, places=3), min_size=1, max_size=6),
    back=st.integers(1, 40),
    warm=st.floats(-10, 40),
    is_checked=st.booleans(),
)
def test_whatever_the_evidence_a_known_difference_is_met_exactly(total, per_interval, back, warm, is_checked):
    known = history(*((DAY - timedelta(days=back * (n + 1)), value) for n, value in enumerate(per_interval)))
    temperatures = {day: 20.0 for day, _ in known} | {DAY: warm}
    check = {at: Decimal(n % 3) for n, at in enumerate(STARTS)} if is_checked else {}
    evidence = Evidence(known=known, temperatures=temperatures, check=check, class_profile=class_profiles()["common"])
    method, parts = estimate(STARTS, total, evidence, ZONE, step=STEP)
    assert sum(parts) == total
    assert min(parts) >= 0
    assert method in set(Method)
