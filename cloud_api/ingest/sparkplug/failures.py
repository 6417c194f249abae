"""Messages whose handling failed, kept as they came so that someone can find out why."""

from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock

queries = load_queries(__file__)

KEPT = 1_000
PAYLOAD_BYTES_MAX = 64 * 1024
_REASON_MAX = 2_000


async def keep(conn: AsyncConnection, clock: Clock, *, topic: str, payload: bytes, error: BaseException) -> None:
    """Keep a message and why it failed; the oldest above the limit go."""
    reason = f"{type(error).__name__}: {error}".replace("\0", "")
    arguments = {
        "failed_at": clock.now(),
        "topic": topic,
        "reason": reason[:_REASON_MAX],
        "payload_bytes": len(payload),
        "payload": payload[:PAYLOAD_BYTES_MAX],
    }
    await conn.execute(queries.add_failure, arguments)
    await conn.execute(queries.forget_failures, {"keep": KEPT})


async def newest(conn: AsyncConnection, limit: int) -> list[dict[str, Any]]:
    """Return the newest failures: failed_at, topic, reason, payload_bytes, payload."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.failures, {"limit": limit})
        return await cursor.fetchall()
