"""One space: its areas, meters and holders by period; another area from a day on, division into parts."""

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service
from cloud_api.leasing.service import Site
from cloud_api.operations.places import service as places
from cloud_api.operations.tenancy import spaces
from cloud_api.operations.tenancy.words import pairs_of, split_list
from cloud_api.web.console.lease_steps import fields_of
from cloud_api.web.console.places import dated
from cloud_api.web.shared.forms import decimal
from cloud_api.web.shared.page import LeasingPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/spaces")
SiteCode = Annotated[str | None, Query(max_length=40)]
USES = {
    "lettable": N_("can be let"),
    "shared": N_("shared, the owner's"),
    "common": N_("common area"),
    "plant": N_("plant room"),
}


@router.get("/{code}")
async def show(page: StaffPage, code: str, site: SiteCode = None) -> Response:
    """Show one space by period."""
    return await _show(page, code, site)


async def _show(page: Page[StaffViewer], code: str, site: str | None, problem: DomainError | None = None) -> Response:
    where, _all = await service.shown_site(page.conn, site)
    found = await spaces.history(page.conn, where, code)
    return page.render(
        "console/space.html",
        status=200 if problem is None else problem.status,
        problem=problem,
        space=found | {"use_word": USES[found["use"]]},
        periods=[dated(p) for p in await places.history(page.conn, where, "space", code, None)],
        answer=_answer(found, _today(page, where)),
        site=where,
        today=_today(page, where),
        may_change=page.viewer.has_any(frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER})),
    )


@router.post("/{code}/area")
async def change_area(page: LeasingPage, code: str, site: SiteCode = None) -> Response:
    """Give the space another area from a day on."""
    fields = await fields_of(page.request)
    try:
        async with page.conn.transaction():
            where, _all = await service.shown_site(page.conn, site)
            bills = await spaces.change_area(
                page.conn,
                where,
                code,
                area_m2=decimal(_("Area"), fields.text("area")),
                area_kind="gross" if fields.text("kind") == "gross" else "net",
                from_day=fields.day("from_day"),
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return await _show(page, code, site, error)
    notice = _("The area counts from that day.")
    if bills:
        notice += " " + _("Issued bills to look at: {bills}.", bills=", ".join(bills))
    return page.redirect(f"/console/spaces/{code}?site={where.code}", notice=notice)


@router.post("/{code}/parts")
async def divide(page: LeasingPage, code: str, site: SiteCode = None) -> Response:
    """Divide the space into parts from a day on."""
    fields = await fields_of(page.request)
    try:
        async with page.conn.transaction():
            where, _all = await service.shown_site(page.conn, site)
            parts = pairs_of(split_list(fields.text("parts")))
            who = {"actor": page.viewer.login, "clock": page.clock}
            await spaces.split_space(page.conn, where, code, parts=parts, from_day=fields.day("from_day"), **who)
    except DomainError as error:
        return await _show(page, code, site, error)
    return page.redirect(f"/console/estate?site={where.code}", notice=_("{space} is divided.", space=code))


def _answer(space: dict[str, Any], today: date) -> str:
    """Say what the space measures today."""
    current = [a for a in space["areas"] if (a["starts_on"] or today) <= today <= (a["last_day"] or today)]
    if not current:
        return _("It does not exist today: it was divided, or has no area.")
    return _("{area} m² today.", area=f"{current[0]['area_m2'].normalize():f}")


def _today(page: Page[StaffViewer], site: Site) -> date:
    return page.clock.now().astimezone(site.zone).date()
