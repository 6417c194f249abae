"""Virtual meters: sums, differences and ratios of other meters."""

from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response

from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import MeterId
from cloud_api.metering import analysis, formulas
from cloud_api.metering.corrections import Author
from cloud_api.web.shared.forms import decimal
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/formulas")
NAV = NavItem(group="energy", order=12, label=N_("Virtual meters"), href="/console/formulas", icon="energy")
ROWS = 8  # Inputs of the form; a longer formula is a sum of sums.


@router.get("")
async def list_formulas(page: StaffPage) -> Response:
    """List the virtual meters, and offer a form for another one."""
    return page.render(
        "console/formulas.html",
        formulas=await formulas.formulas(page.conn),
        meters=await analysis.meters(page.conn),
        rows=range(ROWS),
    )


@router.post("")
async def create(
    page: FacilitiesPage,
    request: Request,
    code: Annotated[str, Form(max_length=60)],
    reason: Annotated[str, Form(max_length=500)],
    kind: Annotated[Literal["sum", "ratio"], Form()],
    name_zh: Annotated[str, Form(max_length=100)] = "",
    name_en: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Create a virtual meter from the rows that are filled."""
    form = await request.form()
    terms: dict[MeterId, Decimal] = {}
    for n in range(ROWS):
        chosen, factor = form.get(f"meter_{n}"), form.get(f"factor_{n}")
        if not isinstance(chosen, str) or not chosen.isdecimal():
            continue
        meter_id = MeterId(int(chosen))
        if meter_id in terms:
            raise Invalid("a meter stands in a formula once: add up its factors")
        if kind == "ratio":
            terms[meter_id] = Decimal(-1 if terms else 1)
        else:
            terms[meter_id] = decimal("factor", factor) if isinstance(factor, str) and factor.strip() else Decimal(1)
    meter_id = await formulas.create(
        page.conn,
        Author(viewer=page.viewer, clock=page.clock, reason=reason),
        code=code.strip(),
        name_zh=name_zh.strip(),
        name_en=name_en.strip(),
        kind=kind,
        terms=terms,
    )
    return page.redirect(f"/console/meters/{meter_id}", notice=_("The virtual meter is there."))


@router.post("/{meter_id}/remove")
async def remove(page: FacilitiesPage, meter_id: int, reason: Annotated[str, Form(max_length=500)]) -> Response:
    """Remove a virtual meter that nothing uses."""
    author = Author(viewer=page.viewer, clock=page.clock, reason=reason)
    await formulas.remove(page.conn, author, MeterId(meter_id))
    return page.redirect("/console/formulas", notice=_("The virtual meter is removed."))
