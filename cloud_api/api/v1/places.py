"""Places by period: what sites, buildings, floors and spaces are called and part of, in service or not."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from cloud_api.api.auth import LeasingCall, StaffCall
from cloud_api.leasing import service as leasing
from cloud_api.operations.places import service
from cloud_api.operations.places.service import Kind, Wanted

router = APIRouter(prefix="/places", tags=["places"])
SiteCode = Annotated[str | None, Query(max_length=40, description="Needed when there are several sites.")]
Code = Annotated[str, Field(min_length=1, max_length=40)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Area = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=4)]


class Correction(BaseModel):
    """What a period should have said from the start; the period is the one that holds on a day."""

    on_day: date
    name_zh: Name | None = None
    name_en: Name | None = None
    area_m2: Area | None = Field(default=None, description="Of a floor.")


class Change(BaseModel):
    """What holds from a day on; what is left out stays."""

    from_day: date
    name_zh: Name | None = None
    name_en: Name | None = None
    building: Code | None = Field(default=None, description="That a floor belongs to.")
    floor: Code | None = Field(default=None, description="That a space stands on.")
    inside: Annotated[str, Field(max_length=40)] | None = Field(
        default=None, description='Space that a space is part of; "" for none.'
    )
    area_m2: Area | None = Field(default=None, description="Of a floor.")


class Since(BaseModel):
    """From a day on."""

    from_day: date


class Split(BaseModel):
    """A new floor of the same storey that takes spaces, and area, from a day on."""

    from_day: date
    new_code: Code
    name_zh: Name
    name_en: Name
    spaces: Annotated[list[Code], Field(min_length=1, max_length=500)]
    area_m2: Area | None = None


@router.get("/{kind}/{code}")
async def show(
    call: StaffCall,
    kind: Kind,
    code: str,
    site: SiteCode = None,
    known_at: Annotated[AwareDatetime | None, Query(description="As we knew it at this instant.")] = None,
) -> list[dict[str, Any]]:
    """Return a place period by period, as known now or at an instant."""
    where = await leasing.find_site(call.conn, site)
    told = ("name_zh", "name_en", "starts_on", "ends_on", "building", "floor", "inside", "area_m2", "recorded_at")
    found = await service.history(call.conn, where, kind, code, known_at)
    return [{name: _plain(period[name]) for name in told} for period in found]


@router.post("/{kind}/{code}/changes", status_code=204)
async def change(call: LeasingCall, kind: Kind, code: str, wanted: Change, site: SiteCode = None) -> None:
    """Say what a place is called or part of from a day on, up to the next change that is known."""
    where = await leasing.find_site(call.conn, site)
    new = Wanted(**wanted.model_dump(exclude={"from_day"}))
    who = {"actor": call.viewer.login, "clock": call.clock}
    await service.change(call.conn, where, kind, code, new, from_day=wanted.from_day, **who)


@router.post("/{kind}/{code}/corrections", status_code=204)
async def correct(call: LeasingCall, kind: Kind, code: str, wanted: Correction, site: SiteCode = None) -> None:
    """Put right what a period should have said from the start; what it said stays known as of then."""
    where = await leasing.find_site(call.conn, site)
    new = Wanted(**wanted.model_dump(exclude={"on_day"}))
    who = {"actor": call.viewer.login, "clock": call.clock}
    await service.correct(call.conn, where, kind, code, new, on_day=wanted.on_day, **who)


@router.post("/{kind}/{code}/out-of-service")
async def take_out(call: LeasingCall, kind: Kind, code: str, wanted: Since, site: SiteCode = None) -> dict[str, int]:
    """Take a building, a floor or a space out of service with everything in it; returns how many places end."""
    where = await leasing.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    return {"places": await service.take_out(call.conn, where, kind, code, from_day=wanted.from_day, **who)}


@router.post("/{kind}/{code}/in-service", status_code=204)
async def bring_back(call: LeasingCall, kind: Kind, code: str, wanted: Since, site: SiteCode = None) -> None:
    """Bring a place back into service, with everything that went out of service with it."""
    where = await leasing.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    await service.bring_back(call.conn, where, kind, code, from_day=wanted.from_day, **who)


@router.post("/floor/{code}/split", status_code=204)
async def split_floor(call: LeasingCall, code: str, wanted: Split, site: SiteCode = None) -> None:
    """Make two floors of one from a day on."""
    where = await leasing.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    await service.split_floor(call.conn, where, code, **wanted.model_dump(), **who)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value
