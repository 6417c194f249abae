"""Signing in and out, accounts, and the audit trail."""

import hashlib
import secrets
from datetime import datetime, timedelta

from anyio import to_thread
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from psycopg import AsyncConnection

from cloud_api.identity import repository
from cloud_api.identity.model import (
    LoginTaken,
    NewSession,
    Role,
    Session,
    TooManyAttempts,
    Viewer,
    WeakPassword,
    WrongCredentials,
)
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import Language
from cloud_api.kit.ids import OrganisationId, TenantId, UserId

SESSION_LIFETIME = timedelta(days=14)  # Since the last use: a wall screen stays signed in.
TOUCH_EVERY = timedelta(minutes=5)  # A page view need not write each time.
ATTEMPT_WINDOW = timedelta(minutes=15)
FAILURES_PER_LOGIN_MAX = 8
FAILURES_PER_ADDRESS_MAX = 40  # A whole office may sit behind one address.
PASSWORD_LENGTH_MIN = 10
PASSWORD_LENGTH_MAX = 256
LOGIN_LENGTH_MAX = 120

_hasher = PasswordHasher()
# An unknown login costs as much time as a wrong password, so that neither can be told from outside.
_NOBODY = _hasher.hash(secrets.token_urlsafe(16))


async def log_in(
    conn: AsyncConnection, clock: Clock, *, login: str, password: str, address: str
) -> NewSession | WrongCredentials | TooManyAttempts:
    """Check a password and start a session.

    A refusal is returned, not raised: the attempt must be recorded by the same transaction that refuses it.
    """
    account = await _checked(conn, clock, login=login, password=password, address=address)
    if not isinstance(account, repository.Account):
        return account
    await repository.delete_expired(conn, clock.now())
    return await start_session(conn, account, clock.now())


async def change_own_password(
    conn: AsyncConnection, clock: Clock, viewer: Viewer, *, old: str, new: str, address: str
) -> NewSession | WrongCredentials | TooManyAttempts:
    """Replace the password of who knows the old one; every session ends, a new one starts. Refusals as in `log_in`."""
    new_hash = await hashed(new)  # Refused before the old one is tried: a weak password is no attempt.
    account = await _checked(conn, clock, login=viewer.login, password=old, address=address)
    if not isinstance(account, repository.Account):
        return account
    await repository.set_password(conn, account.id, new_hash)
    await audit(conn, viewer=viewer, at=clock.now(), action="user.change_password", subject=viewer.login)
    return await start_session(conn, account, clock.now())


async def session_for(conn: AsyncConnection, clock: Clock, token: str) -> Session | None:
    """Return the session behind a cookie and prolong it; needs the system's scope."""
    now, token_sha256 = clock.now(), digest(token)
    account = await repository.account_for_token(conn, token_sha256, now)
    if account is None:
        return None
    if account.last_seen_at is None or now - account.last_seen_at > TOUCH_EVERY:
        await repository.touch_session(conn, token_sha256, now, now + SESSION_LIFETIME)
    return Session(viewer=account.viewer(), csrf_token=account.csrf_token)


async def log_out(conn: AsyncConnection, token: str) -> None:
    """End the session of that cookie."""
    await repository.delete_session(conn, digest(token))


async def create_user(
    conn: AsyncConnection,
    *,
    organisation_id: OrganisationId,
    login: str,
    password: str | None,
    display_name: str,
    roles: frozenset[Role] = frozenset(),
    tenant_id: TenantId | None = None,
    email: str | None = None,
    language: Language = "zh",
) -> UserId:
    """Create an account: staff with roles, or a tenant's person without any; without a password nobody signs in yet."""
    login, display_name = login.strip().lower(), display_name.strip()
    if not login or len(login) > LOGIN_LENGTH_MAX:
        raise Invalid("a user name has 1 to {login_length_max} characters", login_length_max=LOGIN_LENGTH_MAX)
    if bool(roles) == (tenant_id is not None):
        raise Invalid("a user has either roles (staff) or a tenant, not both and not neither")
    user_id = await repository.insert_user(
        conn,
        organisation_id=organisation_id,
        tenant_id=tenant_id,
        login=login,
        display_name=display_name,
        email=email,
        password_hash=None if password is None else await hashed(password),
        roles=sorted(roles),
        language=language,
    )
    if user_id is None:
        raise LoginTaken("the user name {login!r} is taken: choose another, or set its password anew", login=login)
    return user_id


async def choose_language(conn: AsyncConnection, viewer: Viewer, language: Language) -> None:
    """Remember the person's language."""
    await repository.set_language(conn, viewer.user_id, language)


async def audit(
    conn: AsyncConnection,
    *,
    viewer: Viewer | None,
    at: datetime,
    action: str,
    subject: str,
    reason: str | None = None,
    **detail: object,
) -> None:
    """Append to the audit trail; without a viewer the system itself acted. `action` reads `noun.verb`."""
    await repository.insert_audit(
        conn,
        organisation_id=viewer.organisation_id if viewer else None,
        at=at,
        actor=viewer.login if viewer else "system",
        action=action,
        subject=subject,
        reason=reason,
        detail=detail,
    )


async def _checked(
    conn: AsyncConnection, clock: Clock, *, login: str, password: str, address: str
) -> repository.Account | WrongCredentials | TooManyAttempts:
    """Try a password and record the attempt, unless there were too many."""
    now, login = clock.now(), login.strip().lower()[:LOGIN_LENGTH_MAX]
    by_login, by_address = await repository.failed_attempts(conn, login, address, now - ATTEMPT_WINDOW)
    if by_login >= FAILURES_PER_LOGIN_MAX or by_address >= FAILURES_PER_ADDRESS_MAX:
        return TooManyAttempts()
    account = await repository.account_for_login(conn, login)
    expected = account.password_hash if account and account.password_hash else _NOBODY
    matches = await to_thread.run_sync(_matches, expected, password)
    succeeded = matches and account is not None
    await repository.insert_attempt(conn, login, address, now, succeeded=succeeded)
    return account if account is not None and succeeded else WrongCredentials()


async def start_session(conn: AsyncConnection, account: repository.Account, now: datetime) -> NewSession:
    """Start a session of somebody who has proved who it is."""
    token, csrf_token = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
    await repository.insert_session(
        conn,
        token_sha256=digest(token),
        user_id=account.id,
        csrf_token=csrf_token,
        now=now,
        expires_at=now + SESSION_LIFETIME,
    )
    return NewSession(token=token, session=Session(viewer=account.viewer(), csrf_token=csrf_token))


async def hashed(password: str) -> str:
    """Return the hash of a password. Raises WeakPassword."""
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        raise WeakPassword(
            "a password has {password_length_min} to {password_length_max} characters",
            password_length_min=PASSWORD_LENGTH_MIN,
            password_length_max=PASSWORD_LENGTH_MAX,
        )
    return await to_thread.run_sync(_hasher.hash, password)


def _matches(expected: str, password: str) -> bool:
    try:
        return _hasher.verify(expected, password[: PASSWORD_LENGTH_MAX + 1])
    except (VerificationError, InvalidHashError):
        return False


def digest(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).digest()
