"""Applying a receipt to the file: what leaves, what is kept for inspection, what stays."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from edge_agent.outbox import ranges
from edge_agent.outbox.model import Batch, ChunkClass, Limits, Rejection, SeqRange, StoredFrame
from edge_agent.outbox.queries import queries
from edge_agent.outbox.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a receipt changed."""

    accepted: int
    rejected: int
    removed: Mapping[ChunkClass, int]
    unsettled_chunks: tuple[int, ...]


def settle(
    store: Store,
    limits: Limits,
    batch: Batch,
    accepted: Sequence[SeqRange],
    rejected: Sequence[Rejection],
    now_ms: int,
) -> Outcome:
    """Record a receipt in one transaction; numbers outside the batch have no effect."""
    refusals = {entry.seq: entry for entry in rejected if _is_in(batch, entry.seq)}
    taken = ranges.merge(accepted)
    gone = ranges.merge([*taken, *((seq, seq) for seq in refusals)])
    finished: list[int] = []
    partly: list[tuple[int, str]] = []
    removed = dict.fromkeys(ChunkClass, 0)
    settled_count = 0
    for span in batch.chunks:
        done = ranges.within(gone, span.first, span.last)
        if span.done:
            done = ranges.merge([*done, *span.done])
        newly = ranges.count(done) - ranges.count(span.done)
        settled_count += newly
        removed[span.kind] += newly
        if ranges.count(done) == span.last - span.first + 1:
            finished.append(span.id)
        elif newly:
            partly.append((span.id, orjson.dumps(done).decode()))
    with store.transaction() as db:
        db.execute(queries.delete_chunks, {"ids": orjson.dumps(finished).decode()})
        db.executemany(queries.set_done, [{"id": chunk_id, "done": done} for chunk_id, done in partly])
        if refusals:
            db.executemany(queries.insert_rejected, _rejected_rows(batch, refusals.values(), now_ms))
            db.execute(queries.trim_rejected, {"keep": limits.rejected_max})
    keep = set(finished)
    return Outcome(
        accepted=settled_count - len(refusals),
        rejected=len(refusals),
        removed=removed,
        unsettled_chunks=tuple(span.id for span in batch.chunks if span.id not in keep),
    )


def _is_in(batch: Batch, seq: int) -> bool:
    return any(span.first <= seq <= span.last for span in batch.chunks)


def _rejected_rows(batch: Batch, refusals: Iterable[Rejection], now_ms: int) -> list[dict[str, Any]]:
    frames = sorted(batch.frames, key=lambda frame: frame.first_seq)
    firsts = [frame.first_seq for frame in frames]
    events = {event.seq: event for event in batch.events}
    rows: list[dict[str, Any]] = []
    for entry in refusals:
        if entry.seq in events:
            content: dict[str, Any] = events[entry.seq]._asdict()
        else:
            content = _observation(frames[max(bisect_right(firsts, entry.seq) - 1, 0)], entry.seq) if frames else {}
        rows.append(
            {
                "stream": batch.stream,
                "seq": entry.seq,
                "rejected_at": now_ms,
                "code": entry.code,
                "reason": entry.reason,
                "content": orjson.dumps(content, default=str).decode(),
            }
        )
    return rows


def _observation(frame: StoredFrame, seq: int) -> dict[str, Any]:
    index = seq - frame.first_seq
    if not 0 <= index < len(frame.values):
        return {}
    return {
        "point": f"{frame.layout.device}/{frame.layout.points[index]}",
        "at_ms": frame.at_ms,
        "value": frame.values[index],
        "scale": frame.layout.scales[index],
        "quality": 0 if frame.qualities is None else frame.qualities[index],
    }
