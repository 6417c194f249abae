"""Passages in the database."""

from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import SiteId
from cloud_api.occupancy.model import Counted

queries = load_queries(__file__)


async def counted_since(conn: AsyncConnection, site_id: SiteId, since: datetime, until: datetime) -> list[Counted]:
    """Return the passages of a site's counters."""
    async with conn.cursor(row_factory=class_row(Counted)) as cur:
        await cur.execute(queries.counted_since, {"site_id": site_id, "since": since, "until": until})
        return await cur.fetchall()
