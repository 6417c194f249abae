"""The estate: buildings, floors and spaces as a plan; who holds what, what is vacant."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service
from cloud_api.operations.estate_view import service as estate
from cloud_api.operations.estate_view.plan import boxes, state_of
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/estate")
NAV = NavItem(group="estate", order=10, label=N_("Buildings"), href="/console/estate", icon="building")
STATES = {
    "occupied": ("ok", N_("let")),
    "vacant": ("warning", N_("vacant")),
    "common": ("offline", N_("common area")),
    "plant": ("offline", N_("plant room")),
}


@router.get("")
async def show(page: StaffPage, site: Annotated[str | None, Query(max_length=40)] = None) -> Response:
    """Show each building as a plan of its floors, and the spaces as a table."""
    where, every = await service.shown_site(page.conn, site)
    found = await estate.spaces(page.conn, where, page.clock.now())
    buildings: dict[str, list[dict[str, Any]]] = {}
    for space in found:
        buildings.setdefault(space["building"], []).append(space | {"state_view": STATES[state_of(space)]})
    lettable = [s for s in found if s["use"] == "lettable"]
    vacant = [s for s in lettable if s["lease_id"] is None]
    share = _area(vacant) / _area(lettable) if _area(lettable) else None
    drawn = []
    for rows in buildings.values():
        plan, height = boxes(rows)
        drawn.append({"spaces": rows, "boxes": plan, "height": height, "code": rows[0]["building"]} | _named(rows[0]))
    return page.render(
        "console/estate.html",
        buildings=drawn,
        site=where,
        sites=every,
        vacant=vacant,
        vacant_area=_area(vacant),
        let_area=_area(lettable) - _area(vacant),
        vacant_share=share,
        answer=ngettext("One space is vacant.", "{count} spaces are vacant.", len(vacant))
        if vacant
        else _("Everything is let."),
    )


def _area(spaces: Iterable[dict[str, Any]]) -> Decimal:
    return sum((s["area_m2"] or Decimal(0) for s in spaces), Decimal(0))


def _named(row: dict[str, Any]) -> dict[str, str]:
    return {"name_zh": row["building_zh"], "name_en": row["building_en"]}
