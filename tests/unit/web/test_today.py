from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.kit.period import local_day, slots
from cloud_api.operations.overview.daytype import is_working_day, similar_days
from cloud_api.operations.overview.today import Interval, compare

SHANGHAI = ZoneInfo("Asia/Shanghai")
TODAY = date(2026, 3, 20)  # A Friday.
NOON = datetime(2026, 3, 20, 4, 0, tzinfo=UTC)


def day_at(day, kw, until=None):
    parts = slots(local_day(day, SHANGHAI), 15)
    return [Interval(p.start, p.end, Decimal(kw) / 4) for p in parts if until is None or p.end <= until]


def test_the_band_spans_similar_days_and_leaves_out_the_others():
    friday, thursday, saturday = (TODAY - timedelta(days=n) for n in (7, 1, 6))
    shown = compare([*day_at(friday, 80), *day_at(thursday, 100), *day_at(saturday, 5)], NOON, SHANGHAI)
    assert {(slot.low_kw, slot.high_kw) for slot in shown.slots} == {(80.0, 100.0)}
    assert shown.similar_days == 2


def test_what_has_not_been_measured_is_unknown_and_not_zero():
    shown = compare(day_at(TODAY, 50, until=NOON), NOON, SHANGHAI)
    assert [slot.power_kw for slot in shown.slots].count(None) == 48
    assert {slot.power_kw for slot in shown.slots} == {50.0, None}
    assert shown.similar_energy_kwh is None


def test_energy_is_compared_up_to_where_the_ledger_reaches():
    late = NOON - timedelta(hours=1)
    shown = compare([*day_at(TODAY - timedelta(days=1), 100), *day_at(TODAY, 100, until=late)], NOON, SHANGHAI)
    assert shown.energy_kwh == shown.similar_energy_kwh == 1100.0


def test_an_exchanged_weekend_counts_as_a_working_day():
    # The State Council exchanged Sunday 4 January 2026 for New Year's holiday.
    assert is_working_day(date(2026, 1, 4))
    assert not is_working_day(date(2026, 1, 2))


def test_similar_days_are_of_the_same_type_and_newest_first():
    found = list(similar_days(TODAY, 8))
    assert len(found) == 8
    assert found == sorted(found, reverse=True)
    assert all(is_working_day(day) for day in found)
