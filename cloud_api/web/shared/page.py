"""What a page handler is given: the viewer, a transaction in the viewer's scope, the clock, and `render`.

    @router.get("/console/things")
    async def things(page: StaffPage) -> Response:
        return page.render("console/things.html", things=await service.things(page.conn))

A `POST` is refused unless its form or its `X-CSRF-Token` header carries the session's token.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from urllib.parse import quote, unquote, urlsplit
from zoneinfo import ZoneInfo

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from psycopg import AsyncConnection

from cloud_api.db.pool import set_scope, transaction
from cloud_api.db.request import clock_of, pool_of
from cloud_api.identity import service as identity
from cloud_api.identity.model import ANY_STAFF, Role, Session, StaffViewer, TenantViewer, Viewer
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, NotFound
from cloud_api.kit.i18n import Language, use_language
from cloud_api.kit.scope import SYSTEM
from cloud_api.web.shared import templates
from cloud_api.web.shared.errors import SignInNeeded

SESSION_COOKIE = "wattlease_session"
NOTICE_COOKIE = "wattlease_notice"
NOTICE_LENGTH_MAX = 300
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

V = TypeVar("V", StaffViewer, TenantViewer)


class NotAllowed(DomainError):
    """Your role does not include this page; an administrator can change that."""

    code = "not_allowed"
    status = 403


class FormExpired(DomainError):
    """This form is no longer valid: go back, reload the page and send it again."""

    code = "form_expired"
    status = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[V]):
    """One request for a page, inside one transaction that commits before the answer leaves."""

    request: Request
    viewer: V
    conn: AsyncConnection
    clock: Clock
    zone: ZoneInfo
    csrf_token: str

    @property
    def language(self) -> Language:
        """The language of this answer."""
        return self.viewer.language

    def render(
        self, template: str, *, fragment: str | None = None, status: int = 200, **context: object
    ) -> HTMLResponse:
        """Draw a page. When htmx asks (not for a whole page), only the block `fragment` is drawn."""
        headers = self.request.headers
        only_part = fragment is not None and "HX-Request" in headers and "HX-Boosted" not in headers
        return draw(
            self.request,
            template,
            language=self.language,
            zone=self.zone,
            block=fragment if only_part else None,
            status=status,
            context={"viewer": self.viewer, "csrf_token": self.csrf_token, "now": self.clock.now()} | context,
        )

    def redirect(self, path: str, *, notice: str | None = None) -> Response:
        """Answer a POST: go to `path` (of this host), and there say `notice` once."""
        response = RedirectResponse(local_path(path), status_code=303)
        if notice:
            text = quote(notice[:NOTICE_LENGTH_MAX])
            response.set_cookie(NOTICE_COOKIE, text, max_age=60, httponly=True, samesite="lax")
        return response


def draw(
    request: Request,
    template: str,
    *,
    language: Language,
    zone: ZoneInfo,
    block: str | None = None,
    status: int = 200,
    context: Mapping[str, object],
) -> HTMLResponse:
    """Draw a template (or one block of it) with what every page has, and the headers that protect it."""
    notice = unquote(request.cookies.get(NOTICE_COOKIE, "")) if block is None else ""
    values = {"request": request, "path": request.url.path, "language": language, "zone": zone, "notice": notice}
    with use_language(language), templates.use_zone(zone):
        body = templates.draw(template, {**values, **context}, block=block)
    response = HTMLResponse(body, status_code=status)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "HX-Request, Cookie"
    if notice:
        response.delete_cookie(NOTICE_COOKIE)
    return response


def local_path(path: str | None, otherwise: str = "/") -> str:
    """Return `path` if it stays on this host, else `otherwise`: a link may not carry people elsewhere."""
    if not path or not path.startswith("/") or path.startswith(("//", "/\\")) or urlsplit(path).netloc:
        return otherwise
    return path


def zone_of(request: Request) -> ZoneInfo:
    """Return the time zone that pages are written in."""
    return ZoneInfo(request.app.state.settings.default_time_zone)


async def check_csrf(request: Request, csrf_token: str) -> None:
    """Refuse a request that changes something and does not carry the session's token."""
    if request.method in _SAFE_METHODS:
        return
    sent = request.headers.get("X-CSRF-Token")
    if sent is None:
        sent = (await request.form()).get("csrf_token")
    if not isinstance(sent, str) or not secrets.compare_digest(sent.encode(), csrf_token.encode()):
        raise FormExpired


async def _session(conn: AsyncConnection, request: Request) -> Session:
    token = request.cookies.get(SESSION_COOKIE, "")
    session = await identity.session_for(conn, clock_of(request), token) if token else None
    if session is None:
        raise SignInNeeded
    return session


def staff_page(roles: frozenset[Role] = ANY_STAFF) -> Callable[[Request], AsyncIterator[Page[StaffViewer]]]:
    """Return the dependency of a console page that `roles` may open; others get 403, tenants 404, strangers sign in."""

    async def open_page(request: Request) -> AsyncIterator[Page[StaffViewer]]:
        async with transaction(pool_of(request), SYSTEM) as conn:
            session = await _session(conn, request)
            if not isinstance(session.viewer, StaffViewer):
                raise NotFound
            if not session.viewer.has_any(roles):
                raise NotAllowed
            async with _open(request, conn, session, session.viewer) as page:
                yield page

    return open_page


async def tenant_page(request: Request) -> AsyncIterator[Page[TenantViewer]]:
    """Open a portal page: tenants' people only; for staff it is not there."""
    async with transaction(pool_of(request), SYSTEM) as conn:
        session = await _session(conn, request)
        if not isinstance(session.viewer, TenantViewer):
            raise NotFound
        async with _open(request, conn, session, session.viewer) as page:
            yield page


@asynccontextmanager
async def _open(request: Request, conn: AsyncConnection, session: Session, viewer: V) -> AsyncIterator[Page[V]]:
    """Check the form, narrow the transaction to the viewer's rows, and speak the viewer's language."""
    request.state.language = viewer.language  # Of an error page, should this end in one.
    await check_csrf(request, session.csrf_token)
    await set_scope(conn, viewer.scope)
    zone = zone_of(request)
    with use_language(viewer.language), templates.use_zone(zone):
        yield Page(
            request=request,
            viewer=viewer,
            conn=conn,
            clock=clock_of(request),
            zone=zone,
            csrf_token=session.csrf_token,
        )


async def _viewer(request: Request) -> Viewer:
    async with transaction(pool_of(request), SYSTEM) as conn:
        return (await _session(conn, request)).viewer


async def staff_viewer(viewer: Annotated[Viewer, Depends(_viewer)]) -> StaffViewer:
    """Return who is signed in, for long answers (server-sent events) that must not hold a transaction."""
    if not isinstance(viewer, StaffViewer):
        raise NotFound
    return viewer


async def tenant_viewer(viewer: Annotated[Viewer, Depends(_viewer)]) -> TenantViewer:
    """As `staff_viewer`, for the portal."""
    if not isinstance(viewer, TenantViewer):
        raise NotFound
    return viewer


StaffPage = Annotated[Page[StaffViewer], Depends(staff_page(), scope="function")]
FacilitiesPage = Annotated[
    Page[StaffViewer], Depends(staff_page(frozenset({Role.FACILITIES, Role.MANAGER})), scope="function")
]
FinancePage = Annotated[
    Page[StaffViewer], Depends(staff_page(frozenset({Role.FINANCE, Role.MANAGER})), scope="function")
]
LeasingPage = Annotated[
    Page[StaffViewer], Depends(staff_page(frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER})), scope="function")
]
AfterHoursPage = Annotated[
    Page[StaffViewer], Depends(staff_page(frozenset({Role.FACILITIES, Role.LEASING, Role.MANAGER})), scope="function")
]
AdminPage = Annotated[Page[StaffViewer], Depends(staff_page(frozenset({Role.ADMIN})), scope="function")]
PortalPage = Annotated[Page[TenantViewer], Depends(tenant_page, scope="function")]
LiveStaff = Annotated[StaffViewer, Depends(staff_viewer)]
LiveTenant = Annotated[TenantViewer, Depends(tenant_viewer)]
