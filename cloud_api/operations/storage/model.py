"""Values of the storage's life: what is kept how long, what stands where, what was done."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cloud_api.kit.errors import Invalid


class Kind(StrEnum):
    """What is kept for one length of time."""

    RAW = "raw"
    REGISTERS = "registers"
    EVENTS = "events"
    SERIES = "series"
    LEDGER = "ledger"  # Never dropped.


KIND_OF = {
    "observation": Kind.RAW,
    "observation_kept": Kind.REGISTERS,
    "observation_series": Kind.SERIES,
    "event": Kind.EVENTS,
}
KEEP_DAYS_MIN, KEEP_DAYS_MAX = 35, 36_500


class KeepRefused(Invalid):
    """Data cannot be kept for that long or that short."""

    code = "keep_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Something that still needs data of a kind from an instant on."""

    kind: str
    needed_from: datetime
    reason: str  # ledger, series, open_run, not_billed
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long a kind is kept."""

    kind: str
    keep_days: int
    gone_before: datetime | None

    def cutoff(self, now: datetime, holds: list[Hold]) -> datetime:
        """Return the instant before which data may go: old enough, and needed by nobody.

        Two days more than what is needed, because an interval is computed from the readings around it.
        """
        needed = [hold.needed_from - timedelta(days=2) for hold in holds if hold.kind == self.kind]
        return min([now - timedelta(days=self.keep_days), *needed])


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A chunk of a hypertable or a partition; bytes with its indexes, rows by estimate."""

    parent: str
    name: str
    starts_at: datetime
    ends_at: datetime
    row_count: int
    byte_count: int
    is_compressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one table holds, and when its oldest piece goes."""

    name: str
    kind: Kind
    keep_days: int | None
    piece_count: int
    compressed_count: int
    row_count: int
    byte_count: int
    compression_ratio: float | None
    oldest_at: datetime | None
    newest_at: datetime | None
    next_drop_at: datetime | None
    holds: tuple[Hold, ...]

    @property
    def bytes_per_row(self) -> float | None:
        """Return bytes per row, indexes included; None for an empty table."""
        return self.byte_count / self.row_count if self.row_count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A line of the journal."""

    at: datetime
    action: str  # create, columnstore, move, drop, keep, fail
    kind: str
    name: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    row_count: int | None = None
    byte_count: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The storage as it is."""

    licence: str | None
    tables: list[Table]
    journal: list[Deed]

    @property
    def compresses(self) -> bool:
        """Tell whether TimescaleDB's licence has the columnstore."""
        return self.licence == "timescale"
