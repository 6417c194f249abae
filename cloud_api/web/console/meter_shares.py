"""Dividing a meter anew over spaces from a day on: by area, or by percentages as entered."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError, Invalid
from cloud_api.leasing import service as leasing
from cloud_api.leasing.service import Site
from cloud_api.operations.places import service as places
from cloud_api.operations.tenancy import meter_shares
from cloud_api.web.console.lease_steps import Fields, fields_of
from cloud_api.web.shared.page import LeasingPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/meter-shares")
SiteCode = Annotated[str | None, Query(max_length=40)]
_ROWS_MAX = 60
_EMPTY_ROWS = 3


@router.get("/{meter}")
async def show(page: StaffPage, meter: str, site: SiteCode = None, site_id: int | None = None) -> Response:
    """Show whose a meter's energy is, by period; the site by its code, or by its number."""
    if site_id is not None:
        site = next((s.code for s in await leasing.sites(page.conn) if s.id == site_id), site)
    return await _show(page, meter, site)


async def _show(page: Page[StaffViewer], meter: str, site: str | None, problem: DomainError | None = None) -> Response:
    where, _all = await leasing.shown_site(page.conn, site)
    found, shares = await meter_shares.history(page.conn, where, meter)
    now = page.clock.now()
    today = now.astimezone(where.zone).date()
    current = [
        s
        for s in shares
        if (s["starts_at"] is None or s["starts_at"] <= now) and (s["ends_at"] is None or now < s["ends_at"])
    ]
    rooms = [p for p in await places.tree(page.conn, where, today) if p["kind"] == "space"]
    return page.render(
        "console/meter_shares.html",
        status=200 if problem is None else problem.status,
        problem=problem,
        meter=found,
        shares=shares,
        rows=[(s["space"], f"{(s['share'] * 100).normalize():f}") for s in current] + [("", "")] * _EMPTY_ROWS,
        rooms=rooms,
        site=where,
        today=today,
        may_change=page.viewer.has_any(frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER})),
    )


@router.post("/{meter}")
async def divide(page: LeasingPage, meter: str, site: SiteCode = None) -> Response:
    """Divide the meter anew from a day on."""
    fields = await fields_of(page.request)
    where, _all = await leasing.shown_site(page.conn, site)
    try:
        async with page.conn.transaction():
            day = fields.day("from_day")
            shares = await _told(page, where, fields)
            who = {"actor": page.viewer.login, "clock": page.clock}
            await meter_shares.set_meter_shares(page.conn, where, meter, shares=shares, from_day=day, **who)
    except DomainError as error:
        return await _show(page, meter, site, error)
    return page.redirect(f"/console/meter-shares/{meter}?site={where.code}", notice=_("The meter is divided anew."))


async def _told(page: Page[StaffViewer], site: Site, fields: Fields) -> dict[str, Decimal]:
    """Return the shares that were entered; a row without a space is empty, one without a number only counts by area."""
    told: dict[str, Decimal | None] = {}
    for number in range(_ROWS_MAX):
        space, percent = fields.text(f"space.{number}"), fields.number(f"percent.{number}", _("Share"))
        if not space:
            continue
        if space in told:
            raise Invalid("{space} stands there twice", space=space)
        told[space] = percent
    if fields.text("mode") == "area":
        return await meter_shares.shares_by_area(page.conn, site, list(told), fields.day("from_day"))
    return {space: percent / 100 for space, percent in told.items() if percent is not None}
