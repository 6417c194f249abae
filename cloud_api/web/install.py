"""Finds the pages and puts them into the application: routers, static files, error pages."""

import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from cloud_api.kit.errors import DomainError
from cloud_api.web import console, portal
from cloud_api.web.shared import account, errors, own_account
from cloud_api.web.shared.navigation import NavItem, register_navigation

_STATIC = Path(__file__).with_name("static")


class _Static(StaticFiles):
    """Files whose address carries the hash of their content may be kept for ever."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        named_by_content = b"v=" in scope.get("query_string", b"")
        keep = "max-age=31536000, immutable" if named_by_content else "max-age=86400"
        # A module imported by app.js has no hash in its address: the browser asks each time whether it changed.
        response.headers["Cache-Control"] = f"public, {keep}" if named_by_content or "vendor" in path else "no-cache"
        return response


def install(app: FastAPI) -> None:
    """Add every page to `app`; its settings, clock and pool are read from `app.state` at each request."""
    app.mount("/static", _Static(directory=_STATIC), name="static")
    for router in (account.router, own_account.router):
        app.include_router(router, include_in_schema=False)
    for module in _pages():
        is_offered = getattr(module, "is_offered", None)
        if is_offered and not is_offered(app.state.settings):
            continue
        router = getattr(module, "router", None)
        if isinstance(router, APIRouter):
            app.include_router(router, include_in_schema=False)
        item = getattr(module, "NAV", None)
        if isinstance(item, NavItem):
            register_navigation(item)
    _show_errors_as_pages(app)


def _pages() -> Iterator[ModuleType]:
    """Import every module of console/ and portal/: a page is there as soon as its file is."""
    for package in (console, portal):
        for found in sorted(pkgutil.iter_modules(package.__path__, f"{package.__name__}."), key=lambda m: m.name):
            yield importlib.import_module(found.name)


def _page_or(otherwise: Callable[..., Any]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        return errors.error_page(request, error) if errors.wants_page(request) else await otherwise(request, error)

    return handle


def _show_errors_as_pages(app: FastAPI) -> None:
    """Keep problem+json for programs; a person who asked for a page gets a page."""
    for kind in (DomainError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _page_or(app.exception_handlers[kind]))
    app.add_exception_handler(errors.SignInNeeded, errors.to_sign_in)
    # What nobody foresaw is logged by the server; a person still gets a page, a program a bare 500.
    app.add_exception_handler(Exception, _page_or(_bare_error))


async def _bare_error(_: Request, __: Exception) -> Response:
    return Response("Internal Server Error", status_code=500, media_type="text/plain")
