from zoneinfo import ZoneInfo

import numpy as np
import pytest

from cloud_api.faults import savings
from cloud_api.faults.bindings import Equipment
from cloud_api.faults.catalogue import catalogue

ZONE = ZoneInfo("Asia/Shanghai")
T0 = 1_790_000_000 // 86_400 * 86_400 - 8 * 3600  # A local midnight.
UNIT = Equipment(
    id=1, organisation_id=1, site_id=1, code="ahu-3", name_zh="三号", name_en="AHU-3", family="ahu", zone=ZONE,
    points=(), constants={}, watermark=None,
)  # fmt: skip
RULE = catalogue().rules["AHU-0018"]


def days(count: int, *, left_on: bool, known: bool = True) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """An air handler with 8 kW of fan at full speed, occupied from 7 to 19; `left_on` at night too."""
    seconds = T0 + 60 * np.arange(count * 1440, dtype=np.int64)
    hour = (seconds - T0) % 86_400 / 3600
    occupied = ((hour >= 7) & (hour < 19)).astype(float)
    running = np.ones(len(seconds)) if left_on else occupied
    speed = 100 * running if known else np.full(len(seconds), np.nan)
    same = np.ones(len(seconds))
    return seconds, {
        "sf_status": running, "sf_speed": speed, "occ_schedule": occupied, "override_active": 0 * same, "fan_kw": 8 * same
    }  # fmt: skip


def test_a_saving_is_what_the_data_say_before_and_after_not_the_estimate():
    measured = savings.compare(UNIT, RULE, days(3, left_on=True), days(1, left_on=False))
    assert measured.how == "condition"
    # Twelve hours of 8 kW a night, less half an hour of grace.
    assert measured.before == pytest.approx(8 * 12, rel=0.06)
    assert measured.after == 0
    assert measured.saved == measured.before


def test_a_repair_that_changed_nothing_saved_nothing():
    measured = savings.compare(UNIT, RULE, days(2, left_on=True), days(2, left_on=True))
    assert measured.saved == 0


def test_with_too_few_data_nothing_is_claimed():
    measured = savings.compare(UNIT, RULE, days(2, left_on=True, known=False), days(1, left_on=False))
    assert (measured.saved, measured.how) == (None, "too_little_data")


def nights(count: int, leak_m3_h: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A water meter: 1.5 m³/h from 7 to 19, and what leaks at all hours."""
    seconds = T0 + 60 * np.arange(count * 1440, dtype=np.int64)
    hour = (seconds - T0) % 86_400 / 3600
    return seconds, {"water_flow": leak_m3_h + 1.5 * ((hour >= 7) & (hour < 19))}


def test_a_mended_leak_saves_what_ran_at_night_for_the_whole_day_in_cubic_metres():
    leak = catalogue().rules["WTR-01"]
    measured = savings.compare(UNIT, leak, nights(2, 0.5), nights(1, 0.0))
    assert (measured.before, measured.after, measured.unit, measured.how) == (12.0, 0.0, "m³", "condition")


def test_of_a_leak_mended_by_day_nothing_is_claimed_before_the_first_night():
    leak = catalogue().rules["WTR-01"]
    seconds, columns = nights(1, 0.0)
    afternoon = slice(12 * 60, 18 * 60)
    measured = savings.compare(
        UNIT, leak, nights(2, 0.5), (seconds[afternoon], {n: v[afternoon] for n, v in columns.items()})
    )
    assert measured == savings.TOO_LITTLE
