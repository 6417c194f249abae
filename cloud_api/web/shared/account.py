"""Signing in and out, and the choice of language."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from cloud_api.db.request import Now, SystemTx
from cloud_api.identity import service
from cloud_api.identity.model import NewSession, StaffViewer, TooManyAttempts
from cloud_api.kit.i18n import as_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.errors import LANGUAGE_COOKIE, SignInNeeded, language_of
from cloud_api.web.shared.page import SESSION_COOKIE, FormExpired, check_csrf, draw, local_path, zone_of

router = APIRouter()
_YEAR_S = 365 * 86400


@router.get("/")
async def home(request: Request, conn: SystemTx, clock: Now) -> Response:
    """Lead everyone to their own first page."""
    session = await service.session_for(conn, clock, request.cookies.get(SESSION_COOKIE, ""))
    if session is None:
        raise SignInNeeded
    return RedirectResponse("/console" if isinstance(session.viewer, StaffViewer) else "/portal", status_code=303)


@router.get("/login")
async def sign_in_form(request: Request, next: Annotated[str, Query(max_length=500)] = "/") -> Response:  # noqa: A002
    """Show the sign-in form."""
    return _form(request, next_path=next)


@router.post("/login")
async def sign_in(
    request: Request,
    conn: SystemTx,
    clock: Now,
    login: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=1000)],
    next: Annotated[str, Form(max_length=500)] = "/",  # noqa: A002
) -> Response:
    """Check the password; then on to the page that was asked for."""
    refuse_foreign_form(request)
    address = request.client.host if request.client else "unknown"
    outcome = await service.log_in(conn, clock, login=login, password=password, address=address)
    if not isinstance(outcome, NewSession):
        message = (
            N_("Too many failed attempts. Wait 15 minutes and try again.")
            if isinstance(outcome, TooManyAttempts)
            else N_("The user name or the password is wrong.")
        )
        return _form(request, next_path=next, login=login, error=message, status=outcome.status)
    return signed_in(request, outcome, next)


@router.post("/account/logout")
async def sign_out(request: Request, conn: SystemTx, clock: Now) -> Response:
    """End the session."""
    token = request.cookies.get(SESSION_COOKIE, "")
    session = await service.session_for(conn, clock, token)
    if session:
        await check_csrf(request, session.csrf_token)
        await service.log_out(conn, token)
    response = RedirectResponse("/login", status_code=303)
    response.delete_cookie(SESSION_COOKIE)
    return response


@router.get("/account/language/{language}")
async def choose_language(
    request: Request,
    conn: SystemTx,
    clock: Now,
    language: str,
    next: Annotated[str, Query(max_length=500)] = "/",  # noqa: A002
) -> Response:
    """Remember the language: for this browser, and for the person when signed in. Harmless, so a link will do."""
    chosen = as_language(language)
    session = await service.session_for(conn, clock, request.cookies.get(SESSION_COOKIE, ""))
    if session:
        await service.choose_language(conn, session.viewer, chosen)
    response = RedirectResponse(local_path(next), status_code=303)
    response.set_cookie(LANGUAGE_COOKIE, chosen, max_age=_YEAR_S, httponly=True, samesite="lax")
    return response


def signed_in(request: Request, new: NewSession, path: str) -> Response:
    """Lead on to `path` of this host with the cookie of a session that has just begun."""
    response = RedirectResponse(local_path(path), status_code=303)
    secure = str(request.app.state.settings.public_url).startswith("https:")
    lifetime = int(service.SESSION_LIFETIME.total_seconds())
    response.set_cookie(SESSION_COOKIE, new.token, max_age=lifetime, httponly=True, samesite="lax", secure=secure)
    return response


def refuse_foreign_form(request: Request) -> None:
    """Before there is a session there is no token; browsers say where a form came from."""
    origin = request.headers.get("Origin")
    if origin and origin != "null" and urlsplit(origin).netloc != request.headers.get("Host"):
        raise FormExpired


def _form(
    request: Request, *, next_path: str, login: str = "", error: str | None = None, status: int = 200
) -> Response:
    return draw(
        request,
        "shared/login.html",
        language=as_language(language_of(request)),
        zone=zone_of(request),
        status=status,
        context={"next_path": local_path(next_path), "login": login, "error": error},
    )
