"""The routes gateways use: catalogue, batches, heartbeat (ARCHITECTURE.md, section 9)."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from cloud_api.db.pool import transaction
from cloud_api.db.request import clock_of, pool_of
from cloud_api.devices import commands, configurations
from cloud_api.devices import service as devices
from cloud_api.devices.model import Catalogue, ConfigurationReport, CredentialRefused, Gateway, Heartbeat
from cloud_api.ingest.body import read_body
from cloud_api.ingest.limits import LIMITS, RateLimiter, counters
from cloud_api.ingest.message import MessageRefused, NotJson, read_batch
from cloud_api.ingest.service import Ingest
from cloud_api.kit.errors import DomainError
from cloud_api.kit.scope import SYSTEM
from cloud_api.settings import Settings
from cloud_api.telemetry import service as telemetry

_Message = TypeVar("_Message", Catalogue, Heartbeat)
router = APIRouter(prefix="/ingest/v1", tags=["ingest"])


class LeanRoute(APIRoute):
    """A documented route whose function takes the bare request: resolving dependencies costs as much as a batch."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function itself."""
        return self.endpoint


lean = APIRouter(route_class=LeanRoute)

_CREDENTIAL_SECONDS = 5.0  # A revoked credential is refused at most this much later.


class TooFast(DomainError):
    """This gateway sends more than its share; wait as long as Retry-After says."""

    code = "too_fast"
    status = 429


class Busy(DomainError):
    """The cloud has as much to do as it can take; wait as long as Retry-After says."""

    code = "busy"
    status = 503


class Door:
    """What the ingest routes of one process share: who is known, how much is under way, how fast each one goes."""

    def __init__(self, request: Request) -> None:
        settings: Settings = request.app.state.settings
        self.ingest = Ingest(pool=pool_of(request), clock=clock_of(request))
        self.at_work = asyncio.Semaphore(settings.ingest_batches_at_work)
        self.waiting = 0
        self.waiting_max = settings.ingest_batches_waiting
        self.rates = RateLimiter(
            per_second=settings.ingest_observations_per_second,
            burst=settings.ingest_observations_burst,
            keys_max=LIMITS.gateways_remembered,
        )
        self._known: dict[str, tuple[float, Gateway]] = {}

    async def gateway(self, request: Request) -> Gateway:
        """Return who sent the request; raises CredentialRefused or GatewayDisabled."""
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() not in {"bearer", "token"} or not credential:
            raise CredentialRefused("send Authorization: Bearer wl_gw_…, as `cloud-api gateway add` printed it")
        now_s = time.monotonic()
        known = self._known.get(credential)
        if known and now_s - known[0] < _CREDENTIAL_SECONDS:
            return known[1]
        async with transaction(pool_of(request), SYSTEM) as conn:
            gateway = await devices.authenticate(conn, credential)
        if len(self._known) >= LIMITS.gateways_remembered:
            self._known.clear()
        self._known[credential] = (now_s, gateway)
        return gateway

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place among those at work; raises Busy when too many wait already."""
        if self.waiting >= self.waiting_max:
            counters["busy"] += 1
            raise Busy(retry_after_s=2)
        self.waiting += 1
        try:
            async with self.at_work:
                yield
        finally:
            self.waiting -= 1

    def pace(self, gateway: Gateway, count: int) -> None:
        """Count observations against the gateway's share; raises TooFast when it is used up."""
        wait_s = self.rates.wait_s(gateway.id, count, time.monotonic())
        if wait_s:
            counters["too_fast"] += 1
            raise TooFast(retry_after_s=max(1, int(wait_s) + 1))


def door_of(request: Request) -> Door:
    """Return the process's door, made at the first request because the pool belongs to the running server."""
    door = getattr(request.app.state, "ingest_door", None)
    if door is None or door.ingest.pool is not pool_of(request):
        door = request.app.state.ingest_door = Door(request)
    return door


async def close_door(app: FastAPI) -> None:
    """Finish what the door holds in memory, before its pool closes."""
    door: Door | None = getattr(app.state, "ingest_door", None)
    if door is not None:
        await door.ingest.close()


async def sender(request: Request, door: Annotated[Door, Depends(door_of)]) -> Gateway:
    """Authenticate before the body is read."""
    return await door.gateway(request)


Sender = Annotated[Gateway, Depends(sender)]

_JSON_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "Message v1; Content-Encoding may be gzip or zstd.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


@lean.post("/batches", openapi_extra=_JSON_BODY)
async def post_batch(request: Request) -> Response:
    """Accept a batch of observations and events; the receipt leaves after the commit."""
    door = door_of(request)
    gateway = await door.gateway(request)
    async with door.place():
        batch = read_batch(await read_body(request))
        door.pace(gateway, len(batch) + len(batch.events))
        receipt = await door.ingest.accept(gateway, batch)
    return Response(orjson.dumps(receipt.body()), media_type="application/json")


router.include_router(lean)


@router.put("/catalogue", openapi_extra=_JSON_BODY)
async def put_catalogue(request: Request, gateway: Sender) -> dict[str, Any]:
    """Replace what is known of the gateway's devices and points."""
    catalogue = _validated(Catalogue, await read_body(request))
    async with transaction(pool_of(request), SYSTEM) as conn:
        now = clock_of(request).now()
        changed = await devices.put_catalogue(conn, gateway, catalogue, now)
        if changed:
            await telemetry.notify(conn, {"kind": "health"})
    return {"revision": catalogue.revision, "changed": changed, "server_time_ms": int(now.timestamp() * 1000)}


@router.post("/heartbeat", openapi_extra=_JSON_BODY)
async def post_heartbeat(request: Request, gateway: Sender) -> dict[str, Any]:
    """Keep the agent's health; the answer may carry a wanted configuration version and commands."""
    heartbeat = _validated(Heartbeat, await read_body(request))
    async with transaction(pool_of(request), SYSTEM) as conn:
        now = clock_of(request).now()
        changed = await devices.record_heartbeat(conn, gateway, heartbeat, now)
        report = heartbeat.configuration or ConfigurationReport()
        wanted = await configurations.settle(conn, gateway.id, report, now)
        orders = await commands.wanted(conn, gateway.id, now)
        await telemetry.notify(conn, {"kind": "health", "devices": changed[:500]})
    return {"server_time_ms": int(now.timestamp() * 1000), "configuration": wanted, "commands": orders}


def _validated(model: type[_Message], body: bytes) -> _Message:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"the body is not JSON: {error}") from error
    if b"\\u0000" in body:
        raise MessageRefused("text must not contain the zero character")
    try:
        return model.model_validate(message)
    except ValidationError as error:
        places = [
            {"place": ".".join(str(p) for p in e["loc"]), "reason": e["msg"]}
            for e in error.errors(include_url=False, include_input=False)[:50]
        ]
        detail = "; ".join(f"{p['place']}: {p['reason']}" for p in places[:3])
        raise MessageRefused("{reason}", reason=detail, errors=places) from error
