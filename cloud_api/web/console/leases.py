"""Leases for leasing and finance: applications, the file of one lease with its steps, and moves in its life."""

import re
from collections.abc import Awaitable, Callable
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Form, Response
from psycopg import AsyncConnection

from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError, Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service
from cloud_api.leasing.service import Site
from cloud_api.operations.tenancy import changes
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.operations.tenancy.changes import Change
from cloud_api.web.shared.forms import decimal, optional_decimal
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import LeasingPage, Page
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

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
    "application": ("warning", N_("application")),
    "review": ("info", N_("in review")),
    "approved": ("info", N_("approved")),
    "active": ("ok", N_("active")),
    "ended": ("offline", N_("ended")),
    "rejected": ("offline", N_("rejected")),
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
    "amendment": N_("amended"),
}
WEEKDAYS = (N_("Mon"), N_("Tue"), N_("Wed"), N_("Thu"), N_("Fri"), N_("Sat"), N_("Sun"))
READING_PREFIX = "reading."


@router.get("")
async def list_leases(page: LeasingPage) -> Response:
    """List the leases, what waits for a decision first, and what they say against meters and areas."""
    site = await service.find_site(page.conn)
    today = _today(page, site)
    found = await tenancy.list_leases(page.conn, page.viewer.organisation_id, today)
    waiting = sum(row["status"] in {"application", "review"} for row in found)
    return page.render(
        "console/leases.html",
        leases=[row | {"status_view": STATUSES[row["status"]]} for row in found],
        findings=await service.reconcile(page.conn, site, page.clock.now()),
        answer=ngettext("One application waits for a decision.", "{count} applications wait for a decision.", waiting)
        if waiting
        else _("No application waits."),
    )


@router.get("/new")
async def new(page: LeasingPage) -> Response:
    """Show the form of an application."""
    return await _new(page)


async def _new(page: Page[StaffViewer], problem: object = "", values: dict[str, str] | None = None) -> Response:
    site = await service.find_site(page.conn)
    today = _today(page, site)
    return page.render(
        "console/lease_new.html",
        status=422 if problem else 200,
        problem=problem,
        values=values or {},
        tenants=await tenancy.tenants(page.conn, page.viewer.organisation_id),
        spaces=await tenancy.free_spaces(page.conn, site, today),
        today=today,
    )


@router.post("")
async def apply(
    page: LeasingPage,
    tenant: Annotated[str, Form(max_length=40)],
    number: Annotated[str, Form(max_length=40)],
    first: Annotated[date, Form()],
    spaces: Annotated[list[str] | None, Form()] = None,
    last_day: Annotated[str, Form(max_length=10)] = "",
    people: Annotated[str, Form(max_length=6)] = "",
) -> Response:
    """File an application."""
    try:
        async with page.conn.transaction():
            site = await service.find_site(page.conn)
            lease_id = await tenancy.apply(
                page.conn,
                site,
                tenant_id=(await tenancy.find_tenant(page.conn, site, tenant))["id"],
                number=number.strip(),
                first=first,
                last_day=date.fromisoformat(last_day) if last_day else None,
                spaces=spaces or [],
                people=int(people) if people else None,
                actor=page.viewer.login,
                clock=page.clock,
            )
    except (DomainError, ValueError) as error:
        return await _new(page, error, {"tenant": tenant, "number": number, "people": people, "last_day": last_day})
    return page.redirect(f"/console/leases/{lease_id}", notice=_("The application is filed."))


@router.get("/{lease_id}")
async def show(page: LeasingPage, lease_id: int) -> Response:
    """Show one lease: where it stands, what it holds, and what may be done with it."""
    return await _show(page, lease_id)


async def _show(page: Page[StaffViewer], lease_id: int, *, problem: DomainError | None = None) -> Response:
    site = await service.find_site(page.conn)
    today = _today(page, site)
    lease = await tenancy.lease_details(page.conn, site, lease_id, today)
    day = max(lease["starts_on"], min(today, lease["last_day"] or today))
    return page.render(
        "console/lease.html",
        status=200 if problem is None else problem.status,
        lease=lease | {"status_view": STATUSES[lease["status"]]},
        steps=[step | {"word": STEPS.get(step["step"], step["step"])} for step in lease["steps"]],
        hours=[row | {"weekday_word": WEEKDAYS[row["weekday"] - 1]} for row in lease["hours"]],
        meters=await tenancy.lease_meters(page.conn, site, lease_id, day),
        free=await tenancy.free_spaces(page.conn, site, today),
        tenants=[
            t for t in await tenancy.tenants(page.conn, page.viewer.organisation_id) if t["id"] != lease["tenant_id"]
        ],
        hours_text=_hours_text(lease["hours"], today),
        reasons=[] if problem is None else problem.values.get("reasons", [problem]),
        today=today,
        yesterday=today - timedelta(days=1),
    )


Step = Callable[[AsyncConnection, Site, str], Awaitable[Change | None]]


async def _carry_out(page: Page[StaffViewer], lease_id: int, step: Step, notice: str) -> Response:
    """Take one step of a lease's life in a transaction of its own; a refusal is shown on the lease's page."""
    try:
        async with page.conn.transaction():
            site = await service.find_site(page.conn)
            lease = await tenancy.lease_details(page.conn, site, lease_id, _today(page, site))
            change = await step(page.conn, site, lease["number"])
    except DomainError as error:
        return await _show(page, lease_id, problem=error)
    if change is not None and change.bills_to_correct:
        notice += " " + _("Issued bills to look at: {bills}.", bills=", ".join(change.bills_to_correct))
    return page.redirect(f"/console/leases/{lease_id}", notice=notice)


async def read_off(page: Page[StaffViewer]) -> dict[str, Decimal]:
    """Return what was read off, from the fields `reading.<meter>` and from `readings` (meter = value, …).

    An empty field leaves it to telemetry.
    """
    form = await page.request.form()
    free = form.get("readings")
    return parse_readings(free if isinstance(free, str) else "") | {
        key.removeprefix(READING_PREFIX): decimal(key.removeprefix(READING_PREFIX), value)
        for key, value in form.items()
        if key.startswith(READING_PREFIX) and isinstance(value, str) and value.strip()
    }


@router.post("/{lease_id}/review")
async def review(
    page: LeasingPage,
    lease_id: int,
    decision: Annotated[str, Form(pattern="^(review|approve|reject)$")],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Take an application into review, approve or reject it."""

    async def step(conn: AsyncConnection, site: Site, number: str) -> None:
        who = {"actor": page.viewer.login, "clock": page.clock}
        if decision == "review":
            await tenancy.take_into_review(conn, site, number, **who)
        else:
            await tenancy.review(conn, site, number, approve=decision == "approve", reason=reason, **who)

    return await _carry_out(page, lease_id, step, _("Done."))


@router.post("/{lease_id}/move-in")
async def move_in(page: LeasingPage, lease_id: int) -> Response:
    """Open a tenancy with its opening readings."""

    async def step(conn: AsyncConnection, site: Site, number: str) -> None:
        values = await read_off(page)
        await tenancy.move_in(conn, site, number, readings=values, actor=page.viewer.login, clock=page.clock)

    return await _carry_out(page, lease_id, step, _("Moved in."))


@router.post("/{lease_id}/move-out")
async def move_out(
    page: LeasingPage,
    lease_id: int,
    last_day: Annotated[date, Form()],
    without_final_bill: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Close a tenancy with its closing readings, final bill and deposit."""

    async def step(conn: AsyncConnection, site: Site, number: str) -> None:
        await tenancy.move_out(
            conn,
            site,
            number,
            last_day=last_day,
            readings=await read_off(page),
            actor=page.viewer.login,
            clock=page.clock,
            without_final_bill=without_final_bill,
        )

    return await _carry_out(page, lease_id, step, _("Moved out."))


@router.post("/{lease_id}/take")
async def take(
    page: LeasingPage,
    lease_id: int,
    space: Annotated[str, Form(max_length=40)],
    from_day: Annotated[date, Form()],
    area: Annotated[str, Form(max_length=12)] = "",
) -> Response:
    """Add a space to a running lease."""

    async def step(conn: AsyncConnection, site: Site, number: str) -> Change:
        return await changes.take_space(
            conn,
            site,
            number,
            space=space,
            from_day=from_day,
            area_m2=optional_decimal(_("Area"), area),
            readings=await read_off(page),
            actor=page.viewer.login,
            clock=page.clock,
        )

    return await _carry_out(page, lease_id, step, _("{space} belongs to the lease.", space=space))


@router.post("/{lease_id}/give-back")
async def give_back(
    page: LeasingPage,
    lease_id: int,
    space: Annotated[str, Form(max_length=40)],
    last_day: Annotated[date, Form()],
) -> Response:
    """End one space of a running lease."""

    async def step(conn: AsyncConnection, site: Site, number: str) -> Change:
        return await changes.give_back_space(
            conn,
            site,
            number,
            space=space,
            last_day=last_day,
            readings=await read_off(page),
            actor=page.viewer.login,
            clock=page.clock,
        )

    return await _carry_out(page, lease_id, step, _("{space} is given back.", space=space))


@router.post("/{lease_id}/sublet")
async def sublet(
    page: LeasingPage,
    lease_id: int,
    space: Annotated[str, Form(max_length=40)],
    to_tenant: Annotated[str, Form(max_length=40)],
    new_number: Annotated[str, Form(max_length=40)],
    first: Annotated[date, Form()],
    last_day: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Let a tenant's space to another one for a term."""

    async def step(conn: AsyncConnection, site: Site, number: str) -> Change:
        return await changes.sublet(
            conn,
            site,
            number,
            space=space,
            to_tenant=to_tenant,
            new_number=new_number.strip(),
            first=first,
            last_day=_optional_day(last_day),
            readings=await read_off(page),
            actor=page.viewer.login,
            clock=page.clock,
        )

    return await _carry_out(page, lease_id, step, _("{space} is sub-let.", space=space))


@router.post("/{lease_id}/amend")
async def amend(
    page: LeasingPage,
    lease_id: int,
    on_day: Annotated[date, Form()],
    space: Annotated[str, Form(max_length=40)] = "",
    area: Annotated[str, Form(max_length=12)] = "",
    people: Annotated[str, Form(max_length=6)] = "",
    hours: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Change area, people or air-conditioning hours from a day on; empty fields stay as they are."""

    async def step(conn: AsyncConnection, site: Site, number: str) -> Change:
        area_m2, count = optional_decimal(_("Area"), area), optional_decimal(_("People"), people)
        return await changes.amend(
            conn,
            site,
            number,
            on_day=on_day,
            areas={space: area_m2} if space and area_m2 is not None else None,
            people=None if count is None else int(count),
            hours=parse_hours(hours) if hours.strip() else None,
            actor=page.viewer.login,
            clock=page.clock,
        )

    return await _carry_out(page, lease_id, step, _("The lease is amended."))


def parse_readings(text: str) -> dict[str, Decimal]:
    """Read `meter-t301 = 1234.5`, separated by commas, semicolons or lines."""
    parts = [p.partition("=") for p in re.split(r"[,，;；\n]", text) if p.strip()]
    return {meter.strip(): decimal(meter.strip(), value) for meter, _separator, value in parts}


def parse_hours(text: str) -> list[tuple[int, str, str]]:
    """Read `1-5 08:00-18:00, 6 08:00-13:00` (1 Monday to 7 Sunday). Raises Invalid with an example."""
    found: list[tuple[int, str, str]] = []
    for part in filter(None, (p.strip() for p in text.replace("\n", ",").replace("，", ",").split(","))):
        try:
            days, hours = part.split()
            first, _dash, last = days.partition("-")
            starts, ends = (time.fromisoformat(t).isoformat("minutes") for t in hours.split("-"))
            found += [(day, starts, ends) for day in range(int(first), int(last or first) + 1) if _weekday(day)]
        except ValueError:
            raise Invalid(
                "{part!r} are no air-conditioning hours; write 1-5 08:00-18:00, 6 08:00-13:00", part=part
            ) from None
    return found


def _weekday(day: int) -> bool:
    if not 1 <= day <= 7:
        raise ValueError(day)
    return True


def _hours_text(hours: list[dict[str, Any]], today: date) -> str:
    """Write the hours of a day as `parse_hours` reads them."""
    current = [h for h in hours if h["starts_on"] <= today and (h["last_day"] is None or today <= h["last_day"])]
    return ", ".join(f"{h['weekday']} {h['starts']:%H:%M}-{h['ends']:%H:%M}" for h in current)


def _optional_day(text: str) -> date | None:
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise Invalid("{text!r} is not a day; write 2026-11-03", text=text) from None


def _today(page: Page[StaffViewer], site: Site) -> date:
    return page.clock.now().astimezone(site.zone).date()
