"""Rows of meters, registers, readings and the ledger; decides nothing and never commits."""

from datetime import UTC, datetime

from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.telemetry.columns import Ints

queries = load_queries(__file__)


async def mark_dirty(conn: AsyncConnection, point_ids: Ints, first_ms: Ints, last_ms: Ints) -> None:
    """Remember which stretch of which registers must be recomputed."""
    await conn.execute(
        queries.mark_dirty,
        {
            "point_id": point_ids.tolist(),
            "first": [datetime.fromtimestamp(ms / 1000, UTC) for ms in first_ms.tolist()],
            "last": [datetime.fromtimestamp(ms / 1000, UTC) for ms in last_ms.tolist()],
        },
    )
