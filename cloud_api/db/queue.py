"""Jobs and background services: how a package defers work, and how it offers some.

A job is deferred by the transaction that needs it (it exists only if that commits), carries ids, and may run twice.
The lower package defers by name; the package that owns the task is imported by `worker/` alone.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM

JobArgument = int | str | float | bool | None

_RETRY = procrastinate.RetryStrategy(max_attempts=8, exponential_wait=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What a task or a background service is given: the database and the time."""

    pool: AsyncConnectionPool
    clock: Clock
    database_url: str  # For services that need a connection of their own (LISTEN).

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Open one transaction that sees everything."""
        async with transaction(self.pool, SYSTEM) as conn:
            yield conn


Handler = Callable[..., Awaitable[None]]
Service = Callable[[Worker], Awaitable[None]]


@dataclass(slots=True)
class Registry:
    """Every task and service of the imported `tasks.py` modules."""

    jobs: procrastinate.Blueprint = field(default_factory=procrastinate.Blueprint)
    services: dict[str, Service] = field(default_factory=dict)


registry = Registry()
_deferrer = procrastinate.App(connector=procrastinate.PsycopgConnector())


async def defer(
    conn: AsyncConnection,
    name: str,
    *,
    queueing_lock: str | None = None,
    lock: str | None = None,
    schedule_at: datetime | None = None,
    **arguments: JobArgument,
) -> None:
    """Put a job into the queue as part of the caller's transaction.

    With `queueing_lock`, nothing is added while an equal one still waits. Jobs with the same `lock` run one at a time.
    """
    task = _deferrer.configure_task(
        name, connection=conn, queueing_lock=queueing_lock, lock=lock, schedule_at=schedule_at, allow_unknown=True
    )
    with suppress(AlreadyEnqueued):
        async with conn.transaction():  # A savepoint: the refusal must not end the caller's transaction.
            await task.defer_async(**arguments)


def task(name: str, *, cron: str | None = None) -> Callable[[Handler], Handler]:
    """Offer `async def handler(worker, **ids)` under `package:verb_noun`; `cron` runs it by the clock as well (UTC).

    A task that fails is tried again with growing pauses, eight times in all.
    """

    def register(handler: Handler) -> Handler:
        async def run(context: procrastinate.JobContext, **arguments: JobArgument) -> None:
            arguments.pop("timestamp", None)  # procrastinate tells periodic tasks their nominal time.
            await handler(context.additional_context["worker"], **arguments)

        job = registry.jobs.task(name=name, pass_context=True, retry=_RETRY)(run)
        if cron:
            # The library types periodic tasks as `(timestamp: int)`; ours drop it.
            registry.jobs.periodic(cron=cron)(job)  # pyright: ignore[reportArgumentType]
        return handler

    return register


def service(name: str) -> Callable[[Service], Service]:
    """Offer a coroutine that the worker keeps running; when it fails it is started again after a pause."""

    def register(run: Service) -> Service:
        if name in registry.services:
            raise ValueError(f"two services are named {name!r}")
        registry.services[name] = run
        return run

    return register
