"""Accounts: who may sign in, as what; for administrators."""

from typing import Annotated

from fastapi import APIRouter, Form, Response

from cloud_api.identity import people, service
from cloud_api.identity.model import Person, Role
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import as_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import TenantId, UserId
from cloud_api.leasing import companies
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import AdminPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/accounts")
NAV = NavItem(
    group="system",
    order=10,
    label=N_("Accounts"),
    href="/console/accounts",
    icon="person",
    roles=frozenset({Role.ADMIN}),
)

WHAT_ROLES_DO: dict[Role, str] = {
    Role.FACILITIES: N_("meters, devices, alarms, work orders"),
    Role.FINANCE: N_("bills, tariffs, leases"),
    Role.LEASING: N_("leases, companies, notices"),
    Role.MANAGER: N_("everything but accounts and the mail account"),
    Role.ADMIN: N_("everything, and who may do what"),
}
CHANGES: dict[str, str] = {
    "user.add": N_("account created"),
    "user.set_roles": N_("roles changed"),
    "user.disable": N_("account closed"),
    "user.enable": N_("account opened again"),
    "user.offer_link": N_("link for a password made"),
    "user.use_link": N_("password chosen by the link"),
    "user.set_password": N_("password set from the command line"),
    "user.change_password": N_("own password changed"),
}


@router.get("")
async def accounts(page: AdminPage) -> Response:
    """List the accounts with the form for a new one."""
    found = await people.people(page.conn, page.viewer)
    able = [person for person in found if person.is_active and person.has_password]
    answer = ngettext("One account can sign in.", "{count} accounts can sign in.", len(able))
    waiting = sum(person.is_active and not person.has_password for person in found)
    if waiting:
        answer += " " + ngettext("One waits for its password.", "{count} wait for their passwords.", waiting)
    return page.render(
        "console/accounts.html",
        answer=answer,
        staff=[person for person in found if person.tenant_id is None],
        tenants_people=[person for person in found if person.tenant_id is not None],
        companies=await _companies(page),
        changes=await people.changes(page.conn, page.viewer),
        change_names=CHANGES,
        what_roles_do=WHAT_ROLES_DO,
    )


@router.post("")
async def add(
    page: AdminPage,
    login: Annotated[str, Form(min_length=1, max_length=service.LOGIN_LENGTH_MAX)],
    name: Annotated[str, Form(max_length=100)] = "",
    roles: Annotated[list[Role] | None, Form()] = None,
    tenant_id: Annotated[str, Form(pattern="^[0-9]*$")] = "",
    language: Annotated[str, Form(pattern="^(zh|en)$")] = "zh",
) -> Response:
    """Create an account without a password, and show the link by which its person chooses one."""
    tenant = TenantId(int(tenant_id)) if tenant_id else None
    if tenant is not None and tenant not in {company["id"] for company in await _companies(page)}:
        raise Invalid("there is no such company")
    user_id = await service.create_user(
        page.conn,
        organisation_id=page.viewer.organisation_id,
        login=login,
        password=None,
        display_name=name or login,
        roles=frozenset(roles or ()),
        tenant_id=tenant,
        language=as_language(language),
    )
    person = await people.access_person(page.conn, page.viewer, user_id)
    await people.note(page.conn, page.clock, person, "user.add", actor=page.viewer.login, roles=person.roles)
    return await _with_link(page, person)


@router.get("/{user_id}")
async def account(page: AdminPage, user_id: int) -> Response:
    """Show one account and what can be done to it."""
    return await _account(page, await people.access_person(page.conn, page.viewer, UserId(user_id)))


@router.post("/{user_id}/roles")
async def set_roles(page: AdminPage, user_id: int, roles: Annotated[list[Role] | None, Form()] = None) -> Response:
    """Replace what a member of staff does."""
    person = await people.access_person(page.conn, page.viewer, UserId(user_id))
    await people.set_roles(page.conn, page.clock, person, frozenset(roles or ()), actor=page.viewer.login)
    return page.redirect(f"/console/accounts/{user_id}", notice=_("Saved."))


@router.post("/{user_id}/active")
async def set_active(page: AdminPage, user_id: int, is_active: Annotated[bool, Form()]) -> Response:
    """Close an account or open it again."""
    person = await people.access_person(page.conn, page.viewer, UserId(user_id))
    await people.set_active(page.conn, page.clock, person, is_active=is_active, actor=page.viewer.login)
    return page.redirect(f"/console/accounts/{user_id}", notice=_("Saved."))


@router.post("/{user_id}/link")
async def offer_link(page: AdminPage, user_id: int) -> Response:
    """Show a link by which the person chooses a password; the old one ends now."""
    return await _with_link(page, await people.access_person(page.conn, page.viewer, UserId(user_id)))


async def _with_link(page: AdminPage, person: Person) -> Response:
    token = await people.offer_password_link(page.conn, page.clock, person, actor=page.viewer.login)
    public_url = str(page.request.app.state.settings.public_url).rstrip("/")
    again = await people.access_person(page.conn, page.viewer, person.id)
    return await _account(page, again, link=f"{public_url}/account/password/{token}")


async def _account(page: AdminPage, person: Person, link: str = "") -> Response:
    return page.render(
        "console/account.html",
        person=person,
        link=link,
        changes=await people.changes(page.conn, page.viewer, person),
        change_names=CHANGES,
        what_roles_do=WHAT_ROLES_DO,
    )


async def _companies(page: AdminPage) -> list[dict[str, object]]:
    return await companies.companies(page.conn, page.viewer.organisation_id, page.clock.now().date())
