"""Use cases of gateways and their devices: credentials, catalogue, heartbeat, state."""

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from cloud_api.devices import repository
from cloud_api.devices.model import (
    POINTS_MAX,
    Catalogue,
    CatalogueDevice,
    CatalogueRefused,
    CredentialRefused,
    Gateway,
    GatewayDisabled,
    GatewayRefused,
    Heartbeat,
)
from cloud_api.kit.ids import DeviceId, GatewayId, OrganisationId, PointId

_CREDENTIAL = re.compile(r"wl_gw_([0-9a-f]{12})_([A-Za-z0-9_-]{20,100})")
_GATEWAY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


async def add_gateway(conn: AsyncConnection, *, site_code: str, name: str, actor: str, now: datetime) -> str:
    """Create a gateway at a site and return its credential, which is shown this once."""
    if not _GATEWAY_NAME.fullmatch(name):
        raise GatewayRefused("{name!r} is not a gateway name: use small letters, digits and hyphens", name=name)
    sites = await repository.sites_by_code(conn, site_code)
    if not sites:
        raise GatewayRefused("no site has the code {site!r}: import or create the site first", site=site_code)
    if len(sites) > 1:
        raise GatewayRefused(
            "{count} organisations have a site {site!r}; rename one of them first", count=len(sites), site=site_code
        )
    [site] = sites
    gateway_id = await repository.add_gateway(
        conn, organisation_id=site["organisation_id"], site_id=site["id"], name=name, label=name
    )
    if gateway_id is None:
        raise GatewayRefused(
            "a gateway named {name!r} exists; `cloud-api gateway credential {name}` gives it a new credential",
            name=name,
        )
    return await _issue_credential(conn, gateway_id, site["organisation_id"], name, actor=actor, now=now)


async def new_credential(conn: AsyncConnection, *, name: str, actor: str, now: datetime, revoke_others: bool) -> str:
    """Return one more credential of an existing gateway, revoking the others when asked."""
    gateway = await _gateway_named(conn, name)
    if revoke_others:
        await repository.revoke_credentials(conn, gateway["id"], now)
    return await _issue_credential(
        conn, GatewayId(gateway["id"]), gateway["organisation_id"], name, actor=actor, now=now
    )


async def authenticate(conn: AsyncConnection, credential: str) -> Gateway:
    """Return the gateway behind `wl_gw_<key>_<secret>`; raises CredentialRefused or GatewayDisabled."""
    match = _CREDENTIAL.fullmatch(credential)
    row = await repository.credential(conn, match[1]) if match else None
    if match is None or row is None or not hmac.compare_digest(_hash(match[2]), bytes(row["secret_sha256"])):
        raise CredentialRefused
    if not row["is_enabled"]:
        raise GatewayDisabled
    return Gateway(
        id=GatewayId(row["gateway_id"]), organisation_id=OrganisationId(row["organisation_id"]), name=row["name"]
    )


async def put_catalogue(conn: AsyncConnection, gateway: Gateway, catalogue: Catalogue, now: datetime) -> bool:
    """Replace what is known of a gateway's devices and points; False when it is the catalogue already known.

    What is no longer listed is retired, never deleted: its observations and bills stay explainable.
    """
    _check_names(catalogue)
    known = await repository.lock_gateway(conn, gateway.id)
    if known["catalogue_revision"] == catalogue.revision:
        await repository.finish_catalogue(conn, gateway.id, catalogue, now, changed=False)
        return False
    ids = await repository.put_devices(
        conn,
        organisation_id=gateway.organisation_id,
        gateway_id=gateway.id,
        devices=catalogue.devices,
        now=now,
    )
    await repository.put_points(
        conn,
        organisation_id=gateway.organisation_id,
        gateway_id=gateway.id,
        points=[(ids[device.name], point) for device in catalogue.devices for point in device.points],
        now=now,
    )
    await repository.finish_catalogue(conn, gateway.id, catalogue, now, changed=True)
    return True


async def add_points(conn: AsyncConnection, gateway: Gateway, devices: Sequence[CatalogueDevice], now: datetime) -> int:
    """Add devices and points of a gateway that has no catalogue of its own; return the catalogue's version.

    What is known keeps its description. Raises CatalogueRefused when the gateway would have more points than allowed.
    """
    known = await repository.lock_gateway(conn, gateway.id)
    added, total = await repository.add_missing(conn, gateway, devices)
    if total > POINTS_MAX:
        raise CatalogueRefused("a gateway has at most {most} points", most=POINTS_MAX)
    if added:
        await repository.touch_version(conn, gateway.id, now)
        return known["catalogue_version"] + 1
    return known["catalogue_version"]


async def record_heartbeat(
    conn: AsyncConnection, gateway: Gateway, heartbeat: Heartbeat, now: datetime
) -> list[DeviceId]:
    """Keep the agent's health and its devices' states; return the devices whose state changed."""
    await repository.record_heartbeat(conn, gateway.id, heartbeat, now)
    names = await repository.device_names(conn, gateway.id)
    states = {
        names[device.name]: (
            device.state,
            now if device.since_ms is None else datetime.fromtimestamp(device.since_ms / 1000, UTC),
            device.last_error or "",
        )
        for device in heartbeat.devices
        if device.name in names
    }
    return await repository.set_device_states(conn, states)


async def set_device_states(
    conn: AsyncConnection, states: Mapping[DeviceId, tuple[str, datetime, str]]
) -> list[DeviceId]:
    """Take (state, since, last error) per device where it is newer than what is known; return what changed."""
    return await repository.set_device_states(conn, states)


async def addresses(conn: AsyncConnection, gateway_id: GatewayId) -> tuple[dict[str, PointId], dict[str, DeviceId]]:
    """Return the gateway's points by `device/point` and its devices by name."""
    return await repository.point_addresses(conn, gateway_id), await repository.device_names(conn, gateway_id)


async def gateway_named(conn: AsyncConnection, name: str) -> GatewayId:
    """Return the gateway of that name; raises GatewayRefused when there is none."""
    return GatewayId((await _gateway_named(conn, name))["id"])


async def gateways(conn: AsyncConnection) -> list[dict[str, Any]]:
    """Return the gateways that the viewer may see, with their health and device counts."""
    return await repository.gateways(conn)


async def devices(conn: AsyncConnection, gateway_id: GatewayId | None = None) -> Sequence[dict[str, Any]]:
    """Return the devices that the viewer may see, with their state."""
    return await repository.devices(conn, gateway_id)


def _check_names(catalogue: Catalogue) -> None:
    twice = [name for name, n in Counter(d.name for d in catalogue.devices).items() if n > 1]
    if twice:
        raise CatalogueRefused("two devices are named {name!r}", name=twice[0])
    for device in catalogue.devices:
        twice = [name for name, n in Counter(p.name for p in device.points).items() if n > 1]
        if twice:
            raise CatalogueRefused(
                "device {device_name!r} has two points named {name!r}", device_name=device.name, name=twice[0]
            )
    count = sum(len(device.points) for device in catalogue.devices)
    if count > POINTS_MAX:
        raise CatalogueRefused(
            "{count} points on one gateway; at most {points_max}", count=count, points_max=POINTS_MAX
        )


async def _gateway_named(conn: AsyncConnection, name: str) -> dict[str, Any]:
    gateway = await repository.gateway_by_name(conn, name)
    if gateway is None:
        raise GatewayRefused("no gateway is named {name!r}; `cloud-api gateway list` shows them", name=name)
    return gateway


async def _issue_credential(
    conn: AsyncConnection, gateway_id: GatewayId, organisation_id: int, name: str, *, actor: str, now: datetime
) -> str:
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    await repository.add_credential(conn, gateway_id=gateway_id, key_id=key_id, secret_sha256=_hash(secret), now=now)
    await repository.add_audit_entry(
        conn,
        organisation_id=organisation_id,
        now=now,
        actor=actor,
        action="gateway.credential_issued",
        subject=f"gateway:{name}",
        reason=f"key {key_id}",
    )
    return f"wl_gw_{key_id}_{secret}"


def _hash(secret: str) -> bytes:
    # The secret has 256 random bits, so a plain hash is enough and costs a batch nothing.
    return hashlib.sha256(secret.encode()).digest()
