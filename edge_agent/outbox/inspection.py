"""Looking into an outbox without disturbing the agent that uses it."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import orjson

from edge_agent.model import Quality
from edge_agent.outbox.codec import DamagedChunkError, decode_events, decode_frames, label_of
from edge_agent.outbox.model import ChunkClass, Layout, StoredFrame
from edge_agent.outbox.queries import queries
from edge_agent.outbox.ranges import count as count_of
from edge_agent.outbox.ranges import missing
from edge_agent.outbox.store import OutboxError, readable_layouts


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What an outbox holds. Instants in milliseconds since 1970-01-01 UTC."""

    path: Path
    file_bytes: int
    used_bytes: int
    streams: list[tuple[str, int]]  # Stream, next sequence number.
    waiting: dict[str, tuple[int, int, int]]  # Class: observations or events, rows, stored since.
    rejected: int
    damaged: int
    counters: dict[str, int]
    notes: list[tuple[int, str]]


class Inspection:
    """A read-only view of the file as it is now."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise OutboxError(f"{path}: there is no outbox; name its file, or start the agent once")
        self._path = path
        self._db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
        try:
            self._db.execute("BEGIN")  # One moment for all questions.
            self._db.execute(queries.totals)
        except sqlite3.Error as error:
            self._db.close()
            raise OutboxError(f"{path}: {error}; the agent repairs a damaged outbox when it starts") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def summary(self) -> Summary:
        """Return what the outbox holds."""
        page_size, pages, free = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
        return Summary(
            path=self._path,
            file_bytes=self._path.stat().st_size,
            used_bytes=(pages - free) * page_size,
            streams=[(row[0], row[1]) for row in self._db.execute("SELECT uuid, next_seq FROM stream ORDER BY rowid")],
            waiting=self._waiting_counts(),
            rejected=self._db.execute("SELECT count(*) FROM rejected").fetchone()[0],
            damaged=self._db.execute("SELECT count(*) FROM damaged").fetchone()[0],
            counters=dict(self._db.execute(queries.counters).fetchall()),
            notes=self._db.execute(queries.notes).fetchall(),
        )

    def _waiting_counts(self) -> dict[str, tuple[int, int, int]]:
        settled = dict.fromkeys(ChunkClass, 0)
        for kind, done in self._db.execute(queries.partly_settled):
            settled[ChunkClass(kind)] += count_of(orjson.loads(done))
        return {
            ChunkClass(kind).name.lower(): (count - settled[ChunkClass(kind)], rows, since)
            for kind, count, rows, since in self._db.execute(queries.totals)
        }

    def rejected(self, limit: int) -> Iterator[dict[str, Any]]:
        """Yield what the cloud rejected for good, newest first."""
        for stream, seq, at_ms, code, reason, content in self._db.execute(queries.rejected, {"limit": limit}):
            yield {
                "stream": stream,
                "seq": seq,
                "rejected_at_ms": at_ms,
                "code": code,
                "reason": reason,
                "content": orjson.loads(content),
            }

    def waiting(self) -> Iterator[dict[str, Any]]:
        """Yield everything that waits for a receipt, oldest first; exact values as decimal text."""
        layouts = {
            row[0]: Layout(
                device=row[1].decode(), points=tuple(orjson.loads(row[2])), scales=tuple(orjson.loads(row[3]))
            )
            for row in readable_layouts(self._db)
        }
        for _, stream, first_seq, count, kind, done, payload in self._db.execute(queries.oldest_chunks, {"after": 0}):
            settled = [(first, last) for first, last in orjson.loads(done)] if done else []
            wanted = missing(settled, first_seq, first_seq + count - 1) if settled else None
            label = label_of(stream, first_seq)
            try:
                if kind == ChunkClass.EVENT:
                    for event in decode_events(payload, label, first_seq, count, wanted):
                        yield {"stream": stream, **event._asdict()}
                else:
                    for frame in decode_frames(payload, label, first_seq, count, layouts, wanted):
                        yield from _observations(stream, frame)
            except DamagedChunkError as error:
                yield {"stream": stream, "seq": first_seq, "damaged": count - count_of(settled), "reason": str(error)}


def _observations(stream: str, frame: StoredFrame) -> Iterator[dict[str, Any]]:
    qualities = frame.qualities or [0] * len(frame.values)
    columns = zip(frame.layout.points, frame.layout.scales, frame.values, qualities, strict=True)
    for index, (point, scale, value, quality) in enumerate(columns):
        yield {
            "stream": stream,
            "seq": frame.first_seq + index,
            "point": f"{frame.layout.device}/{point}",
            "at_ms": frame.at_ms,
            "value": value if scale is None or value is None else str(Decimal(value).scaleb(-scale)),
            "quality": Quality(quality).name.lower(),
        }
