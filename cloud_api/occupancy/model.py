"""People in the building: what counters and doors say, and how far it may be shown."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Passages of one counter in one direction since the day's reset."""

    equipment_id: int
    role: str
    passages: float
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleNow:
    """How many people are in; `count` is None when no counter has spoken since the reset."""

    count: int | None
    entered: int
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorPeople:
    """Different people seen at a floor's doors; `people` is None where too few to be shown."""

    floor_id: int
    code: str
    name_zh: str
    name_en: str
    level_number: int
    people: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HourEntries:
    """Cards let in during one hour; None where too few to be shown."""

    starts_at: datetime
    entries: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPeople:
    """A tenant's day: different people by its cards and doors, and passages of its counters.

    `people` is None where too few to be shown; `passages` is None where no counter stands behind its spaces alone.
    """

    tenant_id: int
    code: str
    name_zh: str
    name_en: str
    people: int | None
    passages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryWithoutRight:
    """Entries of a tenant's cards through a door on a day on which no lease of the tenant opened it.

    `is_ended_card`: the card itself had ended before.
    """

    tenant_id: int
    code: str
    name_zh: str
    name_en: str
    door: str
    door_zh: str
    door_en: str
    day: date
    is_ended_card: bool
    entries: int
