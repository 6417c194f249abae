"""Importing readings from files: choose, look, import, undo."""

from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile

from cloud_api.billing import corrections as billing
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.metering import analysis, imports
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/imports")
NAV = NavItem(group="energy", order=40, label=N_("Import readings"), href="/console/imports", icon="download")
SHOWN = 20


@router.get("")
async def show(page: FacilitiesPage) -> Response:
    """Show the form and what was imported."""
    return page.render(
        "console/imports.html",
        meters=await analysis.meters(page.conn),
        imports=await imports.imports(page.conn),
        preview=None,
        touched=[],
        shown=SHOWN,
    )


@router.post("")
async def preview(
    page: FacilitiesPage, file: UploadFile, default_meter: Annotated[str, Form(max_length=100)] = ""
) -> Response:
    """Say what importing the file would do."""
    content = await file.read(imports.FILE_BYTES_MAX + 1)
    found = await imports.upload(
        page.conn,
        page.clock,
        page.viewer,
        name=file.filename or "file",
        content=content,
        default_meter=default_meter,
        zone=page.zone,
    )
    return page.render(
        "console/imports.html",
        meters=await analysis.meters(page.conn),
        imports=await imports.imports(page.conn),
        preview=found,
        touched=await billing.bills_touched(page.conn, page.viewer.organisation_id, found.stretches),
        shown=SHOWN,
    )


@router.post("/uploads/{upload_id}")
async def confirm(page: FacilitiesPage, upload_id: int) -> Response:
    """Import what the preview showed."""
    count = await imports.confirm(page.conn, page.clock, page.viewer, upload_id, zone=page.zone)
    notice = ngettext(
        "One reading is imported; the ledger follows.", "{count} readings are imported; the ledger follows.", count
    )
    return page.redirect("/console/imports", notice=notice)


@router.post("/{import_id}/undo")
async def undo(page: FacilitiesPage, import_id: int) -> Response:
    """Take an import back."""
    await imports.undo(page.conn, page.clock, page.viewer, import_id)
    return page.redirect("/console/imports", notice=_("The import is undone; the ledger follows."))
