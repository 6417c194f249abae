from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from cloud_api.faults import baselines, derived, learning
from cloud_api.faults.trend import Trend

ZONE = ZoneInfo("Asia/Shanghai")
T0 = 1_790_000_000 // 86_400 * 86_400 - 8 * 3600  # A local midnight.


def office(days: int, *, extra_kw: float = 0.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """An office whose power follows the hour and the cold outside."""
    seconds = T0 + 60 * np.arange(days * 1440, dtype=np.int64)
    hour = (seconds - T0) % 86_400 / 3600
    oat = 8 + 6 * np.sin(2 * np.pi * (hour - 9) / 24) + 3 * np.sin((seconds - T0) / 86_400)
    power = 5 + 20 * ((hour >= 8) & (hour < 18)) + 0.8 * np.maximum(0, 16 - oat) + extra_kw
    return seconds, {"active_power": power, "oat": oat}


def fitted(days: int = 14) -> tuple[baselines.Baseline, np.ndarray, dict[str, np.ndarray]]:
    seconds, columns = office(days)
    (baseline,) = baselines.fit("meter", columns, seconds, ZONE, np.ones(len(seconds), dtype=bool))
    return baseline, seconds, columns


def test_a_baseline_of_hour_and_weather_fits_within_what_guideline_14_asks():
    baseline, seconds, columns = fitted()
    assert baseline.is_accepted
    assert baseline.cv_rmse < 0.1
    expected = baselines.expectations([baseline], columns, seconds, ZONE)["expected_power"]
    known = ~np.isnan(expected)
    assert known.mean() > 0.95
    assert np.abs(expected - columns["active_power"])[known].mean() < 1.0


def test_a_holiday_is_expected_to_be_as_quiet_as_a_sunday_and_a_make_up_workday_is_not():
    days = {date(2026, 3, 3): True, date(2026, 3, 8): False}  # A Tuesday off, a Sunday worked in exchange.
    first = int(datetime(2026, 2, 2, tzinfo=ZONE).timestamp())
    seconds = first + 60 * np.arange(42 * 1440, dtype=np.int64)
    hour, weekend = derived._local(seconds, ZONE)
    off = derived.days_off(seconds, ZONE, days)
    assert (off != weekend).sum() == 2 * 1440
    works = (hour >= 8) & (hour < 18) & (off == 0)
    columns = {"active_power": np.where(works, 50.0, 8.0), "oat": np.full(len(seconds), 18.0)}
    healthy = np.ones(len(seconds), dtype=bool)

    def expected(known: dict) -> np.ndarray:
        fitted = baselines.fit("meter", known, seconds, ZONE, healthy)
        return baselines.expectations(fitted, known, seconds, ZONE)["expected_power"]

    noon = np.flatnonzero((hour >= 12) & (hour < 13))
    on = {d: [i for i in noon if datetime.fromtimestamp(seconds[i], ZONE).date() == d] for d in days}
    known = expected(columns | {"day_off": off})
    assert np.allclose(known[on[date(2026, 3, 3)]], 8.0, atol=0.5)
    assert np.allclose(known[on[date(2026, 3, 8)]], 50.0, atol=0.5)
    # Without the calendar the holiday looks like waste saved, the worked Sunday like waste.
    blind = expected(columns)
    assert blind[on[date(2026, 3, 3)]].mean() > 30 > blind[on[date(2026, 3, 8)]].mean()


def test_outside_the_weather_it_has_seen_nothing_is_expected():
    baseline, seconds, columns = fitted()
    frost = columns | {"oat": columns["oat"] - 30}
    assert np.isnan(baselines.expectations([baseline], frost, seconds, ZONE)["expected_power"]).all()


def test_an_expectation_is_the_same_bits_however_time_is_cut():
    baseline, seconds, columns = fitted(8)
    whole = baselines.expectations([baseline], columns, seconds, ZONE)["expected_power"]
    for cut in (1, 777, 2000):
        parts = [
            baselines.expectations([baseline], {n: v[p] for n, v in columns.items()}, seconds[p], ZONE)[
                "expected_power"
            ]
            for p in (slice(0, cut), slice(cut, None))
        ]
        assert np.array_equal(np.concatenate(parts), whole, equal_nan=True)


def test_what_was_learned_survives_being_written_down_and_a_foreign_file_is_refused():
    seconds, columns = office(14)
    data = Trend(seconds=seconds, columns=columns, tick_s=60, zone=ZONE)
    learned = learning.fit_unit("meter", data, np.ones(len(seconds), dtype=bool))
    assert learned.constants["night_baseline_kw"] > 5
    assert learning.from_json(learning.as_json(learned)) == learned
    with pytest.raises(baselines.BaselineError, match="not a model"):
        learning.from_json({"constants": [1]})
    with pytest.raises(baselines.BaselineError, match="no kind of baseline 'magic'"):
        learning.from_json(
            {"constants": {}, "baselines": [baselines.as_json(learned.baselines[0]) | {"kind": "magic"}]}
        )
