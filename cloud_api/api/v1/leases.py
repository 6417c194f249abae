"""Leases: list, one with its periods and history, every step and move of its life, import."""

from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, UploadFile
from pydantic import BaseModel, Field

from cloud_api.api.auth import Call, LeasingCall
from cloud_api.leasing import service
from cloud_api.leasing.import_file import BYTES_MAX, Parsed, parse_file, too_large
from cloud_api.leasing.service import Site
from cloud_api.operations.tenancy import changes, meter_shares
from cloud_api.operations.tenancy import service as tenancy

router = APIRouter(prefix="/leases", tags=["leases"])

Code = Annotated[str, Field(min_length=1, max_length=40)]
SiteCode = Annotated[str | None, Query(max_length=40, description="Needed when there are several sites.")]


class Readings(BaseModel):
    """Values read off at the handover, by meter; a meter with telemetry of the instant needs none."""

    readings: Annotated[dict[Code, Decimal], Field(max_length=200)] = {}


class Application(BaseModel):
    """A company asks for spaces."""

    tenant: Code
    number: Code
    first_day: date
    last_day: date | None = None
    spaces: Annotated[list[Code], Field(min_length=1, max_length=200)]
    people: Annotated[int | None, Field(ge=0)] = None


class Decision(BaseModel):
    """Whether an application is approved; rejecting needs a reason."""

    approve: bool
    reason: Annotated[str, Field(max_length=500)] = ""


class MoveOut(Readings):
    """The last day of a tenancy."""

    last_day: date
    without_final_bill: Annotated[str, Field(max_length=500, description="Why the month's run bills it instead.")] = ""


class TakeSpace(Readings):
    """A space that joins a lease."""

    space: Code
    from_day: date
    area_m2: Annotated[Decimal | None, Field(gt=0)] = None


class GiveBack(Readings):
    """A space that leaves a lease."""

    space: Code
    last_day: date


class Sublet(Readings):
    """A space let on to another tenant; with an area only such a part of it."""

    space: Code
    to_tenant: Code
    new_number: Code
    first_day: date
    last_day: date | None = None
    area_m2: Annotated[Decimal | None, Field(gt=0, max_digits=12, decimal_places=4)] = None


class Hours(BaseModel):
    """Air-conditioning hours of one weekday (1 Monday to 7 Sunday), local time HH:MM."""

    weekday: Annotated[int, Field(ge=1, le=7)]
    starts: Annotated[str, Field(pattern=r"^\d\d:\d\d$")]
    ends: Annotated[str, Field(pattern=r"^\d\d:\d\d$")]


class Amendment(BaseModel):
    """What changes from a day on; what is left out stays."""

    on_day: date
    areas: Annotated[dict[Code, Decimal], Field(max_length=200)] = {}
    people: Annotated[int | None, Field(ge=0)] = None
    hvac_hours: Annotated[list[Hours] | None, Field(max_length=50)] = None


class Merger(Readings):
    """Two tenants become one from a day on."""

    from_tenant: Code
    into_tenant: Code
    on_day: date


class Shares(BaseModel):
    """How a meter is divided over spaces from a day on; the shares sum to 1."""

    shares: Annotated[dict[Code, Decimal], Field(min_length=1, max_length=200)]
    from_day: date


@router.get("")
async def list_leases(call: LeasingCall, site: SiteCode = None) -> list[dict[str, Any]]:
    """Return every lease with the spaces, area and people of today."""
    where = await service.find_site(call.conn, site)
    return await tenancy.list_leases(call.conn, call.viewer.organisation_id, _today(call, where))


@router.get("/findings")
async def findings(call: LeasingCall, site: SiteCode = None) -> list[str]:
    """Return leases without meter, meters without lease, and areas that do not add up."""
    where = await service.find_site(call.conn, site)
    return [call.say(text) for text in await service.reconcile(call.conn, where, call.clock.now())]


@router.post("", status_code=201)
async def apply(call: LeasingCall, wanted: Application, site: SiteCode = None) -> dict[str, int]:
    """File an application; nothing is held until it is approved."""
    where = await service.find_site(call.conn, site)
    lease = await tenancy.apply(
        call.conn,
        where,
        tenant_id=(await tenancy.find_tenant(call.conn, where, wanted.tenant))["id"],
        number=wanted.number,
        first=wanted.first_day,
        last_day=wanted.last_day,
        spaces=wanted.spaces,
        people=wanted.people,
        actor=call.viewer.login,
        clock=call.clock,
    )
    return {"id": lease}


@router.post("/import")
async def import_records(
    call: LeasingCall,
    file: UploadFile,
    source: Annotated[str, Query(max_length=40)] = "file",
    preview: Annotated[bool, Query(description="Say what would happen and store nothing.")] = False,  # noqa: FBT002
    accept_good_rows: Annotated[bool, Query(description="Store what can be stored and report the rest.")] = False,  # noqa: FBT002
    site: SiteCode = None,
) -> dict[str, Any]:
    """Import leasing records (CSV, XLSX or JSON); the same records again change nothing.

    What is refused and found is written in the language of `Accept-Language` (zh or en).
    """
    content = await file.read(BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise too_large(file.filename or "file")
    parsed = Parsed()
    parse_file(file.filename or "leases.csv", content, parsed)
    where = await service.find_site(call.conn, site)
    who = {"source": source, "actor": call.viewer.login, "clock": call.clock}
    if preview:
        report = await service.preview_import(call.conn, where, parsed, **who)
    else:
        report = await service.import_leases(call.conn, where, parsed, accept_good_rows=accept_good_rows, **who)
    verdicts = [{"lease": v.lease.number, "verdict": v.verdict} for v in report.leases]
    return {
        "created": report.created,
        "changed": report.changed,
        "unchanged": report.unchanged,
        "tenants": report.tenants,
        "refused": [call.say(text) for text in report.refused],
        "findings": [call.say(text) for text in report.findings],
        "leases": verdicts,
    }


@router.post("/merge")
async def merge(call: LeasingCall, wanted: Merger, site: SiteCode = None) -> dict[str, dict[str, Any]]:
    """Let every lease of a tenant go on under another one; returns what happened to each."""
    where = await service.find_site(call.conn, site)
    done = await changes.merge(
        call.conn,
        where,
        from_tenant=wanted.from_tenant,
        into_tenant=wanted.into_tenant,
        on_day=wanted.on_day,
        readings=wanted.readings,
        actor=call.viewer.login,
        clock=call.clock,
    )
    return {number: asdict(change) for number, change in done.items()}


@router.put("/meter-shares/{meter}", status_code=204)
async def set_shares(call: LeasingCall, meter: str, wanted: Shares, site: SiteCode = None) -> None:
    """Divide a meter anew over spaces from a day on."""
    where = await service.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    await meter_shares.set_meter_shares(call.conn, where, meter, shares=wanted.shares, from_day=wanted.from_day, **who)


@router.get("/{number}")
async def show(call: LeasingCall, number: str, site: SiteCode = None) -> dict[str, Any]:
    """Return one lease with spaces, people and hours by period, and its history."""
    where = await service.find_site(call.conn, site)
    lease_id = await tenancy.lease_id(call.conn, where, number)
    return await tenancy.lease_details(call.conn, where, lease_id, _today(call, where))


@router.post("/{number}/review", status_code=204)
async def review(call: LeasingCall, number: str, decision: Decision, site: SiteCode = None) -> None:
    """Approve an application, which then holds its spaces, or reject it."""
    where = await service.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    await tenancy.review(call.conn, where, number, approve=decision.approve, reason=decision.reason, **who)


@router.post("/{number}/move-in")
async def move_in(call: LeasingCall, number: str, wanted: Readings, site: SiteCode = None) -> dict[str, Decimal]:
    """Open a tenancy; returns the opening readings."""
    where = await service.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    return await tenancy.move_in(call.conn, where, number, readings=wanted.readings, **who)


@router.post("/{number}/move-out")
async def move_out(call: LeasingCall, number: str, wanted: MoveOut, site: SiteCode = None) -> dict[str, Any]:
    """Close a tenancy; returns the closing readings, the final bills and what became of the deposit."""
    where = await service.find_site(call.conn, site)
    return await tenancy.move_out(
        call.conn,
        where,
        number,
        last_day=wanted.last_day,
        readings=wanted.readings,
        actor=call.viewer.login,
        clock=call.clock,
        without_final_bill=wanted.without_final_bill,
    )


@router.post("/{number}/take-space")
async def take_space(call: LeasingCall, number: str, wanted: TakeSpace, site: SiteCode = None) -> dict[str, Any]:
    """Add a space to a running lease; returns the opening readings and issued bills to look at."""
    where = await service.find_site(call.conn, site)
    done = await changes.take_space(
        call.conn, where, number, **wanted.model_dump(), actor=call.viewer.login, clock=call.clock
    )
    return asdict(done)


@router.post("/{number}/give-back")
async def give_back(call: LeasingCall, number: str, wanted: GiveBack, site: SiteCode = None) -> dict[str, Any]:
    """End one space of a running lease; returns the closing readings and issued bills to look at."""
    where = await service.find_site(call.conn, site)
    done = await changes.give_back_space(
        call.conn, where, number, **wanted.model_dump(), actor=call.viewer.login, clock=call.clock
    )
    return asdict(done)


@router.post("/{number}/sublet")
async def sublet(call: LeasingCall, number: str, wanted: Sublet, site: SiteCode = None) -> dict[str, Any]:
    """Let a tenant's space to another one for a term."""
    where = await service.find_site(call.conn, site)
    done = await changes.sublet(
        call.conn,
        where,
        number,
        space=wanted.space,
        to_tenant=wanted.to_tenant,
        new_number=wanted.new_number,
        first=wanted.first_day,
        last_day=wanted.last_day,
        readings=wanted.readings,
        area_m2=wanted.area_m2,
        actor=call.viewer.login,
        clock=call.clock,
    )
    return asdict(done)


@router.post("/{number}/amend")
async def amend(call: LeasingCall, number: str, wanted: Amendment, site: SiteCode = None) -> dict[str, Any]:
    """Change areas, people or air-conditioning hours from a day on."""
    where = await service.find_site(call.conn, site)
    hours = None if wanted.hvac_hours is None else [(h.weekday, h.starts, h.ends) for h in wanted.hvac_hours]
    done = await changes.amend(
        call.conn,
        where,
        number,
        on_day=wanted.on_day,
        areas=wanted.areas,
        people=wanted.people,
        hours=hours,
        actor=call.viewer.login,
        clock=call.clock,
    )
    return asdict(done)


def _today(call: Call, site: Site) -> date:
    return call.clock.now().astimezone(site.zone).date()
