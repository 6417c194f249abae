"""The estate file (YAML): what stands where, which meter and which point belong to it."""

from datetime import date
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Name(_Part):
    """A name in both languages."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)


class SpaceIn(_Part):
    """A space of a floor. `kind` shared: bookable, the landlord's. `inside`: the space that it is part of."""

    code: str
    kind: Literal["tenant", "shared", "common", "plant"]
    name: Name
    inside: str | None = None
    since: date | None = None
    area_m2: Decimal | None = Field(default=None, gt=0)
    area_kind: Literal["net", "gross"] = "net"


class FloorIn(_Part):
    """A storey; ground is level 0."""

    code: str
    level_number: int
    name: Name
    since: date | None = None
    area_m2: Decimal | None = Field(default=None, gt=0)
    spaces: tuple[SpaceIn, ...] = ()


class BuildingIn(_Part):
    """A structure with its floors."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    name: Name
    since: date | None = None
    floors: tuple[FloorIn, ...] = ()


class RegisterIn(_Part):
    """A counter of a meter: where it is read, in which unit, and when it rolls over."""

    point: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*/[a-z][a-z0-9_]*$")
    unit: str
    multiplier: Decimal = Field(default=Decimal(1), gt=0)
    modulus: Decimal | None = Field(default=None, gt=0)


class MeterIn(_Part):
    """A meter, its place in the tree and the spaces whose consumption it counts."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    name: Name
    utility: Literal["electricity", "water", "gas", "heat", "cooling"] = "electricity"
    role: Literal["main", "floor", "tenant", "common", "plant", "check"]
    parent: str | None = None
    space: str | None = None
    serves: tuple[str, ...] = ()
    split: Literal["area", "equal"] = "area"
    interval_minutes: Literal[1, 5, 15, 30, 60] = 15
    installed_on: date | None = None
    registers: dict[str, RegisterIn] = Field(min_length=1)


class EquipmentIn(_Part):
    """A physical asset, where it stands, what it serves and which points tell about it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    name: Name
    brick: str
    space: str | None = None
    serves: tuple[str, ...] = ()
    fed_by: tuple[str, ...] = ()
    device: str | None = None
    points: dict[str, str] = Field(default_factory=dict)

    @field_validator("points", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return value or {}


class OrganisationIn(_Part):
    """The landlord or operator."""

    code: str
    name: Name


class SiteIn(_Part):
    """A place with one time zone; unknown keys are kept as attributes."""

    model_config = ConfigDict(frozen=True, extra="allow")

    code: str
    name: Name
    time_zone: str = "Asia/Shanghai"
    currency: str = Field(default="CNY", pattern="^[A-Z]{3}$")
    region: str = "CN-ZJ"
    supply: dict[str, Any] = Field(default_factory=dict)


class EstateFile(BaseModel):
    """The whole file; sections for other programs (`simulation`) are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1
    organisation: OrganisationIn
    site: SiteIn
    buildings: tuple[BuildingIn, ...] = Field(min_length=1)
    meters: tuple[MeterIn, ...] = ()
    equipment: tuple[EquipmentIn, ...] = ()
