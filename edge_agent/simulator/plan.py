"""The building to simulate: building.yaml and leases.csv, checked and turned into frozen values."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

FILE_BYTES_MAX = 4 * 1024**2


class PlanError(ValueError):
    """A building or lease file that a person must mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpacePlan:
    """One space: what is done in it and how large it is."""

    code: str
    floor: str
    kind: str
    activity: str
    area_m2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePlan:
    """Who is in a space from `first_day` to `last_day`, both included."""

    tenant: str
    space: str
    first_day: date
    last_day: date | None
    head_count: int

    def holds_on(self, day: date) -> bool:
        """Whether the space is let to this tenant on `day`."""
        return self.first_day <= day and (self.last_day is None or day <= self.last_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterPlan:
    """One electricity meter: its place in the tree, the loads that hang directly on it, its share of losses."""

    code: str
    parent: str | None
    role: str
    loads: tuple[str, ...]
    loss_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything the model needs to know about the building."""

    seed: int
    zone: ZoneInfo
    spaces: tuple[SpacePlan, ...]
    leases: tuple[LeasePlan, ...]
    meters: tuple[MeterPlan, ...]  # Parents before children.
    no_load_loss_w: int
    serves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # Equipment code → space codes.
    stands_in: Mapping[str, str] = field(default_factory=dict)  # Equipment code → space code.
    design: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # Equipment code → rated values.
    roles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # Equipment code → role → device/point.

    def lease_of(self, space: str, day: date) -> LeasePlan | None:
        """Return the lease that holds on `day`."""
        return next((lease for lease in self.leases if lease.space == space and lease.holds_on(day)), None)


class _Part(BaseModel):
    """The simulator reads a few keys of each entry; the estate import owns the rest."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Space(_Part):
    code: str
    kind: str
    area_m2: float = Field(gt=0)


class _Floor(_Part):
    code: str
    spaces: list[_Space]


class _Building(_Part):
    code: str
    floors: list[_Floor]


class _Equipment(_Part):
    code: str
    space: str
    serves: list[str] = []
    design: dict[str, float] = {}
    points: dict[str, str] = {}


class _Meter(_Part):
    code: str
    utility: str = "electricity"
    role: str
    parent: str | None = None
    serves: list[str] = []


class _Site(_Part):
    time_zone: str


class _Simulation(_Part):
    seed: int
    loss_share: dict[str, float] = {}
    no_load_loss_w: int = 0
    loads: dict[str, list[str]] = {}
    activities: dict[str, str] = {}


class _File(_Part):
    site: _Site
    buildings: list[_Building]
    equipment: list[_Equipment] = []
    meters: list[_Meter] = []
    simulation: _Simulation


class _LeaseRow(_Part):
    lease: str
    tenant: str
    space: str
    first_day: date
    last_day: date | None = None
    head_count: int = Field(default=0, ge=0, le=10_000)

    @field_validator("last_day", mode="before")
    @classmethod
    def _empty_is_open(cls, value: Any) -> Any:
        return None if value == "" else value


def load_plan(building_path: Path, leases_path: Path) -> Plan:
    """Read both files; raises PlanError that names file, place and remedy."""
    file = _parse_building(building_path)
    spaces = tuple(
        SpacePlan(
            code=space.code,
            floor=floor.code,
            kind=space.kind,
            activity=file.simulation.activities.get(space.code, "office" if space.kind == "tenant" else "corridor"),
            area_m2=space.area_m2,
        )
        for building in file.buildings
        for floor in building.floors
        for space in floor.spaces
    )
    return Plan(
        seed=file.simulation.seed,
        zone=ZoneInfo(file.site.time_zone),
        spaces=spaces,
        leases=_read_leases(leases_path, {space.code for space in spaces}),
        meters=_meter_tree(building_path, file),
        no_load_loss_w=file.simulation.no_load_loss_w,
        serves={item.code: _spaces_of(item.serves, spaces) for item in file.equipment},
        stands_in={item.code: item.space for item in file.equipment},
        design={item.code: item.design for item in file.equipment},
        roles={item.code: item.points for item in file.equipment},
    )


def _parse_building(path: Path) -> _File:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise PlanError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        return _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlanError(f"{path}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise PlanError(f"{path}: {where}: {first['msg']} ({error.error_count()} mistakes in all)") from error


def _read_leases(path: Path, spaces: set[str]) -> tuple[LeasePlan, ...]:
    leases: list[LeasePlan] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            for number, row in enumerate(csv.DictReader(handle), start=2):
                leases.append(_lease(path, number, row, spaces))
    except OSError as error:
        raise PlanError(f"{path}: {error.strerror}") from error
    return tuple(leases)


def _lease(path: Path, number: int, row: dict[str, Any], spaces: set[str]) -> LeasePlan:
    try:
        parsed = _LeaseRow.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise PlanError(f"{path}:{number}: {first['loc'][0]}: {first['msg']}, found {first['input']!r}") from error
    if parsed.space not in spaces:
        raise PlanError(f"{path}:{number}: space {parsed.space!r} does not stand in the building file")
    return LeasePlan(
        tenant=parsed.tenant,
        space=parsed.space,
        first_day=parsed.first_day,
        last_day=parsed.last_day,
        head_count=parsed.head_count,
    )


def _meter_tree(path: Path, file: _File) -> tuple[MeterPlan, ...]:
    """Electricity meters, parents first; raises PlanError for an unknown parent or a circle."""
    waiting = {meter.code: meter for meter in file.meters if meter.utility == "electricity"}
    ordered: list[MeterPlan] = []
    known: set[str | None] = {None}
    while waiting:
        ready = [meter for meter in waiting.values() if meter.parent in known]
        if not ready:
            codes = ", ".join(sorted(waiting))
            raise PlanError(f"{path}: meters: parent unknown or circular for {codes}; the main meter has none")
        for meter in ready:
            ordered.append(_meter(meter, file.simulation))
            known.add(meter.code)
            del waiting[meter.code]
    return tuple(ordered)


def _meter(meter: _Meter, simulation: _Simulation) -> MeterPlan:
    served = meter.serves if meter.role in {"tenant", "common"} else []
    share = simulation.loss_share.get(meter.code, simulation.loss_share.get(meter.role, 0.0))
    return MeterPlan(
        code=meter.code,
        parent=meter.parent,
        role=meter.role,
        loads=tuple(simulation.loads.get(meter.code, served)),
        loss_share=share,
    )


def _spaces_of(codes: list[str], spaces: tuple[SpacePlan, ...]) -> tuple[str, ...]:
    """Floors and buildings stand for the spaces in them."""
    return tuple(space.code for space in spaces if space.code in codes or space.floor in codes)
