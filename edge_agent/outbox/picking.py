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
from edge_agent.outbox.store import Store

log = structlog.get_logger()

REFUSED_PAUSE_S = 1.0  # Doubles with each refusal ...
REFUSED_PAUSE_MAX_S = 300.0  # ... up to this.
DAMAGED_KEPT = 100


class Picker:
    """Knows what is leased and what waits; the order of the queue itself is in the file."""

    def __init__(self, store: Store, stats: Stats, uptime_s: Callable[[], float]) -> None:
        self._store = store
        self._stats = stats
        self._uptime_s = uptime_s
        self._batches: set[Batch] = set()
        self._leased: set[int] = set()
        self._refused: dict[int, tuple[float, int]] = {}  # Chunk: next turn, refusals so far.
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
        rows = self._store.rows(queries.oldest_chunks, after=self._backlog_after)
        picked = self._collect(rows, max_observations)
        if picked:
            if not self._refused:
                held = [chunk_id for chunk_id in self._leased if chunk_id < picked[0][0]]
                self._backlog_after = min(held, default=picked[0][0]) - 1
            self._live_after = max(self._live_after, picked[-1][0])
        return picked

    def _collect(self, rows: Iterable[tuple[Any, ...]], max_observations: int) -> list[tuple[Any, ...]]:
        picked: list[tuple[Any, ...]] = []
        total = 0
        now = self._uptime_s()
        for row in rows:
            chunk_id, stream, _, count, _, done, _ = row
            if chunk_id in self._leased or self._refused.get(chunk_id, (0.0, 0))[0] > now:
                continue
            size = count - (count_of(orjson.loads(done)) if done else 0)
            if picked and (stream != picked[0][1] or total + size > max_observations):
                break
            picked.append(row)
            total += size
        return picked

    def end(self, batch: Batch, *, refused: Iterable[int]) -> None:
        """Give the lease back; refused chunks wait before their next turn."""
        self._batches.discard(batch)
        again = set(refused)
        now = self._uptime_s()
        for chunk_id in (span.id for span in batch.chunks):
            self._leased.discard(chunk_id)
            if chunk_id in again:
                times = self._refused.get(chunk_id, (0.0, 0))[1] + 1
                pause = min(REFUSED_PAUSE_S * 2 ** min(times - 1, 10), REFUSED_PAUSE_MAX_S)
                self._refused[chunk_id] = (now + pause, times)
            else:
                self._refused.pop(chunk_id, None)
        self._backlog_after = min(self._backlog_after, batch.chunks[0].id - 1)

    def release_all(self) -> None:
        """Give back every lease."""
        for batch in tuple(self._batches):
            self.end(batch, refused=())

    def forget_refusals(self) -> None:
        """Offer refused chunks at once: what stood in their way has changed (a catalogue was sent)."""
        self._refused.clear()

    def _set_aside(self, span: ChunkSpan, reason: str) -> None:
        count = span.last - span.first + 1
        log.error("outbox_chunk_damaged", chunk=span.id, observations=count, reason=reason)
        with self._store.transaction() as db:
            db.execute(queries.insert_damaged, {"id": span.id, "reason": reason})
            db.execute(queries.trim_damaged, {"keep": DAMAGED_KEPT})
            db.execute(queries.delete_chunks, {"ids": f"[{span.id}]"})
        self._stats.damaged_chunks += 1
        self.removed({span.kind: count - count_of(span.done)})
