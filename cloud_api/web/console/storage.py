"""The storage: what stands in the database, how long it is kept, what was dropped."""

from fastapi import APIRouter, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.operations.storage import service
from cloud_api.operations.storage.words import size
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage

router = APIRouter(prefix="/console/storage")
NAV = NavItem(group="system", order=80, label=N_("Storage"), href="/console/storage", icon="empty")

TABLES = {
    "observation": N_("Observations"),
    "observation_kept": N_("Register readings kept longer"),
    "observation_series": N_("Sums for charts"),
    "event": N_("Events"),
    "interval": N_("Interval ledger"),
    "interval_pack": N_("Interval ledger, packed days"),
    "interval_day": N_("Interval ledger, sums by day"),
    "interval_revision": N_("Interval ledger, earlier values"),
}
KINDS = {
    "raw": N_("Observations"),
    "registers": N_("Register readings kept longer"),
    "series": N_("Sums for charts"),
    "events": N_("Events"),
}
REASONS = {
    "ledger": N_("the ledger is being computed"),
    "series": N_("the sums for charts are being computed"),
    "open_run": N_("a bill run is not issued"),
    "not_billed": N_("not billed yet"),
}
ACTIONS = {
    "create": N_("room made ahead"),
    "columnstore": N_("compression set up"),
    "move": N_("moved"),
    "drop": N_("dropped"),
    "keep": N_("keeping time changed"),
    "fail": N_("could not be dropped"),
}


@router.get("")
async def storage(page: FacilitiesPage) -> Response:
    """Show every table, what holds its oldest data, and the journal."""
    return page.render(
        "console/storage.html",
        report=await service.report(page.conn, page.clock),
        size=size,
        tables=TABLES,
        kinds=KINDS,
        reasons=REASONS,
        actions=ACTIONS,
    )
