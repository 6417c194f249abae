"""Turns on call: planned in local days, holidays to whoever takes them, and shifts given away."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from cloud_api.alarms.rota import Shift, hand, plan

SHANGHAI = ZoneInfo("Asia/Shanghai")
NINE = time(9)


def day(number, hour=9):
    return datetime(2026, 9, number, hour, tzinfo=SHANGHAI)


def shifts(**more):
    return plan(
        [1, 2], starts_on=date(2026, 9, 28), days=14, turn_days=7, handover=NINE, zone=SHANGHAI, **more
    )  # fmt: skip


def test_turns_follow_one_another_without_a_gap():
    found = shifts()
    assert [(s.channel_id, s.starts_at, s.ends_at) for s in found] == [
        (1, day(28), day(28) + timedelta(days=7)),
        (2, day(28) + timedelta(days=7), day(28) + timedelta(days=14)),
    ]


def test_a_holiday_goes_to_whoever_takes_holidays_and_moves_nobodys_turn():
    found = shifts(holidays={date(2026, 10, 1), date(2026, 10, 2)}, holiday_channel=9)
    assert [s.channel_id for s in found] == [1, 9, 1, 2]
    assert found[1].ends_at - found[1].starts_at == timedelta(days=2)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Europe/Berlin", "America/New_York"])
def test_a_hand_over_stays_at_its_local_hour_over_a_change_of_clocks(zone):
    found = plan(
        [1, 2], starts_on=date(2026, 10, 20), days=20, turn_days=1, handover=NINE, zone=ZoneInfo(zone)
    )  # fmt: skip
    assert {s.starts_at.astimezone(ZoneInfo(zone)).hour for s in found} == {9}
    assert all(a.ends_at == b.starts_at for a, b in pairwise(found))


def test_a_day_given_away_cuts_the_shift_it_lies_in():
    found = hand(
        [Shift(channel_id=1, starts_at=day(1), ends_at=day(8))],
        Shift(channel_id=2, starts_at=day(3), ends_at=day(4)),
    )
    assert [(s.channel_id, s.starts_at.day, s.ends_at.day) for s in found] == [(1, 1, 3), (2, 3, 4), (1, 4, 8)]
    assert found[0].starts_at.astimezone(UTC).hour == 1
