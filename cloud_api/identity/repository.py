"""Accounts, sessions, attempts and audit entries in the database."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries
from cloud_api.identity.model import Person, Role, StaffViewer, TenantViewer, Viewer
from cloud_api.kit.i18n import Language
from cloud_api.kit.ids import OrganisationId, TenantId, UserId

queries = load_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A row of `app_user`; with `csrf_token` and `last_seen_at` when read through a session."""

    id: UserId
    organisation_id: OrganisationId
    tenant_id: TenantId | None
    login: str
    display_name: str
    roles: list[str]
    language: Language
    password_hash: str | None
    csrf_token: str = ""
    last_seen_at: datetime | None = None

    def viewer(self) -> Viewer:
        """Return what this person may see: a tenant's person never becomes staff, whatever roles stand there."""
        if self.tenant_id is not None:
            return TenantViewer(
                user_id=self.id,
                organisation_id=self.organisation_id,
                tenant_id=self.tenant_id,
                login=self.login,
                name=self.display_name,
                language=self.language,
            )
        return StaffViewer(
            user_id=self.id,
            organisation_id=self.organisation_id,
            login=self.login,
            name=self.display_name,
            roles=frozenset(Role(role) for role in self.roles),
            language=self.language,
        )


async def account_for_login(conn: AsyncConnection, login: str) -> Account | None:
    """Return the active account of that login."""
    async with conn.cursor(row_factory=class_row(Account)) as cur:
        await cur.execute(queries.user_for_login, {"login": login})
        return await cur.fetchone()


async def account_for_token(conn: AsyncConnection, token_sha256: bytes, now: datetime) -> Account | None:
    """Return the active account of an unexpired session."""
    async with conn.cursor(row_factory=class_row(Account)) as cur:
        await cur.execute(queries.session_by_token, {"token_sha256": token_sha256, "now": now})
        return await cur.fetchone()


async def insert_user(
    conn: AsyncConnection,
    *,
    organisation_id: OrganisationId,
    tenant_id: TenantId | None,
    login: str,
    display_name: str,
    email: str | None,
    password_hash: str | None,
    roles: list[str],
    language: Language,
) -> UserId | None:
    """Return the new user's id, or None when the login is taken."""
    values = {
        "organisation_id": organisation_id,
        "tenant_id": tenant_id,
        "login": login,
        "display_name": display_name,
        "email": email,
        "password_hash": password_hash,
        "roles": roles,
        "language": language,
    }
    row = await (await conn.execute(queries.insert_user, values)).fetchone()
    return UserId(row[0]) if row else None


async def set_password(conn: AsyncConnection, user_id: UserId, password_hash: str | None) -> None:
    """Replace the password hash, or take it away; the person's sessions and links end."""
    await conn.execute(queries.set_password, {"user_id": user_id, "password_hash": password_hash})


async def insert_session(
    conn: AsyncConnection, *, token_sha256: bytes, user_id: UserId, csrf_token: str, now: datetime, expires_at: datetime
) -> None:
    """Store a new session."""
    values = {"token_sha256": token_sha256, "user_id": user_id, "csrf_token": csrf_token, "now": now}
    await conn.execute(queries.insert_session, values | {"expires_at": expires_at})


async def touch_session(conn: AsyncConnection, token_sha256: bytes, now: datetime, expires_at: datetime) -> None:
    """Prolong a session."""
    await conn.execute(queries.touch_session, {"token_sha256": token_sha256, "now": now, "expires_at": expires_at})


async def delete_session(conn: AsyncConnection, token_sha256: bytes) -> None:
    """End a session; one that does not exist is no error."""
    await conn.execute(queries.delete_session, {"token_sha256": token_sha256})


async def delete_expired(conn: AsyncConnection, now: datetime) -> None:
    """Remove expired sessions and attempts older than a day."""
    await conn.execute(queries.delete_expired, {"now": now})


async def failed_attempts(conn: AsyncConnection, login: str, address: str, since: datetime) -> tuple[int, int]:
    """Return the failures since `since`: of this login, and from this address."""
    values = {"login": login, "address": address, "since": since}
    row = await (await conn.execute(queries.failed_attempts, values)).fetchone()
    return (row[0], row[1]) if row else (0, 0)


async def insert_attempt(conn: AsyncConnection, login: str, address: str, now: datetime, *, succeeded: bool) -> None:
    """Record one try to sign in."""
    values = {"login": login, "address": address, "now": now, "succeeded": succeeded}
    await conn.execute(queries.insert_attempt, values)


async def set_language(conn: AsyncConnection, user_id: UserId, language: Language) -> None:
    """Store the person's choice of language."""
    await conn.execute(queries.set_language, {"user_id": user_id, "language": language})


async def insert_audit(
    conn: AsyncConnection,
    *,
    organisation_id: OrganisationId | None,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    reason: str | None,
    detail: dict[str, object],
) -> None:
    """Append one entry to the audit trail."""
    values = {"organisation_id": organisation_id, "at": at, "actor": actor, "action": action, "subject": subject}
    await conn.execute(queries.insert_audit, values | {"reason": reason, "detail": Jsonb(detail)})


async def organisation_ids(conn: AsyncConnection, code: str | None) -> list[OrganisationId]:
    """Return at most two organisations that a command may mean."""
    rows = await (await conn.execute(queries.organisation_by_code, {"code": code})).fetchall()
    return [OrganisationId(row[0]) for row in rows]


async def tenant_id(conn: AsyncConnection, organisation_id: OrganisationId, code: str) -> TenantId | None:
    """Return the tenant of that code."""
    values = {"organisation_id": organisation_id, "code": code}
    row = await (await conn.execute(queries.tenant_by_code, values)).fetchone()
    return TenantId(row[0]) if row else None


async def people(
    conn: AsyncConnection,
    *,
    organisation_id: OrganisationId | None = None,
    user_id: UserId | None = None,
    login: str | None = None,
) -> list[Person]:
    """Return the accounts that match, as far as the transaction's scope reaches."""
    values = {"organisation_id": organisation_id, "user_id": user_id, "login": login}
    async with conn.cursor(row_factory=class_row(Person)) as cur:
        await cur.execute(queries.people, values)
        return await cur.fetchall()


async def lock_administrators(conn: AsyncConnection, organisation_id: OrganisationId) -> list[UserId]:
    """Return the administrators who can sign in, locked until the transaction ends."""
    values = {"organisation_id": organisation_id}
    rows = await (await conn.execute(queries.lock_administrators, values)).fetchall()
    return [UserId(row[0]) for row in rows]


async def set_roles(conn: AsyncConnection, user_id: UserId, roles: list[str]) -> None:
    """Replace the roles."""
    await conn.execute(queries.set_roles, {"user_id": user_id, "roles": roles})


async def set_active(conn: AsyncConnection, user_id: UserId, *, is_active: bool) -> None:
    """Close or open the account; closing ends its sessions."""
    await conn.execute(queries.set_active, {"user_id": user_id, "is_active": is_active})


async def put_password_link(
    conn: AsyncConnection, user_id: UserId, token_sha256: bytes, now: datetime, expires_at: datetime
) -> None:
    """Store the link by which the person sets a password, in place of the last one."""
    values = {"user_id": user_id, "token_sha256": token_sha256, "now": now, "expires_at": expires_at}
    await conn.execute(queries.put_password_link, values)


async def account_by_link(conn: AsyncConnection, token_sha256: bytes, now: datetime) -> Account | None:
    """Return the active account of a living link."""
    async with conn.cursor(row_factory=class_row(Account)) as cur:
        await cur.execute(queries.account_by_link, {"token_sha256": token_sha256, "now": now})
        return await cur.fetchone()


async def account_changes(
    conn: AsyncConnection, organisation_id: OrganisationId, login: str | None
) -> list[dict[str, Any]]:
    """Return the last changes to the organisation's accounts, newest first."""
    async with conn.cursor(row_factory=dict_row) as cur:
        await cur.execute(queries.account_changes, {"organisation_id": organisation_id, "login": login})
        return await cur.fetchall()
