"""A value that moves on the page: what the macro `ui.live` draws first and app.js keeps moving."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cloud_api.kit.ids import PointId

# Three missed polls of a slow device; the page dims what is older.
STALE_AFTER_S = 60.0


class Observed(Protocol):
    """The latest observation of a point; `value` is None when there is none or it is not usable."""

    @property
    def point_id(self) -> PointId:
        """Which point."""
        ...

    @property
    def value(self) -> float | None:
        """In the point's own unit."""
        ...

    @property
    def observed_at(self) -> datetime | None:
        """When the device said so."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveValue:
    """The sum of some points times `factor`; unknown while one of them is, and as old as the oldest."""

    parts: Sequence[Observed]
    now: datetime
    factor: float = 1.0
    decimals: int = 1
    stale_after_s: float = STALE_AFTER_S

    @property
    def point_ids(self) -> list[PointId]:
        """The points to listen to."""
        return [part.point_id for part in self.parts]

    @property
    def amount(self) -> float | None:
        """The sum, or None when it cannot be known."""
        values = [part.value for part in self.parts]
        known = [value for value in values if value is not None]
        return sum(known) * self.factor if known and len(known) == len(values) else None

    @property
    def observed_at(self) -> datetime | None:
        """When the oldest part was observed."""
        instants = [part.observed_at for part in self.parts if part.observed_at]
        return min(instants) if instants else None

    @property
    def at_ms(self) -> str:
        """The same for the page, in milliseconds since 1970, or nothing."""
        return str(int(self.observed_at.timestamp() * 1000)) if self.observed_at else ""

    @property
    def is_stale(self) -> bool:
        """Whether the oldest part is older than it should be, or there is none."""
        return self.observed_at is None or (self.now - self.observed_at).total_seconds() > self.stale_after_s

    @property
    def values_json(self) -> str:
        """What the page starts from: point → [value, milliseconds]."""
        parts = {str(p.point_id): [p.value, int(p.observed_at.timestamp() * 1000)] for p in self.parts if p.observed_at}
        return json.dumps(parts, separators=(",", ":"))
