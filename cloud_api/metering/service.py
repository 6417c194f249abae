"""Use cases of meters: what must be recomputed, the interval ledger and what is read from it."""

from psycopg import AsyncConnection

from cloud_api.metering import repository
from cloud_api.telemetry.columns import Ints


async def mark_dirty(conn: AsyncConnection, point_ids: Ints, first_ms: Ints, last_ms: Ints) -> None:
    """Note that readings arrived for these points between these instants; part of the transaction that stores them."""
    if len(point_ids):
        await repository.mark_dirty(conn, point_ids, first_ms, last_ms)
