"""Money: payments and what they settle, statements of account, arrears with late fees."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cloud_api.api.auth import AnyBillCall, FinanceCall
from cloud_api.billing import settlement
from cloud_api.identity.model import TenantViewer
from cloud_api.kit.errors import Invalid

router = APIRouter(tags=["payments"])


class Payment(BaseModel):
    """Money that came in. The same method and reference is refused twice (409 `payment_known`)."""

    tenant: Annotated[str, Field(max_length=100, description="Code of the tenant.")]
    amount: Annotated[Decimal, Field(gt=0, max_digits=15, decimal_places=2)]
    received_on: date
    method: Annotated[str, Field(max_length=40)] = "bank"
    reference: Annotated[str, Field(max_length=100)] = ""
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "CNY"
    bill: Annotated[str | None, Field(description="Number of the bill to settle first; default: the oldest.")] = None


class Settled(BaseModel):
    """What each bill received; what is left settles the next bill."""

    settled: dict[str, Decimal]
    credit: Decimal


class Entry(BaseModel):
    """A bill, credit note or payment with the balance after it (positive: the tenant owes)."""

    on_day: date
    what: str
    reference: str | None
    amount: Decimal
    balance: Decimal
    due_on: date | None
    bill_id: int | None


@router.post("/payments", status_code=201)
async def record(call: FinanceCall, body: Payment) -> Settled:
    """Record a payment and settle bills with it."""
    payer = await settlement.find_tenant(call.conn, call.viewer.organisation_id, body.tenant)
    settled = await settlement.record_payment(
        call.conn,
        organisation_id=call.viewer.organisation_id,
        tenant_id=payer["id"],
        amount=body.amount,
        received_on=body.received_on,
        actor=call.viewer.login,
        clock=call.clock,
        method=body.method,
        reference=body.reference,
        currency=body.currency,
        bill_number=body.bill,
    )
    return Settled(settled=settled, credit=body.amount - sum(settled.values(), Decimal(0)))


@router.get("/statement")
async def statement(
    call: AnyBillCall,
    tenant: Annotated[str | None, Query(max_length=100, description="Code of a tenant; finance only.")] = None,
) -> list[Entry]:
    """Return a statement of account: a tenant's own, or for finance that of the tenant named."""
    if isinstance(call.viewer, TenantViewer):
        tenant_id = int(call.viewer.tenant_id)
    elif tenant is None:
        raise Invalid("name a tenant: /api/v1/statement?tenant=CODE")
    else:
        tenant_id = (await settlement.find_tenant(call.conn, call.viewer.organisation_id, tenant))["id"]
    return [Entry.model_validate(row) for row in await settlement.statement(call.conn, tenant_id)]


@router.get("/arrears")
async def arrears(
    call: FinanceCall,
    on_day: Annotated[date | None, Query(description="Reckoned on this day; default: today in UTC.")] = None,
) -> list[dict[str, Any]]:
    """Return bills past their due date, with days late and the late fee by the site's policy."""
    return await settlement.arrears(call.conn, call.viewer.organisation_id, on_day or call.clock.now().date())
