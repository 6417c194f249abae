"""Rows of one tenant's usage."""

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import TenantId
from cloud_api.kit.period import Period
from cloud_api.operations.overview.model import PointNow
from cloud_api.operations.tenant_usage.model import TenantFacts, UsedInterval

queries = load_queries(__file__)


async def intervals(conn: AsyncConnection, tenant_id: TenantId, period: Period, zone: ZoneInfo) -> list[UsedInterval]:
    """Return what a tenant used in a period, interval by interval."""
    values = {"tenant_id": tenant_id, "start": period.start, "end": period.end, "zone": str(zone)}
    async with conn.cursor(row_factory=class_row(UsedInterval)) as cur:
        await cur.execute(queries.intervals, values)
        return await cur.fetchall()


async def power_points(conn: AsyncConnection, tenant_id: TenantId, now: datetime, today: date) -> list[PointNow]:
    """Return the power of a tenant's meters now."""
    async with conn.cursor(row_factory=class_row(PointNow)) as cur:
        await cur.execute(queries.power_points, {"tenant_id": tenant_id, "now": now, "today": today})
        return await cur.fetchall()


async def tenant(conn: AsyncConnection, tenant_id: TenantId, today: date) -> TenantFacts | None:
    """Return the tenant itself."""
    async with conn.cursor(row_factory=class_row(TenantFacts)) as cur:
        await cur.execute(queries.tenant, {"tenant_id": tenant_id, "today": today})
        return await cur.fetchone()


async def electricity_tariff(conn: AsyncConnection) -> dict[str, Any] | None:
    """Return the tariff that tenants of the viewer's site pay for electricity."""
    row = await (await conn.execute(queries.electricity_tariff)).fetchone()
    return row[0] if row else None
