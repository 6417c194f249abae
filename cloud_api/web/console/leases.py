"""Leases for leasing and finance: applications, the file of one lease with its steps, and moves in its life."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError, NotFound
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service
from cloud_api.leasing.service import Site
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.operations.tenancy.changes import Change
from cloud_api.operations.tenancy.words import hours_text
from cloud_api.web.console.lease_steps import STEP_FORMS, Fields, fields_of
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import LeasingPage, Page
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/leases")
SiteCode = Annotated[str | None, Query(max_length=40)]
NAV = NavItem(
    group="estate",
    order=20,
    label=N_("Leases"),
    href="/console/leases",
    icon="lease",
    roles=frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER}),
)
STATUSES = {
    "application": ("warning", N_("application")),
    "review": ("info", N_("in review")),
    "approved": ("info", N_("approved")),
    "active": ("ok", N_("active")),
    "ended": ("offline", N_("ended")),
    "rejected": ("offline", N_("rejected")),
}
ANSWERS = {
    "application": N_("{tenant} asks for {spaces}."),
    "review": N_("{tenant} asks for {spaces}."),
    "rejected": N_("{tenant} asked for {spaces}."),
    "approved": N_("{tenant} will move into {spaces}."),
    "active": N_("{tenant} holds {spaces}."),
    "ended": N_("{tenant} held {spaces}."),
}
STEPS = {
    "application": N_("application filed"),
    "review": N_("taken into review"),
    "approved": N_("approved"),
    "rejected": N_("rejected"),
    "move_in": N_("moved in"),
    "move_out": N_("moved out"),
    "take_space": N_("took a space"),
    "give_back": N_("gave a space back"),
    "sublet": N_("sub-let a space"),
    "merge": N_("merged into another tenant"),
    "split_space": N_("a space was divided"),
    "amendment": N_("amended"),
}
WEEKDAYS = (N_("Mon"), N_("Tue"), N_("Wed"), N_("Thu"), N_("Fri"), N_("Sat"), N_("Sun"))


@router.get("")
async def list_leases(page: LeasingPage, site: SiteCode = None) -> Response:
    """List the leases, what waits for a decision first, and what they say against meters and areas of a site."""
    where, every = await service.shown_site(page.conn, site)
    today = _today(page, where)
    found = await tenancy.list_leases(page.conn, page.viewer.organisation_id, today)
    waiting = sum(row["status"] in {"application", "review"} for row in found)
    return page.render(
        "console/leases.html",
        leases=[row | {"status_view": STATUSES[row["status"]]} for row in found],
        findings=await service.reconcile(page.conn, where, page.clock.now()),
        site=where,
        sites=every,
        answer=ngettext("One application waits for a decision.", "{count} applications wait for a decision.", waiting)
        if waiting
        else _("No application waits."),
    )


@router.get("/new")
async def new(page: LeasingPage, site: SiteCode = None) -> Response:
    """Show the form of an application."""
    return await _new(page, site)


async def _new(
    page: Page[StaffViewer],
    site: str | None,
    problem: object = "",
    fields: Fields | None = None,
    chosen: Sequence[str] = (),
) -> Response:
    where, every = await service.shown_site(page.conn, site)
    today = _today(page, where)
    typed = {name: fields.text(name) if fields else "" for name in ("tenant", "number", "first", "last_day", "people")}
    return page.render(
        "console/lease_new.html",
        status=422 if problem else 200,
        problem=problem,
        values=typed | {"first": typed["first"] or today},
        chosen=chosen,
        tenants=await tenancy.tenants(page.conn, page.viewer.organisation_id),
        spaces=await tenancy.free_spaces(page.conn, where, today),
        site=where,
        sites=every,
    )


@router.post("")
async def apply(page: LeasingPage, spaces: Annotated[list[str] | None, Form(max_length=200)] = None) -> Response:
    """File an application."""
    fields = await fields_of(page.request)
    try:
        async with page.conn.transaction():
            where, _every = await service.shown_site(page.conn, fields.text("site"))
            lease_id = await tenancy.apply(
                page.conn,
                where,
                tenant_id=(await tenancy.find_tenant(page.conn, where, fields.text("tenant")))["id"],
                number=fields.text("number"),
                first=fields.day("first"),
                last_day=fields.optional_day("last_day"),
                spaces=spaces or [],
                people=fields.count("people", _("People")),
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return await _new(page, fields.text("site"), error, fields, spaces or [])
    return page.redirect(f"/console/leases/{lease_id}", notice=_("The application is filed."))


@router.get("/{lease_id}")
async def show(page: LeasingPage, lease_id: int) -> Response:
    """Show one lease: where it stands, what it holds, and what may be done with it."""
    return await _show(page, lease_id)


async def _show(page: Page[StaffViewer], lease_id: int, *, problem: DomainError | None = None) -> Response:
    site = await tenancy.site_of_lease(page.conn, lease_id)
    today = _today(page, site)
    lease = await tenancy.lease_details(page.conn, site, lease_id, today)
    day = max(lease["starts_on"], min(today, lease["last_day"] or today))
    return page.render(
        "console/lease.html",
        status=200 if problem is None else problem.status,
        lease=lease | {"status_view": STATUSES[lease["status"]]},
        answer=_answer(lease, page.language),
        steps=[step | {"word": STEPS.get(step["step"], step["step"])} for step in lease["steps"]],
        hours=[row | {"weekday_word": WEEKDAYS[row["weekday"] - 1]} for row in lease["hours"]],
        meters=await tenancy.lease_meters(page.conn, site, lease_id, day),
        free=await tenancy.free_spaces(page.conn, site, today),
        tenants=[
            t for t in await tenancy.tenants(page.conn, page.viewer.organisation_id) if t["id"] != lease["tenant_id"]
        ],
        hours_text=hours_text(lease["hours"], today),
        reasons=[] if problem is None else problem.values.get("reasons", [problem]),
        today=today,
        yesterday=today - timedelta(days=1),
    )


def _answer(lease: Mapping[str, Any], language: str) -> str:
    """Say in one sentence who holds what, or what is asked for."""
    name, spaces = lease["name_zh" if language == "zh" else "name_en"], lease["spaces"] or "–"
    return _(ANSWERS[str(lease["status"])], tenant=name, spaces=spaces)


@router.post("/{lease_id}/{step}")
async def take_step(page: LeasingPage, lease_id: int, step: str) -> Response:
    """Take one step of a lease's life in a transaction of its own; a refusal is shown on the lease's page."""
    form = STEP_FORMS.get(step)
    if form is None:
        raise NotFound
    try:
        arguments = form.arguments(await fields_of(page.request))
        async with page.conn.transaction():
            site = await tenancy.site_of_lease(page.conn, lease_id)
            lease = await tenancy.lease_details(page.conn, site, lease_id, _today(page, site))
            done = await form.use_case(
                page.conn, site, lease["number"], **arguments, actor=page.viewer.login, clock=page.clock
            )
    except DomainError as error:
        return await _show(page, lease_id, problem=error)
    notice = _(form.notice, **arguments)
    if isinstance(done, Change) and done.bills_to_correct:
        notice += " " + _("Issued bills to look at: {bills}.", bills=", ".join(done.bills_to_correct))
    return page.redirect(f"/console/leases/{lease_id}", notice=notice)


def _today(page: Page[StaffViewer], site: Site) -> date:
    return page.clock.now().astimezone(site.zone).date()
