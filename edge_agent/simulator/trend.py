"""Trends of one piece of equipment as CSV, healthy or with a fault, for whoever tries fault rules on them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from device_profiles.model import Profile
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import Plan, PlanError
from edge_agent.simulator.recorder import Column, column_of
from edge_agent.simulator.signals import Instant

_CONSTANTS = {
    "minimum_outside_air_fraction": "min_oa_fraction",
    "supply_flow_l_s": "supply_flow",
    "heating_kw": "rated_thermal",
    **{role: role for role in ("override_active", "rated_power", "rated_current", "fan_kw")},
    **{role: role for role in ("cooling_mode_code", "heating_mode_code")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One column of the trend."""

    name: str
    unit: str
    column: Column


def write_trend(
    plan: Plan,
    profiles: Mapping[str, Profile],
    equipment: str,
    *,
    start: datetime,
    days: int,
    journal: FaultJournal,
    out: Path,
    step_min: int = 1,
) -> int:
    """Write `out` and beside it a column map (`.yaml`); returns the number of rows. Raises PlanError, OSError."""
    building = Building(plan, start, journal.at_minute)
    roles = _roles(building, plan, profiles, equipment)
    _write_map(plan, equipment, roles, out.with_suffix(".yaml"))
    rows = 0
    with out.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["time", *(role.name for role in roles)])
        for _ in range(days * 1440 // step_min):
            now = Instant(building=building, ms=0)
            at = datetime.fromtimestamp(building.at_ms / 1000, plan.zone).isoformat()
            writer.writerow([at, *(_shown(role.column, now) for role in roles)])
            rows += 1
            building.run_to(building.minute + step_min)
    return rows


def _roles(building: Building, plan: Plan, profiles: Mapping[str, Profile], equipment: str) -> list[Role]:
    points = plan.roles.get(equipment)
    if not points:
        known = ", ".join(code for code, roles in plan.roles.items() if roles)
        raise PlanError(f"no equipment “{equipment}” with points; there are: {known}")
    roles: list[Role] = []
    for name, address in points.items():
        device, _, point_name = address.partition("/")
        profile = profiles[device]
        point = profile.point(point_name)
        column = column_of(building, device, profile, point)
        if column is not None:
            roles.append(Role(name=name, unit=point.unit, column=column))
    return roles


def _shown(column: Column, now: Instant) -> Any:
    value = column.read(now)
    if value is None or column.scale is None:
        return value
    return value / 10**column.scale


def _write_map(plan: Plan, equipment: str, roles: list[Role], path: Path) -> None:
    columns = {r.name: {"column": r.name, "unit": r.unit} if r.unit else r.name for r in roles}
    design = plan.design.get(equipment, {})
    constants = {role: design[key] for key, role in _CONSTANTS.items() if key in design}
    content = {"time": {"column": "time", "zone": str(plan.zone)}, "roles": columns, "constants": constants}
    path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
