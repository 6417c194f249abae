"""The worker process: imports every `tasks.py`, runs the queue, the schedule and the background services."""

import asyncio
import importlib
import importlib.util
import pkgutil
import signal
from collections.abc import Collection

import procrastinate
import psycopg
import structlog
from psycopg_pool import PoolTimeout

import cloud_api
from cloud_api.db.pool import make_pool
from cloud_api.db.queue import Service, Worker, registry
from cloud_api.faults.catalogue import use_own_rules
from cloud_api.kit.clock import Clock
from cloud_api.settings import Settings

log = structlog.get_logger()
_RESTART_SECONDS = (1, 2, 5, 10, 30)


def import_tasks() -> list[str]:
    """Import the `tasks.py` of every package, which registers its tasks and services; return the module names."""
    names = []
    for package in pkgutil.iter_modules(cloud_api.__path__, "cloud_api."):
        if package.ispkg and importlib.util.find_spec(f"{package.name}.tasks"):
            importlib.import_module(f"{package.name}.tasks")
            names.append(f"{package.name}.tasks")
    return names


QUEUE = "queue"


def chosen(only: Collection[str], without: Collection[str]) -> list[str]:
    """Return the services to run (the job queue is one of them); raises ValueError for a name that is none."""
    known = {*registry.services, QUEUE}
    unknown = sorted({*only, *without} - known)
    if unknown:
        raise ValueError(f"no service is named {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    return sorted((set(only) or known) - set(without))


async def run_worker(
    settings: Settings,
    clock: Clock,
    *,
    concurrency: int = 4,
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> None:
    """Work until SIGTERM or SIGINT; jobs that run then have ten seconds to end. All services, or some of them."""
    import_tasks()
    names = chosen(only, without)
    services = registry.services | {QUEUE: _queue_service(concurrency)}
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    use_own_rules(settings.fault_rules_folder)
    database_url = settings.database_url.get_secret_value()
    async with make_pool(database_url, size_max=settings.pool_size_max) as pool:
        worker = Worker(pool=pool, clock=clock, database_url=database_url)
        running = [asyncio.create_task(_keep_running(name, services[name], worker)) for name in names]
        log.info("worker_started", services=names)
        await stop.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    log.info("worker_stopped")


async def drain(worker: Worker) -> None:
    """Run the jobs that wait now, then return: for commands and tests."""
    app = _app()
    async with app.open_async(worker.pool):
        await app.run_worker_async(
            wait=False,
            install_signal_handlers=False,
            listen_notify=False,
            additional_context={"worker": worker},
        )


def _queue_service(concurrency: int) -> Service:
    async def run(worker: Worker) -> None:
        app = _app()
        async with app.open_async(worker.pool):
            await app.run_worker_async(
                concurrency=concurrency,
                install_signal_handlers=False,
                shutdown_graceful_timeout=10,
                delete_jobs="successful",
                fetch_job_polling_interval=1.0,
                additional_context={"worker": worker},
            )

    return run


def _app() -> procrastinate.App:
    app = procrastinate.App(connector=procrastinate.PsycopgConnector())
    app.add_tasks_from(registry.jobs, namespace="")
    return app


async def _keep_running(name: str, run: Service, worker: Worker) -> None:
    failures = 0
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await run(worker)
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("service_lost_database", service=name, error=str(error))
        except Exception:
            log.exception("service_failed", service=name)
        if asyncio.get_running_loop().time() - started > 60:
            failures = 0
        await asyncio.sleep(_RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)])
        failures += 1
