"""The storage: what stands in the database, how long it is kept, what was dropped."""

from typing import Annotated

from fastapi import APIRouter, Form, Response

from cloud_api.identity.model import Role
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.operations.storage import service
from cloud_api.operations.storage.model import KEEP_DAYS_MAX, KEEP_DAYS_MIN, KIND_OF
from cloud_api.operations.storage.words import size
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import AdminPage, FacilitiesPage
from cloud_api.web.shared.templates import gettext as _

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
    report = await service.report(page.conn, page.clock)
    return page.render(
        "console/storage.html",
        report=report,
        kept=[(str(KIND_OF[t.name]), t.keep_days) for t in report.tables if t.name in KIND_OF],
        may_keep=page.viewer.has_any(frozenset({Role.ADMIN})),
        limits=(KEEP_DAYS_MIN, KEEP_DAYS_MAX),
        size=size,
        tables=TABLES,
        kinds=KINDS,
        reasons=REASONS,
        actions=ACTIONS,
    )


@router.post("/keep")
async def keep(page: AdminPage, kind: Annotated[str, Form(max_length=40)], days: Annotated[int, Form()]) -> Response:
    """Say how long a kind is kept."""
    await service.keep(page.conn, kind, days, actor=page.viewer.login, clock=page.clock)
    return page.redirect("/console/storage", notice=_("It is kept that long from now on."))
