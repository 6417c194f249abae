from pathlib import Path

import pytest

from edge_agent.simulator.faults import FaultError, FaultJournal
from edge_agent.simulator.keeping import Folder, KeepingError, open_building
from edge_agent.simulator.plan import Plan, PlanError, load_plan
from edge_agent.simulator.site_copy import Changes, render_site

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
HOUR = 3_600_000


def test_a_fault_holds_from_its_beginning_to_its_end() -> None:
    journal = FaultJournal()
    journal.set("ahu-3", "oa_damper_stuck", size=60, at_ms=2 * HOUR)
    journal.clear("ahu-3", at_ms=3 * HOUR)
    assert [bool(journal.at_minute(minute)) for minute in (119, 120, 179, 180)] == [False, True, True, False]
    assert journal.at_minute(150) == {"ahu-3": {"oa_damper_stuck": 60}}


def test_silence_acts_inside_the_minute() -> None:
    journal = FaultJournal()
    journal.set("meter-t301", "silent", at_ms=1500)
    assert [journal.is_silent("meter-t301", at) for at in (1499, 1500)] == [False, True]


def test_the_journal_survives_a_restart(tmp_path: Path) -> None:
    FaultJournal(tmp_path / "faults.json").set("chiller-1", "short_cycling", at_ms=0)
    assert [fault.kind for fault in FaultJournal(tmp_path / "faults.json").active(1)] == ["short_cycling"]


@pytest.mark.parametrize(
    ("target", "kind", "more", "said"),
    [
        ("ahu-3", "melted", {}, "no fault “melted”"),
        ("meter-t301", "oa_damper_stuck", {}, "is for ahu-\\*"),
        ("ahu-3", "oa_damper_stuck", {"size": 120}, "outside 0…100 %"),
        ("ahu-3", "drift", {}, "needs a point"),
        ("ahu-3", "silent", {"point": "co2"}, "takes no point"),
        ("ahu-9", "silent", {"known": ["ahu-3"]}, "no device or equipment “ahu-9”"),
    ],
)
def test_an_impossible_fault_is_refused_with_the_reason(target: str, kind: str, more: dict, said: str) -> None:
    with pytest.raises(FaultError, match=said):
        FaultJournal().set(target, kind, at_ms=0, **more)


def test_a_broken_state_file_names_the_remedy(tmp_path: Path, plan: Plan) -> None:
    (tmp_path / "midnight.json").write_text("{")
    with pytest.raises(KeepingError, match=r"remove .* to begin a new building"):
        open_building(plan, Folder(tmp_path), None, FaultJournal())


def test_a_lease_row_that_is_wrong_is_named_by_line(tmp_path: Path) -> None:
    leases = tmp_path / "leases.csv"
    leases.write_text("lease,tenant,space,first_day,last_day,head_count\nL-1,t-1,9F-99,2026-01-01,,4\n")
    with pytest.raises(PlanError, match=r"leases.csv:2: space '9F-99' does not stand in the building file"):
        load_plan(DEMO / "building.yaml", leases)
    leases.write_text("lease,tenant,space,first_day,last_day,head_count\nL-1,t-1,3F-01,soon,,4\n")
    with pytest.raises(PlanError, match=r"leases.csv:2: first_day: .*'soon'"):
        load_plan(DEMO / "building.yaml", leases)


def test_a_site_copy_moves_ports_and_paths_and_nothing_else(tmp_path: Path) -> None:
    text = (DEMO / "site.yaml").read_text()
    changes = Changes(
        base_port=26_000,
        broker_port=26_900,
        serial_folder=tmp_path,
        cloud_url="http://127.0.0.1:9000",
        credential_file=tmp_path / "credential",
    )
    copy = render_site(text, changes)
    assert render_site(text, Changes()) == text
    assert f"serial: {tmp_path}/rtu-plant" in copy
    assert "port: 26000" in copy
    assert "port: 26900" in copy
    differing = [a for a, b in zip(text.splitlines(), copy.splitlines(), strict=True) if a != b]
    assert all(any(key in line for key in ("port:", "serial:", "url:", "credential_file:")) for line in differing)
