"""Small batches that wait at the same moment are stored together: one round trip, one statement, one commit for all.

While one group is being stored the next one gathers, so that a group is as large as the database is busy and a lone
batch never waits. A batch is wholly in one transaction. When a group fails, each of its batches is tried by itself.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import autocommitting
from cloud_api.ingest import repository
from cloud_api.ingest.limits import counters
from cloud_api.metering import service as metering
from cloud_api.telemetry import service as telemetry
from cloud_api.telemetry.columns import Observations

ROWS_MAX = 2_000  # A group with fewer takes what comes; a batch of as many is stored by itself, with COPY.
WRITERS_MAX = 4  # Groups under way at once; a second one starts only when a whole group waits.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Waiting:
    """A batch without events or rejections that waits to be stored."""

    claim: repository.Claim
    rows: Observations
    done: asyncio.Future[None]


@dataclass(slots=True)
class Together:
    """The small batches of one process."""

    pool: AsyncConnectionPool
    _waiting: deque[Waiting] = field(default_factory=deque)
    _writers: set[asyncio.Task[Any] | None] = field(default_factory=set)
    _is_followed: bool = True  # Whether the last group found somebody who wants a copy of what is stored.

    async def store(self, claim: repository.Claim, rows: Observations) -> None:
        """Settle the numbers and store the observations; returns after the commit.

        Raises an error with the state CHANGED when the stream is no longer what the batch was judged by.
        """
        waiting = Waiting(claim=claim, rows=rows, done=asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        is_full = sum(len(other.rows) for other in self._waiting) >= ROWS_MAX
        if not self._writers or (is_full and len(self._writers) < WRITERS_MAX):
            self._writers.add(asyncio.create_task(self._write()))
        await waiting.done

    async def _write(self) -> None:
        try:
            while group := self._next_group():
                await self._store(group)
        finally:  # At once, and not when the task is over: a batch that comes in between would wait for nobody.
            self._writers.discard(asyncio.current_task())

    def _next_group(self) -> list[Waiting]:
        """Take out the oldest batches, at most one of each stream: the next one rests on what this one settles."""
        group: list[Waiting] = []
        streams: set[int] = set()
        count = 0
        for waiting in tuple(self._waiting):
            if count + len(waiting.rows) > ROWS_MAX:
                break
            if waiting.claim.stream.id not in streams:
                self._waiting.remove(waiting)
                group.append(waiting)
                streams.add(waiting.claim.stream.id)
                count += len(waiting.rows)
        return group

    async def _store(self, group: Sequence[Waiting]) -> None:
        try:
            await self._accept(group)
        except psycopg.Error as error:
            # What the server refused may be the fault of one; where it did not answer, none is better off alone.
            if len(group) > 1 and error.sqlstate is not None:
                counters["group_split"] += 1
                for waiting in group:
                    await self._store([waiting])
            else:
                _finish(group, error)
        except BaseException:
            for waiting in group:
                waiting.done.cancel()
            raise
        else:
            _finish(group, None)

    async def _accept(self, group: Sequence[Waiting]) -> None:
        claims, rows = [waiting.claim for waiting in group], [waiting.rows for waiting in group]
        now = max(claim.now for claim in claims)
        arrived = [telemetry.Arrived(rows=r, holds_latest=c.holds_latest) for c, r in zip(claims, rows, strict=True)]
        dirty = metering.dirty_arguments(*Observations.joined(rows).spans(), now)
        async with autocommitting(self.pool) as conn:
            try:
                arguments = telemetry.store_arguments(arrived, now, with_copy=self._is_followed)
                self._is_followed = await repository.accept_batches(conn, claims, arguments, dirty)
            except psycopg.errors.Error as error:
                if error.sqlstate != repository.FOLLOWED:
                    raise
                arguments = telemetry.store_arguments(arrived, now, with_copy=True)
                self._is_followed = await repository.accept_batches(conn, claims, arguments, dirty)


def _finish(group: Sequence[Waiting], error: psycopg.Error | None) -> None:
    for waiting in group:
        if waiting.done.done():  # The sender's request was cancelled meanwhile.
            continue
        if error is None:
            waiting.done.set_result(None)
        else:
            waiting.done.set_exception(error)
