"""The life of an account: who is let in, what they may do, how they come to a password, when they are shut out."""

import secrets
from datetime import timedelta

from psycopg import AsyncConnection

from cloud_api.identity import repository
from cloud_api.identity.model import LastAdministrator, LinkUsed, NewSession, Person, Role, StaffViewer
from cloud_api.identity.service import digest, hashed, start_session
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.ids import UserId

LINK_LIFETIME = timedelta(days=3)  # Over a weekend.


async def people(conn: AsyncConnection, viewer: StaffViewer) -> list[Person]:
    """Return the accounts of the viewer's organisation."""
    return await repository.people(conn, organisation_id=viewer.organisation_id)


async def access_person(conn: AsyncConnection, viewer: StaffViewer, user_id: UserId) -> Person:
    """Return one account of the viewer's organisation; others are not there."""
    return _only(await repository.people(conn, organisation_id=viewer.organisation_id, user_id=user_id))


async def person_of_login(conn: AsyncConnection, login: str) -> Person:
    """Return the account of a login, for commands. Raises NotFound."""
    return _only(await repository.people(conn, login=login.strip().lower()))


async def changes(conn: AsyncConnection, viewer: StaffViewer, person: Person | None = None) -> list[dict[str, object]]:
    """Return the last changes to accounts, or to one, from the audit trail."""
    return await repository.account_changes(conn, viewer.organisation_id, person.login if person else None)


async def set_roles(conn: AsyncConnection, clock: Clock, person: Person, roles: frozenset[Role], *, actor: str) -> None:
    """Replace what a member of staff does. Raises Invalid for a tenant's person, LastAdministrator."""
    if person.tenant_id is not None or not roles:
        raise Invalid("staff have at least one role, people of a tenant have none")
    if Role.ADMIN not in roles:
        await _require_other_administrator(conn, person)
    await repository.set_roles(conn, person.id, sorted(roles))
    await note(conn, clock, person, "user.set_roles", actor=actor, roles=sorted(roles), before=person.roles)


async def set_active(conn: AsyncConnection, clock: Clock, person: Person, *, is_active: bool, actor: str) -> None:
    """Close an account, which ends its sessions at once, or open it again. Raises LastAdministrator."""
    if not is_active:
        await _require_other_administrator(conn, person)
    await repository.set_active(conn, person.id, is_active=is_active)
    await note(conn, clock, person, "user.enable" if is_active else "user.disable", actor=actor)


async def set_password(conn: AsyncConnection, clock: Clock, person: Person, password: str, *, actor: str) -> None:
    """Set a password from the command line; every session of the person ends."""
    await repository.set_password(conn, person.id, await hashed(password))
    await note(conn, clock, person, "user.set_password", actor=actor)


async def offer_password_link(conn: AsyncConnection, clock: Clock, person: Person, *, actor: str) -> str:
    """Return the token of a link by which the person sets a password; it works once, for three days.

    The old password, the sessions and the links end at once; nobody but the person knows the new password.
    """
    if not person.is_active:
        raise Invalid("the account {login} is closed: open it first", login=person.login)
    if person.has_password:
        await _require_other_administrator(conn, person)
    await repository.set_password(conn, person.id, None)
    token, now = secrets.token_urlsafe(32), clock.now()
    await repository.put_password_link(conn, person.id, digest(token), now, now + LINK_LIFETIME)
    await note(conn, clock, person, "user.offer_link", actor=actor)
    return token


async def account_of_link(conn: AsyncConnection, clock: Clock, token: str) -> repository.Account:
    """Return whose password a link sets. Raises LinkUsed."""
    found = await repository.account_by_link(conn, digest(token), clock.now())
    if found is None:
        raise LinkUsed
    return found


async def use_link(conn: AsyncConnection, clock: Clock, token: str, password: str) -> NewSession:
    """Set the password and sign the person in; the link is used up. Raises LinkUsed, WeakPassword."""
    account = await account_of_link(conn, clock, token)
    await repository.set_password(conn, account.id, await hashed(password))
    person = _only(await repository.people(conn, user_id=account.id))
    await note(conn, clock, person, "user.use_link", actor=account.login)
    return await start_session(conn, account, clock.now())


async def note(
    conn: AsyncConnection, clock: Clock, person: Person, action: str, *, actor: str, **detail: object
) -> None:
    """Write what happened to an account into the audit trail."""
    await repository.insert_audit(
        conn,
        organisation_id=person.organisation_id,
        at=clock.now(),
        actor=actor,
        action=action,
        subject=person.login,
        reason=None,
        detail=detail,
    )


def _only(found: list[Person]) -> Person:
    if len(found) != 1:
        raise NotFound
    return found[0]


async def _require_other_administrator(conn: AsyncConnection, person: Person) -> None:
    administrators = await repository.lock_administrators(conn, person.organisation_id)
    if person.id in administrators and len(administrators) == 1:
        raise LastAdministrator
