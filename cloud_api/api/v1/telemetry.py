"""What points did, as a chart draws it, and what the storage holds."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.api.v1.meters import period_of
from cloud_api.api.values import RowId
from cloud_api.kit.ids import PointId
from cloud_api.kit.period import Period
from cloud_api.operations.storage import service as storage
from cloud_api.operations.storage.model import Report
from cloud_api.telemetry import series
from cloud_api.telemetry.course import STEPS_MAX, Course

router = APIRouter(tags=["telemetry"])


@router.get("/points/{point_id}/course")
async def course(
    call: StaffCall,
    point_id: RowId,
    period: Annotated[Period, Depends(period_of)],
    steps_max: Annotated[int, Query(ge=2, le=STEPS_MAX)] = 500,
) -> Course:
    """Return mean, lowest and highest value per step, empty steps included, and the gaps with their reasons.

    The step is chosen so that no more than `steps_max` are drawn; the first begins at or before the period.
    """
    return await series.course(call.conn, PointId(point_id), period, now=call.clock.now(), steps_max=steps_max)


@router.get("/storage")
async def stored(call: FacilitiesCall) -> Report:
    """Return per table rows, bytes, pieces, oldest and newest, when the oldest piece goes and what holds it."""
    return await storage.report(call.conn, call.clock)
