"""Rows of the first page."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import DeviceId, PointId, RegisterId, SiteId
from cloud_api.kit.period import Period
from cloud_api.operations.overview.model import DevicePoint, MeterNow, PointNow, Site
from cloud_api.operations.overview.today import Interval

queries = load_queries(__file__)


async def sites(conn: AsyncConnection) -> list[Site]:
    """Return the viewer's sites."""
    async with conn.cursor(row_factory=class_row(Site)) as cur:
        await cur.execute(queries.sites)
        return await cur.fetchall()


async def meters(conn: AsyncConnection, site_id: SiteId, now: datetime) -> list[MeterNow]:
    """Return the site's electricity meters with their power."""
    found = []
    async with conn.cursor(row_factory=dict_row) as cur:
        await cur.execute(queries.meters, {"site_id": site_id, "now": now})
        async for row in cur:
            power = point_now(row) if row["point_id"] else None
            facts = {k: row[k] for k in ("id", "code", "name_zh", "name_en", "use", "parent_meter_id")}
            found.append(
                MeterNow(**facts, register_id=row["register_id"], level_number=row["level_number"], power=power)
            )
    return found


async def tenant_meters(conn: AsyncConnection, site_id: SiteId, now: datetime, today: date) -> list[dict[str, Any]]:
    """Return (tenant, meter) pairs of a day."""
    async with conn.cursor(row_factory=dict_row) as cur:
        await cur.execute(queries.tenant_meters, {"site_id": site_id, "now": now, "today": today})
        return await cur.fetchall()


async def equipment_points(conn: AsyncConnection, site_id: SiteId, roles: Sequence[str]) -> list[dict[str, Any]]:
    """Return the latest values of the points with one of these roles."""
    async with conn.cursor(row_factory=dict_row) as cur:
        await cur.execute(queries.equipment_points, {"site_id": site_id, "roles": list(roles)})
        return await cur.fetchall()


async def intervals(conn: AsyncConnection, register_id: RegisterId, period: Period) -> list[Interval]:
    """Return a register's known intervals."""
    cursor = await conn.execute(
        queries.intervals, {"register_id": register_id, "start": period.start, "end": period.end}
    )
    return [Interval(row[0], row[1], row[2]) for row in await cursor.fetchall()]


async def visible_points(conn: AsyncConnection, points: Sequence[PointId]) -> frozenset[PointId]:
    """Return the points that row-level security shows."""
    cursor = await conn.execute(queries.visible_points, {"points": list(points)})
    return frozenset(PointId(row[0]) for row in await cursor.fetchall())


async def device_points(conn: AsyncConnection, device_id: DeviceId) -> list[DevicePoint]:
    """Return a device's points with their latest values."""
    async with conn.cursor(row_factory=class_row(DevicePoint)) as cur:
        await cur.execute(queries.device_points, {"device_id": device_id})
        return await cur.fetchall()


def point_now(row: dict[str, Any]) -> PointNow:
    """Return the latest value that a row carries."""
    facts = ("point_id", "value", "observed_at", "stale_after_s")
    return PointNow(**{fact: row[fact] for fact in facts})
