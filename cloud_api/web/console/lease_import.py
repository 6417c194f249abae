"""Importing leasing records: choose the files, see what would happen, import."""

from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Form, Response, UploadFile

from cloud_api.identity.model import StaffViewer
from cloud_api.kit.errors import DomainError, Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service
from cloud_api.leasing.import_file import BYTES_MAX, Parsed, parse_file, too_large
from cloud_api.leasing.model import ImportReport, LeaseRecord
from cloud_api.web.shared.page import LeasingPage, Page
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/lease-import")
FILES_MAX = 2
SHOWN = 200
VERDICTS = {
    "new": ("ok", N_("new")),
    "changed": ("info", N_("changed")),
    "unchanged": ("offline", N_("as before")),
    "refused": ("warning", N_("refused")),
}


@router.get("")
async def show(page: LeasingPage) -> Response:
    """Show the form and the columns that are understood."""
    return await _show(page)


async def _show(
    page: Page[StaffViewer],
    *,
    report: ImportReport | None = None,
    upload_id: int | None = None,
    source: str = "file",
    problem: object = None,
    site: str | None = None,
) -> Response:
    where, every = await service.shown_site(page.conn, site)
    order = {"refused": 0, "new": 1, "changed": 2, "unchanged": 3}
    verdicts = sorted(report.leases, key=lambda v: (order[v.verdict], v.lease.number)) if report else []
    return page.render(
        "console/lease_import.html",
        status=200 if problem is None else 422,
        report=report,
        refused=sorted(report.refused, key=lambda text: text.values.get("row", 0)) if report else [],
        verdicts=[(v.lease, _last_day(v.lease), VERDICTS[v.verdict]) for v in verdicts[:SHOWN]],
        hidden_count=max(len(verdicts) - SHOWN, 0),
        upload_id=upload_id,
        source=source,
        site=where,
        sites=every,
        problem=problem,
    )


def _last_day(lease: LeaseRecord) -> date | None:
    return None if lease.ends_on is None else lease.ends_on - timedelta(days=1)


@router.post("")
async def preview(
    page: LeasingPage,
    file: list[UploadFile],
    source: Annotated[str, Form(max_length=40)] = "file",
    site: Annotated[str | None, Form(max_length=40)] = None,
) -> Response:
    """Say what importing the files would do, row by row; nothing is stored but the files themselves."""
    name = source.strip() or "file"
    try:
        files = [(f.filename or "leases.csv", await f.read(BYTES_MAX + 1)) for f in file[:FILES_MAX] if f.filename]
        if not files:
            raise Invalid("choose a file first")
        parsed = Parsed()
        for file_name, content in files:
            if len(content) > BYTES_MAX:
                raise too_large(file_name)
            parse_file(file_name, content, parsed)
        where, _every = await service.shown_site(page.conn, site)
        who = {"source": name, "actor": page.viewer.login, "clock": page.clock}
        report = await service.preview_import(page.conn, where, parsed, **who)
        upload_id = await service.keep_upload(page.conn, where, files, **who)
    except DomainError as error:
        return await _show(page, problem=error, source=name, site=site)
    return await _show(page, report=report, upload_id=upload_id, source=name, site=site)


@router.post("/{upload_id}")
async def confirm(
    page: LeasingPage, upload_id: int, site: Annotated[str | None, Form(max_length=40)] = None
) -> Response:
    """Import what the preview showed; refused rows stay out."""
    try:
        async with page.conn.transaction():
            parsed, source = await service.take_upload(page.conn, upload_id, actor=page.viewer.login)
            report = await service.import_leases(
                page.conn,
                (await service.shown_site(page.conn, site))[0],
                parsed,
                source=source,
                actor=page.viewer.login,
                clock=page.clock,
                accept_good_rows=True,
            )
    except DomainError as error:
        return await _show(page, problem=error, site=site)
    notice = _("{created} new, {changed} changed, {unchanged} as before.", created=report.created,
               changed=report.changed, unchanged=report.unchanged)  # fmt: skip
    return page.redirect("/console/leases", notice=notice)
