"""My account: the own password; and the link by which a person comes to one."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from cloud_api.db.request import Now, SystemTx
from cloud_api.identity import people, service
from cloud_api.identity.model import (
    NewSession,
    PasswordsDiffer,
    Session,
    StaffViewer,
    TooManyAttempts,
    WeakPassword,
    WrongPassword,
)
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import as_language
from cloud_api.web.shared.account import refuse_foreign_form, signed_in
from cloud_api.web.shared.errors import SignInNeeded, language_of
from cloud_api.web.shared.page import SESSION_COOKIE, check_csrf, draw, zone_of

router = APIRouter(prefix="/account")

Secret = Annotated[str, Form(max_length=1000)]


@router.get("")
async def account(request: Request, conn: SystemTx, clock: Now) -> Response:
    """Show who is signed in, and the form for a new password."""
    return _account(request, await _session(request, conn, clock))


@router.post("/password")
async def change_password(
    request: Request, conn: SystemTx, clock: Now, old: Secret, new: Secret, again: Secret
) -> Response:
    """Replace the own password; every other browser is signed out."""
    session = await _session(request, conn, clock)
    await check_csrf(request, session.csrf_token)
    if new != again:
        return _account(request, session, new_error=PasswordsDiffer())
    address = request.client.host if request.client else "unknown"
    try:
        outcome = await service.change_own_password(conn, clock, session.viewer, old=old, new=new, address=address)
    except WeakPassword as error:
        return _account(request, session, new_error=error)
    if isinstance(outcome, NewSession):
        return signed_in(request, outcome, "/account?changed=1")
    return _account(request, session, old_error=outcome if isinstance(outcome, TooManyAttempts) else WrongPassword())


@router.get("/password/{token}")
async def choose_password_form(request: Request, conn: SystemTx, clock: Now, token: str) -> Response:
    """Show the form of a link that an administrator gave to a person."""
    return await _choice(request, conn, clock, token)


@router.post("/password/{token}")
async def choose_password(
    request: Request, conn: SystemTx, clock: Now, token: str, new: Secret, again: Secret
) -> Response:
    """Set the password and sign the person in."""
    refuse_foreign_form(request)
    if new != again:
        return await _choice(request, conn, clock, token, PasswordsDiffer())
    try:
        return signed_in(request, await people.use_link(conn, clock, token, new), "/")
    except WeakPassword as error:
        return await _choice(request, conn, clock, token, error)


async def _session(request: Request, conn: SystemTx, clock: Now) -> Session:
    session = await service.session_for(conn, clock, request.cookies.get(SESSION_COOKIE, ""))
    if session is None:
        raise SignInNeeded
    request.state.language = session.viewer.language
    return session


def _account(
    request: Request,
    session: Session,
    *,
    old_error: DomainError | None = None,
    new_error: DomainError | None = None,
) -> Response:
    error = old_error or new_error
    place = "console" if isinstance(session.viewer, StaffViewer) else "portal"
    return draw(
        request,
        "shared/own_account.html",
        language=session.viewer.language,
        zone=zone_of(request),
        status=error.status if error else 200,
        context={
            "path": "/account",
            "viewer": session.viewer,
            "csrf_token": session.csrf_token,
            "layout": f"{place}/layout.html",
            "is_changed": "changed" in request.query_params,
            "old_error": old_error,
            "new_error": new_error,
            "length_min": service.PASSWORD_LENGTH_MIN,
        },
    )


async def _choice(
    request: Request, conn: SystemTx, clock: Now, token: str, error: DomainError | None = None
) -> Response:
    """Draw the form of a link in its person's language."""
    request.state.language = as_language(language_of(request))
    account = await people.account_of_link(conn, clock, token)
    return draw(
        request,
        "shared/choose_password.html",
        language=account.language,
        zone=zone_of(request),
        status=error.status if error else 200,
        context={"account": account, "error": error, "length_min": service.PASSWORD_LENGTH_MIN},
    )
