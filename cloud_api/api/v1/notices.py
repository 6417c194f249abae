"""Notices of the park to its tenants, in both languages."""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.api.auth import ServiceCall, TenantServiceCall
from cloud_api.identity.model import TenantViewer
from cloud_api.leasing import notices, service

router = APIRouter(prefix="/notices", tags=["notices"])
Title = Annotated[str, Field(min_length=1, max_length=120)]
Body = Annotated[str, Field(max_length=4000)]


class NewNotice(BaseModel):
    """A notice and the days on which tenants see it; without a last day until it is withdrawn."""

    kind: Literal["story", "activity", "news", "policy", "service"]
    title_zh: Title
    title_en: Title
    body_zh: Body = ""
    body_en: Body = ""
    first: date
    last_day: date | None = None


@router.get("")
async def list_notices(call: TenantServiceCall) -> list[dict[str, Any]]:
    """Return the newest notices; a tenant's people get those that are shown today, with their text."""
    organisation = call.viewer.organisation_id
    if isinstance(call.viewer, TenantViewer):
        today = call.clock.now().astimezone(await service.zone_of(call.conn)).date()
        return await notices.shown_on(call.conn, organisation, today, limit=notices.SHOWN_MAX)
    return await notices.every(call.conn, organisation)


@router.post("", status_code=201)
async def publish(call: ServiceCall, wanted: NewNotice) -> dict[str, int]:
    """Publish a notice."""
    notice = await notices.publish(
        call.conn,
        organisation_id=call.viewer.organisation_id,
        **wanted.model_dump(),
        actor=call.viewer.login,
        clock=call.clock,
    )
    return {"id": notice}


@router.post("/{notice_id}/withdraw", status_code=204)
async def withdraw(call: ServiceCall, notice_id: int) -> None:
    """Stop showing a notice."""
    await notices.withdraw(call.conn, notice_id, call.clock)
