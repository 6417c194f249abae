"""Rules at their limits: just below and just above, a tick early and a tick late, gate, missing data, clearing."""

import itertools
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import FAULT, NO_EVAL, OK, Evaluator

ZONE = ZoneInfo("Asia/Shanghai")
T0 = 1_700_006_400  # A whole hour.
BASE = {
    "sat": 16.0, "sat_sp": 16.0, "mat": 15.0, "rat": 23.0, "oat": 13.0, "dsp": 300.0, "dsp_sp": 300.0, "sf_speed": 60.0,
    "sf_status": 1.0, "clg_vlv_cmd": 0.0, "htg_vlv_cmd": 0.0, "oa_dmpr_cmd": 15.0, "occ_schedule": 1.0,
}  # fmt: skip
OS1 = {"htg_vlv_cmd": 50.0}
OS2 = {"oa_dmpr_cmd": 60.0}
OS3 = {"clg_vlv_cmd": 50.0, "oa_dmpr_cmd": 100.0}
OS4 = {"clg_vlv_cmd": 50.0}


def run(rule_id, columns, count, tick_s=60, more_rules=()):
    rules = [catalogue().rules[i] for i in (rule_id, *more_rules)]
    shaped = {n: np.full(count, v) if np.isscalar(v) else np.array(v, dtype=float) for n, v in columns.items()}
    evaluator = Evaluator(rules=rules, available=frozenset(shaped), tick_s=tick_s, zone=ZONE)
    seconds = T0 + tick_s * np.arange(count, dtype=np.int64)
    return evaluator.run(seconds, shaped)[rule_id].codes.tolist()


# Each Guideline 36 fault condition: the operating state, a state just within the limit, and one just beyond it.
FAULT_CONDITIONS = [
    ("AHU-0001", {}, {"sf_speed": 99.5, "dsp": 275.0}, {"sf_speed": 99.5, "dsp": 274.9}),
    ("AHU-0002", {}, {"mat": 11.0}, {"mat": 10.9}),
    ("AHU-0003", {}, {"mat": 25.0}, {"mat": 25.1}),
    ("AHU-0005", OS1, {"sat": 12.0}, {"sat": 11.9}),
    ("AHU-0006", OS1, {"mat": 18.6}, {"mat": 18.4}),
    ("AHU-0007", OS1, {"htg_vlv_cmd": 100.0, "sat": 15.0}, {"htg_vlv_cmd": 100.0, "sat": 14.9}),
    ("AHU-0008", OS2, {"sat": 19.1}, {"sat": 19.2}),
    ("AHU-0009", OS2, {"oat": 17.0}, {"oat": 17.1}),
    ("AHU-0010", OS3, {"mat": 16.1}, {"mat": 16.2}),
    ("AHU-0011", OS3, {"oat": 13.0}, {"oat": 12.9}),
    ("AHU-0012", OS4, {"sat": 20.0}, {"sat": 20.1}),
    ("AHU-0013", OS4, {"clg_vlv_cmd": 100.0, "sat": 17.0}, {"clg_vlv_cmd": 100.0, "sat": 17.1}),
    ("AHU-0014", OS2, {"sat": 10.9}, {"sat": 10.8}),
    ("AHU-0015", OS4, {"sat": 19.1}, {"sat": 19.2}),
    ("AHU-0016", {}, {"htg_vlv_cmd": 5.0, "clg_vlv_cmd": 60.0}, {"htg_vlv_cmd": 5.1, "clg_vlv_cmd": 60.0}),
    ("AHU-0028", {}, {"mat": 25.0}, {"mat": 25.1}),
    ("AHU-0033", OS4, {"sat": 17.7}, {"sat": 17.8}),
]


@pytest.mark.parametrize(("rule", "state", "within", "beyond"), FAULT_CONDITIONS)
def test_a_rule_speaks_just_beyond_its_limit_and_exactly_after_its_delay(rule, state, within, beyond):
    delay = int(catalogue().rules[rule].delay_s // 60)
    assert FAULT not in run(rule, BASE | state | within, delay + 60)
    codes = run(rule, BASE | state | beyond, delay + 60)
    assert FAULT not in codes[:delay]
    assert codes[delay] == FAULT


@pytest.mark.parametrize(("rule", "state", "_within", "beyond"), FAULT_CONDITIONS)
def test_a_rule_says_nothing_while_the_fan_is_off_or_a_role_is_unknown(rule, state, _within, beyond):
    columns = BASE | state | beyond
    if catalogue().rules[rule].spec.states:
        assert set(run(rule, columns | {"sf_status": 0.0}, 120)) == {NO_EVAL}
    used = "mat" if "mat" in catalogue().rules[rule].spec.when else next(iter(beyond))
    assert set(run(rule, columns | {used: np.nan}, 120)) == {NO_EVAL}


def test_a_rule_with_a_missing_role_is_never_ok():
    columns = {n: v for n, v in BASE.items() if n != "rat"}
    assert set(run("AHU-0002", columns, 60)) == {NO_EVAL}


def test_unknown_data_restart_the_delay_and_leave_a_raised_fault_raised():
    mat = np.full(120, 30.0)
    mat[10] = np.nan
    codes = run("AHU-0028", BASE | {"mat": mat}, 120)
    assert codes.index(FAULT) == 11 + 15
    assert codes[:26].count(NO_EVAL) == 1
    mat = np.concatenate([np.full(30, 30.0), np.full(30, np.nan)])
    assert run("AHU-0028", BASE | {"mat": mat}, 60)[-1] == NO_EVAL


def test_a_fault_clears_only_after_its_condition_stayed_away():
    mat = np.concatenate([np.full(30, 30.0), np.full(30, 15.0)])
    codes = run("AHU-0028", BASE | {"mat": mat}, 60)
    assert codes[29] == FAULT
    assert codes[30:35] == [NO_EVAL] * 5
    assert codes[35] == OK


def test_after_the_fan_starts_the_earliest_alarm_is_an_hour_away():
    status = np.concatenate([np.zeros(10), np.ones(110)])
    codes = run("AHU-0002", BASE | {"sf_status": status, "mat": 5.0}, 120)
    assert codes.index(FAULT) == 10 + 30 + 30


def test_a_sensor_fault_silences_the_rules_that_rest_on_the_sensor():
    codes = run("AHU-0002", BASE | {"mat": 5.0}, 120, more_rules=("AHU-0028",))
    assert FAULT not in codes
    assert codes[60] == NO_EVAL


def test_proof_of_a_fan_flags_failure_to_start():
    codes = run("AHU-0039", {"sf_cmd": [0, 0] + [1] * 6, "sf_status": [0] * 8}, 8, tick_s=5)
    assert codes.index(FAULT) == 5


def test_short_cycling_counts_starts_in_an_hour():
    status = np.tile([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], 12)
    assert FAULT in run("PMP-0004", {"pump_status": status}, 120)
    assert FAULT not in run("PMP-0004", {"pump_status": np.tile([0] * 10 + [1] * 10, 6)}, 120)


def test_a_signal_around_its_limit_within_the_deadband_is_one_fault():
    wobble = 1005 + 10 * np.sin(np.arange(1440) * 0.7)
    codes = run("ROOM-01", {"co2": wobble}, 1440)
    starts = sum(1 for a, b in itertools.pairwise(codes) if b == FAULT and a != FAULT)
    assert starts == 1


def test_meter_rules_find_a_lost_phase_a_stuck_register_and_a_reversed_transformer():
    volts = {"voltage_a": 230.0, "voltage_b": 229.0, "voltage_c": 5.0}
    assert run("MTR-04", volts, 10)[5] == FAULT
    assert run("MTR-07", {"energy": 1000.0, "active_power": 12.0}, 70)[-1] == FAULT
    reverse = {"active_power_a": -3.0, "active_power_b": 3.0, "active_power_c": 3.0}
    reverse |= {f"power_factor_{p}": 0.9 for p in "abc"} | {f"current_{p}": 4.0 for p in "abc"}
    assert run("MTR-02", reverse, 40)[-1] == FAULT


def test_water_that_never_stops_is_a_leak():
    midnight = 16 * 60 - T0 // 60 % 1440  # Of Shanghai, in ticks after T0.
    count = midnight + 1440 + 300
    codes = run("WTR-01", {"water_flow": 0.05}, count)
    assert codes.index(FAULT) == midnight + 60 + 180  # Three hours after one o'clock.
    flow = np.full(count, 0.05)
    flow[[midnight + 150, midnight + 1440 + 150]] = 0.0
    assert FAULT not in run("WTR-01", {"water_flow": flow}, count)


def test_people_who_draw_water_all_day_are_no_leak():
    flow = np.full(1440, 0.3)
    seconds = T0 + 60 * np.arange(1440)
    hour = seconds / 3600 % 24 + 8
    flow[(hour % 24 < 6) | (hour % 24 > 21)] = 0.0
    assert FAULT not in run("WTR-01", {"water_flow": flow}, 1440)
