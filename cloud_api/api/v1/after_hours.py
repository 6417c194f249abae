"""Air conditioning after hours: requests and bookings, for staff and for a tenant's own people; a site's parameters."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from cloud_api.api.auth import ServiceCall, TenantServiceCall
from cloud_api.identity.model import TenantViewer
from cloud_api.kit.errors import Invalid
from cloud_api.leasing import after_hours, service
from cloud_api.leasing.after_hours import AfterHoursPolicy

router = APIRouter(prefix="/after-hours", tags=["after hours"])
SiteCode = Annotated[str | None, Query(max_length=40, description="Needed when there are several sites.")]


class Wanted(BaseModel):
    """A space and a time, with offset. Staff name the tenant; a tenant's own people leave it out."""

    space: Annotated[str, Field(min_length=1, max_length=40)]
    starts_at: AwareDatetime
    ends_at: AwareDatetime
    tenant: Annotated[str | None, Field(max_length=40)] = None


class Asked(BaseModel):
    """What became of it: `approved` by the site's rule, or `requested` until a person decides; what is charged."""

    id: int
    state: Literal["requested", "approved"]
    starts_at: datetime
    ends_at: datetime


class Decision(BaseModel):
    """Whether a request is approved; rejecting needs a reason."""

    approve: bool
    reason: Annotated[str, Field(max_length=500)] = ""


class Parameters(BaseModel):
    """Parameters of a site; what is left out stays."""

    approval: Literal["automatic", "by_staff"] | None = None
    notice_hours: Annotated[int | None, Field(ge=0, le=336)] = None
    block_minutes: Literal[15, 30, 60] | None = None
    minimum_minutes: Annotated[int | None, Field(ge=0, le=1440)] = None
    hours_max: Annotated[int | None, Field(ge=1, le=72)] = None


@router.get("")
async def requests(call: TenantServiceCall) -> list[dict[str, Any]]:
    """Return requests, those that wait first, then the latest; a tenant sees its own."""
    tenant = call.viewer.tenant_id if isinstance(call.viewer, TenantViewer) else None
    return await after_hours.requests(call.conn, call.viewer.organisation_id, tenant_id=tenant)


@router.post("", status_code=201)
async def ask(call: TenantServiceCall, wanted: Wanted, site: SiteCode = None) -> Asked:
    """Ask for air conditioning outside the hours of a lease (422 `request_refused` says why not)."""
    if isinstance(call.viewer, TenantViewer):
        tenant = call.viewer.tenant_id
        where = await service.site_of_tenant(call.conn, tenant, wanted.space)
    else:
        where = await service.find_site(call.conn, site)
        if wanted.tenant is None:
            raise Invalid("name the tenant that asks")
        tenant = await service.tenant_id(call.conn, where, wanted.tenant)
    done = await after_hours.request(
        call.conn,
        where,
        tenant_id=tenant,
        space=wanted.space,
        starts=wanted.starts_at,
        ends=wanted.ends_at,
        actor=call.viewer.login,
        clock=call.clock,
    )
    return Asked(**done)


@router.post("/{request_id}/decision", status_code=204)
async def decide(call: ServiceCall, request_id: int, decision: Decision) -> None:
    """Approve or reject a request before it begins."""
    who = {"actor": call.viewer.login, "clock": call.clock}
    await after_hours.decide(call.conn, request_id, approve=decision.approve, reason=decision.reason, **who)


@router.post("/{request_id}/cancel", status_code=204)
async def cancel(call: TenantServiceCall, request_id: int) -> None:
    """Take a request back before it begins; it is not charged. A tenant takes back its own."""
    tenant = call.viewer.tenant_id if isinstance(call.viewer, TenantViewer) else None
    await after_hours.cancel(call.conn, request_id, actor=call.viewer.login, clock=call.clock, tenant_id=tenant)


@router.get("/parameters")
async def parameters(call: ServiceCall, site: SiteCode = None) -> AfterHoursPolicy:
    """Return the parameters in force at a site."""
    return await after_hours.find_policy(call.conn, await service.find_site(call.conn, site))


@router.put("/parameters")
async def set_parameters(call: ServiceCall, wanted: Parameters, site: SiteCode = None) -> AfterHoursPolicy:
    """Change parameters of a site; returns all of them."""
    where = await service.find_site(call.conn, site)
    given = wanted.model_dump(exclude_none=True)
    return await after_hours.set_policy(call.conn, where, given, actor=call.viewer.login, clock=call.clock)
