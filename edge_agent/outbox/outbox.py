"""The durable queue: append, begin a batch, settle it with three verdicts; bounded, and repaired when damaged."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import structlog

from edge_agent.model import Event, Frame
from edge_agent.outbox import eviction, opening, settlement
from edge_agent.outbox.buffer import Buffer, Taken
from edge_agent.outbox.codec import encode_events, encode_frames, label_of
from edge_agent.outbox.model import Batch, ChunkClass, Lane, Limits, Rejection, Retry, SeqRange, Stats
from edge_agent.outbox.picking import Picker
from edge_agent.outbox.queries import queries
from edge_agent.outbox.store import is_corrupt, is_full

log = structlog.get_logger()

COMMIT_INTERVAL_S = 0.2  # Unless an uplink asks earlier.
COMMIT_CHECK_S = 0.1
MAINTAIN_INTERVAL_S = 1.0
CHUNK_OBSERVATIONS = 2_000  # A batch is made of whole chunks; one chunk must fit a message comfortably.
CHUNK_EVENTS = 200
LAYOUT_CACHE_MAX = 20_000


def system_now_ms() -> int:
    """Return the machine's wall clock in milliseconds since 1970-01-01 UTC."""
    return time_ns() // 1_000_000


class Outbox:
    """Frames and events in; batches out. All methods may be called from any thread.

    `append` costs no I/O: what it takes becomes durable with the next `flush`, which `run` calls every 200 ms. Only
    what is durable is ever offered in a batch, so a sequence number that the cloud has seen is never given twice.
    """

    def __init__(
        self,
        path: Path,
        *,
        limits: Limits | None = None,
        now_ms: Callable[[], int] = system_now_ms,
        uptime_s: Callable[[], float] = monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.stats = Stats()
        self._path = path
        self._now_ms = now_ms
        self._uptime_s = uptime_s
        self._scales: Mapping[str, int] = {}
        self._layout_cache: dict[tuple[str, tuple[str, ...]], Any] = {}
        self._buffer = Buffer(self.limits, self.stats)
        self._flushed_at_s = self._maintained_at_s = float("-inf")
        self._db_lock = threading.RLock()
        self._lock, self._store = opening.open_store(path, self.limits, self.stats, now_ms())
        try:
            self._use_store()
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            self._failed(error)
        else:
            self._tell_repair()

    def _use_store(self) -> None:
        self._layout_cache.clear()
        self._picker = Picker(self._store, self.stats, self._uptime_s)
        self._guard = eviction.Guard(self._store, self.limits, self.stats, self._now_ms, self._uptime_s)

    @property
    def stream(self) -> str:
        """The stream that new observations are numbered in."""
        return self._store.stream

    def use_scales(self, scales: Mapping[str, int]) -> None:
        """Declare the decimal scale of every exact point, by `device/point`; call again when the catalogue changes."""
        with self._db_lock:
            self._flush_or_keep()  # What was read under the old scales is stored with them.
            self._scales = dict(scales)
            self._layout_cache.clear()

    def use_limits(self, limits: Limits) -> None:
        """Keep more, or less, from now on; what is too much leaves at the next `maintain`."""
        with self._db_lock:
            if limits == self.limits:
                return
            self.limits = limits
            self._buffer.use_limits(limits)
            self._guard.use_limits(limits)
            self._store.use_bytes_max(limits.bytes_max)

    def append(
        self, frames: Sequence[Frame], events: Sequence[Event] = (), *, cursors: Mapping[str, str] | None = None
    ) -> None:
        """Take frames and events; never blocks on the disk and never fails.

        `cursors` say how far a source has been read (a last sequence number); they become durable together with what
        was read, so that after a crash the source goes on exactly there.
        """
        self._buffer.add(frames, events, cursors or {})

    def cursor(self, name: str) -> str | None:
        """Return what a source stored with the data that are durable."""
        with self._db_lock:
            row = self._store.one(queries.cursor, name=name)
            return row[0] if row else None

    def flush(self) -> int:
        """Make everything appended so far durable and return how many observations and events that was.

        Raises `sqlite3.Error` when the disk refuses; nothing is lost then, the next flush tries again.
        """
        with self._db_lock:
            self._flushed_at_s = monotonic()
            taken = self._buffer.take()
            if not any(taken):
                return 0
            try:
                stored = self._write_making_room(taken)
            except sqlite3.Error as error:
                self._buffer.put_back(taken)
                self._failed(error)
                raise
            self.stats.last_error = None
            self.stats.appended += stored
            return stored

    def _write_making_room(self, taken: Taken) -> int:
        try:
            return self._write(taken)
        except sqlite3.OperationalError as error:
            is_pressed = len(taken.frames) > self.limits.buffer_frames_max // 2
            if not is_full(error) or not self._guard.make_room(self._picker, is_pressed=is_pressed):
                raise
        return self._write(taken)

    def _flush_or_keep(self) -> None:
        try:
            self.flush()
        except sqlite3.Error as error:
            log.warning("outbox_not_written", path=str(self._path), error=str(error), kept_in_memory=len(self._buffer))

    def _write(self, taken: Taken) -> int:
        store, stored_at = self._store, self._now_ms()
        next_seq, bad = store.next_seq, 0
        totals = dict.fromkeys(ChunkClass, 0)
        try:
            with store.transaction() as db:
                for kind, items in _chunks(taken):
                    payload, count, invalid = self._encode(kind, items, label_of(store.stream, next_seq))
                    bad += invalid
                    db.execute(
                        queries.insert_chunk,
                        {
                            "stream": store.stream,
                            "first_seq": next_seq,
                            "count": count,
                            "class": int(kind),
                            "stored_at": stored_at,
                            "payload": payload,
                        },
                    )
                    next_seq += count
                    totals[kind] += count
                db.execute(queries.set_next_seq, {"uuid": store.stream, "next_seq": next_seq})
                db.executemany(queries.set_cursor, [{"name": n, "value": v} for n, v in taken.cursors.items()])
        except BaseException:
            self._layout_cache.clear()
            store.reload_layouts()
            raise
        stored = next_seq - store.next_seq
        store.next_seq = next_seq
        self.stats.malformed += bad
        self._picker.added(totals)
        return stored

    def _encode(self, kind: ChunkClass, items: Sequence[Any], label: str) -> tuple[bytes, int, int]:
        if kind is ChunkClass.EVENT:
            return encode_events(label, items), len(items), 0
        payload, invalid = encode_frames(label, items, self._layout_of)
        return payload, sum(len(frame.values) for frame in items), invalid

    def _layout_of(self, frame: Frame) -> int | list[Any]:
        key = (frame.device, frame.points)
        known = self._layout_cache.get(key)
        if known is None:
            scales = tuple(self._scales.get(f"{frame.device}/{point}") for point in frame.points)
            known = self._store.layout_id(frame.device, frame.points, scales)
            if len(self._layout_cache) < LAYOUT_CACHE_MAX:
                self._layout_cache[key] = known
        return known

    def begin_batch(self, max_observations: int, *, lane: Lane = Lane.BACKLOG) -> Batch | None:
        """Lease about `max_observations` (whole chunks, at least one); None when the lane has nothing to send.

        End every batch with `settle` or `release`.
        """
        with self._db_lock:
            try:
                return self._picker.begin(max_observations, lane)
            except sqlite3.Error as error:
                self._failed(error)
                return None

    def live_batch(self, max_observations: int) -> Batch | None:
        """Commit what was appended and lease the newest data."""
        self._flush_or_keep()
        return self.begin_batch(max_observations, lane=Lane.LIVE)

    def has_data(self) -> bool:
        """Tell cheaply whether anything is to be committed or waits for a receipt."""
        return len(self._buffer) > 0 or any(self._picker.waiting.values())

    def settle(
        self,
        batch: Batch,
        *,
        accepted: Sequence[SeqRange],
        rejected: Sequence[Rejection] = (),
        retry: Sequence[Retry] = (),
    ) -> None:
        """End a batch with the cloud's receipt: accepted leaves, rejected is kept for inspection, the rest stays.

        Numbers that are not in the batch are ignored, as is a second receipt for the same batch. What has neither been
        accepted nor rejected is offered again after a pause that grows with each refusal.
        """
        with self._db_lock:
            if not self._picker.holds(batch):
                self.stats.ignored_receipts += 1
                return
            try:
                outcome = settlement.settle(self._store, self.limits, batch, accepted, rejected, self._now_ms())
            except sqlite3.Error as error:
                # The cloud has the data; sent again, they will be recognised there.
                self._picker.released(batch)
                self._failed(error)
                return
            self.stats.settled += outcome.accepted
            self.stats.rejected += outcome.rejected
            self.stats.retried += sum(entry.last - entry.first + 1 for entry in retry)
            self._picker.settled(batch, outcome.unsettled_chunks)
            self._picker.removed(outcome.removed)

    def release(self, batch: Batch, *, refused: bool = False) -> None:
        """Give a batch back unsent, or `refused` as a whole by the cloud: then it waits before its next turn."""
        with self._db_lock:
            if refused:
                self._picker.settled(batch, [span.id for span in batch.chunks])
            else:
                self._picker.released(batch)

    def release_all(self) -> None:
        """Give back every batch: an uplink that was stopped in the middle left them behind."""
        with self._db_lock:
            self._picker.release_all()

    def offer_refused(self) -> None:
        """Offer what was refused at once: what stood in the way has changed (the catalogue was sent)."""
        with self._db_lock:
            self._picker.forget_refusals()

    def waiting(self) -> dict[ChunkClass, int]:
        """Return how many observations (events) wait for a receipt, by class."""
        with self._db_lock:
            return dict(self._picker.waiting)

    def used_bytes(self) -> int:
        """Return the bytes in use in the file."""
        with self._db_lock:
            return self._store.used_bytes()

    def report(self) -> dict[str, Any]:
        """Return what the heartbeat and the status page say about the outbox."""
        with self._db_lock:
            try:
                used_bytes, oldest = self._store.used_bytes(), self._picker.oldest_stored_at()
            except sqlite3.Error as error:
                self._failed(error)
                used_bytes, oldest = self._store.used_bytes(), self._picker.oldest_stored_at()
            waiting = {kind.name.lower(): count for kind, count in self._picker.waiting.items()}
            return {
                "stream": self._store.stream,
                "waiting": waiting,
                "buffered": len(self._buffer),
                "used_bytes": used_bytes,
                "bytes_max": self.limits.bytes_max,
                "oldest_stored_at_ms": oldest,
                "appended": self.stats.appended,
                "settled": self.stats.settled,
                "rejected": self.stats.rejected,
                "retried": self.stats.retried,
                "malformed": self.stats.malformed,
                "dropped": dict(self.stats.dropped),
                "damaged_chunks": self.stats.damaged_chunks,
                "last_error": self.stats.last_error,
                "repair": self.stats.repair,
            }

    def maintain(self) -> None:
        """Keep the bounds of size and age; raise or clear the overflow event. Cheap when there is nothing to do."""
        with self._db_lock:
            try:
                events = self._guard.check(self._picker)
            except sqlite3.Error as error:
                self._failed(error)
                return
            self.append((), events)

    async def run(self) -> None:
        """Commit what nobody asked for within 200 ms and keep the bounds, until cancelled; then commit the rest."""
        try:
            while True:
                await asyncio.sleep(COMMIT_CHECK_S)
                now = monotonic()
                if len(self._buffer) and now - self._flushed_at_s >= COMMIT_INTERVAL_S:
                    await asyncio.to_thread(self._flush_or_keep)
                if now - self._maintained_at_s >= MAINTAIN_INTERVAL_S:
                    self._maintained_at_s = now
                    await asyncio.to_thread(self.maintain)
        finally:
            self._flush_or_keep()

    def _failed(self, error: sqlite3.Error) -> None:
        self.stats.last_error = str(error)
        if not is_corrupt(error):
            return
        self._store.close()
        self._store = opening.repair(self._path, self.limits, self.stats, self._now_ms(), cause=str(error))
        self._use_store()
        self._tell_repair()

    def _tell_repair(self) -> None:
        """Let the cloud know that the file was damaged or gone: somebody should look at the disk."""
        if self.stats.repair is not None:
            now = self._now_ms()
            data = {"what": self.stats.repair}
            event = Event(kind="outbox.repaired", device="", at_ms=now, received_at_ms=now, data=data)
            self.append((), (event,))

    def close(self) -> None:
        """Commit and close; raises `sqlite3.Error` when the last commit is refused."""
        with self._db_lock:
            try:
                self.flush()
            finally:
                self._store.close()
                self._lock.release()


def _chunks(taken: Taken) -> Iterator[tuple[ChunkClass, Sequence[Frame] | Sequence[Event]]]:
    """Sort into classes and cut into chunks."""
    yield from ((ChunkClass.TELEMETRY, part) for part in _parts([f for f in taken.frames if not f.is_billing]))
    yield from ((ChunkClass.BILLING, part) for part in _parts([f for f in taken.frames if f.is_billing]))
    for start in range(0, len(taken.events), CHUNK_EVENTS):
        yield ChunkClass.EVENT, taken.events[start : start + CHUNK_EVENTS]


def _parts(frames: Sequence[Frame]) -> list[Sequence[Frame]]:
    """Cut frames into groups of about CHUNK_OBSERVATIONS."""
    parts: list[Sequence[Frame]] = []
    start = size = 0
    for index, frame in enumerate(frames):
        size += len(frame.values)
        if size >= CHUNK_OBSERVATIONS:
            parts.append(frames[start : index + 1])
            start, size = index + 1, 0
    if start < len(frames):
        parts.append(frames[start:])
    return parts
