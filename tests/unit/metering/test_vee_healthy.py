"""What the checks of load factor, repeated blocks and stuck values say of buildings in good order: nothing."""

import csv
import gzip
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from cloud_api.metering.model import MeterInterval
from cloud_api.metering.vee import BY_USE, validate
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import load_plan

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
STEP = timedelta(minutes=15)
JUDGED = {"load_factor", "duplicate", "stuck"}


def _found(days, use):
    """Return what is said of days of (start, quantity), each compared with all those before it."""
    found, earlier = [], []
    for n, quantities in enumerate(days):
        day = [
            MeterInterval(meter_id=1, starts_at=at, ends_at=at + STEP, quantity=quantity, quality="actual")
            for at, quantity in quantities
        ]
        said = validate(day, [], BY_USE[use], expected=96, earlier=earlier)
        found += [(n, f.check, f.detail) for f in said if f.check in JUDGED]
        earlier += day
    return found


@pytest.fixture(scope="module")
def counted():
    """Eight days of the demonstration building: what each meter had counted at each quarter of an hour, in Ws."""
    plan = load_plan(DEMO / "building.yaml", DEMO / "leases.csv")
    start = datetime(2026, 7, 3, tzinfo=plan.zone)
    building = Building(plan, start)
    shown = [list(building.power.meter_ws)]
    for _ in range(8 * 96):
        building.run_to(building.minute + 15)
        shown.append(list(building.power.meter_ws))
    return start, {m.code: (m.role, [row[building.power.meters[m.code]] for row in shown]) for m in plan.meters}


@pytest.mark.parametrize("resolution", ["0.001", "0.01", "0.1", "1"])
def test_a_simulated_building_in_good_order_trips_no_check_of_patterns(counted, resolution):
    start, meters = counted
    for code, (role, total_ws) in meters.items():
        kwh = [(Decimal(ws) / 3_600_000).quantize(Decimal(resolution), ROUND_DOWN) for ws in total_ws]
        used = [(start + n * STEP, after - before) for n, (before, after) in enumerate(pairwise(kwh))]
        days = [used[n : n + 96] for n in range(0, len(used), 96)]
        assert len(days) == 8
        assert _found(days, role) == [], code


@pytest.mark.parametrize("column", ["plug_load_energy", "chilled_water_energy", "ahu_fan_energy", "lighting_energy"])
@pytest.mark.parametrize("use", ["tenant", "main"])
def test_a_measured_office_trips_no_check_of_patterns(shared_data, column, use):
    days = defaultdict(lambda: defaultdict(Decimal))
    with gzip.open(shared_data / "robod" / "office_room.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            at = datetime.strptime(row["timestamp"].replace(" +08:00", "+0800"), "%Y-%m-%d %H:%M%z")
            quarter = at.replace(minute=at.minute // 15 * 15)
            days[at.date()][quarter] += Decimal(row[column] or 0).quantize(Decimal("0.001"))
    assert len(days) == 29
    assert _found([sorted(days[day].items()) for day in sorted(days)], use) == []
