"""Notification channels, routes and the delivery log."""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field

from cloud_api.alarms import rota, routing
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
    hours_from: Annotated[int | None, Field(ge=0, le=23)] = None
    hours_to: Annotated[int | None, Field(ge=0, le=23)] = None
    days: Literal["all", "workdays", "restdays"] = "all"


class Rota(BaseModel):
    """Channels that take turns from a day on; public holidays may go to one channel."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    channels: Annotated[list[int], Field(min_length=1, max_length=50)]
    starts_on: date
    days: Annotated[int, Field(ge=1, le=rota.PLANNED_DAYS_MAX)] = 84
    turn_days: Annotated[int, Field(ge=1, le=31)] = 7
    handover_hour: Annotated[int, Field(ge=0, le=23)] = 9
    time_zone: str = "Asia/Shanghai"
    holiday_channel_id: int | None = None


class Given(BaseModel):
    """A period of a rota given to a channel."""

    channel_id: int
    starts_at: AwareDatetime
    ends_at: AwareDatetime


@router.get("/rotas")
async def rotas(call: FacilitiesCall) -> list[dict[str, Any]]:
    """Return the rotas with who is on call now and until when."""
    return await rota.rotas(call.conn, call.clock)


@router.post("/rotas", status_code=201)
async def save_rota(call: FacilitiesCall, wanted: Rota) -> dict[str, int]:
    """Make a rota, or plan one of that name anew."""
    return {"id": await rota.save(call.conn, organisation_id=call.viewer.organisation_id, **wanted.model_dump())}


@router.get("/rotas/{rota_id}/shifts")
async def shifts(call: FacilitiesCall, rota_id: int) -> list[dict[str, Any]]:
    """Return the present and coming shifts."""
    return await rota.shifts_of(call.conn, call.clock, rota_id)


@router.post("/rotas/{rota_id}/shifts", status_code=204)
async def give_shift(call: FacilitiesCall, rota_id: int, given: Given) -> None:
    """Give a period to a channel: an exchanged shift, a sick day."""
    await rota.give(call.conn, rota_id, **given.model_dump())


@router.delete("/rotas/{rota_id}", status_code=204)
async def remove_rota(call: FacilitiesCall, rota_id: int) -> None:
    """Remove a rota with its shifts and routes."""
    await rota.remove(call.conn, rota_id)


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
