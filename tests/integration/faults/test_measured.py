"""Detection on measured air handlers: one fault per day, with the authors' labels."""

import csv
from collections import defaultdict

import pytest
import yaml

from cloud_api.faults import replay, trend

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


def days(shared_data, tmp_path, name):
    """Return (fault type, intensity) and the rules found, by day."""
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
    found = defaultdict(set)
    for finding in replay.replay(replay.rules_for("ahu", how), data).findings:
        found[finding.start.astimezone(data.zone).date().isoformat()].add(finding.rule)
        found[finding.end.astimezone(data.zone).date().isoformat()] |= (
            {finding.rule} if finding.end.astimezone(data.zone).hour >= 1 else set()
        )
    with (shared_data / "ahu_trends" / f"{name}_day_labels.csv").open() as file:
        labels = {row["date"]: row["fault_type"] for row in csv.DictReader(file)}
    return {day: (label, found[day]) for day, label in labels.items()}


@pytest.mark.parametrize(("name", "found_min"), [("SZCAV", 12), ("SZVAV", 5)])
def test_the_fixed_rules_find_most_faults_and_are_silent_on_healthy_days(shared_data, tmp_path, name, found_min):
    seen = days(shared_data, tmp_path, name)
    healthy = {day: rules for day, (label, rules) in seen.items() if label == "none"}
    faulty = {day: rules for day, (label, rules) in seen.items() if label != "none"}
    assert all(not rules for rules in healthy.values()), healthy
    assert sum(bool(rules) for rules in faulty.values()) >= found_min, faulty
