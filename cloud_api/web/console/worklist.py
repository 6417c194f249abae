"""The worklist of doubtful intervals: accept, edit, estimate."""

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Response

from cloud_api.billing import corrections as billing
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.metering import worklist
from cloud_api.metering.corrections import Author
from cloud_api.metering.finding_words import CHECKS, STEPS, evidence
from cloud_api.operations.touched import Stretch, touched
from cloud_api.web.shared.forms import decimal
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/worklist")
NAV = NavItem(group="energy", order=30, label=N_("Worklist"), href="/console/worklist", icon="unknown")
PER_PAGE = 50
_ESTIMATED = {
    "check_meter": N_("Estimated after the check meter."),
    "linear": N_("Estimated evenly."),
    "profile": N_("Estimated after like days."),
    "similar_temperature": N_("Estimated after the day of the most similar temperature."),
    "previous_year": N_("Estimated after the year before."),
    "class_profile": N_("Estimated after the profile of its class."),
    "zero": N_("Set to zero, with your reason as the evidence."),
}


@router.get("")
async def entries(
    page: StaffPage,
    state: Annotated[Literal["open", "accepted", "edited", "estimated"], Query()] = "open",
    number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1,
) -> Response:
    """List what the checks found, the oldest first."""
    counts = await worklist.counts(page.conn)
    found = await worklist.entries(page.conn, state=state, limit=PER_PAGE, offset=(number - 1) * PER_PAGE)
    pages = max(1, -(-counts.get(state, 0) // PER_PAGE))
    return page.render(
        "console/worklist.html",
        entries=found,
        touched=dict(
            zip(
                (e.id for e in found),
                await touched(page.conn, page.viewer.organisation_id, _stretches(found)),
                strict=True,
            )
        ),
        sees_bills=page.viewer.has_any(frozenset({Role.FINANCE, Role.MANAGER})),
        checks=CHECKS,
        steps=STEPS,
        evidence=evidence,
        counts=counts,
        state=state,
        number=number,
        pages=pages,
    )


@router.post("/{finding_id}")
async def settle(
    page: FacilitiesPage,
    finding_id: int,
    action: Annotated[Literal["accept", "edit", "estimate", "zero", "reopen"], Form()],
    reason: Annotated[str, Form(max_length=500)],
    total: Annotated[str, Form(max_length=60)] = "",
) -> Response:
    """Deal with one finding."""
    author = Author(viewer=page.viewer, clock=page.clock, reason=reason)
    if action == "accept":
        await worklist.accept(page.conn, author, finding_id)
        notice = _("Accepted.")
    elif action == "reopen":
        await worklist.reopen(page.conn, author, finding_id)
        notice = _("Back on the list.")
    elif action == "edit":
        await worklist.edit(page.conn, author, finding_id, total=decimal("total", total))
        notice = _("Edited; the ledger follows within seconds.")
    else:
        method = await worklist.re_estimate(page.conn, author, finding_id, is_zero_evident=action == "zero")
        notice = _(_ESTIMATED[method])
    if action != "accept":
        notice += await _touched(page, finding_id)
    return page.redirect("/console/worklist", notice=notice)


def _stretches(found: Sequence[worklist.Entry]) -> list[Stretch]:
    return [Stretch(meter_id=e.meter_id, code=e.code, start=e.starts_at, end=e.ends_at) for e in found]


async def _touched(page: Page[StaffViewer], finding_id: int) -> str:
    """Return how many bills were made from the stretch, as a sentence to add to the notice."""
    found = await worklist.entry(page.conn, finding_id)
    bills = await billing.bills_touched(
        page.conn, page.viewer.organisation_id, [(found.code, found.starts_at, found.ends_at)]
    )
    return " " + ngettext("It touches one bill.", "It touches {count} bills.", len(bills)) if bills else ""
