"""Equipment as fault rules see it: the points that play its roles, its design, its surroundings, its calendar."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.faults import baselines, derived, hosts, learning, pricing, trend
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.hosts import HostRole
from cloud_api.faults.learning import Learned
from cloud_api.faults.rules import role_aliases, roles
from cloud_api.faults.series import Array
from cloud_api.faults.units import Unit, UnitError, conversion, quantity

queries = load_queries(__file__)

TICK_S = 60
# A value holds this long when the next does not come (change-of-value sensors speak rarely).
MAX_AGE_S = 900
CLOCK_ROLE = "device_clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPoint:
    """A point that plays a role, with what brings its value to the role's unit."""

    role: str
    point_id: int
    conversion: Unit
    is_clock: bool = False  # What it says is a clock's time; the role is how far it is off.


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """An equipment that fault rules can judge."""

    id: int
    organisation_id: int
    site_id: int
    code: str
    name_zh: str
    name_en: str
    family: str
    zone: ZoneInfo
    points: tuple[BoundPoint, ...]
    constants: Mapping[str, float]
    watermark: datetime | None
    # Per gateway, how far what it sent about this unit is complete.
    complete: Mapping[int, datetime] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    # Roles of its surroundings, and what other units' points they are computed from.
    host: tuple[HostRole, ...] = ()
    sources: Mapping[tuple[str, str], "BoundPoint | float"] = field(default_factory=dict)
    learned: Learned = field(default_factory=Learned)
    # The public calendar: holidays (True) and make-up workdays (False).
    free_days: Mapping[date, bool] = field(default_factory=dict)

    @property
    def available(self) -> frozenset[str]:
        """Every role that rules may read: of its points, its design, its surroundings, its own history."""
        own = frozenset((*(p.role for p in self.points), *self.constants, *(h.role for h in self.host)))
        own |= frozenset(self.learned.constants) | (frozenset(("day_off",)) if self.free_days else frozenset())
        return own | baselines.expected_roles(self.learned.baselines, own)


async def bound_equipment(conn: AsyncConnection, equipment_id: int | None = None) -> list[Equipment]:
    """Return the equipment whose Brick class has rules, with roles bound; one, or all in scope.

    Besides its points, a unit gets the roles of its surroundings (`hosts`) and what was learned of it.
    """
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in await all_rows(conn, queries.bound_points, {}):
        grouped.setdefault(row["equipment_id"], []).append(row)
    found = {key: e for key, rows in grouped.items() if (e := _equipment(rows)) is not None}
    placed = await all_rows(conn, queries.surroundings, {})
    models = {
        row["equipment_id"]: row["content"] for row in await all_rows(conn, queries.models, {"equipment_id": None})
    }
    free: dict[int, dict[date, bool]] = {}
    for row in await all_rows(conn, queries.free_days, {}):
        free.setdefault(row["site_id"], {})[row["day"]] = row["is_free"]
    done: list[Equipment] = []
    for site_id in sorted({e.site_id for e in found.values()}):
        here = {e.code: e for e in found.values() if e.site_id == site_id}
        units = [_unit(row, here[row["code"]]) for row in placed if row["site_id"] == site_id and row["code"] in here]
        given = hosts.plan(units)
        done += [
            replace(_surrounded(e, given.get(code, ()), here, models.get(e.id)), free_days=free.get(site_id, {}))
            for code, e in here.items()
        ]
    return [e for e in done if equipment_id is None or e.id == equipment_id]


Sources = dict[int, frozenset[int]]


async def sources(conn: AsyncConnection) -> tuple[Sources, Sources]:
    """Return, by equipment, what supplies it (`hosts.supply`), and the meters above it (`hosts.feeders`)."""
    placed = await all_rows(conn, queries.surroundings, {})
    supply: Sources = {}
    feeders: Sources = {}
    for site_id in {row["site_id"] for row in placed}:
        ids = {row["code"]: row["equipment_id"] for row in placed if row["site_id"] == site_id}
        units = [_unit(row, None) for row in placed if row["site_id"] == site_id]
        for found, by_code in ((supply, hosts.supply(units)), (feeders, hosts.feeders(units))):
            found |= {ids[c]: frozenset(ids[s] for s in codes if s in ids) for c, codes in by_code.items() if c in ids}
    return supply, feeders


async def columns_between(
    conn: AsyncConnection, equipment: Equipment, start: datetime, end: datetime, tick_s: int = TICK_S
) -> tuple[NDArray[np.int64], dict[str, Array]]:
    """Return the ticks in (start, end] and the equipment's roles on them, in canonical units; unknown is NaN."""
    first = int(start.timestamp()) // tick_s * tick_s + tick_s
    seconds = np.arange(first, int(end.timestamp()) + 1, tick_s, dtype=np.int64)
    others = [p for p in equipment.sources.values() if isinstance(p, BoundPoint)]
    values = {
        "points": sorted({p.point_id for p in (*equipment.points, *others)}),
        "start": start - timedelta(seconds=MAX_AGE_S),
        "end": end,
    }
    stored: dict[int, tuple[list[float], list[float]]] = {}
    for row in await all_rows(conn, queries.observations, values):
        at, value = stored.setdefault(row["point_id"], ([], []))
        at.append(row["second"])
        value.append(row["value"])
    known = {**equipment.learned.constants, **equipment.constants}
    columns = {name: np.full(len(seconds), value) for name, value in known.items()}
    if equipment.free_days:
        columns["day_off"] = derived.days_off(seconds, equipment.zone, equipment.free_days)

    def column(source: BoundPoint | float) -> Array:
        if not isinstance(source, BoundPoint):
            return np.full(len(seconds), source)
        at, value = stored.get(source.point_id, ([], []))
        converted = np.array(value) * source.conversion.factor + source.conversion.offset
        if source.is_clock:
            converted = clock_offset(converted, np.array(at), equipment.zone)
        if roles()[source.role].unit == "bool":
            converted = (converted > 0.5).astype(float)
        instants = np.ceil(np.array(at, dtype=np.float64)).astype(np.int64)
        return trend.resample(instants, converted, seconds, MAX_AGE_S)

    columns |= {point.role: column(point) for point in equipment.points}
    columns |= hosts.compute(equipment.host, lambda code, role: column(equipment.sources[code, role]))
    columns |= baselines.expectations(equipment.learned.baselines, columns, seconds, equipment.zone)
    return seconds, columns


def clock_offset(told: Array, seconds: Array, zone: ZoneInfo) -> Array:
    """Return by how many seconds a meter's wall clock (local time, counted as UTC) is fast at these instants."""
    local = [datetime.fromtimestamp(s, UTC).astimezone(zone).utcoffset() for s in seconds.tolist()]
    return told - seconds - np.array([o.total_seconds() if o else 0.0 for o in local])


def constants_of(attributes: Mapping[str, Any], bound: set[str]) -> dict[str, float]:
    """Read design data from an equipment's attributes; a bound point beats them."""
    found: dict[str, float] = {"cop": pricing.COP_DEFAULT}
    design = attributes.get("design", attributes)
    named = {"minimum_outside_air_fraction": "min_oa_fraction"}
    for name, value in {**design, **attributes.get("learned", {})}.items():
        role = role_aliases().get(str(named.get(name, name)))
        if role is not None and isinstance(value, int | float | str):
            try:
                found[role] = quantity(value, roles()[role].unit)
            except UnitError:
                continue
    return {name: value for name, value in found.items() if name not in bound}


def _unit(row: Mapping[str, Any], equipment: Equipment | None) -> hosts.Unit:
    family = catalogue().bricks.get(row["brick_class"].removeprefix("brick:"), "")
    bound = frozenset((*(p.role for p in equipment.points), *equipment.constants)) if equipment else frozenset[str]()
    return hosts.Unit(
        key=row["code"],
        family=family,
        roles=bound,
        fed_by=tuple(row["fed_by"]),
        spaces=frozenset(map(str, row["spaces"])),
        floors=frozenset(map(str, row["floors"])),
        sub_meters=tuple(row["sub_meters"]),
    )


def _surrounded(
    equipment: Equipment, given: Sequence[HostRole], here: Mapping[str, Equipment], model: Mapping[str, Any] | None
) -> Equipment:
    sources: dict[tuple[str, str], BoundPoint | float] = {}
    elsewhere: list[datetime] = []
    for code, role in (s for h in given for s in h.sources):
        other = here[code]
        point = next((p for p in other.points if p.role == role), None)
        sources[code, role] = other.constants[role] if point is None else point
        # A neighbour that fell silent must not stop this unit; another gateway that is behind must.
        elsewhere += [at for gateway, at in other.complete.items() if gateway not in equipment.complete]
    problems, learned = equipment.problems, Learned()
    try:
        learned = learning.from_json(model) if model else learned
    except baselines.BaselineError as error:  # A model of another version: visible, and in nobody's way.
        problems = (*problems, str(error))
    return replace(
        equipment,
        host=tuple(given),
        sources=sources,
        learned=learned,
        problems=problems,
        watermark=min([equipment.watermark, *elsewhere]) if equipment.watermark else None,
    )


def _equipment(rows: Sequence[Mapping[str, Any]]) -> Equipment | None:
    head = rows[0]
    family = catalogue().bricks.get(head["brick_class"].removeprefix("brick:"))
    if family is None:
        return None
    points, problems = [], []
    for row in rows:
        role = role_aliases().get(row["role"])
        if role is None:
            continue
        try:
            how = conversion(row["unit"] or "1", roles()[role].unit)
            is_clock = role == CLOCK_ROLE
            role = "clock_offset_s" if is_clock else role
            points.append(BoundPoint(role=role, point_id=row["point_id"], conversion=how, is_clock=is_clock))
        except UnitError as error:
            problems.append(f"{row['role']}: {error}")
    newest: dict[int, datetime] = {}
    for row in rows:
        if row["observed_at"] is not None:
            gateway = row["gateway_id"]
            newest[gateway] = max(newest.get(gateway, row["observed_at"]), row["observed_at"])
    for row in rows:
        if row["complete_until"] is not None and row["gateway_id"] in newest:
            newest[row["gateway_id"]] = min(newest[row["gateway_id"]], row["complete_until"])
    return Equipment(
        id=head["equipment_id"],
        organisation_id=head["organisation_id"],
        site_id=head["site_id"],
        code=head["code"],
        name_zh=head["name_zh"],
        name_en=head["name_en"],
        family=family,
        zone=ZoneInfo(head["time_zone"]),
        points=tuple(points),
        constants=constants_of(head["attributes"], {p.role for p in points}),
        # Data of the gateway that is furthest behind are still to come.
        watermark=min(newest.values(), default=None),
        complete=newest,
        problems=tuple(problems),
    )
