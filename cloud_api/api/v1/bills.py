"""Bills for finance and for tenants (their own, once issued): lines, evidence, PDF, proof, questions, credit notes."""

from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from cloud_api.api.auth import AnyBillCall, FinanceCall
from cloud_api.api.v1.bill_runs import Verdict, verdict_of
from cloud_api.billing import corrections, service, verification
from cloud_api.billing import line_evidence as evidence
from cloud_api.billing.access import access_bill
from cloud_api.billing.documents import bill_document, document_name
from cloud_api.billing.fapiao import einvoice
from cloud_api.identity.model import TenantViewer

router = APIRouter(prefix="/bills", tags=["bills"])
Key = Annotated[str, Field(description="Id or number of a bill.", examples=["17", "PARK-2026-B000042"])]


class BillLine(BaseModel):
    """One printed line: quantity × unit price, rounded half-up once; `source` says whose energy it prices."""

    component: str
    name: dict[str, str]
    kind: str
    version: str
    bucket: str | None
    bucket_name: dict[str, str] | None = None
    tier: int | None
    quantity: str
    unit: str
    unit_price: str | None
    amount_exact: str
    amount: str
    vat_rate: str
    tax_included: bool
    tax: str
    source: str = "own"
    said: Annotated[
        dict[str, Any] | None, Field(description="Why the quantity is what it is: message, values, zh, en.")
    ] = None


class Bill(BaseModel):
    """A bill; `evidence` holds meters, readings and shares, `resale` the purchase price. Amounts are text."""

    id: int
    number: str | None
    kind: str
    state: str
    tenant: dict[str, Any]
    utility: str
    currency: str
    period: dict[str, str]
    issued_at: datetime | None
    due_on: date | None
    net: str
    tax: str
    total: str
    quantity: str
    estimated_percent: str
    sha256: str
    lines: list[BillLine]
    vat: list[dict[str, Any]]
    usage: list[dict[str, Any]]
    days: list[dict[str, Any]]
    leases: list[dict[str, Any]]
    evidence: list[dict[str, Any]]
    tariff: dict[str, Any]
    policy: dict[str, Any]
    resale: dict[str, Any]
    compare: dict[str, Any]
    issues: list[dict[str, Any]]
    corrects: str | None = None
    questions: list[dict[str, Any]]


class BillSummary(BaseModel):
    """A bill in a list; `open_amount` is what is still owed on it."""

    id: int
    number: str | None
    kind: str
    state: str
    tenant_code: str
    utility: str
    starts_on: date
    ends_on: date
    currency: str
    total: Decimal
    open_amount: Decimal
    due_on: date | None
    issued_at: datetime | None


class Question(BaseModel):
    """What a tenant asks about a line (from 1)."""

    line: Annotated[int, Field(ge=1)]
    question: Annotated[str, Field(min_length=1, max_length=1000)]


class Answer(BaseModel):
    """What finance answers."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]


class CreditedLine(BaseModel):
    """A line (from 1) and how much of it is taken back; without an amount all that is left of it."""

    line: Annotated[int, Field(ge=1)]
    amount: Decimal | None = None


class Credit(BaseModel):
    """Why a bill is taken back in full, and whether it is made again from today's data."""

    reason: Annotated[str, Field(min_length=1, max_length=500)]
    rebill: bool = False
    lines: Annotated[
        list[CreditedLine] | None,
        Field(min_length=1, max_length=500, description="Only these lines; leave out to take the whole bill back."),
    ] = None


@router.get("")
async def list_bills(
    call: AnyBillCall,
    tenant: Annotated[str | None, Query(max_length=100, description="Code of a tenant; finance only.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[BillSummary]:
    """Return issued bills, newest first: of the organisation for finance, its own for a tenant."""
    own = call.viewer.tenant_id if isinstance(call.viewer, TenantViewer) else None
    found = await service.issued_bills(
        call.conn, call.viewer.organisation_id, tenant_id=own, tenant_code=tenant, limit=limit
    )
    return [BillSummary.model_validate(row) for row in found]


@router.get("/{bill}")
async def show(call: AnyBillCall, bill: Key) -> Bill:
    """Return a bill with its lines, its evidence down to readings, and its questions."""
    row = await access_bill(call.conn, call.viewer, bill)
    asked = [dict(q) for q in await corrections.questions(call.conn, row["id"])]
    head = {key: row[key] for key in ("id", "number", "state", "issued_at", "due_on", "sha256")}
    return Bill.model_validate({"resale": {}, "issues": []} | row["snapshot"] | head | {"questions": asked})


class DayOfLine(BaseModel):
    """What a local day adds to a line; `estimated` is the part that is not read, `corrected` what changed since."""

    day: date
    quantity: Decimal
    estimated: Decimal
    corrected: Decimal


class LineQuarter(BaseModel):
    """An interval of a meter; `counts` tells whether the line prices it, `reading` is the register at its end."""

    meter: str
    starts_at: datetime
    bucket: str
    counts: bool
    measured: Decimal
    share: Decimal
    quantity: Decimal
    quality: str
    reading: Decimal | None
    read_at: datetime | None
    today: Annotated[Decimal | None, Field(description="By today's ledger, where readings were corrected since.")]


class EvidenceOfLine(BaseModel):
    """What a line rests on: the tariff's version, its days, and the intervals of a day when one is asked for."""

    line: BillLine
    version: str
    valid_from: date | None
    valid_to: date | None
    doc_no: str
    buckets: list[str]
    days: list[DayOfLine]
    quantity: Decimal
    estimated: Decimal
    differs: Annotated[Decimal, Field(description="What today's ledger has more than the bill used.")]
    unexplained: Annotated[Decimal, Field(description="What that time's ledger has more than the bill; usually 0.")]
    intervals: list[LineQuarter]


@router.get("/{bill}/lines/{line}")
async def line_evidence(call: AnyBillCall, bill: Key, line: int, day: date | None = None) -> EvidenceOfLine:
    """Return what a line (from 1) rests on, down to the intervals and register readings of a day."""
    row = await access_bill(call.conn, call.viewer, bill)
    found = await evidence.of_line(call.conn, row, line)
    quarters = await evidence.of_day(call.conn, row, line, day) if day else []
    version = found.version
    return EvidenceOfLine(
        line=BillLine.model_validate(found.line),
        version=found.line["version"],
        valid_from=version.valid_from if version else None,
        valid_to=version.valid_to if version else None,
        doc_no=version.doc_no if version else "",
        buckets=list(found.buckets),
        days=[DayOfLine.model_validate(asdict(day)) for day in found.days],
        quantity=found.quantity,
        estimated=found.estimated,
        differs=found.differs,
        unexplained=found.unexplained,
        intervals=[LineQuarter.model_validate(asdict(quarter)) for quarter in quarters],
    )


@router.get("/{bill}/pdf", response_class=Response)
async def pdf(call: AnyBillCall, bill: Key) -> Response:
    """Return the bilingual PDF; the same bill always gives the same bytes."""
    row = await access_bill(call.conn, call.viewer, bill)
    headers = {"Content-Disposition": f'inline; filename="{document_name(row)}"'}
    return Response(await bill_document(call.conn, row), media_type="application/pdf", headers=headers)


@router.get("/{bill}/verification")
async def verify(call: FinanceCall, bill: Key) -> Verdict:
    """Make a bill again from raw register readings and name every difference."""
    row = await access_bill(call.conn, call.viewer, bill)
    return verdict_of(await verification.verify_bill(call.conn, row["id"]))


@router.get("/{bill}/einvoice")
async def show_einvoice(call: FinanceCall, bill: Key) -> dict[str, Any]:
    """Return the data fields of a 数电票 for an issued bill; no tax service is called."""
    return await einvoice(call.conn, await access_bill(call.conn, call.viewer, bill))


@router.post("/{bill}/questions", status_code=201)
async def ask(call: AnyBillCall, bill: Key, body: Question) -> dict[str, int]:
    """Question a line; finance sees it with the same evidence."""
    row = await access_bill(call.conn, call.viewer, bill)
    asked = await corrections.ask(
        call.conn, row, line=body.line, question=body.question, actor=call.viewer.login, clock=call.clock
    )
    return {"id": asked}


@router.post("/{bill}/credit-note", status_code=201)
async def credit(call: FinanceCall, bill: Key, body: Credit) -> dict[str, str]:
    """Take an issued bill, or lines of it, back by a credit note; returns the numbers of the documents written."""
    row = await access_bill(call.conn, call.viewer, bill)
    lines = None if body.lines is None else {found.line: found.amount for found in body.lines}
    return await corrections.credit(
        call.conn, row["id"], reason=body.reason, actor=call.viewer.login, clock=call.clock, rebill=body.rebill,
        lines=lines,
    )  # fmt: skip
