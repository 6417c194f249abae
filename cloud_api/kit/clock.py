"""The only place that may ask the machine for the time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _machine_time() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A source of the current instant, handed to whatever needs it; always aware, always UTC."""

    source: Callable[[], datetime] = _machine_time

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return self.source().astimezone(UTC)


def fixed_clock(instant: datetime) -> Clock:
    """Return a clock that stands still at `instant`, for tests and for re-runs "as known on" a date."""
    if instant.tzinfo is None:
        raise ValueError(f"a clock needs an aware instant, not {instant!r}: add tzinfo")
    return Clock(source=lambda: instant)
