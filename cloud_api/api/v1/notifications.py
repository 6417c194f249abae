"""Notification channels, routes and the delivery log."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.alarms import routing
from cloud_api.api.auth import FacilitiesCall
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.notify import service
from cloud_api.notify.channels import ChannelRefused

router = APIRouter(prefix="/notifications", tags=["notifications"])


class Channel(BaseModel):
    """Where messages go: webhook+https://…, or any address of the Apprise library."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    address: Annotated[str, Field(min_length=1, max_length=1000)]
    language: Literal["zh", "en"] = "zh"
    per_minute: Annotated[int, Field(ge=1, le=600)] = 20
    sends_recovery: bool = True


class Route(BaseModel):
    """Who is told of what: severities up to `severity_max` of rules that begin with `rule_prefix`."""

    channel_id: int | None = None
    rota_id: int | None = None
    site_id: int | None = None
    rule_prefix: Annotated[str, Field(max_length=20)] = ""
    severity_max: Annotated[int, Field(ge=1, le=4)] = 3
    after_minutes: Annotated[int, Field(ge=0, le=10080)] = 0
    quiet_from: Annotated[int | None, Field(ge=0, le=23)] = None
    quiet_to: Annotated[int | None, Field(ge=0, le=23)] = None
    repeat_minutes: Annotated[int, Field(ge=5, le=10080)] = 240
    fallback_channel_id: int | None = None


@router.get("/channels")
async def channels(call: FacilitiesCall) -> list[dict[str, Any]]:
    """Return the channels; of an address only its kind."""
    return await service.list_channels(call.conn)


@router.post("/channels", status_code=201)
async def add_channel(call: FacilitiesCall, channel: Channel) -> dict[str, int]:
    """Add a channel."""
    try:
        added = await service.add_channel(
            call.conn, organisation_id=call.viewer.organisation_id, **channel.model_dump()
        )
    except ChannelRefused as error:
        raise Invalid("the address cannot be used: {problem}", problem=error) from error
    return {"id": added}


@router.post("/channels/{channel_id}/test", status_code=202)
async def test_channel(call: FacilitiesCall, channel_id: int) -> None:
    """Send a test message; the delivery log says how it went."""
    await service.send_test(call.conn, call.clock, channel_id)


@router.get("/routes")
async def routes(call: FacilitiesCall) -> list[dict[str, Any]]:
    """Return the routes, earliest step first."""
    return await routing.routes(call.conn)


@router.post("/routes", status_code=201)
async def add_route(call: FacilitiesCall, route: Route) -> dict[str, int]:
    """Add a route."""
    added = await routing.add_route(call.conn, organisation_id=call.viewer.organisation_id, **route.model_dump())
    return {"id": added}


@router.delete("/routes/{route_id}", status_code=204)
async def remove_route(call: FacilitiesCall, route_id: int) -> None:
    """Remove a route."""
    if not await routing.remove_route(call.conn, route_id):
        raise NotFound


@router.get("/deliveries")
async def deliveries(call: FacilitiesCall) -> list[dict[str, Any]]:
    """Return the newest 200 lines of the delivery log."""
    return await service.deliveries(call.conn)
