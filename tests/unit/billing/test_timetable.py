import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.billing import timetable
from cloud_api.billing.calendar import PLAIN, built_in
from cloud_api.billing.tariff_file import load_tariff
from cloud_api.kit.period import Period, local_day, local_days
from tests.unit.billing.conftest import SHANGHAI
from tests.unit.billing.test_tariff_file import TEMPLATES

ZHEJIANG = load_tariff(next(p for p in TEMPLATES if p.stem == "zhejiang-2026-demo")).tariff
CHINA = built_in("CN")


def bucket_at(text, tariff=ZHEJIANG):
    at = datetime.fromisoformat(text).replace(tzinfo=tariff.zone).astimezone(UTC)
    runs = timetable.cut(tariff, CHINA, Period(at, at + timedelta(minutes=1)))
    assert len(runs) == 1
    return runs[0].bucket


# The table of 浙发改价格〔2026〕112号, as adopted from 2026-07-01.
@pytest.mark.parametrize(
    ("season_day", "hours"),
    [
        ("2026-09-15", {"valley": [*range(7), 11, 12, 13], "flat": [7, 8, 9, 10, 14, 15, 23], "peak": range(16, 23)}),
        (
            "2026-07-15",
            {
                "valley": [*range(7), 11, 12, 13],
                "flat": [7, 8, 9, 10, 14, 15, 23],
                "peak": [16, 17, 22],
                "sharp": range(18, 22),
            },
        ),
        ("2026-10-03", {"valley": range(9), "deep": range(9, 15), "flat": [15, 23], "peak": range(16, 23)}),
        ("2026-10-04", {"valley": [*range(7), 11, 12, 13], "flat": [7, 8, 9, 10, 14, 15, 23], "peak": range(16, 23)}),
    ],
)
def test_zhejiang_2026_puts_each_hour_into_its_bucket(season_day, hours):
    found = {hour: bucket_at(f"{season_day} {hour:02d}:30") for hour in range(24)}
    assert found == {hour: bucket for bucket, hs in hours.items() for hour in hs}


def test_the_tariff_changes_at_local_midnight_of_the_first_of_july():
    assert bucket_at("2026-06-30 08:30") == "peak"  # 2024 scheme
    assert bucket_at("2026-07-01 08:30") == "flat"


def test_an_instant_on_an_edge_belongs_to_the_later_window():
    assert bucket_at("2026-07-15 18:00") == "sharp"
    assert bucket_at("2026-07-15 17:59") == "peak"


def test_a_make_up_saturday_is_a_workday_and_an_unpublished_year_knows_only_weekends():
    assert CHINA.kind(date(2026, 2, 14)) == "workday"
    assert CHINA.kind(date(2026, 10, 1)) == "holiday"
    assert CHINA.day_of_holiday(date(2026, 10, 3)) == 3
    assert CHINA.is_official(2026)
    assert not CHINA.is_official(2027)
    assert CHINA.kind(date(2027, 10, 1)) == "workday"


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai", "Africa/Cairo"]
)
@pytest.mark.parametrize("year", [2025, 2026])
def test_runs_tile_every_year_without_hole_or_overlap_in_any_zone(zone, year, tariff):
    made = tariff(
        "- {code: e, name: {zh: a, en: b}, kind: energy, prices: {n: 1, d: 2}}",
        more='windows:\n  - {bucket: n, hours: ["00:00-02:30", "22:00-24:00"]}\n  - {bucket: d, hours: ["02:30-22:00"]}',
        time_zone=zone,
    )
    period = local_days(date(year, 1, 1), date(year + 1, 1, 1), ZoneInfo(zone))
    runs = timetable.cut(made, PLAIN, period)
    assert (runs[0].start, runs[-1].end) == (period.start, period.end)
    assert all(a.end == b.start for a, b in itertools.pairwise(runs))


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 10, 26), 24)]
)
def test_a_clock_change_day_is_cut_by_what_the_wall_clock_shows(day, hours, tariff):
    zone = ZoneInfo("Europe/Berlin")
    made = tariff(
        "- {code: e, name: {zh: a, en: b}, kind: energy, prices: {night: 1, day: 2}}",
        more='windows:\n  - {bucket: night, hours: ["00:00-02:30"]}\n  - {bucket: day, hours: ["02:30-24:00"]}',
        time_zone="Europe/Berlin",
    )
    seen = {"night": 0, "day": 0}
    for run in timetable.cut(made, PLAIN, local_day(day, zone)):
        at = run.start
        while at < run.end:
            wall = at.astimezone(zone)
            assert run.bucket == ("night" if (wall.hour, wall.minute) < (2, 30) else "day")
            seen[run.bucket] += 1
            at += timedelta(minutes=1)
    assert sum(seen.values()) == hours * 60


@given(
    start=st.datetimes(datetime(2026, 1, 1), datetime(2026, 11, 1)),  # noqa: DTZ001
    minutes=st.integers(1, 60 * 24 * 40),
)
def test_any_period_is_tiled_and_agrees_with_the_definition_at_each_end(start, minutes):
    begin = start.replace(second=0, microsecond=0, tzinfo=SHANGHAI).astimezone(UTC)
    period = Period(begin, begin + timedelta(minutes=minutes))
    runs = timetable.cut(ZHEJIANG, CHINA, period)
    assert (runs[0].start, runs[-1].end) == (period.start, period.end)
    assert all(a.end == b.start and (a.bucket, a.version) != (b.bucket, b.version) for a, b in itertools.pairwise(runs))
    for run in runs[:20]:
        assert bucket_at(f"{run.start.astimezone(SHANGHAI):%Y-%m-%d %H:%M}") == run.bucket
