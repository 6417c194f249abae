"""Who asks the JSON API: a bearer token from POST /api/v1/session. One request is one transaction in its scope."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from psycopg import AsyncConnection

from cloud_api.db.pool import set_scope, transaction
from cloud_api.db.request import clock_of, pool_of
from cloud_api.identity import service as identity
from cloud_api.identity.model import ANY_STAFF, Role, StaffViewer, Viewer
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import Text, as_language, use_language
from cloud_api.kit.scope import SYSTEM

FINANCE = frozenset({Role.FINANCE, Role.MANAGER})


class TokenNeeded(DomainError):
    """Send 'Authorization: Bearer …' with a token from POST /api/v1/session."""

    code = "token_needed"
    status = 401


class NotAllowed(DomainError):
    """Your role does not include this; an administrator can change that."""

    code = "not_allowed"
    status = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request of a member of staff, inside one transaction that commits before the answer leaves."""

    viewer: StaffViewer
    conn: AsyncConnection
    clock: Clock
    say: Callable[[Text], str]
    """Write what a rule says in the language that `Accept-Language` asks for; English when it asks for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyCall:
    """One request of staff, or of a tenant's person who reaches nothing but the tenant's own."""

    viewer: Viewer
    conn: AsyncConnection
    clock: Clock


def staff_call(roles: frozenset[Role] = ANY_STAFF) -> Callable[[Request], AsyncIterator[Call]]:
    """Return the dependency of a route that `roles` may call; others get 403, strangers 401."""

    async def open_call(request: Request) -> AsyncIterator[Call]:
        async with _signed_in(request) as (conn, clock, viewer):
            if not isinstance(viewer, StaffViewer) or not viewer.has_any(roles):
                raise NotAllowed
            await set_scope(conn, viewer.scope)
            yield Call(viewer=viewer, conn=conn, clock=clock, say=_words(request))

    return open_call


def tenant_or(roles: frozenset[Role]) -> Callable[[Request], AsyncIterator[AnyCall]]:
    """Return the dependency of a route that tenants' people and `roles` may call, in the scope of who calls."""

    async def open_call(request: Request) -> AsyncIterator[AnyCall]:
        async with _signed_in(request) as (conn, clock, viewer):
            if isinstance(viewer, StaffViewer) and not viewer.has_any(roles):
                raise NotAllowed
            await set_scope(conn, viewer.scope)
            yield AnyCall(viewer=viewer, conn=conn, clock=clock)

    return open_call


def _words(request: Request) -> Callable[[Text], str]:
    language = as_language(request.headers.get("Accept-Language", "en"))

    def say(text: Text) -> str:
        with use_language(language):
            return request.app.state.say(text)

    return say


@asynccontextmanager
async def _signed_in(request: Request) -> AsyncIterator[tuple[AsyncConnection, Clock, Viewer]]:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    async with transaction(pool_of(request), SYSTEM) as conn:
        clock = clock_of(request)
        session = await identity.session_for(conn, clock, token) if scheme.lower() == "bearer" and token else None
        if session is None:
            raise TokenNeeded
        yield conn, clock, session.viewer


StaffCall = Annotated[Call, Depends(staff_call(), scope="function")]
FacilitiesCall = Annotated[Call, Depends(staff_call(frozenset({Role.FACILITIES, Role.MANAGER})), scope="function")]
FinanceCall = Annotated[Call, Depends(staff_call(FINANCE), scope="function")]
AnyBillCall = Annotated[AnyCall, Depends(tenant_or(FINANCE), scope="function")]
SERVICES = frozenset({Role.FACILITIES, Role.LEASING, Role.MANAGER})
ServiceCall = Annotated[Call, Depends(staff_call(SERVICES), scope="function")]
TenantServiceCall = Annotated[AnyCall, Depends(tenant_or(SERVICES), scope="function")]
LeasingCall = Annotated[
    Call, Depends(staff_call(frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER})), scope="function")
]
