"""The real cloud behind a real port, for tests of the agent."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uvicorn
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.main import create_app
from cloud_api.settings import Settings
from tests.support.broker import free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the cloud said to a request, and when (seconds of the monotonic clock)."""

    asked_at_s: float
    answered_at_s: float
    credential: str
    path: str
    status: int
    retry_after_s: int | None


class RealCloud:
    """Serves in the test's own event loop; `stop` and `start` again keep the port."""

    def __init__(
        self, database_url: str, pool: AsyncConnectionPool, *, clock: Clock | None = None, **settings: Any
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = Settings(database_url=database_url, pool_size_max=4, **settings)
        self._clock = clock
        self._pool = pool
        self.answers: list[Answer] = []

    async def start(self) -> None:
        app = create_app(self._settings, self._clock)
        config = uvicorn.Config(self._noting(app), host="127.0.0.1", port=self.port, log_level="warning", lifespan="on")
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None
        self._server.capture_signals = contextlib.nullcontext
        self._task = asyncio.create_task(self._server.serve())
        while not self._server.started:
            assert not self._task.done()
            await asyncio.sleep(0.01)

    def _noting(self, app: Any) -> Any:
        """Return the same application; what it answers can be read in `answers`."""

        async def noting(scope: Any, receive: Any, send: Any) -> None:
            asked_at_s = time.monotonic()

            async def note(message: Any) -> None:
                if message["type"] == "http.response.start":
                    after_s = dict(message["headers"]).get(b"retry-after")
                    self.answers.append(
                        Answer(
                            asked_at_s=asked_at_s,
                            answered_at_s=time.monotonic(),
                            credential=dict(scope["headers"]).get(b"authorization", b"").decode().split(" ")[-1],
                            path=scope["path"],
                            status=message["status"],
                            retry_after_s=None if after_s is None else int(after_s),
                        )
                    )
                await send(message)

            await app(scope, receive, note)

        return noting

    async def stop(self) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        await self._task

    async def add_gateway(self) -> str:
        """Create an organisation, a site and a gateway; return its credential."""
        async with transaction(self._pool, SYSTEM) as conn:
            await conn.execute(
                "WITH o AS (INSERT INTO organisation (code, name_zh, name_en) VALUES ('park', '园区', 'Park') RETURNING id)"
                " INSERT INTO site (organisation_id, code, name_zh, name_en) SELECT id, 'park', '一号', 'One' FROM o"
            )
            return await devices.add_gateway(conn, site_code="park", name="gw-1", actor="test", now=datetime.now(UTC))

    async def stored(self) -> list[tuple]:
        """Return device, point, instant in ms, value, mantissa, scale, quality of everything stored, in order."""
        async with transaction(self._pool, SYSTEM) as conn:
            cursor = await conn.execute(
                "SELECT d.name, p.name, (extract(epoch FROM o.observed_at) * 1000)::bigint, o.value, o.mantissa, o.scale,"
                " o.quality FROM observation o JOIN point p ON p.id = o.point_id JOIN device d ON d.id = p.device_id"
                " ORDER BY 3, 1, 2"
            )
            return await cursor.fetchall()

    async def events(self) -> list[tuple]:
        async with transaction(self._pool, SYSTEM) as conn:
            cursor = await conn.execute("SELECT kind, data FROM event ORDER BY id")
            return await cursor.fetchall()
