"""Files of readings: CSV, Excel, NEM12, Green Button; preview, import, undo."""

from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Request, UploadFile
from pydantic import Field

from cloud_api.api.auth import FacilitiesCall
from cloud_api.billing import corrections as billing
from cloud_api.metering import imports

router = APIRouter(prefix="/reading-imports", tags=["meters"])

Id = Annotated[int, Field(ge=1, lt=2**63)]
ERRORS_SHOWN = 200


@router.get("")
async def list_imports(call: FacilitiesCall) -> list[imports.Import]:
    """Return the imported files, newest first."""
    return await imports.imports(call.conn)


@router.post("/preview", status_code=201)
async def preview(
    call: FacilitiesCall,
    request: Request,
    file: UploadFile,
    default_meter: Annotated[str, Form(max_length=100)] = "",
) -> dict[str, Any]:
    """Keep a file for a day and say what importing it would do: new rows, unreadable ones, bills it touches.

    The reasons are in the language that `Accept-Language` asks for; English when it asks for none.
    """
    found = await imports.upload(
        call.conn,
        call.clock,
        call.viewer,
        name=file.filename or "file",
        content=await file.read(imports.FILE_BYTES_MAX + 1),
        default_meter=default_meter,
        zone=_zone(request),
    )
    bills = await billing.bills_touched(call.conn, call.viewer.organisation_id, found.stretches)
    return {
        "upload_id": found.upload_id,
        "format": found.format,
        "new_count": len(found.new),
        "known_count": found.known_count,
        "errors": [{"line": e.line, "reason": call.say(e.reason)} for e in found.errors[:ERRORS_SHOWN]],
        "error_count": len(found.errors),
        "touches": [{"meter": meter, "from": first, "to": last} for meter, first, last in found.stretches],
        "bills": [{"id": b["id"], "number": b["number"], "state": b["state"]} for b in bills],
    }


@router.post("/uploads/{upload_id}", status_code=201)
async def confirm(call: FacilitiesCall, request: Request, upload_id: Id) -> dict[str, int]:
    """Import what the preview showed; return how many readings were new."""
    count = await imports.confirm(call.conn, call.clock, call.viewer, upload_id, zone=_zone(request))
    return {"new_count": count}


@router.post("/{import_id}/undo", status_code=204)
async def undo(call: FacilitiesCall, import_id: Id) -> None:
    """Take a whole import back; the ledger returns to what it was."""
    await imports.undo(call.conn, call.clock, call.viewer, import_id)


def _zone(request: Request) -> ZoneInfo:
    return ZoneInfo(request.app.state.settings.default_time_zone)
