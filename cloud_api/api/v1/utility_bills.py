"""The utility's own bill of a month: entered, summed up, compared with our main meter."""

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
    """The bill of a month; its lines sum to `total`."""

    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$", examples=["2026-10"])]
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
    """Enter or replace the bill of a month; `compared` says how it agrees with our own ledger."""
    site = await find_site(call.conn, code=body.site)
    content = body.model_dump(mode="json", include={"total", "kwh", "currency", "lines"})
    compared = await utility_bill.enter(
        call.conn, site, body.month, content, actor=call.viewer.login, clock=call.clock, utility=body.utility
    )
    return {"compared": [str(text) for text in compared]}
