"""Silences of meters: all of a week with cause, what had to be estimated, and the bills made from it."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from cloud_api.identity.model import Role
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import MeterId
from cloud_api.kit.period import Period
from cloud_api.metering import analysis, gaps
from cloud_api.operations.touched import Stretch, touched
from cloud_api.telemetry.course import Silence
from cloud_api.web.console.devices import SILENCES
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import StaffPage

router = APIRouter(prefix="/console/gaps")
NAV = NavItem(group="energy", order=32, label=N_("Gaps"), href="/console/gaps", icon="unknown")
PER_PAGE = 50


@router.get("")
async def show(
    page: StaffPage,
    days: Annotated[Literal[1, 7, 31], Query()] = 7,
    meter: Annotated[int, Query(ge=0)] = 0,
    number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1,
) -> Response:
    """List the silences of the last days: those that last first, then the newest."""
    now = page.clock.now()
    period = Period(now - timedelta(days=days), now)
    meter_id = MeterId(meter) if meter else None
    found = await gaps.gaps(
        page.conn, page.clock, period, meter_id=meter_id, limit=PER_PAGE, offset=(number - 1) * PER_PAGE
    )
    count = await gaps.count(page.conn, period, meter_id=meter_id)
    stretches = [Stretch(meter_id=g.meter_id, code=g.code, start=g.silent_from, end=g.silent_to or now) for g in found]
    return page.render(
        "console/gaps.html",
        gaps=found,
        count=count,
        open_count=sum(g.is_open for g in found),
        pages=max(1, -(-count // PER_PAGE)),
        number=number,
        days=days,
        meter=meter,
        meters=await analysis.meters(page.conn),
        causes={str(cause): word for cause, word in SILENCES.items()},
        states={Silence.OFFLINE: "critical", Silence.LOST: "critical", Silence.WAITING: "warning"},
        lost=await analysis.sequence_gaps(page.conn),
        touched=await touched(page.conn, page.viewer.organisation_id, stretches),
        sees_bills=page.viewer.has_any(frozenset({Role.FINANCE, Role.MANAGER})),
        now=now,
    )
