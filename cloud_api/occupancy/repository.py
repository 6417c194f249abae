"""Passages in the database."""

from datetime import date, datetime

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import SiteId
from cloud_api.kit.period import Period
from cloud_api.occupancy.model import Counted, EntryWithoutRight, FloorPeople, HourEntries, TenantPeople

queries = load_queries(__file__)


async def counted_since(conn: AsyncConnection, site_id: SiteId, since: datetime, until: datetime) -> list[Counted]:
    """Return the passages of a site's counters."""
    async with conn.cursor(row_factory=class_row(Counted)) as cur:
        await cur.execute(queries.counted_since, {"site_id": site_id, "since": since, "until": until})
        return await cur.fetchall()


async def people_by_floor(conn: AsyncConnection, site_id: SiteId, period: Period) -> list[FloorPeople]:
    """Return the exact number of different people per floor; the service hides what may not be shown."""
    async with conn.cursor(row_factory=class_row(FloorPeople)) as cur:
        await cur.execute(queries.people_by_floor, {"site_id": site_id, "start": period.start, "end": period.end})
        return await cur.fetchall()


async def people_in_building(conn: AsyncConnection, site_id: SiteId, period: Period) -> int:
    """Return the exact number of different people on the site."""
    values = {"site_id": site_id, "start": period.start, "end": period.end}
    row = await (await conn.execute(queries.people_in_building, values)).fetchone()
    return row[0] if row else 0


async def entries_by_hour(conn: AsyncConnection, site_id: SiteId, period: Period) -> list[HourEntries]:
    """Return the entries of each hour that had any."""
    async with conn.cursor(row_factory=class_row(HourEntries)) as cur:
        await cur.execute(queries.entries_by_hour, {"site_id": site_id, "start": period.start, "end": period.end})
        return await cur.fetchall()


async def people_by_tenant(conn: AsyncConnection, site_id: SiteId, period: Period, day: date) -> list[TenantPeople]:
    """Return the exact number of different people per tenant; the service hides what may not be shown."""
    values = {"site_id": site_id, "start": period.start, "end": period.end, "day": day}
    async with conn.cursor(row_factory=class_row(TenantPeople)) as cur:
        await cur.execute(queries.people_by_tenant, values)
        return await cur.fetchall()


async def passages_by_tenant(conn: AsyncConnection, site_id: SiteId, period: Period, day: date) -> dict[int, float]:
    """Return the passages into spaces of one tenant alone, by tenant."""
    values = {"site_id": site_id, "start": period.start, "end": period.end, "day": day}
    return dict(await (await conn.execute(queries.passages_by_tenant, values)).fetchall())


async def entries_without_right(
    conn: AsyncConnection, site_id: SiteId, period: Period, *, zone: str, tenant_id: int | None, limit: int
) -> list[EntryWithoutRight]:
    """Return entries by cards of tenants where they had no right, the latest first."""
    values = {"site_id": site_id, "start": period.start, "end": period.end, "zone": zone}
    async with conn.cursor(row_factory=class_row(EntryWithoutRight)) as cur:
        await cur.execute(queries.entries_without_right, values | {"tenant_id": tenant_id, "limit": limit})
        return await cur.fetchall()
