"""What waits for finance: corrections proposed by late readings, questions of tenants."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.api.auth import FinanceCall
from cloud_api.api.v1.bills import Answer
from cloud_api.billing import corrections

router = APIRouter(tags=["bill corrections"])


class Decision(BaseModel):
    """Accept a proposal (credit note and corrected bill), or reject it with a reason."""

    accept: bool
    reason: Annotated[str, Field(max_length=500)] = ""


@router.get("/bill-adjustments")
async def list_adjustments(call: FinanceCall) -> list[dict[str, Any]]:
    """Return the proposals that wait for a decision, each with its difference line by line."""
    return await corrections.list_adjustments(call.conn, call.viewer.organisation_id)


@router.post("/bill-adjustments/{adjustment_id}/decision")
async def decide(call: FinanceCall, adjustment_id: int, body: Decision) -> dict[str, str]:
    """Decide a proposal; returns the numbers of the documents written."""
    return await corrections.decide_adjustment(
        call.conn, adjustment_id, accept=body.accept, reason=body.reason, actor=call.viewer.login, clock=call.clock
    )


@router.get("/bill-questions")
async def open_questions(call: FinanceCall) -> list[dict[str, Any]]:
    """Return the questions of tenants that wait for an answer."""
    return await corrections.open_questions(call.conn, call.viewer.organisation_id)


@router.post("/bill-questions/{question_id}/answer", status_code=204)
async def answer(call: FinanceCall, question_id: int, body: Answer) -> None:
    """Answer a question once."""
    await corrections.answer(call.conn, question_id, text=body.text, actor=call.viewer.login, clock=call.clock)
