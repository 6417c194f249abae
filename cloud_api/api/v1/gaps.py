"""Silences of meters, with cause and what was estimated for them."""

from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from cloud_api.api.auth import StaffCall
from cloud_api.api.v1.meters import PeriodAsked
from cloud_api.kit.ids import MeterId
from cloud_api.metering import gaps
from cloud_api.operations.touched import Stretch, Touched, touched

router = APIRouter(prefix="/gaps", tags=["meters"])


@dataclass(frozen=True, slots=True, kw_only=True)
class GapListed(gaps.MeterGap):
    """A silence with what its energy touches."""

    touches: Touched


@router.get("")
async def list_gaps(
    call: StaffCall,
    period: PeriodAsked,
    meter_id: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> list[GapListed]:
    """Return the silences that touch a period: those that last (`silent_to` is null) first, then the newest.

    `cause`: offline (the device did not answer), invalid (unreadable), lost (the gateway's memory was full), waiting
    (the gateway is not heard and may still have the values), unknown.
    """
    found = await gaps.gaps(
        call.conn,
        call.clock,
        period,
        meter_id=None if meter_id is None else MeterId(meter_id),
        limit=limit,
        offset=offset,
    )
    now = call.clock.now()
    stretches = [Stretch(meter_id=g.meter_id, code=g.code, start=g.silent_from, end=g.silent_to or now) for g in found]
    touches = await touched(call.conn, call.viewer.organisation_id, stretches)
    return [GapListed(**asdict(gap), touches=what) for gap, what in zip(found, touches, strict=True)]
