"""Rows of gateways, devices and points; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows, one_row
from cloud_api.devices.model import Catalogue, CatalogueDevice, CataloguePoint, Gateway, Heartbeat
from cloud_api.kit.ids import DeviceId, GatewayId, OrganisationId, PointId

queries = load_queries(__file__)


async def credential(conn: AsyncConnection, key_id: str) -> dict[str, Any] | None:
    """Return the gateway and the hash behind a key that is not revoked."""
    return await one_row(conn, queries.credential, {"key_id": key_id})


async def sites_by_code(conn: AsyncConnection, code: str) -> list[dict[str, Any]]:
    """Return the sites of all organisations with this code."""
    return await all_rows(conn, queries.sites_by_code, {"code": code})


async def add_gateway(
    conn: AsyncConnection, *, organisation_id: int, site_id: int, name: str, label: str
) -> GatewayId | None:
    """Return the new gateway's id, or None when the name is taken."""
    row = await one_row(
        conn,
        queries.add_gateway,
        {"organisation_id": organisation_id, "site_id": site_id, "name": name, "label": label},
    )
    return GatewayId(row["id"]) if row else None


async def gateway_by_name(conn: AsyncConnection, name: str) -> dict[str, Any] | None:
    """Return id, organisation_id and site_id of a gateway, or None."""
    return await one_row(conn, queries.gateway_by_name, {"name": name})


async def add_credential(
    conn: AsyncConnection, *, gateway_id: int, key_id: str, secret_sha256: bytes, now: datetime
) -> None:
    """Store one more credential of a gateway; older ones stay valid until they are revoked."""
    await conn.execute(
        queries.add_credential,
        {"gateway_id": gateway_id, "key_id": key_id, "secret_sha256": secret_sha256, "now": now},
    )


async def revoke_credentials(conn: AsyncConnection, gateway_id: int, now: datetime) -> int:
    """Revoke every credential of a gateway and return how many there were."""
    cursor = await conn.execute(queries.revoke_credentials, {"gateway_id": gateway_id, "now": now})
    return cursor.rowcount


async def add_audit_entry(
    conn: AsyncConnection, *, organisation_id: int, now: datetime, actor: str, action: str, subject: str, reason: str
) -> None:
    """Record who did what to which gateway."""
    await conn.execute(
        queries.add_audit_entry,
        {
            "organisation_id": organisation_id,
            "now": now,
            "actor": actor,
            "action": action,
            "subject": subject,
            "reason": reason,
        },
    )


async def lock_gateway(conn: AsyncConnection, gateway_id: GatewayId) -> dict[str, Any]:
    """Return organisation_id, catalogue_revision and catalogue_version; holds the row until the commit."""
    row = await one_row(conn, queries.lock_gateway, {"gateway_id": gateway_id})
    assert row is not None, "the credential names an existing gateway"
    return row


async def put_devices(
    conn: AsyncConnection,
    *,
    organisation_id: OrganisationId,
    gateway_id: GatewayId,
    devices: Sequence[CatalogueDevice],
    now: datetime,
) -> dict[str, DeviceId]:
    """Add or change devices, retire the rest, and return the ids by name."""
    columns = {
        name: [getattr(device, name) for device in devices]
        for name in ("name", "label", "profile", "profile_revision", "bus", "address", "poll_s", "timeout_s")
    }
    rows = await all_rows(
        conn,
        queries.put_devices,
        columns
        | {
            "organisation_id": organisation_id,
            "gateway_id": gateway_id,
            "attributes": [Jsonb(device.attributes) for device in devices],
        },
    )
    await conn.execute(queries.retire_devices, {"gateway_id": gateway_id, "name": columns["name"], "now": now})
    return {row["name"]: DeviceId(row["id"]) for row in rows}


async def put_points(
    conn: AsyncConnection,
    *,
    organisation_id: OrganisationId,
    gateway_id: GatewayId,
    points: Sequence[tuple[DeviceId, CataloguePoint]],
    now: datetime,
) -> None:
    """Add or change points and retire the rest."""
    rows = await all_rows(
        conn,
        queries.put_points,
        {
            "organisation_id": organisation_id,
            "device_id": [device_id for device_id, _ in points],
            "name": [point.name for _, point in points],
            "kind": [point.kind for _, point in points],
            "quantity": [point.quantity for _, point in points],
            "unit": [point.unit for _, point in points],
            "brick_class": [point.brick or "" for _, point in points],
            "scale": [point.scale for _, point in points],
            "is_cumulative": [point.cumulative for _, point in points],
            "labels": [Jsonb(point.labels) for _, point in points],
            "write_limits": [Jsonb(point.write.model_dump()) if point.write else None for _, point in points],
        },
    )
    ids = [row["id"] for row in rows]
    await conn.execute(queries.retire_points, {"gateway_id": gateway_id, "id": ids, "now": now})


async def add_missing(conn: AsyncConnection, gateway: Gateway, devices: Sequence[CatalogueDevice]) -> tuple[int, int]:
    """Add devices and points that are not there; return how many points were added and how many there are now."""
    points = [(device.name, point) for device in devices for point in device.points]
    [counted] = await all_rows(
        conn,
        queries.add_missing,
        {
            "organisation_id": gateway.organisation_id,
            "gateway_id": gateway.id,
            "name": [device.name for device in devices],
            "label": [device.label for device in devices],
            "device": [name for name, _ in points],
            "point": [point.name for _, point in points],
            "unit": [point.unit for _, point in points],
        },
    )
    return counted["added"], counted["total"]


async def touch_version(conn: AsyncConnection, gateway_id: GatewayId, now: datetime) -> None:
    """Tell other processes that what they remember of this gateway's points is old."""
    await conn.execute(queries.touch_version, {"gateway_id": gateway_id, "now": now})


async def finish_catalogue(
    conn: AsyncConnection, gateway_id: GatewayId, catalogue: Catalogue, now: datetime, *, changed: bool
) -> None:
    """Remember the revision, and tell other processes when the points may have changed."""
    statement = queries.finish_catalogue if changed else queries.touch_catalogue
    await conn.execute(
        statement,
        {
            "gateway_id": gateway_id,
            "revision": catalogue.revision,
            "agent": Jsonb(catalogue.agent),
            "now": now,
        },
    )


async def point_addresses(conn: AsyncConnection, gateway_id: GatewayId) -> dict[str, PointId]:
    """Return every point of a gateway by `device/point`."""
    rows = await all_rows(conn, queries.point_addresses, {"gateway_id": gateway_id})
    return {row["address"]: PointId(row["id"]) for row in rows}


async def device_names(conn: AsyncConnection, gateway_id: GatewayId) -> dict[str, DeviceId]:
    """Return every device of a gateway by name."""
    rows = await all_rows(conn, queries.device_names, {"gateway_id": gateway_id})
    return {row["name"]: DeviceId(row["id"]) for row in rows}


async def record_heartbeat(conn: AsyncConnection, gateway_id: GatewayId, heartbeat: Heartbeat, now: datetime) -> None:
    """Keep what the agent says of itself."""
    health = heartbeat.model_dump(exclude={"v", "devices"}, mode="json")
    await conn.execute(
        queries.record_heartbeat,
        {
            "gateway_id": gateway_id,
            "clock_offset_ms": heartbeat.clock_offset_ms,
            "health": Jsonb(health),
            "now": now,
        },
    )


async def set_device_states(
    conn: AsyncConnection, states: Mapping[DeviceId, tuple[str, datetime, str]]
) -> list[DeviceId]:
    """Take (state, since, last error) of devices where newer; return the devices that changed."""
    if not states:
        return []
    ordered = sorted(states)
    rows = await all_rows(
        conn,
        queries.set_device_states,
        {
            "device_id": ordered,
            "state": [states[d][0] for d in ordered],
            "since": [states[d][1].astimezone(UTC) for d in ordered],
            "last_error": [states[d][2] for d in ordered],
        },
    )
    return [DeviceId(row["id"]) for row in rows]


async def gateways(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the gateways that the transaction's scope may see."""
    return await all_rows(conn, queries.gateways, {})


async def devices(conn: AsyncConnection, gateway_id: GatewayId | None) -> list[dict[str, Any]]:
    """Return devices that the transaction's scope may see."""
    return await all_rows(conn, queries.devices, {"gateway_id": gateway_id})


async def gateway(conn: AsyncConnection, gateway_id: GatewayId) -> dict[str, Any] | None:
    """Return id, organisation_id and name of a gateway that the transaction's scope may see, or None."""
    return await one_row(conn, queries.gateway, {"gateway_id": gateway_id})


async def add_configuration(
    conn: AsyncConnection,
    *,
    gateway_id: GatewayId,
    organisation_id: int,
    site_file: str,
    actor: str,
    why: str,
    now: datetime,
) -> int:
    """Store the next version of a gateway's site file and return its number."""
    row = await one_row(
        conn,
        queries.add_configuration,
        {
            "gateway_id": gateway_id,
            "organisation_id": organisation_id,
            "site_file": site_file,
            "actor": actor,
            "why": why,
            "now": now,
        },
    )
    assert row is not None, "an INSERT … SELECT of an aggregate has one row"
    return row["version"]


async def withdraw_configurations(conn: AsyncConnection, gateway_id: GatewayId, now: datetime) -> None:
    """Withdraw the versions that the gateway has not taken."""
    await conn.execute(queries.withdraw_configurations, {"gateway_id": gateway_id, "now": now})


async def configurations(conn: AsyncConnection, gateway_id: GatewayId) -> list[dict[str, Any]]:
    """Return the newest fifty versions without their texts."""
    return await all_rows(conn, queries.configurations, {"gateway_id": gateway_id})


async def configuration(conn: AsyncConnection, gateway_id: GatewayId, version: int | None) -> dict[str, Any] | None:
    """Return one version with its text, the newest when `version` is None."""
    return await one_row(conn, queries.configuration, {"gateway_id": gateway_id, "version": version})


async def settle_configuration(
    conn: AsyncConnection, gateway_id: GatewayId, *, version: int, state: str, problems: Sequence[str], now: datetime
) -> None:
    """Keep what became of a version."""
    await conn.execute(
        queries.settle_configuration,
        {"gateway_id": gateway_id, "version": version, "state": state, "problems": list(problems), "now": now},
    )


async def wanted_configuration(
    conn: AsyncConnection, gateway_id: GatewayId, running: int | None
) -> dict[str, Any] | None:
    """Return what the gateway shall run with, or None; `site_file` is None when that is what it runs with."""
    return await one_row(conn, queries.wanted_configuration, {"gateway_id": gateway_id, "running": running})


async def writable_point(conn: AsyncConnection, point_id: PointId) -> dict[str, Any] | None:
    """Return a point with its guard rails and its gateway, or None."""
    return await one_row(conn, queries.writable_point, {"point_id": point_id})


async def writable_points(conn: AsyncConnection, device_id: DeviceId) -> list[dict[str, Any]]:
    """Return the points of a device that have guard rails."""
    return await all_rows(conn, queries.writable_points, {"device_id": device_id})


async def point_by_address(conn: AsyncConnection, gateway_name: str, address: str) -> PointId | None:
    """Return the id of `device/point`, or None."""
    row = await one_row(conn, queries.point_by_address, {"gateway": gateway_name, "address": address})
    return PointId(row["id"]) if row else None


async def waiting_count(conn: AsyncConnection, gateway_id: GatewayId, now: datetime) -> int:
    """Count the commands that are still offered to a gateway."""
    row = await one_row(conn, queries.waiting_count, {"gateway_id": gateway_id, "now": now})
    assert row is not None, "a count has one row"
    return row["count"]


async def add_command(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    gateway_id: GatewayId,
    point_id: PointId,
    value: str,
    release_after_s: int | None,
    actor: str,
    why: str,
    now: datetime,
    expires_at: datetime,
) -> int:
    """Store a command and return its number."""
    row = await one_row(
        conn,
        queries.add_command,
        {
            "organisation_id": organisation_id,
            "gateway_id": gateway_id,
            "point_id": point_id,
            "value": value,
            "release_after_s": release_after_s,
            "actor": actor,
            "why": why,
            "now": now,
            "expires_at": expires_at,
        },
    )
    assert row is not None, "an INSERT of one row returns one"
    return row["id"]


async def withdraw_command(conn: AsyncConnection, command_id: int, *, actor: str, now: datetime) -> bool:
    """Withdraw a waiting command; False when there is none."""
    return await one_row(conn, queries.withdraw_command, {"id": command_id, "actor": actor, "now": now}) is not None


async def wanted_commands(
    conn: AsyncConnection, gateway_id: GatewayId, now: datetime, *, limit: int
) -> list[dict[str, Any]]:
    """Return the commands that a gateway has not answered, oldest first."""
    return await all_rows(conn, queries.wanted_commands, {"gateway_id": gateway_id, "now": now, "limit": limit})


async def finish_command(
    conn: AsyncConnection,
    gateway_id: GatewayId,
    *,
    command_id: int,
    state: str,
    reason: str,
    shown: float | None,
    at: datetime,
) -> None:
    """Keep the result of a command of this gateway; the first one holds."""
    await conn.execute(
        queries.finish_command,
        {"gateway_id": gateway_id, "id": command_id, "state": state, "reason": reason, "shown": shown, "at": at},
    )


async def note_release(conn: AsyncConnection, gateway_id: GatewayId, *, device: str, point: str, at: datetime) -> None:
    """Keep when the newest override of a point was released."""
    await conn.execute(queries.note_release, {"gateway_id": gateway_id, "device": device, "point": point, "at": at})


async def commands(
    conn: AsyncConnection, now: datetime, gateway_id: GatewayId | None, device_id: DeviceId | None
) -> list[dict[str, Any]]:
    """Return the newest hundred commands."""
    return await all_rows(conn, queries.commands, {"now": now, "gateway_id": gateway_id, "device_id": device_id})
