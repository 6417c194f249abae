"""Roles that no point carries because they lie between equipment. Pure; the same for live data and replay.

What the zones of an air handler do, the median of neighbouring rooms, a second sensor of the room, sub-meters.
Which role a unit is given follows from the model alone: what feeds what, which space is served. Every operator works
tick by tick, so the result does not depend on how time is cut.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloud_api.faults.series import Array

TERMINALS = frozenset(("vav", "fcu", "fpb", "vrf"))
ROOMS = frozenset(("room", "iaq"))
PLANT = frozenset(("chw", "hp", "hw", "tower"))
OPEN_PERCENT, REHEAT_PERCENT = 80.0, 10.0
NEIGHBOURS_MIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One equipment in its surroundings; `roles` are those its points and design data give it."""

    key: str
    family: str
    roles: frozenset[str]
    fed_by: tuple[str, ...] = ()
    spaces: frozenset[str] = frozenset()
    floors: frozenset[str] = frozenset()
    sub_meters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRole:
    """A role computed from roles of other units: `how` over `sources` (unit, role)."""

    role: str
    how: str
    sources: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Site:
    units: Mapping[str, Unit]
    below: dict[str, list[Unit]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for unit in self.units.values():
            for above in self.above(unit):
                self.below.setdefault(above, []).append(unit)

    def above(self, unit: Unit) -> list[str]:
        """Return everything that feeds a unit, nearest first; a ring ends where it began."""
        found: list[str] = []
        edge = list(unit.fed_by)
        while edge:
            key = edge.pop(0)
            if key not in found and key != unit.key:
                found.append(key)
                edge += self.units[key].fed_by if key in self.units else ()
        return found

    def fed(self, unit: Unit, role: str, families: Iterable[str] = TERMINALS) -> list[tuple[str, str]]:
        return [(u.key, role) for u in self.below.get(unit.key, []) if u.family in families and role in u.roles]


def plan(units: Iterable[Unit]) -> dict[str, tuple[HostRole, ...]]:
    """Say which roles each unit of a site is given by its surroundings. A role that a point carries is left alone."""
    site = _Site(units={u.key: u for u in units})
    return {
        unit.key: tuple(
            HostRole(role=role, how=how, sources=tuple(sources))
            for role, how, sources in _of(site, unit)
            if sources and role not in unit.roles
        )
        for unit in site.units.values()
    }


def compute(roles: Sequence[HostRole], column: Callable[[str, str], Array]) -> dict[str, Array]:
    """Return the columns of host roles; `column` gives one role of one unit."""
    return {r.role: _HOW[r.how]([column(key, role) for key, role in r.sources]) for r in roles}


def supply(units: Iterable[Unit]) -> dict[str, frozenset[str]]:
    """Return, per unit, what supplies it: everything that feeds it, and the pumps and towers on the same loop."""
    site = _Site(units={u.key: u for u in units})
    helpers = ("pmp", "tower", "hx", "vfd")
    found = {}
    for unit in site.units.values():
        sources = set(site.above(unit))
        loops = sources | {unit.key}
        sources |= {u.key for u in site.units.values() if u.family in helpers and loops & set(u.fed_by)}
        if unit.family == "meter":  # What is wrong with a sub-meter shows in the balance of the meter above it.
            sources |= set(unit.sub_meters)
        if unit.family in ROOMS:
            serving = [u for u in site.units.values() if u.family not in ROOMS and u.spaces & unit.spaces]
            sources |= {key for u in serving for key in (u.key, *site.above(u))}
        found[unit.key] = frozenset(sources - {unit.key})
    return found


def feeders(units: Iterable[Unit]) -> dict[str, frozenset[str]]:
    """Return, per meter, the meters above it in the tree, at any height; a ring ends where it began."""
    above: dict[str, list[str]] = {}
    for unit in units:
        for sub_meter in unit.sub_meters:
            above.setdefault(sub_meter, []).append(unit.key)
    found: dict[str, frozenset[str]] = {}
    for key, nearest in above.items():
        edge, seen = list(nearest), set[str]()
        while edge:
            feeder = edge.pop()
            if feeder not in seen and feeder != key:
                seen.add(feeder)
                edge += above.get(feeder, ())
        found[key] = frozenset(seen)
    return found


def _of(site: _Site, unit: Unit) -> Iterable[tuple[str, str, list[tuple[str, str]]]]:
    if unit.family in {"ahu", "rtu"}:
        dampers, reheat = site.fed(unit, "zone_dmpr_pos"), site.fed(unit, "rht_vlv_cmd")
        yield "zone_dmpr_pos_max", "max", dampers
        yield "zone_dmpr_fraction_open", "share_open", dampers
        yield "zone_dmpr_high_avg", "mean_upper", dampers
        yield "zone_dmpr_low_avg", "mean_lower", dampers
        yield "zone_reheat_fraction", "share_reheat", reheat
    if unit.family in PLANT:
        coils = ("ahu", "rtu", "fcu")
        cooling, heating = site.fed(unit, "clg_vlv_cmd", coils), site.fed(unit, "htg_vlv_cmd", coils)
        yield "chw_valve_max", "max", cooling
        yield "ahu_clg_vlv_max", "max", cooling
        yield "ahu_htg_vlv_max", "max", heating
    if unit.family == "vrf":
        yield "calling_fraction", "mean", site.fed(unit, "calling", ("vrf",))
    if unit.family in TERMINALS | ROOMS:
        yield from _of_room(site, unit)
    if unit.family == "pmp":
        commands = {"chw": "chiller_cmd", "hp": "comp_cmd", "hw": "boiler_cmd"}
        machines = [site.units[key] for key in unit.fed_by if key in site.units]
        yield (
            "machine_cmd",
            "any",
            [(m.key, commands[m.family]) for m in machines if commands.get(m.family, "") in m.roles],
        )
    if unit.family == "meter":
        is_complete = all(key in site.units and "active_power" in site.units[key].roles for key in unit.sub_meters)
        yield "sub_power_sum", "sum", [(key, "active_power") for key in unit.sub_meters] if is_complete else []
    outdoor = [(u.key, "oat") for u in site.units.values() if "oat" in u.roles and u.key != unit.key]
    # A sensor that stands free, in no machine, is the site's own.
    free = [s for s in outdoor if site.units[s[0]].family not in {"ahu", "rtu", *PLANT}]
    if unit.family != "water":
        yield "oat", "median", free or outdoor
    if "oat" in unit.roles and (free or len(outdoor) >= 2):
        yield "oat_reference", "median", free or outdoor


def _of_room(site: _Site, unit: Unit) -> Iterable[tuple[str, str, list[tuple[str, str]]]]:
    rooms = [u for u in site.units.values() if u.family in TERMINALS | ROOMS and u.key != unit.key and u.spaces]
    same = [u for u in rooms if u.spaces & unit.spaces]
    # The nearest temperatures first: the same floor, else the whole building.
    others = [u for u in rooms if "zone_temp" in u.roles and u not in same and u.family == unit.family]
    floor = [u for u in others if u.floors & unit.floors]
    near = floor if len(floor) >= NEIGHBOURS_MIN else others
    if len(near) >= NEIGHBOURS_MIN:
        yield "zone_temp_neighbor_median", "median", [(u.key, "zone_temp") for u in near]
    yield "zone_temp_reference", "median", [(u.key, "zone_temp") for u in same if "zone_temp" in u.roles]
    yield "co2", "median", [(u.key, "co2") for u in same if "co2" in u.roles]
    above = [key for key in site.above(unit) if key in site.units and "occ_schedule" in site.units[key].roles]
    served = [u.key for u in site.units.values() if "occ_schedule" in u.roles and u.spaces & unit.spaces]
    # Only what is fed by the scheduled machine keeps its hours; a room with its own unit has its own.
    yield "occ_schedule", "any", [(key, "occ_schedule") for key in above[:1] or served[:1]]
    if unit.family == "vav":
        zones = [
            u
            for u in site.units.values()
            if u.family == "vav" and set(u.fed_by) & set(unit.fed_by) and {"zone_temp", "zone_temp_sp_clg"} <= u.roles
        ]
        yield (
            "satisfied_zone_fraction",
            "share_below",
            [(u.key, role) for u in zones for role in ("zone_temp", "zone_temp_sp_clg")],
        )


def _stack(columns: Sequence[Array]) -> Array:
    return np.vstack(columns)


def _known(rows: Array, reduce: Callable[[Array], Array]) -> Array:
    """Reduce over the units that are known at each tick; unknown where none is."""
    nobody = np.isnan(rows).all(axis=0)
    return np.where(nobody, np.nan, reduce(np.where(nobody, 0.0, rows)))


def _share(test: Callable[[Array], NDArray[np.bool_]]) -> Callable[[Sequence[Array]], Array]:
    def run(columns: Sequence[Array]) -> Array:
        rows = _stack(columns)
        return _known(np.where(np.isnan(rows), np.nan, test(rows).astype(float)), lambda x: np.nanmean(x, axis=0))

    return run


def _half(*, is_upper: bool) -> Callable[[Sequence[Array]], Array]:
    def run(columns: Sequence[Array]) -> Array:
        rows = np.sort(_stack(columns), axis=0)  # Unknown values sort to the end.
        count = (~np.isnan(rows)).sum(axis=0)
        index = np.arange(len(rows))[:, None]
        half = (count + 1) // 2
        inside = (index >= count - half) & (index < count) if is_upper else index < half
        sums = np.where(inside, np.nan_to_num(rows), 0.0).sum(axis=0)
        return np.divide(sums, half, out=np.full(rows.shape[1], np.nan), where=count > 0)

    return run


def _below(columns: Sequence[Array]) -> Array:
    """Share of zones at or below their cooling set point; columns alternate temperature and set point."""
    warm = _stack(columns[0::2]) - _stack(columns[1::2])
    return _known(np.where(np.isnan(warm), np.nan, (warm <= 0).astype(float)), lambda x: np.nanmean(x, axis=0))


def _sum(columns: Sequence[Array]) -> Array:
    total = columns[0]
    for column in columns[1:]:
        total = total + column
    return total


_HOW: dict[str, Callable[[Sequence[Array]], Array]] = {
    "max": lambda columns: _known(_stack(columns), lambda x: np.nanmax(x, axis=0)),
    "any": lambda columns: _known(_stack(columns), lambda x: np.nanmax(x, axis=0)),
    "mean": lambda columns: _known(_stack(columns), lambda x: np.nanmean(x, axis=0)),
    "median": lambda columns: _known(_stack(columns), lambda x: np.nanmedian(x, axis=0)),
    "sum": _sum,
    "mean_upper": _half(is_upper=True),
    "mean_lower": _half(is_upper=False),
    "share_open": _share(lambda x: x > OPEN_PERCENT),
    "share_reheat": _share(lambda x: x > REHEAT_PERCENT),
    "share_below": _below,
}
