"""Bill runs: prepare, watch, look at exceptions and reconciliation, review, approve, send back, issue, export."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from cloud_api.api.auth import FinanceCall
from cloud_api.billing import documents, running, service, verification
from cloud_api.billing.access import access_run
from cloud_api.billing.export import run_csv, run_xlsx
from cloud_api.billing.inputs import find_site
from cloud_api.billing.states import Step

router = APIRouter(prefix="/bill-runs", tags=["bill runs"])
Utility = Literal["electricity", "water", "gas", "heat", "cooling", "hvac"]


class Wanted(BaseModel):
    """Which full month of which site and utility to bill."""

    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$", examples=["2026-10"])]
    site: Annotated[str | None, Field(description="Code of the site; needed when there are several.")] = None
    utility: Utility = "electricity"


class Decision(BaseModel):
    """A step of a run. Whoever prepared it cannot approve it (409 `same_person`)."""

    step: Literal["review", "approve", "issue", "send_back", "cancel"]
    reason: Annotated[str, Field(max_length=500)] = ""


class Progress(BaseModel):
    """How far the worker is: `count` of `total` bills are rated, `documents` of `bills` have their PDF."""

    run_id: int
    state: str
    phase: Literal["waiting", "reading", "rating", "storing", "done", "failed"]
    failure: str
    count: int
    total: int
    bills: int
    documents: int


class Verdict(BaseModel):
    """Whether a bill follows again from raw readings, and every difference in words."""

    bill: str
    holds: bool
    total: str
    recomputed: str | None
    intervals: int
    differences: list[str]


def verdict_of(found: verification.Verdict) -> Verdict:
    """Return a verification as the API says it."""
    return Verdict(
        bill=found.bill,
        holds=found.holds,
        total=str(found.total),
        recomputed=None if found.recomputed is None else str(found.recomputed),
        intervals=found.readings,
        differences=list(found.differences),
    )


@router.get("")
async def list_runs(call: FinanceCall) -> list[dict[str, Any]]:
    """Return the newest runs with their totals and reconciliation."""
    return await service.list_runs(call.conn, call.viewer.organisation_id)


@router.post("", status_code=202)
async def prepare(call: FinanceCall, wanted: Wanted) -> dict[str, int]:
    """Begin a run; the worker calculates it. One of the month that was not issued is cancelled and made anew."""
    site = await find_site(call.conn, code=wanted.site)
    run_id = await running.start(
        call.conn, site, wanted.month, actor=call.viewer.login, clock=call.clock, utility=wanted.utility
    )
    return {"id": run_id}


@router.get("/{run_id}")
async def show(call: FinanceCall, run_id: int) -> dict[str, Any]:
    """Return a run: state, `summary` (reconciliation, resale sheet, what blocks it), `reasons`, bills, history."""
    run = await access_run(call.conn, call.viewer, run_id)
    period = run.pop("period")
    return run | {"period": {"from": period.lower.isoformat(), "to": period.upper.isoformat()}}


@router.get("/{run_id}/progress")
async def show_progress(call: FinanceCall, run_id: int) -> Progress:
    """Return how far the calculation and the documents are."""
    await access_run(call.conn, call.viewer, run_id)
    found = asdict(await running.progress(call.conn, run_id))
    return Progress(**{name: found[name] for name in Progress.model_fields})


@router.post("/{run_id}/steps")
async def take_step(call: FinanceCall, run_id: int, decision: Decision) -> dict[str, str]:
    """Review, approve, issue, send back or cancel. A run that cannot be issued says why (409 `not_issuable`)."""
    await access_run(call.conn, call.viewer, run_id)
    state = await service.take_step(
        call.conn, run_id, Step(decision.step), actor=call.viewer.login, clock=call.clock, reason=decision.reason
    )
    return {"state": state.value}


@router.get("/{run_id}/verification")
async def verify(call: FinanceCall, run_id: int) -> list[Verdict]:
    """Make every bill of the run again from raw readings."""
    await access_run(call.conn, call.viewer, run_id)
    return [verdict_of(v) for v in await verification.verify_run(call.conn, run_id)]


@router.get("/{run_id}/export.csv", response_class=Response)
async def export(call: FinanceCall, run_id: int, delimiter: Annotated[str, Query(pattern="^[,;]$")] = ",") -> Response:
    """Return one row per line of every bill, with net, tax, ledger account and tax classification code."""
    await access_run(call.conn, call.viewer, run_id)
    text = await run_csv(call.conn, run_id, delimiter=delimiter)
    return Response("\ufeff" + text, media_type="text/csv; charset=utf-8")


@router.get("/{run_id}/export.xlsx", response_class=Response)
async def export_excel(call: FinanceCall, run_id: int) -> Response:
    """Return the same rows as an Excel file."""
    await access_run(call.conn, call.viewer, run_id)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    return Response(await run_xlsx(call.conn, run_id), media_type=kind)


@router.get("/{run_id}/documents.zip", response_class=Response)
async def archive(call: FinanceCall, run_id: int) -> Response:
    """Return the PDFs of an issued run in one file."""
    await access_run(call.conn, call.viewer, run_id)
    return Response(await documents.archive(call.conn, run_id), media_type="application/zip")
