"""The mirror in InfluxDB 2: follows an outbox of its own, backs off, and loses nothing while InfluxDB is away.

Ingest leaves a copy of each batch (`app.add_to_mirror`), which costs it one row and never a wait. A batch goes when
InfluxDB has it; one that was written but not taken out is written again and is the same there, because a series has one
value per instant. Above 20,000 batches, and for batches of more than 2,000 rows, only the span of instants is left, and
the mirror reads the stored observations of that span.
"""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import structlog
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from psycopg import OperationalError
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from urllib3.exceptions import HTTPError

from cloud_api.db.pool import make_pool, transaction
from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.settings import Settings
from cloud_api.telemetry.arrivals import unpacked

log = structlog.get_logger()
queries = load_queries(__file__)
counters: Counter[str] = Counter()

MEASUREMENT = "observation"
TURN_BATCHES_MAX = 100
WRITE_ROWS_MAX = 5_000  # Lines in one request, as InfluxDB advises.
IDLE_S = 0.5
BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
TIMEOUT_MS = 30_000
_REFUSED_FOR_GOOD = frozenset({400, 422})
_LABELS_MAX = 200_000
_ESCAPED = str.maketrans({",": r"\,", " ": r"\ ", "=": r"\=", "\n": " ", "\\": "/"})

Row = tuple[int, int, float, int]  # Point, instant in ms, value (NaN for none), quality.


async def run_mirror(settings: Settings, clock: Clock, *, off: bool, status: bool) -> None:
    """Mirror until SIGTERM or SIGINT; or switch off, or tell how it goes."""
    async with make_pool(settings.database_url.get_secret_value(), size_max=3) as pool:
        if status:
            print("\n".join(f"{name}: {value}" for name, value in (await state(pool)).items()))  # noqa: T201  # A command.
            return
        if off:
            await switch(pool, is_on=False)
            return
        if settings.influx_url is None:
            raise SystemExit("CLOUD_INFLUX_URL is missing: where InfluxDB listens, such as http://127.0.0.1:8086")
        task = asyncio.create_task(Mirror(pool, clock, settings).run())
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, task.cancel)
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()):
            raise error


async def switch(pool: AsyncConnectionPool, *, is_on: bool) -> None:
    """Let ingest leave batches for the mirror; switched off, what waits is given up."""
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(queries.switch_mirror, {"is_on": is_on})
        if not is_on:
            await conn.execute(queries.clear_mirror)


async def state(pool: AsyncConnectionPool) -> dict[str, Any]:
    """Return whether it is on, what was written and refused, and what waits."""
    async with transaction(pool, SYSTEM) as conn, conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.mirror_state)
        return await cursor.fetchone() or {}


class Mirror:
    """Takes the outbox to InfluxDB, oldest first; one at a time per database."""

    def __init__(self, pool: AsyncConnectionPool, clock: Clock, settings: Settings) -> None:
        self._pool = pool
        self._clock = clock
        self._bucket = settings.influx_bucket
        self._client = InfluxDBClient(
            url=settings.influx_url or "",
            token=settings.influx_token.get_secret_value(),
            org=settings.influx_org,
            timeout=TIMEOUT_MS,
            enable_gzip=True,
        )
        self._api = self._client.write_api(write_options=SYNCHRONOUS)
        self._tags: dict[int, str] = {}

    async def run(self) -> None:
        """Mirror until cancelled; the outbox is filled from the start of this call on, and stays when it ends."""
        failures = 0
        try:
            async with self._alone():
                await switch(self._pool, is_on=True)
                while True:
                    try:
                        pause_s = 0.0 if await self.turn() else IDLE_S
                        failures = 0
                    except (ApiException, InfluxDBError, HTTPError, OSError) as error:
                        pause_s = BACKOFF_S[min(failures, len(BACKOFF_S) - 1)]
                        failures += 1
                        await self._failed(error, pause_s)
                    except (OperationalError, PoolTimeout) as error:
                        pause_s = BACKOFF_S[0]
                        log.warning("mirror_database_away", reason=str(error))
                    await asyncio.sleep(pause_s)
        finally:
            await asyncio.to_thread(self._client.close)

    async def turn(self) -> int:
        """Write what waits (at most 100 batches), take it out, and return how many batches that was."""
        async with transaction(self._pool, SYSTEM) as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(queries.mirror_batches, {"limit": TURN_BATCHES_MAX})
            batches = await cursor.fetchall()
        if not batches:
            return 0
        count = 0
        async for rows in self._rows(batches):
            for first in range(0, len(rows), WRITE_ROWS_MAX):
                await self._write(rows[first : first + WRITE_ROWS_MAX])
            count += len(rows)
        async with transaction(self._pool, SYSTEM) as conn:
            ids = [batch["id"] for batch in batches]
            await conn.execute(queries.mirror_written, {"id": ids, "count": count, "now": self._clock.now()})
        counters["written"] += count
        return len(batches)

    async def _rows(self, batches: Sequence[Mapping[str, Any]]) -> AsyncIterator[list[Row]]:
        contents = b"".join(batch["content"] for batch in batches if batch["content"])
        found = unpacked(contents)
        columns = (found.point_id, found.at_ms, found.value, found.quality)
        yield list(zip(*(column.tolist() for column in columns), strict=True))
        for first, last in _spans([(b["first_at"], b["last_at"]) for b in batches if not b["content"]]):
            after: tuple[datetime, int] = (first, -1)
            while True:
                page = await self._page(first, last, after)
                if page:
                    yield page
                if len(page) < WRITE_ROWS_MAX:
                    break
                after = (_instant(page[-1][1]), page[-1][0])

    async def _page(self, first: datetime, last: datetime, after: tuple[datetime, int]) -> list[Row]:
        arguments = {
            "first": first, "last": last, "after_at": after[0], "after_point": after[1], "limit": WRITE_ROWS_MAX
        }  # fmt: skip
        async with transaction(self._pool, SYSTEM) as conn:
            return [tuple(row) for row in await (await conn.execute(queries.mirror_page, arguments)).fetchall()]

    async def _write(self, rows: Sequence[Row]) -> None:
        await self._learn({row[0] for row in rows})
        lines = [
            f"{tags} {'' if np.isnan(value) else f'value={value!r},'}quality={quality}i {at_ms}"
            for point, at_ms, value, quality in rows
            if (tags := self._tags.get(point))
        ]
        if not lines:
            return
        body = "\n".join(lines).encode()
        try:
            await asyncio.to_thread(self._send, body)
        except ApiException as error:
            if error.status not in _REFUSED_FOR_GOOD:
                raise
            # InfluxDB keeps the lines of a request that it can take; the others would never be taken.
            counters["refused"] += 1
            await self._note(f"refused: {error.body or error.reason}"[:500])

    def _send(self, body: bytes) -> None:
        # The client's precisions are plain texts, whatever its annotation says.
        precision: Any = WritePrecision.MS
        self._api.write(bucket=self._bucket, record=body, write_precision=precision)

    async def _learn(self, points: set[int]) -> None:
        missing = points - self._tags.keys()
        if not missing:
            return
        if len(self._tags) > _LABELS_MAX:
            self._tags.clear()
            missing = points
        async with transaction(self._pool, SYSTEM) as conn, conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(queries.point_labels, {"point_id": sorted(missing)})
            for row in await cursor.fetchall():
                point_id = row.pop("id")
                self._tags[point_id] = _series(row)

    async def _failed(self, error: Exception, pause_s: float) -> None:
        counters["failed"] += 1
        reason = str(error).strip()[:500] or type(error).__name__
        log.warning("mirror_write_failed", reason=reason, again_in_s=pause_s)
        await self._note(reason)

    async def _note(self, reason: str) -> None:
        with contextlib.suppress(OperationalError, PoolTimeout):
            async with transaction(self._pool, SYSTEM) as conn:
                await conn.execute(queries.mirror_failed, {"reason": reason})

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        async with self._pool.connection() as session:
            await session.set_autocommit(True)
            while True:
                row = await (await session.execute(queries.become_sole_mirror)).fetchone()
                if row and row[0]:
                    break
                await asyncio.sleep(IDLE_S * 4)
            try:
                yield
            finally:
                await session.close()  # Ends the lock with the session.


def _series(labels: Mapping[str, str]) -> str:
    tags = [f"{name}={text.translate(_ESCAPED)}" for name, text in sorted(labels.items()) if text]
    return ",".join([MEASUREMENT, *tags])


def _spans(spans: Sequence[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Return the same time in spans that do not overlap."""
    found: list[tuple[datetime, datetime]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
