"""Leases for leasing and finance: import, what does not fit, move-in and move-out."""

import re
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Annotated

from fastapi import APIRouter, File, Form, Response, UploadFile

from cloud_api.identity.model import Role
from cloud_api.kit.errors import DomainError, Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service
from cloud_api.leasing.import_file import BYTES_MAX, Parsed, parse_leases, rows_of
from cloud_api.leasing.model import ImportReport
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import LeasingPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import say

router = APIRouter(prefix="/console/leases")
NAV = NavItem(
    group="estate",
    order=20,
    label=N_("Leases"),
    href="/console/leases",
    icon="lease",
    roles=frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER}),
)
STATUSES = {
    "application": ("info", N_("application")),
    "review": ("info", N_("review")),
    "approved": ("info", N_("approved")),
    "active": ("ok", N_("active")),
    "ended": ("offline", N_("ended")),
    "rejected": ("offline", N_("rejected")),
}


@router.get("")
async def list_leases(page: LeasingPage) -> Response:
    """List the leases and what they say against meters and areas."""
    return await _list(page)


async def _list(
    page: LeasingPage, *, report: ImportReport | None = None, refused: list[str] | None = None, status: int = 200
) -> Response:
    site = await service.find_site(page.conn)
    found = await tenancy.list_leases(page.conn, page.viewer.organisation_id)
    return page.render(
        "console/leases.html",
        status=status,
        leases=[row | {"status_view": STATUSES[row["status"]]} for row in found],
        findings=await service.reconcile(page.conn, site, page.clock.now()),
        report=report,
        refused=refused or [],
        today=page.clock.now().astimezone(page.zone).date(),
    )


@router.post("/import")
async def import_file(
    page: LeasingPage,
    file: Annotated[UploadFile, File()],
    source: Annotated[str, Form(max_length=40)] = "file",
    accept: Annotated[str, Form(pattern="^(|good)$")] = "",
) -> Response:
    """Import leasing records; refused rows are listed with their reasons."""
    try:
        content = await file.read(BYTES_MAX + 1)
        if len(content) > BYTES_MAX:
            raise Invalid("the file is larger than {bytes_max:,} bytes; cut it in parts", bytes_max=BYTES_MAX)
        parsed = Parsed()
        parse_leases(rows_of(file.filename or "leases.csv", content), parsed)
        async with page.conn.transaction():
            site = await service.find_site(page.conn)
            report = await service.import_leases(
                page.conn,
                site,
                parsed,
                source=source.strip() or "file",
                actor=page.viewer.login,
                clock=page.clock,
                accept_good_rows=accept == "good",
            )
    except service.RowsRefused as error:
        return await _list(page, refused=error.values["refused"], status=422)
    except DomainError as error:
        return await _list(page, refused=[say(error)], status=error.status)
    return await _list(page, report=report, refused=list(report.refused))


@router.post("/{number}/move-in")
async def move_in(page: LeasingPage, number: str, readings: Annotated[str, Form(max_length=2000)] = "") -> Response:
    """Open a tenancy with its opening readings."""
    try:
        async with page.conn.transaction():
            site = await service.find_site(page.conn)
            values = _readings(readings)
            await tenancy.move_in(page.conn, site, number, readings=values, actor=page.viewer.login, clock=page.clock)
    except DomainError as error:
        return page.redirect("/console/leases", notice=say(error))
    return page.redirect("/console/leases", notice=_("Moved in."))


@router.post("/{number}/move-out")
async def move_out(
    page: LeasingPage,
    number: str,
    last_day: Annotated[date, Form()],
    readings: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Close a tenancy with its closing readings."""
    try:
        async with page.conn.transaction():
            site = await service.find_site(page.conn)
            values = _readings(readings)
            await tenancy.move_out(
                page.conn,
                site,
                number,
                last_day=last_day,
                readings=values,
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return page.redirect("/console/leases", notice=say(error))
    return page.redirect("/console/leases", notice=_("Moved out."))


def _readings(text: str) -> dict[str, Decimal]:
    """Read `meter-t301 = 1234.5`, separated by commas or lines."""
    found: dict[str, Decimal] = {}
    for part in filter(None, (p.strip() for p in re.split(r"[,;\n]", text))):
        meter, _separator, value = part.partition("=")
        try:
            found[meter.strip()] = Decimal(value.strip())
        except InvalidOperation:
            raise Invalid("{part!r} is not a reading; write meter-t301 = 1234.5", part=part) from None
    return found
