"""One gateway: how it does, the site file it runs with, and the points set through it."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Response, UploadFile

from cloud_api.devices import commands, configurations, service
from cloud_api.identity.model import StaffViewer
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.ids import DeviceId, GatewayId, PointId
from cloud_api.web.console.devices import gateway_health
from cloud_api.web.shared.forms import optional_decimal
from cloud_api.web.shared.page import FacilitiesPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/gateways")


@router.get("/{gateway_id}")
async def gateway(page: StaffPage, gateway_id: int) -> Response:
    """Show health, buses, configuration versions and commands of a gateway."""
    found = await _gateway(page, gateway_id)
    return page.render(
        "console/gateway.html",
        fragment="state",
        gateway=found,
        buses=_buses(found["health"]),
        report=found["health"].get("configuration") or {},
        versions=await configurations.versions(page.conn, GatewayId(gateway_id)),
        commands=await commands.commands(page.conn, page.clock.now(), gateway_id=GatewayId(gateway_id)),
    )


@router.get("/{gateway_id}/configuration")
async def edit_configuration(page: FacilitiesPage, gateway_id: int, version: int | None = None) -> Response:
    """Show the form for a site file, filled with the newest version or with the one asked for."""
    found = await _gateway(page, gateway_id)
    base = await configurations.version(page.conn, GatewayId(gateway_id), version)
    if base is None and version is not None:
        raise NotFound
    return page.render("console/gateway_configuration.html", gateway=found, base=base)


@router.post("/{gateway_id}/configuration")
async def offer_configuration(
    page: FacilitiesPage,
    gateway_id: int,
    why: Annotated[str, Form(max_length=500)],
    site_file: Annotated[str, Form(max_length=configurations.SITE_FILE_BYTES_MAX)] = "",
    upload: UploadFile | None = None,
) -> Response:
    """Offer a site file, typed or uploaded, with the gateway's next heartbeat."""
    text = await _text_of(upload) if upload is not None and upload.size else site_file.replace("\r\n", "\n")
    version = await configurations.offer(
        page.conn,
        GatewayId(gateway_id),
        site_file=text,
        why=why,
        actor=page.viewer.login,
        now=page.clock.now(),
    )
    return page.redirect(
        f"/console/gateways/{gateway_id}", notice=_("Version {version} is offered to the gateway.", version=version)
    )


@router.post("/{gateway_id}/commands/{command_id}/withdraw")
async def withdraw(page: FacilitiesPage, gateway_id: int, command_id: int) -> Response:
    """Take back a command that the gateway has not answered."""
    await commands.withdraw(page.conn, command_id, actor=page.viewer.login, now=page.clock.now())
    return page.redirect(f"/console/gateways/{gateway_id}", notice=_("Withdrawn."))


@router.post("/devices/{device_id}/points/{point_id}")
async def set_point(
    page: FacilitiesPage,
    device_id: int,
    point_id: int,
    value: Annotated[str, Form(max_length=40)],
    why: Annotated[str, Form(max_length=500)],
    release_after_min: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Ask the gateway to set a point of a device."""
    if point_id not in {point["id"] for point in await commands.writable_points(page.conn, DeviceId(device_id))}:
        raise NotFound
    minutes = optional_decimal(_("Give back after"), release_after_min)
    await commands.order(
        page.conn,
        PointId(point_id),
        value=value.replace(",", "."),
        why=why,
        actor=page.viewer.login,
        now=page.clock.now(),
        release_after_s=None if minutes is None else int(minutes * 60),
    )
    return page.redirect(f"/console/devices/{device_id}", notice=_("The gateway takes the command within ten seconds."))


async def _gateway(page: Page[StaffViewer], gateway_id: int) -> dict[str, Any]:
    found = next((g for g in await service.gateways(page.conn) if g["id"] == gateway_id), None)
    if found is None:
        raise NotFound
    return gateway_health(found, page.clock.now())


def _buses(health: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the agent reports of its buses; an agent of another kind may report something else."""
    buses = health.get("buses")
    return [bus for bus in buses if isinstance(bus, dict) and "name" in bus] if isinstance(buses, list) else []


async def _text_of(upload: UploadFile) -> str:
    content = await upload.read(configurations.SITE_FILE_BYTES_MAX + 1)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Invalid("The file is not UTF-8 text (byte {place}).", place=error.start) from error
