"""The figures of ISA-18.2 / IEC 62682, from occurrences to numbers."""

from datetime import UTC, datetime, timedelta

from cloud_api.alarms import figures
from cloud_api.alarms.figures import Occurred

START = datetime(2026, 3, 1, tzinfo=UTC)
END = START + timedelta(days=10)


def occurred(minutes, *, alarm=1, rule="AHU-0012", severity=3, acknowledged=None, cleared=None, relapses=0):
    at = START + timedelta(minutes=minutes)
    return Occurred(
        alarm_id=alarm,
        rule=rule,
        subject=f"equipment:{alarm}",
        severity=severity,
        at=at,
        acknowledged_at=None if acknowledged is None else at + timedelta(minutes=acknowledged),
        cleared_at=None if cleared is None else at + timedelta(hours=cleared),
        reopened_count=relapses,
        name=f"ahu-{alarm}",
    )


def compute(found, **more):
    report = figures.compute(found, START, END, **({"stale_count": 0} | more))
    return report, {f.key: f for f in report.figures}


def test_a_flood_starts_above_ten_alarms_in_ten_minutes_and_ends_below_five():
    burst = [occurred(n / 2, alarm=n) for n in range(12)]  # 12 in the first ten minutes,
    tail = [occurred(10 + n, alarm=20 + n) for n in range(6)]  # 6 in the next: still a flood,
    end = [occurred(20 + n, alarm=30 + n) for n in range(4)]  # 4: its end.
    _report, by_key = compute([*burst, *tail, *end])
    assert (by_key["peak"].value, by_key["peak"].state) == (12, "warning")
    assert by_key["in_flood"].value == round(100 * 2 / 1440, 1)
    assert by_key["per_day"].value == 2.2


def test_times_to_acknowledge_and_to_repair_are_medians_of_what_was_acknowledged_and_repaired():
    found = [occurred(0, acknowledged=10, cleared=2), occurred(600, acknowledged=50, cleared=4), occurred(1200)]
    _report, by_key = compute(found)
    assert (by_key["to_acknowledge"].value, by_key["to_clear"].value) == (30.0, 3.0)


def test_an_alarm_that_sounds_three_times_a_minute_or_relapses_three_times_chatters():
    found = [occurred(0.3 * n, alarm=1) for n in range(3)] + [occurred(60, alarm=2, relapses=3), occurred(90, alarm=3)]
    _report, by_key = compute(found, stale_count=5)
    assert (by_key["chattering"].value, by_key["chattering"].state) == (2, "warning")
    assert by_key["stale"].state == "warning"


def test_the_split_by_severity_and_the_most_frequent_add_up():
    report, by_key = compute([occurred(n, severity=4) for n in range(8)] + [occurred(9, alarm=2, severity=1)] * 2)
    assert report.by_severity == {1: 20.0, 2: 0.0, 3: 0.0, 4: 80.0}
    assert report.top[0] == ("AHU-0012", "ahu-1", 8, 80.0)
    assert by_key["top_share"].value is None  # The ten most frequent of two kinds are always all.


def test_the_ten_most_frequent_are_compared_with_all_when_there_are_more_kinds():
    _report, by_key = compute([occurred(n, alarm=n) for n in range(16)])
    assert by_key["top_share"].value == 62.5


def test_a_fault_costs_its_money_per_day_for_as_long_as_it_lasted_in_the_period():
    def row(opened, cleared, money, name):
        params = {"money_per_day": money, "kwh_per_day": 10.0, "currency": "CNY", "name": name}
        return {
            "rule": "AHU-0012", "subject": "equipment:1", "params": params, "opened_at": START + timedelta(days=opened),
            "cleared_at": None if cleared is None else START + timedelta(days=cleared),
        }  # fmt: skip

    costs = figures._costs([row(-5, 2, 100, "a"), row(8, None, 400, "b"), row(5, 6, 50, "a")], START, END)
    assert [(c.name, c.money, c.kwh, c.days) for c in costs] == [("b", 800.0, 20.0, 2.0), ("a", 250.0, 30.0, 3.0)]
