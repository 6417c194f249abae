from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing.cycle import cycle_around, cycle_of, full_cycle
from cloud_api.kit.errors import Invalid

days = st.dates(date(2019, 1, 1), date(2032, 12, 31))
anchors = st.integers(1, 31)


@given(days, anchors)
def test_cycles_follow_each_other_without_gap_and_every_month_is_the_start_of_one(day, anchor):
    first, after = cycle_around(day, anchor)
    assert first <= day < after
    assert cycle_around(after, anchor)[0] == after
    assert cycle_around(first - timedelta(days=1), anchor)[1] == first
    assert cycle_of(f"{first:%Y-%m}", anchor) == (first, after)
    assert 28 <= (after - first).days <= 31


@given(days, anchors)
def test_a_cycle_starts_on_its_anchor_day_or_on_the_last_day_of_a_shorter_month(day, anchor):
    first, _ = cycle_around(day, anchor)
    is_last_of_month = (first + timedelta(days=1)).day == 1
    assert first.day == anchor or (is_last_of_month and first.day < anchor)


@pytest.mark.parametrize("anchor", [29, 30, 31])
def test_an_anchor_day_that_february_lacks_falls_on_its_last_day_and_returns(anchor):
    assert cycle_of("2026-01", anchor) == (date(2026, 1, anchor), date(2026, 2, 28))
    assert cycle_of("2026-02", anchor) == (date(2026, 2, 28), date(2026, 3, anchor))
    assert cycle_of("2026-03", anchor) == (date(2026, 3, anchor), date(2026, 4, min(anchor, 30)))
    assert cycle_of("2028-02", anchor)[0] == date(2028, 2, 29)


def test_part_of_a_cycle_is_shared_over_the_whole_and_other_days_are_their_own_cycle():
    assert full_cycle(date(2026, 10, 1), date(2026, 10, 26), 26) == (date(2026, 9, 26), date(2026, 10, 26))
    assert full_cycle(date(2026, 10, 1), date(2026, 11, 1), 1) == (date(2026, 10, 1), date(2026, 11, 1))
    assert full_cycle(date(2026, 9, 26), date(2026, 10, 26), 1) == (date(2026, 9, 26), date(2026, 10, 26))


def test_what_is_no_month_is_refused():
    with pytest.raises(Invalid, match="is not a month; write 2026-10"):
        cycle_of("2026-13", 26)
