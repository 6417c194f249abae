"""What the building does now, and how today compares."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from psycopg import AsyncConnection

from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import DeviceId, PointId
from cloud_api.kit.period import local_days
from cloud_api.operations.overview import repository
from cloud_api.operations.overview.model import (
    DevicePoint,
    MeterNow,
    Overview,
    PointNow,
    RoomNow,
    Site,
    TenantNow,
    Today,
)
from cloud_api.operations.overview.today import compare, first_day_needed

ROOM_ROLES = ("zone_temp", "co2", "humidity")
OUTDOOR_ROLE = "oat"


class NoSite(NotFound):
    """No site has been imported yet: run `cloud-api import-estate FILE`."""

    code = "no_site"


async def site(conn: AsyncConnection) -> Site:
    """Return the viewer's first site; raises NoSite."""
    found = await repository.sites(conn)
    if not found:
        raise NoSite
    return found[0]


async def overview(conn: AsyncConnection, now: datetime) -> Overview:
    """Return the first page's values."""
    where = await site(conn)
    meters = await repository.meters(conn, where.id, now)
    points = await repository.equipment_points(conn, where.id, [*ROOM_ROLES, OUTDOOR_ROLE])
    outdoor = [p for p in points if p["role"] == OUTDOOR_ROLE and p["code"].startswith("climate")]
    pairs = await repository.tenant_meters(conn, where.id, now, now.astimezone(where.zone).date())
    return Overview(
        site=where,
        at=now,
        meters=meters,
        tenants=_tenants(pairs, {meter.id: meter for meter in meters}),
        rooms=_rooms([p for p in points if p["role"] != OUTDOOR_ROLE]),
        outdoor_temperature=repository.point_now(outdoor[0]) if outdoor else None,
    )


async def today(conn: AsyncConnection, now: datetime) -> Today | None:
    """Return today's curve of the main meter, or None when the site has none."""
    where = await site(conn)
    main = next((m for m in await repository.meters(conn, where.id, now) if m.use == "main" and m.register_id), None)
    if main is None or main.register_id is None:
        return None
    day = now.astimezone(where.zone).date()
    period = local_days(first_day_needed(day), day + timedelta(days=1), where.zone)
    return compare(await repository.intervals(conn, main.register_id, period), now, where.zone)


async def device_points(conn: AsyncConnection, device_id: DeviceId) -> list[DevicePoint]:
    """Return a device's points with their latest values; nothing for a device that is not the viewer's."""
    return await repository.device_points(conn, device_id)


async def visible_points(conn: AsyncConnection, points: Sequence[PointId]) -> frozenset[PointId]:
    """Return those of `points` that the viewer may see."""
    return await repository.visible_points(conn, points)


def _tenants(pairs: list[dict[str, object]], meters: dict[object, MeterNow]) -> list[TenantNow]:
    found: dict[object, TenantNow] = {}
    for pair in pairs:
        meter = meters.get(pair["meter_id"])
        power: list[PointNow] = [meter.power] if meter and meter.power else []
        known = found.get(pair["tenant_id"])
        facts = {k: pair[k] for k in ("tenant_id", "code", "name_zh", "name_en", "spaces")}
        found[pair["tenant_id"]] = TenantNow(**facts, power=[*(known.power if known else []), *power])  # pyright: ignore[reportArgumentType]
    return list(found.values())


def _rooms(points: list[dict[str, object]]) -> list[RoomNow]:
    rooms: dict[object, dict[str, PointNow]] = {}
    facts: dict[object, dict[str, object]] = {}
    for point in points:
        if point["space_id"] is None:
            continue
        rooms.setdefault(point["space_id"], {})[str(point["role"])] = repository.point_now(point)
        facts[point["space_id"]] = {k: point[k] for k in ("space_code", "name_zh", "name_en", "level_number")}
    return [RoomNow(**facts[key], points=points_of) for key, points_of in rooms.items()]  # pyright: ignore[reportArgumentType]
