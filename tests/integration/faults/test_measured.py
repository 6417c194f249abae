"""Detection on measured air handlers: one fault per day, with the authors' labels."""

import csv
from datetime import date

import pytest
import yaml

from cloud_api.faults import learning, replay, scoring, trend

ROLES = {
    "sat": ("AHU: Supply Air Temperature", "degF"),
    "sat_sp_htg": ("AHU: Supply Air Temperature Heating Set Point", "degF"),
    "sat_sp_clg": ("AHU: Supply Air Temperature Cooling Set Point", "degF"),
    "oat": ("AHU: Outdoor Air Temperature", "degF"),
    "mat": ("AHU: Mixed Air Temperature", "degF"),
    "rat": ("AHU: Return Air Temperature", "degF"),
    "sf_status": ("AHU: Supply Air Fan Status", "bool"),
    "sf_speed": ("AHU: Supply Air Fan Speed Control Signal", "0-1"),
    "oa_dmpr_cmd": ("AHU: Outdoor Air Damper Control Signal", "0-1"),
    "clg_vlv_cmd": ("AHU: Cooling Coil Valve Control Signal", "0-1"),
    "htg_vlv_cmd": ("AHU: Heating Coil Valve Control Signal", "0-1"),
    "occ_schedule": ("Occupancy Mode Indicator", "bool"),
}


def labelled(shared_data, tmp_path, name, healthy=()):
    """Return the rules found and the label, by day."""
    path = tmp_path / "columns.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "time": {"column": "Datetime", "zone": "America/Chicago"},
                "roles": {r: {"column": c, "unit": u} for r, (c, u) in ROLES.items()},
            }
        )
    )
    how = trend.load_map(path)
    data = trend.load_trend(shared_data / "ahu_trends" / f"{name}.csv.gz", how)
    if healthy:
        data = trend.with_constants(data, learning.as_constants(learning.fit(data, healthy)))
    found = scoring.days_found(replay.replay(replay.rules_for("ahu", how), data).findings, data)
    with (shared_data / "ahu_trends" / f"{name}_day_labels.csv").open() as file:
        labels = {date.fromisoformat(row["date"]): row["fault_type"] for row in csv.DictReader(file)}
    return {day: (label, found.get(day, set())) for day, label in labels.items()}


@pytest.mark.parametrize(("name", "found_min"), [("SZCAV", 11), ("SZVAV", 5)])
def test_the_fixed_rules_find_most_faults_and_are_silent_on_healthy_days(shared_data, tmp_path, name, found_min):
    seen = labelled(shared_data, tmp_path, name)
    healthy = {day: rules for day, (label, rules) in seen.items() if label == "none"}
    faulty = {day: rules for day, (label, rules) in seen.items() if label != "none"}
    assert all(not rules for rules in healthy.values()), healthy
    assert sum(bool(rules) for rules in faulty.values()) >= found_min, faulty


def test_the_learned_channel_finds_the_small_leaks_of_valves_and_dampers(shared_data, tmp_path):
    seen = labelled(shared_data, tmp_path, "SZCAV", [date(2017, 4, 1)])
    assert "AHU-0101" in seen[date(2017, 3, 15)][1]  # Cooling valve, 5 percent.
    assert "AHU-0102" in seen[date(2017, 3, 22)][1]  # Heating valve, 5 percent.
    assert "AHU-0103" in seen[date(2017, 3, 20)][1]  # Damper, 20 percent.
    assert all(rules for label, rules in seen.values() if label != "none")


@pytest.mark.parametrize("left_out", [20, 21, 23, 24])
def test_a_healthy_day_that_the_channel_has_not_seen_stays_silent(shared_data, tmp_path, left_out):
    healthy = [date(2017, 9, day) for day in (20, 21, 23, 24) if day != left_out]
    assert labelled(shared_data, tmp_path, "SZVAV", healthy)[date(2017, 9, left_out)] == ("none", set())
