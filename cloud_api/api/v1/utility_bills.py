"""The utility's own bill: entered, summed up, compared with our main meter."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.api.auth import FinanceCall
from cloud_api.billing import utility_bill
from cloud_api.billing.inputs import find_site

router = APIRouter(prefix="/utility-bills", tags=["utility bills"])


class UtilityLine(BaseModel):
    """One leaf of the bill; `bucket` names the time-of-use bucket that it pays for."""

    name: Annotated[str, Field(max_length=200)]
    amount: Decimal
    bucket: str | None = None
    kwh: Annotated[Decimal | None, Field(ge=0, description="Energy that the line counts, compared per bucket.")] = None
    driver: Annotated[
        str | None, Field(pattern="^(energy|area|head_count|equal|landlord)$", description="How the line is shared.")
    ] = None


class UtilityBill(BaseModel):
    """The bill of any days; its lines sum to `total`. Name first and last day, or the month of a billing cycle."""

    first_day: Annotated[date | None, Field(examples=["2026-09-26"])] = None
    last_day: Annotated[date | None, Field(description="As the bill prints it.", examples=["2026-10-25"])] = None
    month: Annotated[
        str, Field(pattern=r"^(\d{4}-\d{2})?$", description="The site's billing cycle that starts in it.")
    ] = ""
    site: str | None = None
    utility: str = "electricity"
    total: Decimal
    kwh: Annotated[Decimal, Field(ge=0)]
    currency: Annotated[str | None, Field(pattern="^[A-Z]{3}$", description="Checked against the site's.")] = None
    lines: Annotated[list[UtilityLine], Field(min_length=1, max_length=200)]


@router.get("")
async def list_bills(call: FinanceCall) -> list[dict[str, Any]]:
    """Return the utility's bills that were entered, newest first."""
    return await utility_bill.entered(call.conn, call.viewer.organisation_id)


@router.put("")
async def enter(call: FinanceCall, body: UtilityBill) -> dict[str, list[str]]:
    """Enter the bill of some days, or replace it; `compared` says how it agrees with our own ledger."""
    site = await find_site(call.conn, code=body.site)
    content = body.model_dump(mode="json", include={"total", "kwh", "currency", "lines"})
    first_day, last_day = (day.isoformat() if day else "" for day in (body.first_day, body.last_day))
    days = await utility_bill.days_of(call.conn, site, month=body.month, first_day=first_day, last_day=last_day)
    compared = await utility_bill.enter(
        call.conn, site, days, content, actor=call.viewer.login, clock=call.clock, utility=body.utility
    )
    return {"compared": [str(text) for text in compared]}


@router.delete("/{bill_id}", status_code=204)
async def remove(call: FinanceCall, bill_id: int) -> None:
    """Take back a bill that was entered by mistake."""
    await utility_bill.remove(call.conn, call.viewer.organisation_id, bill_id)
