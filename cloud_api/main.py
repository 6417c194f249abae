"""Builds the ASGI application: settings, pool, routers, error answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from psycopg import DataError, OperationalError
from psycopg.errors import ForeignKeyViolation
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException

from cloud_api.api.install import install as install_api
from cloud_api.db.pool import make_pool
from cloud_api.db.request import SystemTx
from cloud_api.faults.catalogue import use_own_rules
from cloud_api.ingest.http import close_door
from cloud_api.ingest.http import router as ingest
from cloud_api.ingest.write import router as lines
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.i18n import as_language, use_language
from cloud_api.settings import Settings
from cloud_api.telemetry.live import LiveBus
from cloud_api.web import install as install_pages
from cloud_api.web.shared.templates import say

log = structlog.get_logger()
health = APIRouter(tags=["health"])


def create_app(settings: Settings, clock: Clock | None = None) -> FastAPI:
    """Return the application; its pool opens and closes with the server."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database_url = settings.database_url.get_secret_value()
        pool = make_pool(database_url, size_max=settings.pool_size_max)
        async with pool, LiveBus(database_url=database_url, pool=pool).running() as live:
            app.state.pool = pool
            app.state.live = live
            yield
            await close_door(app)

    app = FastAPI(title="Wattlease", version="0.1.0", lifespan=lifespan)
    app.state.settings = settings
    use_own_rules(settings.fault_rules_folder)
    app.state.clock = clock or Clock()
    app.state.say = say  # The API speaks the reader's language and knows no pages.
    app.include_router(ingest)
    # Most requests are batches: they are not compared with the routes of the documentation first.
    app.router.routes.insert(0, app.router.routes.pop())
    app.include_router(health)
    app.include_router(lines)
    install_api(app)
    _answer_errors(app)
    install_pages(app)
    return app


@health.get("/healthz")
async def alive() -> dict[str, str]:
    """Answer whether the process runs."""
    return {"status": "ok"}


@health.get("/readyz")
async def ready(conn: SystemTx) -> dict[str, str]:
    """Answer whether the database can be reached."""
    await conn.execute("SELECT 1")
    return {"status": "ok"}


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(DomainError)
    async def refused(request: Request, error: DomainError) -> JSONResponse:
        # Programs that ask for no language get English, so that their logs stay readable everywhere.
        language = as_language(request.headers.get("Accept-Language", "en"))
        with use_language(language):
            answer = _problem(error.status, error.problem() | {"detail": say(error)})
        answer.headers.update({"Content-Language": language, "Vary": "Accept-Language"})
        if "retry_after_s" in error.values:
            answer.headers["Retry-After"] = str(error.values["retry_after_s"])
        return answer

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        places = [{"place": ".".join(str(p) for p in e["loc"]), "reason": e["msg"]} for e in error.errors()[:50]]
        detail = "; ".join(f"{p['place']}: {p['reason']}" for p in places[:3])
        return _problem(422, {"code": "malformed", "detail": detail, "errors": places})

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        answer = _problem(error.status_code, {"code": f"http_{error.status_code}", "detail": str(error.detail)})
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(DataError)
    async def beyond_the_database(_: Request, error: DataError) -> JSONResponse:
        """Numbers, dates and texts that no row could hold: nothing is found by them and nothing can be stored."""
        log.warning("beyond_the_database", error=str(error))
        detail = "A number, a date or a text is beyond what can be stored; send a smaller one."
        return _problem(422, {"code": "beyond_the_database", "detail": detail})

    @app.exception_handler(ForeignKeyViolation)
    async def nothing_by_that_number(_: Request, error: ForeignKeyViolation) -> JSONResponse:
        log.warning("nothing_by_that_number", error=str(error))
        return _problem(422, {"code": "not_found", "detail": "The request names something that is not there."})

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    async def database_away(_: Request, error: Exception) -> JSONResponse:
        log.warning("database_away", error=str(error))
        answer = _problem(503, {"code": "database_away", "detail": "The database cannot be reached; try again."})
        answer.headers["Retry-After"] = "2"
        return answer


def _problem(status: int, members: Mapping[str, object]) -> JSONResponse:
    body = {"type": "about:blank", "status": status, **members}
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
