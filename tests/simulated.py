"""The simulated building under the real fault rules: a day of every equipment, with faults put in, judged as one site."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cloud_api.faults import baselines, bindings, causes, hosts, learning, replay
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.findings import Finding
from cloud_api.faults.rules import role_aliases, roles
from cloud_api.faults.series import Array
from cloud_api.faults.trend import Trend
from cloud_api.faults.units import conversion
from device_profiles.model import Profile
from edge_agent.commissioned import load_commissioned
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import Plan, load_plan
from edge_agent.simulator.recorder import Column, column_of
from edge_agent.simulator.signals import Instant

DEMO = Path(__file__).parents[1] / "deploy" / "demo"
Fault = tuple[str, str, float | None, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What every equipment's points said over some days, in canonical units, with the roles of its surroundings."""

    seconds: NDArray[np.int64]
    columns: dict[str, dict[str, Array]]


@dataclass(slots=True)
class Site:
    """The demo's building, as the simulator plays it and as the cloud knows it."""

    plan: Plan
    profiles: dict[str, Profile]
    equipment: dict[str, dict[str, Any]]
    parents: dict[str, str | None]

    @classmethod
    def load(cls) -> "Site":
        """Read the demo's files."""
        content = yaml.safe_load((DEMO / "building.yaml").read_text(encoding="utf-8"))
        return cls(
            plan=load_plan(DEMO / "building.yaml", DEMO / "leases.csv"),
            profiles=dict(load_commissioned(DEMO / "site.yaml").profiles),
            equipment={e["code"]: e for e in content["equipment"] if e["points"] and _family(e)},
            parents={m["code"]: m.get("parent") for m in content["meters"]},
        )

    def units(self, columns: dict[str, dict[str, Array]]) -> list[hosts.Unit]:
        """Return the equipment as the host sees it."""
        floors = {space.code: space.floor for space in self.plan.spaces}
        found = []
        for code, entry in self.equipment.items():
            spaces = frozenset(self.plan.serves.get(code, ()))
            found.append(
                hosts.Unit(
                    key=code,
                    family=_family(entry) or "",
                    roles=frozenset(columns[code]),
                    fed_by=tuple(entry.get("fed_by", ())),
                    spaces=spaces,
                    floors=frozenset(floors[s] for s in spaces),
                    sub_meters=tuple(c for c, above in self.parents.items() if above == code),
                )
            )
        return found

    def record(self, day: str, faults: Sequence[Fault] = (), *, days: int = 1) -> Recorded:
        """Let the building live from `day` on, with faults from the first minute."""
        start = datetime.fromisoformat(day).replace(tzinfo=self.plan.zone)
        journal = FaultJournal()
        for target, kind, size, point in faults:
            journal.set(target, kind, size=size, point=point, at_ms=round(start.timestamp() * 1000))
        building = Building(self.plan, start, journal.at_minute)
        picked = {code: self._columns(building, entry["points"]) for code, entry in self.equipment.items()}
        values: dict[str, dict[str, list[float]]] = {c: {r: [] for r in rs} for c, rs in picked.items()}
        seconds = []
        for _ in range(days * 1440):
            now = Instant(building=building, ms=0)
            seconds.append(building.at_ms // 1000)
            for code, roles_here in picked.items():
                for role, (column, _unit) in roles_here.items():
                    values[code][role].append(_number(column, now))
            building.run_to(building.minute + 1)
        grid = np.array(seconds, dtype=np.int64)
        columns = {
            code: {role: _canonical(role, picked[code][role][1], np.array(v)) for role, v in rows.items()}
            for code, rows in values.items()
        }
        for rows in columns.values():
            if bindings.CLOCK_ROLE in rows:
                told = rows.pop(bindings.CLOCK_ROLE)
                rows["clock_offset_s"] = bindings.clock_offset(told, grid.astype(float), self.plan.zone)
        for code, entry in self.equipment.items():
            constants = bindings.constants_of({"design": entry.get("design", {})}, set(columns[code]))
            columns[code] |= {name: np.full(len(grid), value) for name, value in constants.items()}
        given = hosts.plan(self.units(columns))
        own = {code: dict(rows) for code, rows in columns.items()}
        for code in columns:
            columns[code] |= hosts.compute(given[code], lambda key, role: own[key][role])
        return Recorded(seconds=grid, columns=columns)

    def learn(self, healthy: Recorded) -> dict[str, learning.Learned]:
        """Fit every unit on days in good order, as `faults learn` does."""
        inside = np.ones(len(healthy.seconds), dtype=bool)
        return {
            code: learning.fit_unit(_family(self.equipment[code]) or "", self._trend(healthy, code, None), inside)
            for code in healthy.columns
        }

    def judge(
        self, recorded: Recorded, learned: dict[str, learning.Learned] | None = None
    ) -> tuple[list[causes.Explained], dict[str, dict[str, Finding]]]:
        """Run every rule of every equipment and attach what is explained to its cause."""
        found = {}
        for code, entry in self.equipment.items():
            data = self._trend(recorded, code, (learned or {}).get(code))
            found[code] = list(replay.replay(catalogue().family(_family(entry) or ""), data).findings)
        explained = causes.explain(found, hosts.supply(self.units(recorded.columns)))
        return explained, {code: {f.rule: f for f in findings} for code, findings in found.items()}

    def _trend(self, recorded: Recorded, code: str, learned: learning.Learned | None) -> Trend:
        columns = dict(recorded.columns[code])
        if learned is not None:
            columns |= {n: np.full(len(recorded.seconds), v) for n, v in learned.constants.items() if n not in columns}
            columns |= baselines.expectations(learned.baselines, columns, recorded.seconds, self.plan.zone)
        return Trend(seconds=recorded.seconds, columns=columns, tick_s=60, zone=self.plan.zone)

    def _columns(self, building: Building, points: dict[str, str]) -> dict[str, tuple[Column, str]]:
        found = {}
        for name, address in points.items():
            device, _, point_name = address.partition("/")
            point = self.profiles[device].point(point_name)
            column = column_of(building, device, self.profiles[device], point)
            role = role_aliases().get(name)
            if column is not None and role is not None:
                found[role] = (column, point.unit)
        return found


def _family(entry: dict[str, Any]) -> str | None:
    return catalogue().bricks.get(entry["brick"])


def _number(column: Column, now: Instant) -> float:
    value = column.read(now)
    if value is None or isinstance(value, str):
        return float("nan")
    return float(value) if column.scale is None else value / 10**column.scale


def _canonical(role: str, unit: str, values: Array) -> Array:
    how = conversion(unit or "1", roles()[role].unit)
    converted = values * how.factor + how.offset
    return (converted > 0.5).astype(float) if roles()[role].unit == "bool" else converted
