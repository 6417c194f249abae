from datetime import datetime
from pathlib import Path

import pytest

from edge_agent.simulator.model import Building
from edge_agent.simulator.people import Direction
from edge_agent.simulator.plan import Plan
from edge_agent.simulator.replay import Replay, ReplayError, load_replay

MAP = """
space: 3F-02
time: timestamp
period_s: 300
energy_kwh: [plugs, lights]
people: count
co2_ppm: co2
temperature_c: air
"""
HEAD = "timestamp,plugs,lights,count,co2,air\n"


def files(folder: Path, rows: str, mapping: str = MAP) -> tuple[Path, Path]:
    (folder / "trend.csv").write_text(HEAD + rows)
    (folder / "map.yaml").write_text(mapping)
    return folder / "trend.csv", folder / "map.yaml"


def replay(folder: Path, plan: Plan, rows: str, begin: str) -> Replay:
    at = datetime.fromisoformat(begin).replace(tzinfo=plan.zone)
    return load_replay(*files(folder, rows), begin_minute=round(at.timestamp()) // 60, plan=plan)


ROWS = """2021-09-07 09:00 +08:00,0.0500,0.0010,0,450,26.1
2021-09-07 09:05 +08:00,0.0527,0.0022,3,470,26.2
2021-09-07 09:10 +08:00,0.0001,0,2,,26.3
2021-09-07 12:00 +08:00,0.1,0,5,600,27.0
"""


def test_the_meter_counts_the_energy_of_the_file(tmp_path: Path, plan: Plan) -> None:
    played = replay(tmp_path, plan, ROWS, "2026-10-19T09:00")
    start = played.starts[0]
    watts = [played.power_w(start + minute) for minute in range(15)]
    assert sum(watts[:5]) * 60 == pytest.approx(0.0510 * 3.6e6, abs=60)
    assert sum(watts) * 60 == pytest.approx((0.0510 + 0.0549 + 0.0001) * 3.6e6, abs=60)


def test_a_gap_in_the_file_belongs_to_the_model_again(tmp_path: Path, plan: Plan) -> None:
    played = replay(tmp_path, plan, ROWS, "2026-10-19T09:00")
    assert played.at(played.starts[0] + 14) is not None
    assert played.at(played.starts[0] + 15) is None
    assert played.power_w(played.starts[0] + 20) is None
    assert played.at(played.starts[0] + 180).people == 5


def test_a_replayed_space_shows_what_was_measured_and_the_house_still_balances(tmp_path: Path, plan: Plan) -> None:
    played = replay(tmp_path, plan, ROWS, "2026-10-19T09:00")
    start = datetime(2026, 10, 19, tzinfo=plan.zone)
    building = Building(plan, start, replays=[played])
    opening = list(building.power.meter_ws)
    building.run_to(building.minute + 9 * 60 + 7)
    space = building.spaces["3F-02"]
    assert (space.people, space.co2_ppm, space.temperature_c) == (3, 470, 26.2)
    assert space.electric_w == played.power_w(building.minute)
    assert building.present == building.people_in - building.people_out
    building.run_to(building.minute + 1000)
    assert building.present == 0
    used = [now - before for now, before in zip(building.power.meter_ws, opening, strict=True)]
    assert used[0] == sum(building.power.load_ws) + sum(building.power.loss_ws)


def test_counts_of_the_file_become_passages_that_agree_with_them(tmp_path: Path, plan: Plan) -> None:
    played = replay(tmp_path, plan, ROWS, "2026-10-19T09:00")
    midnight = round(datetime(2026, 10, 19, tzinfo=plan.zone).timestamp()) // 60
    passages = list(played.passages(plan, datetime(2026, 10, 19).date(), midnight))  # noqa: DTZ001
    inside = {"main": 0, "3F": 0}
    for passage in sorted(passages, key=lambda p: p.second):
        inside[passage.door] += passage.direction
        assert inside[passage.door] >= 0
    assert inside == {"main": 0, "3F": 0}
    assert sum(p.direction is Direction.IN for p in passages if p.door == "3F") == 6  # 3, then 5 after 2.


@pytest.mark.parametrize(
    ("rows", "mapping", "said"),
    [
        ("2021-09-07 09:00,0.1,0,0,1,1\n", MAP, r"trend.csv:2: .* has no time zone"),
        ("2021-09-07 09:00 +08:00,much,0,0,1,1\n", MAP, r"trend.csv:2: could not convert .*'much'"),
        (ROWS + ROWS, MAP, "sort the file by time"),
        ("", MAP, "no row with a time"),
        (ROWS, MAP.replace("count", "heads"), "no column heads; there are: timestamp, plugs"),
        (ROWS, MAP.replace("3F-02", "9F-09"), "“9F-09” does not stand in the building file"),
        (ROWS, MAP.replace("300", "250"), r"map.yaml: period_s: .*multiple of 60"),
        (ROWS, MAP + "colour: red\n", r"map.yaml: colour: Extra inputs"),
    ],
)
def test_a_file_that_cannot_be_played_is_refused_with_its_place(
    tmp_path: Path, plan: Plan, rows: str, mapping: str, said: str
) -> None:
    with pytest.raises(ReplayError, match=said):
        load_replay(*files(tmp_path, rows, mapping), begin_minute=0, plan=plan)
