"""Site files that the cloud hands to a gateway: offered with the heartbeat, tried, confirmed or rolled back there."""

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from cloud_api.devices import repository
from cloud_api.devices.model import ConfigurationRefused, ConfigurationReport
from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import GatewayId
from device_profiles.lined_yaml import ProfileError, parse_yaml

SITE_FILE_BYTES_MAX = 1024**2


async def offer(
    conn: AsyncConnection, gateway_id: GatewayId, *, site_file: str, actor: str, why: str, now: datetime
) -> int:
    """Offer a site file as the next version and return its number; an older one that was not taken is withdrawn.

    Only what makes a file useless for any gateway is checked here; the agent knows its profiles and checks the rest.
    """
    gateway = await repository.gateway(conn, gateway_id)
    if gateway is None:
        raise NotFound
    if not why.strip():
        raise ConfigurationRefused("say why the site file changes: it is kept with the version")
    _check(site_file, gateway["name"])
    await repository.lock_gateway(conn, gateway_id)
    await repository.withdraw_configurations(conn, gateway_id, now)
    version = await repository.add_configuration(
        conn,
        gateway_id=gateway_id,
        organisation_id=gateway["organisation_id"],
        site_file=site_file,
        actor=actor,
        why=why.strip(),
        now=now,
    )
    await repository.add_audit_entry(
        conn,
        organisation_id=gateway["organisation_id"],
        now=now,
        actor=actor,
        action="gateway.configuration_offered",
        subject=f"gateway:{gateway['name']}",
        reason=f"version {version}: {why.strip()}",
    )
    return version


async def versions(conn: AsyncConnection, gateway_id: GatewayId) -> list[dict[str, Any]]:
    """Return the newest versions with their states, without their texts."""
    return await repository.configurations(conn, gateway_id)


async def version(conn: AsyncConnection, gateway_id: GatewayId, number: int | None = None) -> dict[str, Any] | None:
    """Return version, state and text of one version, by default of the newest."""
    return await repository.configuration(conn, gateway_id, number)


async def settle(
    conn: AsyncConnection, gateway_id: GatewayId, report: ConfigurationReport, now: datetime
) -> dict[str, Any] | None:
    """Take what the agent reports, and return the version and site file that it shall run with, if another.

    An agent that lost its disk and runs with its own file is given the last confirmed version again.
    """
    if report.version is not None and report.state in {"trying", "confirmed"}:
        await repository.settle_configuration(
            conn, gateway_id, version=report.version, state=report.state, problems=[], now=now
        )
    if report.refused is not None and report.state in {"refused", "rolled_back"}:
        await repository.settle_configuration(
            conn, gateway_id, version=report.refused, state=report.state, problems=report.problems, now=now
        )
    wanted = await repository.wanted_configuration(conn, gateway_id, report.version)
    if wanted is None or wanted["site_file"] is None:
        return None
    return {"version": wanted["version"], "site": wanted["site_file"]}


def _check(site_file: str, gateway: str) -> None:
    if len(site_file.encode()) > SITE_FILE_BYTES_MAX:
        raise ConfigurationRefused(
            "the site file is larger than {site_file_bytes_max} bytes; split it over gateways",
            site_file_bytes_max=SITE_FILE_BYTES_MAX,
        )
    if "\0" in site_file:
        raise ConfigurationRefused("the site file holds the zero character; save it as UTF-8 text")
    try:
        site = parse_yaml(site_file, "site.yaml")
    except ProfileError as error:
        raise ConfigurationRefused("the site file cannot be used: {problem}", problem=error) from error
    if site.problems:
        raise ConfigurationRefused(
            "the site file cannot be used:{problems}", problems=[str(problem) for problem in site.problems[:20]]
        )
    named = site.data.get("gateway") if isinstance(site.data, dict) else None
    if named != gateway:
        raise ConfigurationRefused(
            "the site file is for gateway {named!r}, not {gateway!r}: mend its line `gateway:`",
            named=named,
            gateway=gateway,
        )
