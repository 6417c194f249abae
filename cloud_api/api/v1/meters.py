"""Meters and their ledger: intervals, energy, demand, balance, gaps, corrections, export."""

from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, Response, UploadFile
from pydantic import AwareDatetime, BaseModel, Field

from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.billing import corrections as billing
from cloud_api.kit.errors import Invalid
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period
from cloud_api.metering import analysis, corrections, exchanges, exports, formulas, service
from cloud_api.metering.balance import Balance, Suspect
from cloud_api.metering.corrections import Author, Cause, Decision, RegisterLine, Undoable
from cloud_api.metering.model import Energy, Interval, Meter, MeterInterval, ReadingLine
from cloud_api.operations import interval_length

router = APIRouter(prefix="/meters", tags=["meters"])

PERIOD_MAX = timedelta(days=400)
Id = Annotated[int, Field(ge=1, lt=2**63)]
Reason = Annotated[str, Field(min_length=3, max_length=500)]
Value = Annotated[Decimal, Field(ge=0, lt=10**15, max_digits=24, decimal_places=9)]


Factor = Annotated[Decimal, Field(gt=-(10**9), lt=10**9, max_digits=18)]


class Exchange(BaseModel):
    """One register closes and its successor opens at an instant."""

    register_id: Id
    at: AwareDatetime
    closing: Value
    opening: Value
    multiplier: Factor | None = None
    modulus: Annotated[Decimal, Field(gt=0, lt=10**15, max_digits=24, decimal_places=9)] | None = None
    reason: Reason


class HandReading(BaseModel):
    """A reading taken by hand."""

    register_id: Id
    taken_at: AwareDatetime
    value: Value
    reason: Reason


class Exclusion(BaseModel):
    """A reading that is wrong, and the right value where it is known."""

    register_id: Id
    taken_at: AwareDatetime
    correct_value: Value | None = None
    reason: Reason


class Reset(BaseModel):
    """The counter was set anew: without `stop` the part before is not known and stays missing."""

    register_id: Id
    at: AwareDatetime
    stop: Value | None = None
    start: Value
    reason: Reason


class Multiplier(BaseModel):
    """Another factor from an instant on.

    `ratio`: the new ratio itself; `reversed`: the sign changes, no number needed; `unit` and `wiring`: what the factor
    before is multiplied with.
    """

    register_id: Id
    at: AwareDatetime
    multiplier: Factor | None = None
    cause: Cause = "ratio"
    reason: Reason


class Modulus(BaseModel):
    """The value at which the counter starts again at zero; null: it never does."""

    register_id: Id
    modulus: Annotated[Decimal, Field(gt=0, lt=10**15, max_digits=24, decimal_places=9)] | None
    reason: Reason


class Length(BaseModel):
    """Another length of the meter's intervals from a full hour (UTC) on; the ledger before it stays."""

    at: AwareDatetime
    minutes: Literal[1, 5, 15, 30, 60]
    reason: Reason


class UndoWhole(BaseModel):
    """Why an exchange or a change of length is taken back."""

    reason: Reason


class IntervalEdit(BaseModel):
    """A quantity that a person decides for one interval."""

    register_id: Id
    starts_at: AwareDatetime
    quantity: Annotated[Decimal, Field(gt=-(10**12), lt=10**12, max_digits=24)]
    reason: Reason


class Undo(BaseModel):
    """A decision to be taken back."""

    register_id: Id
    kind: Undoable
    decision_id: Id
    reason: Reason


def period_of(
    start: Annotated[AwareDatetime, Query(description="Included; with its offset.")],
    end: Annotated[AwareDatetime, Query(description="Excluded; with its offset.")],
) -> Period:
    """Return the period asked for; at most 400 days."""
    if not 1970 <= start.year <= end.year < 2200:
        raise Invalid("start must not be after end, and both lie between 1970 and 2200")
    if end < start or end - start > PERIOD_MAX:
        raise Invalid("a period has 0 to {days} days", days=PERIOD_MAX.days)
    return Period(start, end)


PeriodAsked = Annotated[Period, Depends(period_of)]
MeterPath = Annotated[int, Field(ge=1, lt=2**63)]


@router.get("")
async def list_meters(call: StaffCall) -> list[dict[str, Any]]:
    """Return the meter tree, parents before their children."""
    now = call.clock.now()
    return [_meter(m, now) for m in await analysis.meters(call.conn)]


@router.get("/{meter_id}")
async def show_meter(call: StaffCall, meter_id: MeterPath) -> dict[str, Any]:
    """Return a meter with its registers and what people decided about them."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    registers: list[RegisterLine] = await corrections.registers_of_meter(call.conn, meter.id)
    decisions: list[Decision] = await corrections.decisions(call.conn, meter.id)
    return _meter(meter, call.clock.now()) | {"registers": registers, "decisions": decisions}


@router.get("/{meter_id}/intervals")
async def intervals(call: StaffCall, meter_id: MeterPath, period: PeriodAsked) -> list[MeterInterval]:
    """Return the meter's intervals; a virtual meter's are computed. An interval that is not known has no row."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    return await analysis.virtual_intervals(call.conn, meter.id, period)


@router.get("/{meter_id}/registers/{register_id}/intervals")
async def register_intervals(
    call: StaffCall, meter_id: MeterPath, register_id: MeterPath, period: PeriodAsked
) -> list[Interval]:
    """Return one register's intervals with method, reason, revision and the readings they lie between."""
    await analysis.meter(call.conn, MeterId(meter_id))
    return await service.intervals(call.conn, [RegisterId(register_id)], period)


@router.get("/{meter_id}/energy")
async def energy(call: StaffCall, meter_id: MeterPath, period: PeriodAsked) -> Energy:
    """Return what the meter counted in a period, and how complete that is."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    return (await service.energy_by_meter(call.conn, [meter.id], period))[meter.id]


@router.get("/{meter_id}/demand")
async def demand(call: StaffCall, meter_id: MeterPath, period: PeriodAsked) -> analysis.Demand | None:
    """Return the highest average power over one interval, from actual intervals only."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    return (await analysis.demand(call.conn, [meter.id], period)).get(meter.id)


@router.get("/{meter_id}/balance")
async def balance(
    call: StaffCall, meter_id: MeterPath, period: PeriodAsked, by: Literal["interval", "day"] = "day"
) -> list[Balance]:
    """Return main, children and residual of the branch below a meter, per bucket."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    return await analysis.branch_balance(call.conn, meter.id, period, by=by)


@router.get("/{meter_id}/registers/{register_id}/gaps")
async def gaps(
    call: StaffCall,
    meter_id: MeterPath,
    register_id: MeterPath,
    period: PeriodAsked,
    longer_than_s: Annotated[int, Query(ge=1, le=86_400 * 366)] = 1_800,
) -> list[analysis.Gap]:
    """Return stretches in which the register's point was silent."""
    await analysis.meter(call.conn, MeterId(meter_id))
    return await analysis.gaps(call.conn, RegisterId(register_id), period, longer_than=timedelta(seconds=longer_than_s))


@router.get("/{meter_id}/export.{form}")
async def export(call: StaffCall, meter_id: MeterPath, form: exports.Format, period: PeriodAsked) -> Response:
    """Return the meter's intervals as CSV, Excel, Parquet or Green Button."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    found = await analysis.virtual_intervals(call.conn, meter.id, period)
    return Response(exports.export(meter, found, form), media_type=exports.MEDIA_TYPES[form])


@router.post("/{meter_id}/exchange", status_code=201)
async def exchange(call: FacilitiesCall, meter_id: MeterPath, body: Exchange) -> dict[str, int]:
    """Exchange the meter and return the new register."""
    await analysis.meter(call.conn, MeterId(meter_id))
    register_id = await exchanges.exchange(
        call.conn,
        _author(call, body.reason),
        RegisterId(body.register_id),
        at=body.at,
        closing=body.closing,
        opening=body.opening,
        multiplier=body.multiplier,
        modulus=body.modulus,
    )
    return {"register_id": register_id}


@router.post("/{meter_id}/exchanges/{exchange_id}/undo", status_code=204)
async def undo_exchange(call: FacilitiesCall, meter_id: MeterPath, exchange_id: MeterPath, body: UndoWhole) -> None:
    """Take an exchange back; refused while something stands on the new register."""
    await analysis.meter(call.conn, MeterId(meter_id))
    await exchanges.undo(call.conn, _author(call, body.reason), exchange_id)


@router.post("/{meter_id}/lengths", status_code=201)
async def change_length(call: FacilitiesCall, meter_id: MeterPath, body: Length) -> dict[str, int]:
    """Change the length of the meter's intervals from an instant on; refused before the end of an issued bill."""
    decision_id = await interval_length.change(
        call.conn, _author(call, body.reason), MeterId(meter_id), at=body.at, minutes=body.minutes
    )
    return {"decision_id": decision_id}


@router.post("/{meter_id}/lengths/{decision_id}/undo", status_code=204)
async def undo_length(call: FacilitiesCall, meter_id: MeterPath, decision_id: MeterPath, body: UndoWhole) -> None:
    """Take a change of length back; the length before it holds on."""
    await interval_length.undo(call.conn, _author(call, body.reason), MeterId(meter_id), decision_id)


@router.post("/{meter_id}/exchanges/{exchange_id}/photos", status_code=204)
async def add_photo(
    call: FacilitiesCall,
    meter_id: MeterPath,
    exchange_id: MeterPath,
    photo: UploadFile,
    side: Annotated[exchanges.Side, Form()],
) -> None:
    """Add a photograph of a display (JPEG, PNG or WebP, up to 5 MB) to an exchange."""
    await analysis.meter(call.conn, MeterId(meter_id))
    content = await photo.read(exchanges.PHOTO_BYTES_MAX + 1)
    found = exchanges.Photo(side=side, media_type=photo.content_type or "", content=content)
    await exchanges.add_photo(call.conn, _author(call, "photograph"), exchange_id, found)


@router.get("/{meter_id}/photos/{photo_id}")
async def photo(call: StaffCall, meter_id: MeterPath, photo_id: MeterPath) -> Response:
    """Return a photograph of an exchange; `decisions` of the meter names them."""
    await analysis.meter(call.conn, MeterId(meter_id))
    content, media_type = await exchanges.photo(call.conn, photo_id)
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})


@router.post("/{meter_id}/resets", status_code=204)
async def declare_reset(call: FacilitiesCall, meter_id: MeterPath, body: Reset) -> None:
    """Say that the counter was set anew."""
    await analysis.meter(call.conn, MeterId(meter_id))
    await corrections.declare_reset(
        call.conn,
        _author(call, body.reason),
        RegisterId(body.register_id),
        at=body.at,
        stop=body.stop,
        start=body.start,
    )


@router.post("/{meter_id}/multipliers")
async def change_multiplier(call: FacilitiesCall, meter_id: MeterPath, body: Multiplier) -> dict[str, Decimal]:
    """Apply another factor from an instant on (transformer ratio, reversed, unit, wiring); return the factor."""
    await analysis.meter(call.conn, MeterId(meter_id))
    factor = await corrections.change_multiplier(
        call.conn,
        _author(call, body.reason),
        RegisterId(body.register_id),
        at=body.at,
        multiplier=body.multiplier,
        cause=body.cause,
    )
    return {"multiplier": factor}


@router.post("/{meter_id}/modulus", status_code=204)
async def set_modulus(call: FacilitiesCall, meter_id: MeterPath, body: Modulus) -> None:
    """Say at which value the counter starts again at zero."""
    await analysis.meter(call.conn, MeterId(meter_id))
    await corrections.set_modulus(
        call.conn, _author(call, body.reason), RegisterId(body.register_id), modulus=body.modulus
    )


@router.get("/{meter_id}/registers/{register_id}/readings")
async def readings(
    call: StaffCall, meter_id: MeterPath, register_id: MeterPath, period: PeriodAsked
) -> list[ReadingLine]:
    """Return a register's readings, at most 300, the excluded ones marked."""
    await analysis.meter(call.conn, MeterId(meter_id))
    return await service.readings_between(call.conn, RegisterId(register_id), period.start, period.end)


@router.get("/{meter_id}/touched")
async def touched(call: StaffCall, meter_id: MeterPath, period: PeriodAsked) -> dict[str, Any]:
    """Return what a change in a period touches: bills made from it, and virtual meters it flows into."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    bills = await billing.bills_touched(
        call.conn, call.viewer.organisation_id, [(meter.code, period.start, period.end)]
    )
    used_by = await formulas.used_by(call.conn, meter.id)
    return {
        "bills": [{"id": b["id"], "number": b["number"], "state": b["state"]} for b in bills],
        "virtual_meters": [{"id": f.meter_id, "code": f.code} for f in used_by],
    }


@router.get("/{meter_id}/suspects")
async def suspects(call: StaffCall, meter_id: MeterPath, period: PeriodAsked) -> list[Suspect]:
    """Return meters whose reversed transformer or wrong place would explain the branch's residual."""
    meter = await analysis.meter(call.conn, MeterId(meter_id))
    return await analysis.branch_suspects(call.conn, meter.id, period)


@router.post("/{meter_id}/readings", status_code=204)
async def add_reading(call: FacilitiesCall, meter_id: MeterPath, body: HandReading) -> None:
    """Enter a reading taken by hand."""
    await analysis.meter(call.conn, MeterId(meter_id))
    await corrections.add_reading(
        call.conn, _author(call, body.reason), RegisterId(body.register_id), taken_at=body.taken_at, value=body.value
    )


@router.post("/{meter_id}/exclusions", status_code=204)
async def exclude_reading(call: FacilitiesCall, meter_id: MeterPath, body: Exclusion) -> None:
    """Declare a reading wrong."""
    await analysis.meter(call.conn, MeterId(meter_id))
    await corrections.exclude_reading(
        call.conn,
        _author(call, body.reason),
        RegisterId(body.register_id),
        taken_at=body.taken_at,
        correct_value=body.correct_value,
    )


@router.post("/{meter_id}/edits", status_code=204)
async def edit_interval(call: FacilitiesCall, meter_id: MeterPath, body: IntervalEdit) -> None:
    """Decide an interval's quantity."""
    await analysis.meter(call.conn, MeterId(meter_id))
    await corrections.edit_interval(
        call.conn,
        _author(call, body.reason),
        RegisterId(body.register_id),
        starts_at=body.starts_at,
        quantity=body.quantity,
    )


@router.post("/{meter_id}/undo", status_code=204)
async def undo(call: FacilitiesCall, meter_id: MeterPath, body: Undo) -> None:
    """Take a decision back."""
    await analysis.meter(call.conn, MeterId(meter_id))
    await corrections.undo(
        call.conn,
        _author(call, body.reason),
        RegisterId(body.register_id),
        kind=body.kind,
        decision_id=body.decision_id,
    )


def _author(call: FacilitiesCall, reason: str) -> Author:
    return Author(viewer=call.viewer, clock=call.clock, reason=reason)


def _meter(meter: Meter, now: datetime) -> dict[str, Any]:
    shown = {"zone": str(meter.zone), "interval_minutes": meter.lengths.at(now)}
    return (
        {key: value for key, value in asdict(meter).items() if key != "lengths"} | shown | {"lengths": _lengths(meter)}
    )


def _lengths(meter: Meter) -> list[dict[str, Any]]:
    first, *changes = meter.lengths.changes
    return [{"from": None, "minutes": first[1]}, *({"from": at, "minutes": minutes} for at, minutes in changes)]
