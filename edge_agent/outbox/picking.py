"""Which chunks go into the next batch: live first, then the oldest; none twice at once, refused ones after a pause."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
import structlog

from edge_agent.outbox.codec import DamagedChunkError, decode_events, decode_frames, label_of
from edge_agent.outbox.model import Batch, ChunkClass, ChunkSpan, Lane, Stats, StoredEvent, StoredFrame
from edge_agent.outbox.queries import queries
from edge_agent.outbox.ranges import count as count_of
from edge_agent.outbox.ranges import missing
from edge_agent.outbox.refused import Refused
from edge_agent.outbox.store import Store

log = structlog.get_logger()

DAMAGED_KEPT = 100


class Picker:
    """Knows what is leased and what waits; the order of the queue itself is in the file."""

    def __init__(self, store: Store, stats: Stats, uptime_s: Callable[[], float]) -> None:
        self._store = store
        self._stats = stats
        self._batches: set[Batch] = set()
        self._leased: set[int] = set()
        self._refused = Refused(uptime_s)
        self._live_after: int = store.one(queries.newest_chunk_id)[0]
        self._backlog_after = 0  # No chunk up to here is free to be sent.
        self.waiting = dict.fromkeys(ChunkClass, 0)
        for kind, count, _, _ in store.rows(queries.totals):
            self.waiting[ChunkClass(kind)] = count
        for kind, done in store.rows(queries.partly_settled):
            self.waiting[ChunkClass(kind)] -= count_of(orjson.loads(done))

    def added(self, totals: Mapping[ChunkClass, int]) -> None:
        """Count what was stored."""
        for kind, count in totals.items():
            self.waiting[kind] += count

    def removed(self, totals: Mapping[ChunkClass, int]) -> None:
        """Count what has left."""
        for kind, count in totals.items():
            self.waiting[kind] -= count

    def is_leased(self, chunk_id: int) -> bool:
        """Tell whether a batch with this chunk is under way."""
        return chunk_id in self._leased

    def holds(self, batch: Batch) -> bool:
        """Tell whether the batch is still to be settled."""
        return batch in self._batches

    def oldest_stored_at(self) -> int | None:
        """Return when the oldest waiting chunk was stored, in milliseconds."""
        row = self._store.one(queries.oldest_stored_at)
        return row[0] if row else None

    def begin(self, max_observations: int, lane: Lane) -> Batch | None:
        """Lease chunks from one end of the queue."""
        rows = self._newest(max_observations) if lane is Lane.LIVE else self._oldest(max_observations)
        frames: list[StoredFrame] = []
        events: list[StoredEvent] = []
        chunks: list[ChunkSpan] = []
        for chunk_id, stream, first_seq, count, kind, done_json, payload in rows:
            done = [(first, last) for first, last in orjson.loads(done_json)] if done_json else []
            span = ChunkSpan(chunk_id, first_seq, first_seq + count - 1, ChunkClass(kind), done)
            label = label_of(stream, first_seq)
            wanted = missing(done, span.first, span.last) if done else None
            try:
                if span.kind is ChunkClass.EVENT:
                    events += decode_events(payload, label, first_seq, count, wanted)
                else:
                    frames += decode_frames(payload, label, first_seq, count, self._store.layouts, wanted)
            except DamagedChunkError as error:
                self._set_aside(span, str(error))
                continue
            chunks.append(span)
        if not chunks:
            return None
        batch = Batch(
            stream=rows[0][1],
            lane=lane,
            chunks=tuple(chunks),
            frames=tuple(frames),
            events=tuple(events),
            count=sum(len(frame.values) for frame in frames) + len(events),
        )
        self._leased.update(span.id for span in chunks)
        self._batches.add(batch)
        return batch

    def _newest(self, max_observations: int) -> list[tuple[Any, ...]]:
        picked = self._collect(self._store.rows(queries.newest_chunks, after=self._live_after), max_observations)
        picked.reverse()
        if picked:
            self._live_after = picked[-1][0]  # What was skipped below is backlog now.
        return picked

    def _oldest(self, max_observations: int) -> list[tuple[Any, ...]]:
        due = self._refused.due()
        if due:
            rows = self._store.rows(queries.chunks, ids=orjson.dumps(due).decode()).fetchall()
            self._refused.remove(set(due) - {row[0] for row in rows})  # Evicted meanwhile.
            picked = self._collect(rows, max_observations, are_due=True)
            if picked:
                self._refused.take(row[0] for row in picked)
                return picked
        picked = self._collect(self._store.rows(queries.oldest_chunks, after=self._backlog_after), max_observations)
        if picked:
            # What lies before is under way or refused; whoever gives it back says so.
            self._backlog_after = picked[-1][0]
            self._live_after = max(self._live_after, picked[-1][0])
        return picked

    def _collect(
        self, rows: Iterable[tuple[Any, ...]], max_observations: int, *, are_due: bool = False
    ) -> list[tuple[Any, ...]]:
        picked: list[tuple[Any, ...]] = []
        total = 0
        for row in rows:
            chunk_id, stream, _, count, _, done, _ = row
            if chunk_id in self._leased or (not are_due and chunk_id in self._refused):
                continue
            size = count - (count_of(orjson.loads(done)) if done else 0)
            if picked and (stream != picked[0][1] or total + size > max_observations):
                break
            picked.append(row)
            total += size
        return picked

    def settled(self, batch: Batch, refused: Iterable[int]) -> None:
        """End a batch by a receipt: the refused chunks wait, the others have left."""
        again = set(refused)
        self._end(batch)
        self._refused.remove(span.id for span in batch.chunks if span.id not in again)
        for chunk_id in again:
            self._refused.add(chunk_id)

    def released(self, batch: Batch) -> None:
        """End a batch that was not sent: offer it again at once."""
        self._end(batch)
        self._refused.remove(span.id for span in batch.chunks)
        self._backlog_after = min(self._backlog_after, min(span.id for span in batch.chunks) - 1)

    def _end(self, batch: Batch) -> None:
        self._batches.discard(batch)
        self._leased.difference_update(span.id for span in batch.chunks)

    def release_all(self) -> None:
        """Give back every lease."""
        for batch in tuple(self._batches):
            self.released(batch)

    def forget_refusals(self) -> None:
        """Offer refused chunks at once: what stood in their way has changed (a catalogue was sent)."""
        oldest = self._refused.clear()
        if oldest is not None:
            self._backlog_after = min(self._backlog_after, oldest - 1)

    def _set_aside(self, span: ChunkSpan, reason: str) -> None:
        count = span.last - span.first + 1
        log.error("outbox_chunk_damaged", chunk=span.id, observations=count, reason=reason)
        with self._store.transaction() as db:
            db.execute(queries.insert_damaged, {"id": span.id, "reason": reason})
            db.execute(queries.trim_damaged, {"keep": DAMAGED_KEPT})
            db.execute(queries.delete_chunks, {"ids": f"[{span.id}]"})
        self._stats.damaged_chunks += 1
        self.removed({span.kind: count - count_of(span.done)})
