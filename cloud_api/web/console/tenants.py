"""Tenant companies: who they are, what they hold, use, owe and hold in deposit; merging two into one."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Form, Query, Response

from cloud_api.billing import inputs as billing_inputs
from cloud_api.billing import service as billing
from cloud_api.billing import settlement
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import access, companies, service
from cloud_api.notify import letters
from cloud_api.occupancy import service as occupancy
from cloud_api.operations.prepaid import service as prepaid
from cloud_api.operations.tenancy import changes
from cloud_api.operations.tenancy import service as tenancy
from cloud_api.web.console.lease_steps import fields_of
from cloud_api.web.console.leases import STATUSES
from cloud_api.web.shared.bill_view import KINDS
from cloud_api.web.shared.forms import decimal, positive_money
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import LeasingPage, Page
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext, say

router = APIRouter(prefix="/console/tenants")
NAV = NavItem(
    group="estate",
    order=15,
    label=N_("Companies"),
    href="/console/tenants",
    icon="people",
    roles=frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER}),
)
LETTER_STATES = {
    "waiting": ("info", N_("waits")),
    "sending": ("info", N_("being sent")),
    "sent": ("ok", N_("sent")),
    "failed": ("warning", N_("failed")),
}
LATE_FEES = {
    "contract_rate": N_("contract rate per day"),
    "new_year_days_only": N_("statutory charge; days of the new year at the higher rate"),
    "split": N_("statutory charge, split at the turn of the year"),
    "all_days_high": N_("statutory charge; all days at the higher rate once the year has turned"),
}
NEEDED = ("name_zh", "name_en", "credit_code", *companies.PROFILE)


@router.get("")
async def list_companies(page: LeasingPage) -> Response:
    """List the companies with what they hold today."""
    today = page.clock.now().astimezone(page.zone).date()
    found = await companies.companies(page.conn, page.viewer.organisation_id, today)
    held = sum(row["spaces"] is not None for row in found)
    return page.render(
        "console/tenants.html",
        companies=found,
        answer=ngettext("One company is in the park today.", "{count} companies are in the park today.", held),
    )


@router.post("")
async def add(page: LeasingPage, code: Annotated[str, Form(max_length=40)]) -> Response:
    """Add a company."""
    try:
        async with page.conn.transaction():
            values = await _profile(page)
            organisation = page.viewer.organisation_id
            tenant = await companies.add(page.conn, organisation_id=organisation, code=code, values=values)
    except DomainError as error:
        return page.redirect("/console/tenants", notice=say(error))
    return page.redirect(f"/console/tenants/{tenant}", notice=_("The company is added."))


async def _profile(page: Page[StaffViewer]) -> dict[str, str]:
    form = await page.request.form()
    return {key: value[:500] for key in NEEDED if isinstance(value := form.get(key), str)}


@router.get("/{tenant_id}")
async def show(page: LeasingPage, tenant_id: int, site: Annotated[str | None, Query(max_length=40)] = None) -> Response:
    """Show one company: profile, leases, account; people and the late-fee rule are those of one site."""
    organisation = page.viewer.organisation_id
    company = await companies.profile(page.conn, tenant_id, organisation)
    today = page.clock.now().astimezone(page.zone).date()
    where, every = await service.shown_site(page.conn, site)
    policy = await billing_inputs.find_policy(page.conn, await billing_inputs.find_site(page.conn, site_id=where.id))
    leases = await tenancy.list_leases(page.conn, organisation, today, tenant_id=tenant_id)
    statement = await settlement.statement(page.conn, tenant_id)
    late = [row for row in await settlement.arrears(page.conn, organisation, today) if row["tenant_id"] == tenant_id]
    people = await occupancy.tenants_day(page.conn, where.id, where.zone, today)
    others = [t for t in await tenancy.tenants(page.conn, organisation) if t["id"] != tenant_id]
    return page.render(
        "console/tenant.html",
        company=company,
        profile={key: company["attributes"].get(key, "") for key in companies.PROFILE},
        leases=[row | {"status_view": STATUSES[row["status"]]} for row in leases],
        bills=await billing.bills_of_tenant(page.conn, tenant_id),
        statement=[row | {"what_word": KINDS.get(row["what"], N_("Payment"))} for row in statement[-50:]],
        balance=statement[-1]["balance"] if statement else None,
        arrears=late,
        late_fee=LATE_FEES[policy.late_fee_year_split],
        policy=policy,
        balances=await settlement.balances(page.conn, tenant_id),
        prepaid=await prepaid.account(page.conn, tenant_id, today),
        letters=[
            row | {"state_view": LETTER_STATES[row["state"]]}
            for row in await letters.letters(page.conn, organisation, tenant_id=tenant_id)
        ],
        others=others,
        currency=where.currency,
        site=where,
        sites=every,
        cards=await access.card_count(page.conn, tenant_id, today),
        people=next((row for row in people if row.tenant_id == tenant_id), None),
        without_right=await occupancy.entries_without_right(
            page.conn, where.id, where.zone, page.clock.now(), tenant_id=tenant_id
        ),
        today=today,
    )


@router.post("/{tenant_id}/profile")
async def change(page: LeasingPage, tenant_id: int) -> Response:
    """Change a company's names and contacts."""
    try:
        async with page.conn.transaction():
            values = await _profile(page)
            organisation = page.viewer.organisation_id
            await companies.change(page.conn, tenant_id, organisation_id=organisation, values=values)
    except DomainError as error:
        return page.redirect(f"/console/tenants/{tenant_id}", notice=say(error))
    return page.redirect(f"/console/tenants/{tenant_id}", notice=_("Saved."))


@router.post("/{tenant_id}/account")
async def move_account(
    page: LeasingPage,
    tenant_id: int,
    account: Annotated[str, Form(pattern="^(deposit|prepaid)$")],
    direction: Annotated[str, Form(pattern="^(paid_in|paid_out)$")],
    amount: Annotated[str, Form(max_length=20)],
    on_day: Annotated[date, Form()],
    reference: Annotated[str, Form(max_length=100)] = "",
) -> Response:
    """Record money paid into or out of a deposit or prepaid account."""
    try:
        async with page.conn.transaction():
            value = positive_money(_("Amount"), amount)
            await settlement.move_account(
                page.conn,
                organisation_id=page.viewer.organisation_id,
                tenant_id=tenant_id,
                account=account,
                amount=value if direction == "paid_in" else -value,
                kind=direction,
                on_day=on_day,
                reference=reference.strip(),
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return page.redirect(f"/console/tenants/{tenant_id}", notice=say(error))
    return page.redirect(f"/console/tenants/{tenant_id}", notice=_("Recorded."))


@router.post("/{tenant_id}/prepaid")
async def prepaid_terms(
    page: LeasingPage, tenant_id: int, low_balance: Annotated[str, Form(max_length=20)]
) -> Response:
    """Make the company pay ahead, with a balance to warn at."""
    try:
        async with page.conn.transaction():
            low = decimal(_("Warn below"), low_balance)
            who = {"actor": page.viewer.login, "clock": page.clock}
            await prepaid.set_terms(page.conn, tenant_id=tenant_id, low_balance=low, **who)
    except DomainError as error:
        return page.redirect(f"/console/tenants/{tenant_id}", notice=say(error))
    return page.redirect(f"/console/tenants/{tenant_id}", notice=_("Saved."))


@router.post("/{tenant_id}/merge")
async def merge(
    page: LeasingPage,
    tenant_id: int,
    into: Annotated[str, Form(max_length=40)],
    on_day: Annotated[date, Form()],
) -> Response:
    """Let every lease of the company go on under another one."""
    try:
        async with page.conn.transaction():
            site, _every = await service.shown_site(page.conn, None)
            company = await companies.profile(page.conn, tenant_id, page.viewer.organisation_id)
            await changes.merge(
                page.conn,
                site,
                from_tenant=company["code"],
                into_tenant=into,
                on_day=on_day,
                readings=(await fields_of(page.request)).readings(),
                actor=page.viewer.login,
                clock=page.clock,
            )
    except DomainError as error:
        return page.redirect(f"/console/tenants/{tenant_id}", notice=say(error))
    return page.redirect(f"/console/tenants/{tenant_id}", notice=_("Merged into {company}.", company=into))


@router.post("/letters/{letter_id}/again")
async def send_again(page: LeasingPage, letter_id: int, tenant_id: Annotated[int, Form()]) -> Response:
    """Send a letter again that failed or broke off."""
    try:
        await letters.send_again(page.conn, letter_id, page.clock)
    except DomainError as error:
        return page.redirect(f"/console/tenants/{tenant_id}", notice=say(error))
    return page.redirect(f"/console/tenants/{tenant_id}", notice=_("It is sent again."))
