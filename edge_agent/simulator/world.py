"""The living building: a model that follows a clock, with faults, overrides and a ledger of what was served."""

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import orjson

from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import MINUTE_MS, Building
from edge_agent.simulator.signals import Instant, Value

Clock = Callable[[], int]  # Milliseconds since 1970.
OVERRIDES_MAX = 1000
STEPS_AT_ONCE = 1440  # After a long pause the model catches up a day at a time.


def system_now_ms() -> int:
    """Return the machine's clock."""
    return time.time_ns() // 1_000_000


def fast_clock(start_ms: int, speed: float, now_ms: Clock = system_now_ms) -> Clock:
    """Return a clock that starts at `start_ms` and runs `speed` times as fast as `now_ms`."""
    begin = now_ms()
    return lambda: start_ms + round((now_ms() - begin) * speed)


class World:
    """What all served devices share."""

    def __init__(self, building: Building, journal: FaultJournal, *, now_ms: Clock = system_now_ms) -> None:
        """Follow `now_ms` from the building's present state."""
        self.building = building
        self.journal = journal
        self.now_ms = now_ms
        self.overrides: dict[tuple[str, str], Value] = {}
        self.served = ServedLedger(None)
        self.revision = 0  # Grows with every override, so that images made before it are not reused.

    def instant(self) -> Instant:
        """Return the building now."""
        now = max(self.now_ms(), self.building.at_ms)
        minute = now // MINUTE_MS
        if minute > self.building.minute:
            self.building.run_to(minute)
        return Instant(building=self.building, ms=now - self.building.at_ms)

    def is_silent(self, device: str) -> bool:
        """Whether the device has been silenced."""
        return self.journal.is_silent(device, self.now_ms())

    def override(self, device: str, point: str, value: Value) -> None:
        """Show `value` instead of the building's; None ends it. Raises ValueError beyond the limit."""
        if value is None:
            self.overrides.pop((device, point), None)
        elif len(self.overrides) >= OVERRIDES_MAX:
            raise ValueError(f"{OVERRIDES_MAX} overrides are in force; end some first")
        else:
            self.overrides[device, point] = value
        self.revision += 1


class ServedLedger:
    """One JSON line per answered read or published message: what a test may expect to find in the cloud."""

    def __init__(self, path: Path | None) -> None:
        """Append to `path`, or keep nothing."""
        self._file: IO[bytes] | None = None if path is None else path.open("ab", buffering=0)

    @property
    def is_open(self) -> bool:
        """Whether anything is kept; callers skip making entries otherwise."""
        return self._file is not None

    def add(self, device: str, at_ms: int, values: dict[str, Any]) -> None:
        """Note what a device said."""
        if self._file is not None:
            self._file.write(orjson.dumps({"device": device, "at_ms": at_ms, "values": values}, default=_text) + b"\n")

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _text(value: object) -> object:
    return str(value) if isinstance(value, Fraction) else repr(value)
