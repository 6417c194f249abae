"""People in the building: what counters and doors say, and how far it may be shown."""

from dataclasses import dataclass
from datetime import datetime


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
