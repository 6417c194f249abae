"""What each device was found to refuse, kept on disk so that a restart does not ask again."""

import json
from dataclasses import dataclass
from pathlib import Path

from device_profiles.model import Function
from edge_agent.drivers.modbus.read_plan import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedKey:
    """What the knowledge holds for: another profile revision or another device makes it void."""

    device: str
    profile_revision: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Address ranges that a device refuses, and whole tables that it has not, where the profile names another."""

    ranges: tuple[Span, ...] = ()
    tables: frozenset[Function] = frozenset()


class LearnedRanges:
    """One small JSON file per device in a folder. A file that cannot be read is as good as none."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, key: LearnedKey) -> Learned:
        """Return what this device refuses, as far as it is known."""
        try:
            kept = json.loads(self._path(key).read_text(encoding="utf-8"))
            if [kept["profile_revision"], kept["address"]] != [key.profile_revision, key.address]:
                return Learned()
            ranges = tuple(Span(Function(function), start, end) for function, start, end in kept["ranges"])
            return Learned(ranges=ranges, tables=frozenset(Function(name) for name in kept.get("tables", ())))
        except (OSError, ValueError, KeyError, TypeError):
            return Learned()

    def save(self, key: LearnedKey, learned: Learned) -> None:
        """Replace what is known, in one step."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = {
            "profile_revision": key.profile_revision,
            "address": key.address,
            "ranges": [[span.function.value, span.start, span.end] for span in sorted(learned.ranges)],
            "tables": sorted(learned.tables),
        }
        path = self._path(key)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        draft.replace(path)

    def _path(self, key: LearnedKey) -> Path:
        return self._folder / f"{key.device}.json"
