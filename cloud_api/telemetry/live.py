"""Live fan-out: one LISTEN per API process, bounded queues for its subscribers, server-sent events.

A subscriber that does not keep up loses its notices and is told to fetch anew (`resync`); so is everyone when the
database connection was lost. A page that follows notices and obeys `resync` is therefore never wrong for long.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from cloud_api.db.pool import transaction
from cloud_api.kit.ids import OrganisationId, PointId
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry import repository

log = structlog.get_logger()

SUBSCRIBERS_MAX = 1_000
QUEUE_MAX = 256
_GATHER_S = 0.05  # Values of one poll arrive in several batches; one look at the database serves them all.
_POINTS_MAX = 20_000  # Values gathered at once; beyond it the pages fetch anew.
_RECONNECT_S = (0.5, 1.0, 2.0, 5.0)
_KEEP_ALIVE_S = 15.0

counters: Counter[str] = Counter()


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something changed. `organisation_id` is None where the notice names nothing that needs protection.

    `values` carries `values: [{point, value, quality, at_ms}]`; the other kinds carry what ARCHITECTURE.md, section 9
    says; `resync` means: fetch everything anew.
    """

    kind: str
    data: Mapping[str, Any]
    organisation_id: OrganisationId | None = None


RESYNC = Notice(kind="resync", data={})
Audience = Callable[[Notice], Notice | None]
"""Decides what of a notice a subscriber may see: the notice, a part of it, or None."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One reader's queue; iterate over it."""

    audience: Audience
    _waiting: deque[Notice] = field(default_factory=deque)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, notice: Notice) -> None:
        """Queue what the audience may see; when the reader is too slow, leave only the order to fetch anew."""
        visible = self.audience(notice)
        if visible is None:
            return
        if len(self._waiting) >= QUEUE_MAX:
            counters["slow_subscriber"] += 1
            self._waiting.clear()
            visible = RESYNC
        self._waiting.append(visible)
        self._arrived.set()

    async def next(self) -> Notice:
        """Return the next notice, waiting for it if need be."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()

    async def __aiter__(self) -> AsyncIterator[Notice]:
        while True:
            yield await self.next()


@dataclass(slots=True)
class LiveBus:
    """What an API process hears from the database, handed to its subscribers."""

    database_url: str
    pool: AsyncConnectionPool
    _subscriptions: set[Subscription] = field(default_factory=set)
    _points: set[int] = field(default_factory=set)
    _gathering: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LiveBus"]:
        """Listen while the block runs."""
        listening = asyncio.create_task(self._listen_for_ever())
        try:
            yield self
        finally:
            for task in (listening, self._gathering):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError):
                        await task

    @contextmanager
    def subscribe(self, audience: Audience | None = None) -> Iterator[Subscription]:
        """Hand notices to a new subscriber while the block runs; above the limit the newcomer only learns to poll."""
        subscription = Subscription(audience=audience or _everything)
        if len(self._subscriptions) >= SUBSCRIBERS_MAX:
            counters["subscriber_refused"] += 1
            subscription.offer(RESYNC)
            yield subscription
            return
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, notice: Notice) -> None:
        """Hand a notice to every subscriber of this process."""
        for subscription in tuple(self._subscriptions):
            subscription.offer(notice)

    def hear(self, payload: str) -> None:
        """Take one notification of the database."""
        try:
            message = orjson.loads(payload)
            kind = str(message["kind"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            counters["unreadable_notice"] += 1
            return
        if kind != "values":
            self.publish(Notice(kind=kind, data={k: v for k, v in message.items() if k != "kind"}))
        elif self._subscriptions:
            self._points.update(message.get("points", ()))
            if self._gathering is None or self._gathering.done():
                self._gathering = asyncio.create_task(self._gather())

    async def _gather(self) -> None:
        while self._points:
            await asyncio.sleep(_GATHER_S)
            points, self._points = self._points, set()
            if len(points) > _POINTS_MAX:
                counters["values_overflow"] += 1
                self.publish(RESYNC)
                continue
            try:
                async with transaction(self.pool, SYSTEM) as conn:
                    values = await repository.live_values(conn, [PointId(p) for p in points])
            except (psycopg.OperationalError, PoolTimeout):
                self.publish(RESYNC)
                continue
            for organisation_id, rows in values.items():
                self.publish(Notice(kind="values", organisation_id=organisation_id, data={"values": rows}))

    async def _listen_for_ever(self) -> None:
        failures = 0
        while True:
            try:
                conn = await psycopg.AsyncConnection.connect(self.database_url, autocommit=True)
                async with conn:
                    await conn.execute("LISTEN live")
                    self.publish(RESYNC)
                    failures = 0
                    async for notify in conn.notifies():
                        self.hear(notify.payload)
            except psycopg.OperationalError as error:
                counters["connection_lost"] += 1
                log.warning("live_connection_lost", error=str(error))
            await asyncio.sleep(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
            failures += 1


def audience_of(organisation_id: OrganisationId, points: frozenset[int] | None = None) -> Audience:
    """Return who may see the values of one organisation, or only some of its points (a tenant's)."""

    def see(notice: Notice) -> Notice | None:
        if notice.organisation_id not in {None, organisation_id}:
            return None
        if points is None or notice.kind != "values":
            return notice
        rows = [row for row in notice.data["values"] if row["point"] in points]
        return Notice(kind="values", organisation_id=organisation_id, data={"values": rows}) if rows else None

    return see


async def event_stream(bus: LiveBus, audience: Audience) -> AsyncIterator[bytes]:
    """Return a response's body of server-sent events; comments keep proxies from closing a quiet stream."""
    with bus.subscribe(audience) as subscription:
        yield b"retry: 2000\n\n"
        while True:
            try:
                notice = await asyncio.wait_for(subscription.next(), _KEEP_ALIVE_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            yield b"event: " + notice.kind.encode() + b"\ndata: " + orjson.dumps(dict(notice.data)) + b"\n\n"


def _everything(notice: Notice) -> Notice | None:
    return notice
