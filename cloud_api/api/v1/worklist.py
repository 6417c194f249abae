"""The worklist of doubtful intervals, and the limits of the checks that fill it."""

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.kit.errors import Invalid
from cloud_api.kit.ids import MeterId
from cloud_api.metering import limits, worklist
from cloud_api.metering.corrections import Author
from cloud_api.operations.touched import Stretch, Touched, touched

router = APIRouter(prefix="/worklist", tags=["meters"])

Id = Annotated[int, Field(ge=1, lt=2**63)]
Reason = Annotated[str, Field(min_length=3, max_length=500)]


class Settlement(BaseModel):
    """What to do with a finding: `edit` needs the stretch's total, `zero` states in its reason why nothing was used."""

    action: Literal["accept", "edit", "estimate", "zero", "reopen"]
    total: Annotated[Decimal, Field(gt=-(10**12), lt=10**12, max_digits=24)] | None = None
    reason: Reason


class ClassLimits(BaseModel):
    """Limits to set; what is not named keeps its value, null switches a check off."""

    limits: dict[Annotated[str, Field(max_length=40)], Annotated[Decimal, Field(max_digits=18)] | None]
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryListed(worklist.Entry):
    """A finding with what its stretch touches."""

    touches: Touched


@router.get("")
async def entries(
    call: StaffCall,
    state: Literal["open", "accepted", "edited", "estimated", "gone"] = "open",
    meter_id: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    check: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> list[EntryListed]:
    """Return findings of a state, of one meter or one check where they are given, the oldest first."""
    found = await worklist.entries(
        call.conn,
        state=state,
        meter_id=None if meter_id is None else MeterId(meter_id),
        check_name=check,
        limit=limit,
        offset=offset,
    )
    stretches = [Stretch(meter_id=e.meter_id, code=e.code, start=e.starts_at, end=e.ends_at) for e in found]
    touches = await touched(call.conn, call.viewer.organisation_id, stretches)
    return [EntryListed(**asdict(entry), touches=what) for entry, what in zip(found, touches, strict=True)]


@router.get("/limits")
async def show_limits(call: StaffCall) -> dict[str, Any]:
    """Return the limits that hold for each class of meters."""
    found = await limits.of_classes(call.conn, call.viewer.organisation_id)
    return {use: asdict(values) for use, values in found.items()}


@router.put("/limits/{use}")
async def set_limits(call: FacilitiesCall, use: str, body: ClassLimits) -> dict[str, Any]:
    """Set limits of a class of meters; return what holds."""
    values = {name: "" if value is None else str(value) for name, value in body.limits.items()}
    author = Author(viewer=call.viewer, clock=call.clock, reason=body.reason)
    return asdict(await limits.set_class(call.conn, author, use, values))


@router.post("/{finding_id}")
async def settle(call: FacilitiesCall, finding_id: Id, body: Settlement) -> dict[str, str]:
    """Accept, edit, estimate or reopen a finding; return the method of an estimate."""
    author = Author(viewer=call.viewer, clock=call.clock, reason=body.reason)
    method = ""
    if body.action == "accept":
        await worklist.accept(call.conn, author, finding_id)
    elif body.action == "reopen":
        await worklist.reopen(call.conn, author, finding_id)
    elif body.action == "edit":
        if body.total is None:
            raise Invalid("total: say what was used over the stretch")
        await worklist.edit(call.conn, author, finding_id, total=body.total)
        method = "edit"
    else:
        method = await worklist.re_estimate(call.conn, author, finding_id, is_zero_evident=body.action == "zero")
    return {"method": method}
