"""Tenant companies: profile, leases, prepaid account, people; the same as on a company's page."""

from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.api.auth import Call, LeasingCall
from cloud_api.billing import settlement
from cloud_api.leasing import companies, service
from cloud_api.operations.prepaid import service as prepaid
from cloud_api.operations.tenancy import service as tenancy

router = APIRouter(prefix="/companies", tags=["companies"])
Line = Annotated[str, Field(max_length=500)]


class Profile(BaseModel):
    """Names and contacts of a company. The language is that of its letters."""

    name_zh: Annotated[str, Field(min_length=1, max_length=500)]
    name_en: Line = ""
    credit_code: Line = ""
    industry_zh: Line = ""
    industry_en: Line = ""
    honours_zh: Line = ""
    honours_en: Line = ""
    contact_name: Line = ""
    contact_phone: Line = ""
    contact_email: Line = ""
    language: Literal["zh", "en"] = "zh"


class NewCompany(Profile):
    """A company with the code that leases and bills name it by."""

    code: Annotated[str, Field(min_length=1, max_length=40)]


class PrepaidTerms(BaseModel):
    """The balance below which the company is warned."""

    low_balance: Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=2)]


class PrepaidAccount(BaseModel):
    """A prepaid account; `daily_burn` is the mean of the last days, None before there were any."""

    balance: Decimal
    low_balance: Decimal
    daily_burn: Decimal | None
    days_left: int | None
    is_low: bool


@router.get("")
async def list_companies(call: LeasingCall) -> list[dict[str, Any]]:
    """Return the companies with the spaces and area that they hold today."""
    return await companies.companies(call.conn, call.viewer.organisation_id, await _today(call))


@router.post("", status_code=201)
async def add(call: LeasingCall, wanted: NewCompany) -> dict[str, int]:
    """Add a company."""
    values = wanted.model_dump(exclude={"code"})
    organisation = call.viewer.organisation_id
    return {"id": await companies.add(call.conn, organisation_id=organisation, code=wanted.code, values=values)}


@router.get("/{code}")
async def show(call: LeasingCall, code: str) -> dict[str, Any]:
    """Return one company with its leases, what it owes, its deposit and prepaid balance."""
    organisation, today = call.viewer.organisation_id, await _today(call)
    tenant = await companies.find(call.conn, organisation, code)
    statement = await settlement.statement(call.conn, tenant["id"])
    return tenant | {
        "leases": await tenancy.list_leases(call.conn, organisation, today, tenant_id=tenant["id"]),
        "owes": statement[-1]["balance"] if statement else Decimal(0),
        "balances": await settlement.balances(call.conn, tenant["id"]),
    }


@router.put("/{code}", status_code=204)
async def change(call: LeasingCall, code: str, wanted: Profile) -> None:
    """Change a company's names and contacts; what is left out is emptied."""
    organisation = call.viewer.organisation_id
    tenant = await companies.find(call.conn, organisation, code)
    await companies.change(call.conn, tenant["id"], organisation_id=organisation, values=wanted.model_dump())


@router.get("/{code}/prepaid")
async def prepaid_account(call: LeasingCall, code: str) -> PrepaidAccount | None:
    """Return a company's prepaid account, or null when it does not pay ahead."""
    tenant = await companies.find(call.conn, call.viewer.organisation_id, code)
    found = await prepaid.account(call.conn, tenant["id"], await _today(call))
    if found is None:
        return None
    return PrepaidAccount(**asdict(found), days_left=found.days_left, is_low=found.is_low)


@router.put("/{code}/prepaid", status_code=204)
async def set_prepaid(call: LeasingCall, code: str, wanted: PrepaidTerms) -> None:
    """Make a company pay ahead, with a balance to warn at."""
    tenant = await companies.find(call.conn, call.viewer.organisation_id, code)
    who = {"actor": call.viewer.login, "clock": call.clock}
    await prepaid.set_terms(call.conn, tenant_id=tenant["id"], low_balance=wanted.low_balance, **who)


async def _today(call: Call) -> date:
    return call.clock.now().astimezone(await service.zone_of(call.conn)).date()
