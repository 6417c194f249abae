"""Spaces: areas by period, division into parts, and which meter measures what share of them."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cloud_api.api.auth import LeasingCall, StaffCall
from cloud_api.leasing import service
from cloud_api.operations.estate_view import service as estate
from cloud_api.operations.tenancy import spaces

router = APIRouter(prefix="/spaces", tags=["spaces"])
SiteCode = Annotated[str | None, Query(max_length=40, description="Needed when there are several sites.")]
Code = Annotated[str, Field(min_length=1, max_length=40)]
Area = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=4)]


class NewArea(BaseModel):
    """An area and its kind from a day on."""

    area_m2: Area
    area_kind: Literal["net", "gross"] = "net"
    from_day: date


class Division(BaseModel):
    """Parts of a space (code → m²) from a day on; they have to sum to its area."""

    parts: Annotated[dict[Code, Area], Field(min_length=2, max_length=50)]
    from_day: date


@router.get("")
async def list_spaces(call: StaffCall, site: SiteCode = None) -> list[dict[str, Any]]:
    """Return the spaces of today: area, use, who holds them, yesterday's energy, alarms."""
    where = await service.find_site(call.conn, site)
    return await estate.spaces(call.conn, where, call.clock.now())


@router.get("/{code}")
async def show(call: StaffCall, code: str, site: SiteCode = None) -> dict[str, Any]:
    """Return one space's areas and meter shares by period."""
    where = await service.find_site(call.conn, site)
    return await spaces.history(call.conn, where, code)


@router.put("/{code}/area")
async def change_area(call: LeasingCall, code: str, wanted: NewArea, site: SiteCode = None) -> dict[str, list[str]]:
    """Give a space another area from a day on; returns issued bills of the days that it reaches back to."""
    where = await service.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    return {"bills_to_correct": await spaces.change_area(call.conn, where, code, **wanted.model_dump(), **who)}


@router.post("/{code}/parts", status_code=204)
async def divide(call: LeasingCall, code: str, wanted: Division, site: SiteCode = None) -> None:
    """Divide a space from a day on: leases hold the parts, meters are shared by area."""
    where = await service.find_site(call.conn, site)
    who = {"actor": call.viewer.login, "clock": call.clock}
    await spaces.split_space(call.conn, where, code, parts=wanted.parts, from_day=wanted.from_day, **who)
