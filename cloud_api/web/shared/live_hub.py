"""Turns the database's live notices into server-sent events: one listener per process, many open pages.

A notice says what changed, not the value; the hub waits a moment, reads the latest values of the points that somebody
watches in one query, and hands each page its own. What a slow page has not taken yet is replaced by newer values, so
that nothing piles up.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import orjson
import psycopg
import structlog
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.ids import PointId
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry import service as telemetry

log = structlog.get_logger()

CHANNEL = "live"
GATHER_S = 0.05  # Values of one poll arrive in several batches; one query serves them all.
KEEP_ALIVE_S = 15.0
SUBSCRIBERS_MAX = 500  # Open pages per process; each holds a connection of the server.
_RECONNECT_S = (0.2, 1.0, 2.0, 5.0)
# Notices that carry no values: the page fetches the fragment that waits for them.
_PLAIN_KINDS = frozenset({"alarm", "health"})


class TooManyPages(Exception):
    """This process serves as many open pages as it may; the browser tries again."""


@dataclass(slots=True, eq=False)
class Subscriber:
    """One open page: the points it shows, and what it has not been sent yet."""

    points: frozenset[PointId]
    kinds: frozenset[str]
    values: dict[PointId, tuple[float | None, int, int]] = field(default_factory=dict)
    notices: set[str] = field(default_factory=set)
    awake: asyncio.Event = field(default_factory=asyncio.Event)


class LiveHub:
    """Listens while at least one page is open."""

    def __init__(self, database_url: str, pool: AsyncConnectionPool, clock: Clock) -> None:
        self._database_url = database_url
        self._pool = pool
        self._clock = clock
        self._subscribers: set[Subscriber] = set()
        self._changed: set[PointId] = set()
        self._notices: set[str] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def events(self, points: Iterable[PointId], kinds: Iterable[str] = _PLAIN_KINDS) -> AsyncIterator[bytes]:
        """Yield the events of one page until it closes; begins with the latest values of its points."""
        async with self._subscribed(Subscriber(points=frozenset(points), kinds=frozenset(kinds))) as subscriber:
            self._changed |= subscriber.points
            self._wake.set()
            yield b": open\n\n"
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(subscriber.awake.wait(), KEEP_ALIVE_S)
                subscriber.awake.clear()
                yield self._take(subscriber)

    @asynccontextmanager
    async def _subscribed(self, subscriber: Subscriber) -> AsyncIterator[Subscriber]:
        if len(self._subscribers) >= SUBSCRIBERS_MAX:
            log.warning("live_pages_limit_reached", limit=SUBSCRIBERS_MAX)
            raise TooManyPages
        self._subscribers.add(subscriber)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._deliver())]
        try:
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)
            if not self._subscribers:
                for task in self._tasks:
                    task.cancel()
                self._tasks = []

    def _take(self, subscriber: Subscriber) -> bytes:
        parts = [f"event: {kind}\ndata: {{}}\n\n".encode() for kind in sorted(subscriber.notices)]
        if subscriber.values:
            values = {str(point): value for point, value in subscriber.values.items()}
            body = orjson.dumps({"now_ms": int(self._clock.now().timestamp() * 1000), "values": values})
            parts.append(b"event: values\ndata: " + body + b"\n\n")
        subscriber.notices.clear()
        subscriber.values.clear()
        return b"".join(parts) or b": still here\n\n"

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with await AsyncConnection.connect(self._database_url, autocommit=True) as conn:
                    await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                    self._resynchronise()
                    failures = 0
                    async for notify in conn.notifies():
                        self._note(notify.payload)
            except psycopg.OperationalError as error:
                log.warning("live_listener_lost_database", error=str(error))
            await asyncio.sleep(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
            failures += 1

    def _resynchronise(self) -> None:
        """Fetch all that is shown: what changed while nobody listened is unknown."""
        for subscriber in self._subscribers:
            self._changed |= subscriber.points
        self._notices |= _PLAIN_KINDS
        self._wake.set()

    def _note(self, payload: str) -> None:
        try:
            notice = orjson.loads(payload)
            kind = notice["kind"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            log.warning("live_notice_unreadable", payload=payload[:200])
            return
        if kind == "values":
            self._changed.update(PointId(int(point)) for point in notice["points"])
        elif kind in _PLAIN_KINDS:
            self._notices.add(kind)
        self._wake.set()

    async def _deliver(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GATHER_S)
            self._wake.clear()
            changed, self._changed = self._changed, set()
            notices, self._notices = self._notices, set()
            watched = frozenset[PointId]().union(*(s.points for s in self._subscribers))
            wanted = sorted(changed & watched)
            try:
                values = await self._values(wanted) if wanted else {}
            except (psycopg.OperationalError, PoolTimeout) as error:
                log.warning("live_values_not_read", error=str(error))
                self._changed |= changed  # Sent with the next notice.
                values = {}
            self._hand_out(values, notices)

    async def _values(self, points: list[PointId]) -> dict[PointId, tuple[float | None, int, int]]:
        async with transaction(self._pool, SYSTEM) as conn:
            found = await telemetry.latest_values(conn, points)
        return {v.point_id: (v.value, int(v.observed_at.timestamp() * 1000), v.quality) for v in found}

    def _hand_out(self, values: dict[PointId, tuple[float | None, int, int]], notices: set[str]) -> None:
        for subscriber in self._subscribers:
            own = {point: value for point, value in values.items() if point in subscriber.points}
            news = notices & subscriber.kinds
            if own or news:
                subscriber.values.update(own)
                subscriber.notices |= news
                subscriber.awake.set()
