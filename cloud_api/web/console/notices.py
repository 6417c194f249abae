"""Notices to tenants: write, see, withdraw."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from cloud_api.identity.model import Role
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import notices
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.notice_kinds import KINDS
from cloud_api.web.shared.page import AfterHoursPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext, say

router = APIRouter(prefix="/console/notices")
NAV = NavItem(
    group="estate",
    order=50,
    label=N_("Notices"),
    href="/console/notices",
    icon="notice",
    roles=frozenset({Role.FACILITIES, Role.LEASING, Role.MANAGER}),
)
PER_PAGE = 25


@router.get("")
async def show(page: AfterHoursPage, number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1) -> Response:
    """Show the notices and the form."""
    today = page.clock.now().astimezone(page.zone).date()
    organisation = page.viewer.organisation_id
    found = await notices.every(page.conn, organisation, limit=PER_PAGE, offset=PER_PAGE * (number - 1))
    shown = await notices.shown_on(page.conn, organisation, today, limit=1)
    count = shown[0]["total"] if shown else 0
    return page.render(
        "console/notices.html",
        notices=[row | {"kind_word": KINDS[row["kind"]]} for row in found],
        kinds=list(KINDS.items()),
        number=number,
        pages=max(1, -(-(found[0]["total"] if found else 0) // PER_PAGE)),
        today=today,
        answer=ngettext("Tenants see one notice today.", "Tenants see {count} notices today.", count),
    )


@router.post("")
async def publish(
    page: AfterHoursPage,
    kind: Annotated[str, Form(pattern="^(story|activity|news|policy|service)$")],
    title_zh: Annotated[str, Form(max_length=120)],
    title_en: Annotated[str, Form(max_length=120)],
    first: Annotated[date, Form()],
    last_day: Annotated[str, Form(max_length=10, pattern=r"^(|\d{4}-\d\d-\d\d)$")] = "",
    body_zh: Annotated[str, Form(max_length=4000)] = "",
    body_en: Annotated[str, Form(max_length=4000)] = "",
) -> Response:
    """Publish a notice."""
    try:
        await notices.publish(
            page.conn,
            organisation_id=page.viewer.organisation_id,
            kind=kind,
            title_zh=title_zh,
            title_en=title_en,
            body_zh=body_zh,
            body_en=body_en,
            first=first,
            last_day=date.fromisoformat(last_day) if last_day else None,
            actor=page.viewer.login,
            clock=page.clock,
        )
    except DomainError as error:
        return page.redirect("/console/notices", notice=say(error))
    return page.redirect("/console/notices", notice=_("Published."))


@router.post("/{notice_id}/withdraw")
async def withdraw(page: AfterHoursPage, notice_id: int) -> Response:
    """Stop showing a notice."""
    await notices.withdraw(page.conn, notice_id, page.clock)
    return page.redirect("/console/notices", notice=_("Withdrawn."))
