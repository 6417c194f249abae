"""What gateways sent in vain: refused observations and failed Sparkplug messages, with reason and remedy."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import GatewayId
from cloud_api.operations import vain
from cloud_api.web.shared.page import StaffPage

router = APIRouter(prefix="/console/rejected")
PER_PAGE = 50
_CAUSES = {
    "future": (N_("ahead of the cloud's clock"), N_("Set the clock of the gateway; a time server keeps it right.")),
    "too_old": (N_("from before the year 2000"), N_("Set the clock of the gateway or of the device.")),
    "no_value": (N_("no value"), N_("The driver calls it good but sends no value: look at the point's mapping.")),
    "not_a_number": (N_("not a number"), N_("Look at the point's mapping: it takes numbers only.")),
    "not_exact": (N_("a broken number for a counter"), N_("Counters travel as whole numbers: update the sender.")),
    "out_of_range": (N_("more digits than a counter has"), N_("Look at the data type and the scale of the point.")),
    "bad_quality": (N_("unknown quality"), N_("Quality is 0 to 3: update the sender.")),
    "no_such_column": (N_("names no point of its batch"), N_("The batch contradicts itself: update the sender.")),
    "too_large": (N_("too much text in an event"), N_("Shorten what the event carries.")),
    "malformed": (N_("not to be read"), N_("Compare with the format of batches and update the sender.")),
}


@router.get("")
async def show(
    page: StaffPage,
    gateway: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1,
) -> Response:
    """List what came in vain, the newest first, of all gateways or of one."""
    chosen = GatewayId(gateway) if gateway else None
    counts = await vain.counts(page.conn)
    kept = sum(c.kept_count for c in counts if gateway in {0, c.gateway_id})
    return page.render(
        "console/rejected.html",
        refused=await vain.refused(page.conn, gateway_id=chosen, limit=PER_PAGE, offset=(number - 1) * PER_PAGE),
        failed=await vain.failed(page.conn, gateway_id=chosen),
        counts=counts,
        total=sum(c.rejected_count for c in counts if gateway in {0, c.gateway_id}),
        causes=_CAUSES,
        gateway=gateway,
        number=number,
        pages=max(1, -(-kept // PER_PAGE)),
    )
