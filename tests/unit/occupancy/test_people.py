from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from cloud_api.occupancy.counting import last_reset, people_now
from cloud_api.occupancy.model import Counted
from cloud_api.occupancy.privacy import hide_few

SHANGHAI = ZoneInfo("Asia/Shanghai")
AT = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)


def counted(people_in, people_out):
    return [
        Counted(equipment_id=1, role="people_in", passages=people_in, last_at=AT),
        Counted(equipment_id=1, role="people_out", passages=people_out, last_at=AT),
    ]


def test_the_count_begins_anew_at_four_in_the_morning_of_the_site():
    before, after = datetime(2026, 3, 1, 19, 59, tzinfo=UTC), datetime(2026, 3, 1, 20, 1, tzinfo=UTC)
    assert last_reset(before, SHANGHAI).astimezone(UTC) == datetime(2026, 2, 28, 20, tzinfo=UTC)
    assert last_reset(after, SHANGHAI).astimezone(UTC) == datetime(2026, 3, 1, 20, tzinfo=UTC)


def test_more_exits_than_entries_make_an_empty_building_not_a_negative_one():
    assert people_now(counted(10, 14)).count == 0


def test_without_a_word_from_a_counter_the_count_is_unknown():
    assert people_now([]).count is None


def test_fewer_than_five_people_are_hidden_and_none_stays_none():
    assert hide_few([0, 1, 4, 5, 90], sum_is_known=False) == [0, None, None, 5, 90]


def test_a_single_hidden_number_takes_the_smallest_other_with_it_when_the_sum_is_known():
    assert hide_few([3, 40, 12], sum_is_known=True) == [None, 40, None]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=9))
def test_no_hidden_number_can_be_found_by_subtraction(counts):
    shown = hide_few(counts, sum_is_known=True)
    hidden = [count for count, seen in zip(counts, shown, strict=True) if seen is None]
    assert all(seen is None or seen == 0 or seen >= 5 for seen in shown)
    assert len(hidden) != 1 or not any(shown)
