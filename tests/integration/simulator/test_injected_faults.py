"""Faults put into the simulated building: each found by its rule, with its cost, and nothing else announced for it.

The whole site is judged by all its rules, as in the cloud: what a fault causes elsewhere must attach to it, and sound
equipment must stay quiet. Faults that have nothing to do with each other share a day.
"""

from pathlib import Path

import pytest

from cloud_api.faults import replay, trend
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.causes import Explained
from cloud_api.faults.learning import Learned
from edge_agent.simulator.faults import KINDS, FaultJournal
from edge_agent.simulator.trend import write_trend
from tests.simulated import Fault, Site

AUTUMN, WINTER, SUMMER = "2026-10-13", "2027-01-12", "2026-07-07"
HEALTHY = {AUTUMN: ("2026-10-14", 8), SUMMER: ("2026-07-02", 5)}  # First day and number of days.


@pytest.fixture(scope="module")
def site() -> Site:
    return Site.load()


@pytest.fixture(scope="module")
def learned(site: Site) -> dict[str, dict[str, Learned]]:
    """What the units' own healthy days teach, in autumn and in summer."""
    return {day: site.learn(site.record(first, days=days)) for day, (first, days) in HEALTHY.items()}


def announced(explained: list[Explained]) -> set[tuple[str, str]]:
    return {(e.unit, e.finding.rule) for e in explained if e.cause is None}


# Day, number of days, then fault → where and by which rule it must be found.
CASES: dict[str, tuple[str, int, dict[Fault, tuple[str, str]]]] = {
    "wiring and registers of meters, a leaking valve, a fan left on": (
        AUTUMN,
        1,
        {
            ("ahu-5", "after_hours", None, None): ("ahu-5", "AHU-0018"),
            ("ahu-3", "heating_valve_leak", 40, None): ("ahu-3", "AHU-0015"),
            ("meter-t301", "phase_loss", 2, None): ("meter-t301", "MTR-04"),
            ("meter-t201", "reversed_ct", 1, None): ("meter-t201", "MTR-02"),
            ("meter-t202", "register_stuck", None, None): ("meter-t202", "MTR-07"),
            ("meter-f3", "low_power_factor", 0.6, None): ("meter-f3", "MTR-18"),
            ("meter-f2", "imbalance", 90, None): ("meter-f2", "MTR-06b"),
        },
    ),
    "water that runs at night, a meter whose clock is off": (
        AUTUMN,
        1,
        {
            ("water-main", "leak", 0.6, None): ("water-main", "WTR-01"),
            ("meter-pq", "clock_off", 300, None): ("meter-pq", "MTR-16"),
        },
    ),
    "sensors that drift or stick, room units and a chiller that nobody needs": (
        AUTUMN,
        1,
        {
            ("iaq-301", "drift", 800, "co2"): ("iaq-301", "IAQ-01"),
            ("iaq-201", "stuck", 450, "co2"): ("iaq-201", "IAQ-02"),
            ("ahu-3", "drift", 6, "outdoor_temperature"): ("ahu-3", "AHU-0107"),
            ("ahu-5", "supply_fan_failed", None, None): ("ahu-5", "AHU-0039"),
            ("fcu-301", "drift", 4, "room_temperature"): ("fcu-301", "FCU-0105"),
            ("fcu-201", "after_hours", None, None): ("fcu-201", "FCU-0101"),
            ("idu-601", "after_hours", None, None): ("idu-601", "VRF-11"),
            ("chiller-1", "after_hours", None, None): ("chiller-1", "CHW-0102"),
        },
    ),
    "a mixed-air sensor, a pump without its machine": (
        AUTUMN,
        1,
        {
            ("ahu-3", "drift", 6, "mixed_air_temperature"): ("ahu-3", "AHU-0028"),
            ("pump-hw-1", "runs_on", None, None): ("pump-hw-1", "PMP-0102"),
        },
    ),
    "a cooling valve that leaks while there is cold water, a heat pump that nobody needs": (
        AUTUMN,
        1,
        {
            ("chiller-1", "after_hours", None, None): ("chiller-1", "CHW-0102"),
            ("ahu-3", "cooling_valve_leak", 45, None): ("ahu-3", "AHU-0014"),
        },
    ),
    "a heat pump that nobody needs": (
        AUTUMN,
        1,
        {("hp-1", "after_hours", None, None): ("hp-1", "HP-0104")},
    ),
    "a valve stuck, an outdoor unit that does not start": (
        SUMMER,
        1,
        {
            ("ahu-3", "cooling_valve_stuck", 5, None): ("ahu-3", "AHU-0020b"),
            ("vrf-6", "failed", None, None): ("vrf-6", "VRF-09"),
        },
    ),
    "a chiller that does not start": (SUMMER, 1, {("chiller-1", "failed", None, None): ("chiller-1", "CHW-0008")}),
    "a pump that trips": (SUMMER, 1, {("pump-chw-1", "failed", None, None): ("pump-chw-1", "PMP-0101")}),
    "a chiller that cycles": (SUMMER, 1, {("chiller-1", "short_cycling", 6, None): ("chiller-1", "CHW-0009")}),
    "a chiller that lost efficiency, a damper stuck, an indoor unit without its fan": (
        SUMMER,
        1,
        {
            ("chiller-1", "low_efficiency", 30, None): ("chiller-1", "CHW-0101"),
            ("ahu-1", "oa_damper_stuck", 90, None): ("ahu-1", "AHU-0020a"),
            ("idu-601", "fan_failed", None, None): ("idu-601", "VRF-02"),
        },
    ),
    "water that takes a short way, a supply sensor that drifts": (
        SUMMER,
        1,
        {
            ("chiller-1", "low_delta_t", None, None): ("chiller-1", "CHW-0004"),
            ("ahu-3", "drift", 5, "supply_air_temperature"): ("ahu-3", "AHU-0033"),
        },
    ),
    "a supply sensor that sticks": (
        SUMMER,
        2,
        {("ahu-3", "stuck", 20, "supply_air_temperature"): ("ahu-3", "AHU-0033")},  # AHU-0111 names the sensor later.
    ),
    "what a tenant left on at night": (
        AUTUMN,
        2,
        {("meter-t302", "night_load", 8, None): ("meter-t302", "MTR-19")},
    ),
    "a heat pump that does not start": (WINTER, 1, {("hp-1", "failed", None, None): ("hp-1", "HP-0007")}),
    "a heat pump that lost efficiency, a damper stuck in winter": (
        WINTER,
        1,
        {
            ("hp-1", "low_efficiency", 30, None): ("hp-1", "HP-0001"),
            ("ahu-3", "oa_damper_stuck", 90, None): ("ahu-3", "AHU-0020a"),
        },
    ),
    "a hot-water pump that trips": (WINTER, 1, {("pump-hw-1", "failed", None, None): ("pump-hw-1", "PMP-0101")}),
    "a heat pump that cycles": (WINTER, 1, {("hp-1", "short_cycling", 6, None): ("hp-1", "HP-0102")}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_is_found_by_its_rule_with_its_cost_and_nothing_else_is_announced(site, learned, name: str) -> None:
    day, days, expected = CASES[name]
    explained, _ = site.judge(site.record(day, list(expected), days=days), learned.get(day))
    assert announced(explained) == set(expected.values())
    rules = catalogue().rules
    for fault, (unit, rule) in expected.items():
        found = [e.finding for e in explained if (e.unit, e.finding.rule) == (unit, rule)]
        costs = [f.kwh_per_day for f in found if f.kwh_per_day is not None]
        if rules[rule].spec.resource == "water":
            assert found[0].m3_per_day == pytest.approx(24 * float(fault[2] or 0), rel=0.02)
            continue
        if rules[rule].spec.impact in {"energy", "unbilled"} and rules[rule].spec.waste:
            # A valve stuck shut costs comfort, not energy.
            assert max(costs) == 0 if fault[1:3] == ("cooling_valve_stuck", 5) else max(costs) > 0.5
        else:  # What does not cost energy says so, and says what it costs instead.
            assert rules[rule].spec.impact in {"comfort", "data", "safety"}


@pytest.mark.parametrize("day", [AUTUMN, WINTER, SUMMER])
def test_a_sound_building_raises_no_finding(site, learned, day: str) -> None:
    explained, _ = site.judge(site.record(day, days=2), learned.get(day))
    assert announced(explained) == set()


# Nothing in the building shows these: a fan coil reports what it is told to do, and no supply-air sensor hangs behind
# its coils (its rules say NO_EVAL and name the sensors); the VRF has no heat meter; a silent device is a communication
# loss, which the alarms judge (tests/integration/test_alarms.py).
UNSEEN = {"silent"}
NOT_ON_FAN_COILS = {("fcu-", "fan_failed"), ("fcu-", "cooling_valve_leak"), ("fcu-", "heating_valve_leak")}


def test_every_kind_of_fault_that_can_be_injected_is_proved_above() -> None:
    proved = {fault[1] for _, _, faults in CASES.values() for fault in faults}
    assert set(KINDS) - proved == UNSEEN


def test_a_fan_coil_without_a_supply_sensor_says_what_it_lacks(site) -> None:
    columns = site.record(SUMMER).columns
    from cloud_api.faults.rules import bind

    rules = catalogue().rules
    lacking = {rule: bind(rules[rule], frozenset(columns["fcu-301"])).missing for rule in ("FCU-0004", "FCU-0005")}
    assert lacking == {"FCU-0004": ("rat", "sat"), "FCU-0005": ("rat", "sat")}


def test_the_trend_command_gives_a_csv_on_which_the_fault_is_found(site, tmp_path: Path) -> None:
    from datetime import datetime

    start = datetime.fromisoformat(WINTER).replace(tzinfo=site.plan.zone)
    journal = FaultJournal()
    journal.set("ahu-3", "oa_damper_stuck", size=90, at_ms=round(start.timestamp() * 1000))
    file = tmp_path / "trend.csv"
    write_trend(site.plan, site.profiles, "ahu-3", start=start, days=1, journal=journal, out=file)
    how = trend.load_map(file.with_suffix(".yaml"))
    done = replay.replay(replay.rules_for("ahu", how), trend.load_trend(file, how))
    assert {"AHU-0020a", "AHU-0030"} <= {f.rule for f in done.findings}
