"""Virtual meters: sums, differences and ratios of other meters."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.api.v1.meters import PeriodAsked
from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import MeterId
from cloud_api.metering import formulas
from cloud_api.metering.corrections import Author

router = APIRouter(prefix="/virtual-meters", tags=["meters"])

Id = Annotated[int, Field(ge=1, lt=2**63)]
Reason = Annotated[str, Field(min_length=3, max_length=500)]


class Input(BaseModel):
    """A meter and its factor; -1 subtracts."""

    meter_id: Id
    factor: Annotated[Decimal, Field(gt=-(10**9), lt=10**9, max_digits=18)] = Decimal(1)


class Change(BaseModel):
    """A formula; for a ratio the input with factor 1 is divided by the one with factor -1."""

    kind: formulas.Kind = "sum"
    inputs: Annotated[list[Input], Field(min_length=1, max_length=formulas.TERMS_MAX)]
    reason: Reason

    def terms(self) -> dict[MeterId, Decimal]:
        """Return the factors by meter; one that stands there twice is added up."""
        found: dict[MeterId, Decimal] = {}
        for one in self.inputs:
            found[MeterId(one.meter_id)] = found.get(MeterId(one.meter_id), Decimal(0)) + one.factor
        return found


class NewVirtualMeter(Change):
    """A virtual meter to be created."""

    code: Annotated[str, Field(min_length=1, max_length=60)]
    name_zh: Annotated[str, Field(max_length=100)] = ""
    name_en: Annotated[str, Field(max_length=100)] = ""


class Removal(BaseModel):
    """Why a virtual meter is removed."""

    reason: Reason


@router.get("")
async def list_virtual_meters(call: StaffCall) -> list[formulas.Formula]:
    """Return the virtual meters with their inputs."""
    return await formulas.formulas(call.conn)


@router.post("", status_code=201)
async def create(call: FacilitiesCall, body: NewVirtualMeter) -> dict[str, int]:
    """Create a virtual meter; its intervals are read like any meter's."""
    author = Author(viewer=call.viewer, clock=call.clock, reason=body.reason)
    meter_id = await formulas.create(
        call.conn,
        author,
        code=body.code,
        name_zh=body.name_zh,
        name_en=body.name_en,
        kind=body.kind,
        terms=body.terms(),
    )
    return {"id": meter_id}


@router.put("/{meter_id}", status_code=204)
async def change(call: FacilitiesCall, meter_id: Id, body: Change) -> None:
    """Replace a virtual meter's formula; a cycle is refused."""
    author = Author(viewer=call.viewer, clock=call.clock, reason=body.reason)
    await formulas.change(call.conn, author, MeterId(meter_id), kind=body.kind, terms=body.terms())


@router.post("/{meter_id}/remove", status_code=204)
async def remove(call: FacilitiesCall, meter_id: Id, body: Removal) -> None:
    """Remove a virtual meter that no other formula uses."""
    author = Author(viewer=call.viewer, clock=call.clock, reason=body.reason)
    await formulas.remove(call.conn, author, MeterId(meter_id))


@router.get("/{meter_id}/ratio")
async def ratio(call: StaffCall, meter_id: Id, period: PeriodAsked) -> list[formulas.Ratio]:
    """Return a ratio meter's value by interval."""
    found = await formulas.formula(call.conn, MeterId(meter_id))
    if found is None or found.kind != "ratio":
        raise NotFound
    return await formulas.ratio_intervals(call.conn, found, period)
