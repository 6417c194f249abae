"""The console's event stream: values, alarms, health."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from cloud_api.web.shared.live import POINTS_MAX, parse_points, stream, visible_points
from cloud_api.web.shared.page import LiveStaff

router = APIRouter(prefix="/console")


@router.get("/live")
async def live(
    request: Request,
    viewer: LiveStaff,
    points: Annotated[str, Query(max_length=12 * POINTS_MAX)] = "",
    meter: Annotated[int | None, Query(ge=1)] = None,
) -> StreamingResponse:
    """Stream what changes on a page that shows `points` (ids separated by commas) and the ledger of `meter`."""
    shown = await visible_points(request, viewer, parse_points(points))
    return stream(request, shown, ("alarm", "health"), meter=meter)
