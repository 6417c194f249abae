"""Latest values held in memory: one moves at most about twice a second, however fast batches follow each other.

The first batches of a stream, and any batch of a slow one, move its latest values in the transaction that stores them.
What follows faster is held here and moved with what came after it, by one statement. A stream of which a process holds
something says so in its row; what a killed process held the worker finds again (`tasks.py`).
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry import service
from cloud_api.telemetry.columns import Observations

log = structlog.get_logger()
counters: Counter[str] = Counter()

HOLD_S = 0.5
AT_ONCE = 4  # Batches of a stream that may follow each other faster before any is held.
ROWS_MAX = 500_000  # Beyond this nothing more is held: values move with their batches, which slows the senders down.
STREAMS_MAX = 10_000


@dataclass(slots=True)
class Held:
    """The newest rows of recent batches. Pure: the seconds are passed in."""

    _rows: list[Observations] = field(default_factory=list)
    _streams: set[int] = field(default_factory=set)
    _count: int = 0
    # Until when the moves of a stream are used up, one per HOLD_S; the stream that moved longest ago stands first.
    _used_s: dict[int, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return self._count

    def admits(self, stream_id: int, now_s: float) -> bool:
        """Return whether the next batch of the stream leaves its latest values here; if not, they move with it."""
        if self._count >= ROWS_MAX:
            counters["held_full"] += 1
            return False
        used_s = max(self._used_s.get(stream_id, now_s), now_s)
        if stream_id in self._streams or used_s - now_s > (AT_ONCE - 1) * HOLD_S:
            return True
        self._use(stream_id, used_s + HOLD_S)
        return False

    def add(self, stream_id: int, newest: Observations) -> None:
        """Hold the newest row of each point of a batch that is stored."""
        self._rows.append(newest)
        self._streams.add(stream_id)
        self._count += len(newest)

    def take(self, now_s: float) -> Observations:
        """Take out the newest row of each point; of equal instants the one held last. There is at least one."""
        for stream_id in self._streams:
            self._use(stream_id, now_s + AT_ONCE * HOLD_S)
        rows = Observations.joined(self._rows)
        self._rows, self._streams, self._count = [], set(), 0
        return rows.pick(rows.newest())

    def give_back(self, rows: Observations) -> None:
        """Hold rows again that could not be moved; they are older than what came since."""
        self._rows.insert(0, rows)
        self._count += len(rows)

    def _use(self, stream_id: int, until_s: float) -> None:
        self._used_s.pop(stream_id, None)
        self._used_s[stream_id] = until_s
        if len(self._used_s) > STREAMS_MAX:
            self._used_s.pop(next(iter(self._used_s)))


@dataclass(slots=True)
class LatestValues:
    """Moves what one process holds, half a second after the first row of it came."""

    pool: AsyncConnectionPool
    clock: Clock
    _held: Held = field(default_factory=Held)
    _moving: asyncio.Task[None] | None = None

    def admits(self, stream_id: int) -> bool:
        """Return whether the next batch of the stream leaves its latest values here."""
        return self._held.admits(stream_id, time.monotonic())

    def add(self, stream_id: int, rows: Observations) -> None:
        """Take over the latest values of a batch that is stored."""
        self._held.add(stream_id, rows.pick(rows.newest()))
        if self._moving is None or self._moving.done():
            self._moving = asyncio.create_task(self._move_soon())

    async def close(self) -> None:
        """Move what is held, at the end of the process."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait({self._moving})
        if self._held:
            await self._move()

    async def _move_soon(self) -> None:
        while self._held:
            await asyncio.sleep(HOLD_S)
            await self._move()

    async def _move(self) -> None:
        rows = self._held.take(time.monotonic())
        try:
            async with transaction(self.pool, SYSTEM) as conn:
                await service.move_latest(conn, rows, self.clock.now())
        except psycopg.Error as error:  # The database is away, or another process moves the same rows: later.
            counters["move_failed"] += 1
            log.warning("latest_values_not_moved", error=str(error), count=len(rows))
            self._held.give_back(rows)
        except asyncio.CancelledError:
            self._held.give_back(rows)
            raise
