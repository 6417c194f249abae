"""What was appended and is not yet on the disk: bounded, and shed in the same order as the file."""

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edge_agent.model import Event, Frame
from edge_agent.outbox.codec import is_well_formed
from edge_agent.outbox.model import Limits, Stats


class Taken(NamedTuple):
    """What one transaction makes durable: all of it or nothing."""

    frames: list[Frame]
    events: list[Event]
    cursors: dict[str, str]


class Buffer:
    """Frames and events in memory; small unless the disk refuses to take them."""

    def __init__(self, limits: Limits, stats: Stats) -> None:
        self._limits = limits
        self._stats = stats
        self._guard = threading.Lock()
        self._frames: list[Frame] = []
        self._events: list[Event] = []
        self._cursors: dict[str, str] = {}

    def use_limits(self, limits: Limits) -> None:
        """Hold other limits from the next append on."""
        self._limits = limits

    def __len__(self) -> int:
        return len(self._frames) + len(self._events) + len(self._cursors)

    def add(self, frames: Sequence[Frame], events: Sequence[Event], cursors: Mapping[str, str]) -> None:
        """Take what is well formed; count the rest."""
        good = [frame for frame in frames if is_well_formed(frame)]
        with self._guard:
            self._stats.malformed += len(frames) - len(good)
            self._frames += good
            self._events += events
            self._cursors.update(cursors)
            self._shed()

    def take(self) -> Taken:
        """Hand over everything, to be written or put back."""
        with self._guard:
            taken = Taken(self._frames, self._events, self._cursors)
            self._frames, self._events, self._cursors = [], [], {}
            return taken

    def put_back(self, taken: Taken) -> None:
        """Return what could not be written, before what came in since."""
        with self._guard:
            self._frames = taken.frames + self._frames
            self._events = taken.events + self._events
            self._cursors = taken.cursors | self._cursors
            self._shed()

    def _shed(self) -> None:
        """Oldest telemetry goes first, then the oldest events, billing frames last."""
        excess = len(self._frames) - self._limits.buffer_frames_max
        if excess > 0:
            self._shed_frames(excess + self._limits.buffer_frames_max // 20)
        excess = len(self._events) - self._limits.buffer_events_max
        if excess > 0:
            del self._events[:excess]
            self._stats.dropped["event"] += excess

    def _shed_frames(self, excess: int) -> None:
        telemetry = [index for index, frame in enumerate(self._frames) if not frame.is_billing][:excess]
        billing_excess = max(excess - len(telemetry), 0)
        billing = [index for index, frame in enumerate(self._frames) if frame.is_billing][:billing_excess]
        for name, indexes in (("telemetry", telemetry), ("billing", billing)):
            self._stats.dropped[name] += sum(len(self._frames[index].values) for index in indexes)
        gone = {*telemetry, *billing}
        self._frames = [frame for index, frame in enumerate(self._frames) if index not in gone]
