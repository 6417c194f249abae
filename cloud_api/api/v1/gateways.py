"""Gateways and their devices: health, the site file each runs with, points set from afar."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.api.values import RowId
from cloud_api.devices import commands, configurations, service
from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import DeviceId, GatewayId, PointId
from cloud_api.operations import vain

router = APIRouter(tags=["gateways"])


class SiteFile(BaseModel):
    """A site file to run with, as text, and why."""

    site_file: Annotated[str, Field(min_length=1, max_length=configurations.SITE_FILE_BYTES_MAX)]
    why: Annotated[str, Field(min_length=1, max_length=500)]


class Order(BaseModel):
    """What a point shall be set to: a number in its unit, or the word of a state."""

    value: Annotated[str, Field(min_length=1, max_length=40)]
    why: Annotated[str, Field(min_length=1, max_length=500)]
    release_after_s: Annotated[int | None, Field(ge=1, le=commands.RELEASE_MAX_S)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentInVain:
    """What the cloud could not use."""

    observations: list[vain.Refused]
    messages: list[vain.Failed]


@router.get("/gateways")
async def gateways(call: StaffCall) -> list[dict[str, Any]]:
    """Return the gateways with their health."""
    return await service.gateways(call.conn)


@router.get("/rejected")
async def rejected(
    call: StaffCall,
    gateway_id: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> SentInVain:
    """Return what came in vain, the newest first: refused observations with the reason, failed Sparkplug messages."""
    chosen = None if gateway_id is None else GatewayId(gateway_id)
    return SentInVain(
        observations=await vain.refused(call.conn, gateway_id=chosen, limit=limit, offset=offset),
        messages=await vain.failed(call.conn, gateway_id=chosen),
    )


@router.get("/gateways/{gateway_id}/configurations")
async def versions(call: FacilitiesCall, gateway_id: RowId) -> list[dict[str, Any]]:
    """Return the newest fifty site files that were offered, and what became of each."""
    return await configurations.versions(call.conn, GatewayId(gateway_id))


@router.post("/gateways/{gateway_id}/configurations", status_code=201)
async def offer(call: FacilitiesCall, gateway_id: RowId, wanted: SiteFile) -> dict[str, int]:
    """Offer a site file with the next heartbeat; the agent tries it, and confirms it or goes back."""
    version = await configurations.offer(
        call.conn,
        GatewayId(gateway_id),
        site_file=wanted.site_file,
        why=wanted.why,
        actor=call.viewer.login,
        now=call.clock.now(),
    )
    return {"version": version}


@router.get("/gateways/{gateway_id}/configurations/{version}")
async def version(
    call: FacilitiesCall, gateway_id: RowId, version: Annotated[int, Field(ge=1, lt=2**31)]
) -> dict[str, Any]:
    """Return one version with its text."""
    found = await configurations.version(call.conn, GatewayId(gateway_id), version)
    if found is None:
        raise NotFound
    return found


@router.get("/devices")
async def devices(call: StaffCall, gateway_id: RowId | None = None) -> list[dict[str, Any]]:
    """Return the devices with their states, those retired last."""
    return list(await service.devices(call.conn, None if gateway_id is None else GatewayId(gateway_id)))


@router.get("/devices/{device_id}/writable-points")
async def writable_points(call: StaffCall, device_id: RowId) -> list[dict[str, Any]]:
    """Return the points that may be set, with their guard rails."""
    return await commands.writable_points(call.conn, DeviceId(device_id))


@router.post("/points/{point_id}/commands", status_code=202)
async def order(call: FacilitiesCall, point_id: RowId, wanted: Order) -> dict[str, int]:
    """Ask for a point to be set; the gateway answers within its guard rails."""
    number = await commands.order(
        call.conn, PointId(point_id), **wanted.model_dump(), actor=call.viewer.login, now=call.clock.now()
    )
    return {"id": number}


@router.get("/commands")
async def list_commands(
    call: StaffCall,
    gateway_id: RowId | None = None,
    device_id: RowId | None = None,
) -> list[dict[str, Any]]:
    """Return the newest hundred commands with their states."""
    return await commands.commands(
        call.conn,
        call.clock.now(),
        gateway_id=None if gateway_id is None else GatewayId(gateway_id),
        device_id=None if device_id is None else DeviceId(device_id),
    )


@router.delete("/commands/{command_id}", status_code=204)
async def withdraw(call: FacilitiesCall, command_id: RowId) -> None:
    """Take back a command that the gateway has not answered."""
    await commands.withdraw(call.conn, command_id, actor=call.viewer.login, now=call.clock.now())
