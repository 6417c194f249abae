"""What the simulator keeps between two starts: where it began, its last midnight, the faults, how far history got."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import Plan
from edge_agent.simulator.replay import Replay


class KeepingError(RuntimeError):
    """The folder cannot be used; the text says what to do."""


class Folder:
    """A folder of small JSON files, each replaced in one step."""

    def __init__(self, path: Path) -> None:
        """Make the folder; raises KeepingError."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KeepingError(f"cannot write to {path}: {error.strerror}; choose another --state folder") from error

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the content of `name`.json, or None when there is none; raises KeepingError."""
        file = self.path / f"{name}.json"
        try:
            return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        except (OSError, ValueError) as error:
            raise KeepingError(
                f"{file} cannot be read ({error}); remove {self.path} to begin a new building"
            ) from error

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Replace `name`.json; raises KeepingError."""
        draft = self.path / f"{name}.part"
        try:
            draft.write_text(json.dumps(content), encoding="utf-8")
            draft.replace(self.path / f"{name}.json")
        except OSError as error:
            raise KeepingError(f"cannot write to {self.path}: {error.strerror}") from error

    def journal(self) -> FaultJournal:
        """Return the faults injected so far; raises FaultError."""
        return FaultJournal(self.path / "faults.json")

    def begun_at(self) -> datetime | None:
        """When this building was first simulated."""
        kept = self.read("origin")
        return None if kept is None else datetime.fromisoformat(kept["begun_at"])

    def begin(self, at: datetime) -> None:
        """Fix the beginning; it never changes afterwards."""
        self.write("origin", {"begun_at": at.isoformat()})


def open_building(
    plan: Plan, folder: Folder, begin_at: datetime, journal: FaultJournal, replays: Sequence[Replay] = ()
) -> Building:
    """Return the building at its last kept midnight, or a new one that begins at `begin_at`. Raises KeepingError."""
    kept = folder.read("midnight")
    if kept is not None:
        try:
            return Building.restore(plan, kept, journal.at_minute, replays)
        except (KeyError, ValueError, TypeError) as error:
            raise KeepingError(f"{folder.path}: {error}; remove the folder to begin a new building") from error
    begun_at = folder.begun_at()
    if begun_at is None:
        folder.begin(begin_at)
        begun_at = begin_at
    return Building(plan, begun_at, journal.at_minute, replays)
