"""Values of the outbox: what is stored, what is handed to an uplink, what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, NamedTuple

SeqRange = tuple[int, int]  # Both ends inclusive, as on the wire (ARCHITECTURE.md, section 9).


class ChunkClass(IntEnum):
    """What a chunk holds; the lowest number leaves first when the outbox overflows."""

    TELEMETRY = 0
    EVENT = 1
    BILLING = 2


class Lane(Enum):
    """Which end of the queue a batch is taken from."""

    LIVE = "live"  # The newest data, never offered on this lane before.
    BACKLOG = "backlog"  # The oldest data that nobody is sending.


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Layout:
    """The points of a frame, stored once and referred to by every frame with the same points.

    `scales` holds the decimal scale of each exact point at the time the value was read: a later profile may declare
    another scale, but a mantissa keeps the one it was made with.
    """

    device: str
    points: tuple[str, ...]
    scales: tuple[int | None, ...]

    def part(self, start: int, stop: int) -> "Layout":
        """Return the layout of a slice of the points."""
        return Layout(device=self.device, points=self.points[start:stop], scales=self.scales[start:stop])


class StoredFrame(NamedTuple):
    """A frame as it leaves the outbox; its observations are numbered from `first_seq`, one by one."""

    first_seq: int
    layout: Layout
    at_ms: int
    values: Sequence[float | int | None]
    qualities: Sequence[int] | None  # None: all good.


class StoredEvent(NamedTuple):
    """An event as it leaves the outbox."""

    seq: int
    kind: str
    device: str
    at_ms: int
    received_at_ms: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """The cloud will never accept this observation or event."""

    seq: int
    code: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The cloud could not accept this range now; it stays in the outbox."""

    first: int
    last: int
    code: str
    reason: str = ""


class ChunkSpan(NamedTuple):
    """A stored chunk: its consecutive sequence numbers, and which of them were settled before."""

    id: int
    first: int
    last: int
    kind: ChunkClass
    done: list[SeqRange]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """What an uplink sends in one message: whole chunks of one stream, minus what was settled before."""

    stream: str
    lane: Lane
    chunks: tuple[ChunkSpan, ...]
    frames: tuple[StoredFrame, ...]
    events: tuple[StoredEvent, ...]
    count: int  # Observations and events together.


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much the outbox keeps. The table in the README turns bytes into days offline."""

    bytes_max: int = 512 * 1024**2
    age_max_ms: int = 400 * 86_400_000
    warn_share: float = 0.8  # An `outbox.overflow` event is raised above this share of bytes_max ...
    clear_share: float = 0.7  # ... and cleared below this one.
    rejected_max: int = 10_000
    buffer_frames_max: int = 50_000  # Frames kept in memory while the disk refuses to take them.
    buffer_events_max: int = 10_000


@dataclass(slots=True, kw_only=True)
class Stats:
    """Counters since the outbox was opened, and the state a person should see."""

    appended: int = 0
    settled: int = 0
    rejected: int = 0
    retried: int = 0
    malformed: int = 0  # Frames whose columns do not agree, or values that are not numbers.
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("telemetry", "event", "billing"), 0))
    damaged_chunks: int = 0
    ignored_receipts: int = 0  # Receipts for a batch that was settled or given back already.
    last_error: str | None = None  # Why the last write failed; None when the outbox is well.
    repair: str | None = None  # What was repaired when the file was opened; None when nothing was.
