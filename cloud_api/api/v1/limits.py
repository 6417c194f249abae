"""Limits on points: an alarm the moment a value is beyond one."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.alarms import limit_settings
from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.kit.ids import PointId

router = APIRouter(prefix="/limits", tags=["alarms"])


class Limit(BaseModel):
    """A limit in the point's unit; the alarm ends beyond `clear_value`."""

    kind: Literal["above", "below", "equals", "step"]
    value: float
    severity: Annotated[int, Field(ge=1, le=4)] = 3
    clear_value: float | None = None
    on_delay_s: Annotated[int, Field(ge=0, le=86400)] = 0
    off_delay_s: Annotated[int, Field(ge=0, le=86400)] = 0
    is_latching: bool = False


@router.get("")
async def list_limits(call: StaffCall, point_id: int | None = None) -> list[dict[str, Any]]:
    """Return the limits of a point, or all (at most 2000)."""
    return await limit_settings.limits(call.conn, None if point_id is None else PointId(point_id))


@router.put("/points/{point_id}")
async def set_limit(call: FacilitiesCall, point_id: int, limit: Limit) -> dict[str, int]:
    """Set a point's limit of a kind and severity; an earlier one is replaced."""
    added = await limit_settings.set_limit(
        call.conn, call.clock, PointId(point_id), actor=call.viewer.login, **limit.model_dump()
    )
    return {"id": added}


@router.delete("/{limit_id}", status_code=204)
async def remove_limit(call: FacilitiesCall, limit_id: int) -> None:
    """Remove a limit; an alarm it raised ends."""
    await limit_settings.remove_limit(call.conn, call.clock, limit_id)
