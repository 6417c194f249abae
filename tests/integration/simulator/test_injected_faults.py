"""Faults put into the simulated building are found by the right rule, and a sound building is left in peace."""

from datetime import datetime
from pathlib import Path

import pytest

from cloud_api.faults import replay, trend
from edge_agent.commissioned import load_commissioned
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.plan import Plan, load_plan
from edge_agent.simulator.trend import write_trend

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
AUTUMN, WINTER, SUMMER = "2026-10-13", "2027-01-12", "2026-07-07"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(DEMO / "building.yaml", DEMO / "leases.csv")


@pytest.fixture(scope="module")
def profiles():
    return load_commissioned(DEMO / "site.yaml").profiles


def rules_that_fire(
    plan, profiles, folder: Path, equipment: str, family: str, day: str, faults: list[tuple]
) -> set[str]:
    start = datetime.fromisoformat(day).replace(tzinfo=plan.zone)
    journal = FaultJournal()
    for target, kind, size in faults:
        journal.set(target, kind, size=size, at_ms=round(start.timestamp() * 1000))
    file = folder / "trend.csv"
    write_trend(plan, profiles, equipment, start=start, days=1, journal=journal, out=file)
    how = trend.load_map(file.with_suffix(".yaml"))
    done = replay.replay(replay.rules_for(family, how), trend.load_trend(file, how))
    assert len(done.rules) > len(done.missing)
    return {finding.rule for finding in done.findings}


@pytest.mark.parametrize(
    ("equipment", "family", "day", "fault", "rule"),
    [
        ("ahu-3", "ahu", WINTER, ("ahu-3", "oa_damper_stuck", 90), "AHU-0020a"),
        ("ahu-3", "ahu", SUMMER, ("ahu-3", "cooling_valve_stuck", 5), "AHU-0013"),
        ("ahu-3", "ahu", AUTUMN, ("ahu-3", "heating_valve_leak", 40), "AHU-0015"),
        ("ahu-5", "ahu", AUTUMN, ("ahu-5", "supply_fan_failed", None), "AHU-0039"),
        ("ahu-5", "ahu", AUTUMN, ("ahu-5", "after_hours", None), "AHU-0018"),
        ("chiller-1", "chw", SUMMER, ("chiller-1", "short_cycling", 6), "CHW-0009"),
        ("chiller-1", "chw", SUMMER, ("chiller-1", "low_delta_t", None), "CHW-0004"),
        ("chiller-1", "chw", SUMMER, ("chiller-1", "failed", None), "CHW-0008"),
        ("hp-1", "hp", WINTER, ("hp-1", "low_efficiency", 30), "HP-0001"),
        ("meter-t301", "meter", AUTUMN, ("meter-t301", "phase_loss", 2), "MTR-04"),
        ("meter-t301", "meter", AUTUMN, ("meter-t301", "reversed_ct", 1), "MTR-02"),
        ("meter-t301", "meter", AUTUMN, ("meter-t301", "register_stuck", None), "MTR-07"),
    ],
)
def test_an_injected_fault_is_found_by_its_rule(
    plan, profiles, tmp_path: Path, equipment: str, family: str, day: str, fault: tuple, rule: str
) -> None:
    assert rule in rules_that_fire(plan, profiles, tmp_path, equipment, family, day, [fault])


@pytest.mark.parametrize("day", [AUTUMN, WINTER, SUMMER])
@pytest.mark.parametrize(
    ("equipment", "family"),
    [
        *(("ahu-1", "ahu"), ("ahu-3", "ahu"), ("chiller-1", "chw"), ("hp-1", "hp"), ("pump-chw-1", "pmp")),
        *(("fcu-301", "fcu"), ("idu-601", "vrf"), ("meter-main", "meter"), ("meter-t301", "meter")),
    ],
)
def test_a_sound_building_raises_no_finding(
    plan, profiles, tmp_path: Path, equipment: str, family: str, day: str
) -> None:
    assert rules_that_fire(plan, profiles, tmp_path, equipment, family, day, []) == set()
