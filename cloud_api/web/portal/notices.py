"""Every notice that the park shows today; the newest stand on the first page."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud_api.leasing import notices
from cloud_api.web.shared.notice_kinds import KINDS
from cloud_api.web.shared.page import PortalPage

router = APIRouter(prefix="/portal/notices")

PER_PAGE = 20


@router.get("")
async def show(page: PortalPage, number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1) -> Response:
    """Show the notices of today, newest first."""
    today = page.clock.now().astimezone(page.zone).date()
    found = await notices.shown_on(
        page.conn, page.viewer.organisation_id, today, limit=PER_PAGE, offset=PER_PAGE * (number - 1)
    )
    return page.render(
        "portal/notices.html",
        notices=found,
        kinds=KINDS,
        number=number,
        pages=max(1, -(-(found[0]["total"] if found else 0) // PER_PAGE)),
    )
