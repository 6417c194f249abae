"""The evaluator as a background service of the worker: a turn every second, sooner when something is heard."""

import asyncio
from typing import LiteralString

import psycopg
import structlog

from cloud_api.alarms import repository, routing, service
from cloud_api.alarms.equipment import evaluate_faults
from cloud_api.alarms.evaluator import evaluate_communication
from cloud_api.db.queue import Worker
from cloud_api.db.queue import service as background
from cloud_api.notify import outbox

log = structlog.get_logger()
TURN_SECONDS = 0.5
FAULT_TURN_SECONDS = 5.0
NOTIFY_TURN_SECONDS = 0.2


@background("alarms:evaluate")
async def evaluate(worker: Worker) -> None:
    """Evaluate until cancelled. Only one evaluator works per database; others stand by for the lock."""
    async with await psycopg.AsyncConnection.connect(worker.database_url, autocommit=True) as guard:
        await _become_sole(guard, repository.queries.become_sole_evaluator)
        started_at = worker.clock.now()
        log.info("evaluator_started")
        while True:
            async with worker.transaction() as conn:
                now = worker.clock.now()
                changed = await evaluate_communication(conn, now, started_at)
                changed += await service.run_timers(conn, now)
                await repository.notify_live(conn, list(dict.fromkeys(changed)))
            await guard.execute("SELECT 1")  # Losing this session is losing the lock: stop before another works.
            await asyncio.sleep(TURN_SECONDS)


@background("alarms:faults")
async def evaluate_equipment(worker: Worker) -> None:
    """Follow the stored data with the fault rules of every equipment; one per database."""
    async with await psycopg.AsyncConnection.connect(worker.database_url, autocommit=True) as guard:
        await _become_sole(guard, repository.queries.become_sole_fault_evaluator)
        while True:
            async with worker.transaction() as conn:
                changed = await evaluate_faults(conn, worker.clock.now())
                await repository.notify_live(conn, changed)
            await guard.execute("SELECT 1")
            await asyncio.sleep(FAULT_TURN_SECONDS)


@background("alarms:notify")
async def notify(worker: Worker) -> None:
    """Route the journal into the outbox and send what is due; one sender per database."""
    async with await psycopg.AsyncConnection.connect(worker.database_url, autocommit=True) as guard:
        await _become_sole(guard, outbox.queries.become_sole_sender)
        while True:
            async with worker.transaction() as conn:
                now = worker.clock.now()
                await routing.dispatch(conn, now)
                await routing.repeat(conn, now)
            await outbox.flush(worker, worker.clock.now())
            await guard.execute("SELECT 1")
            await asyncio.sleep(NOTIFY_TURN_SECONDS)


async def _become_sole(guard: psycopg.AsyncConnection, lock: LiteralString) -> None:
    while True:
        row = await (await guard.execute(lock)).fetchone()
        if row and row[0]:
            return
        await asyncio.sleep(TURN_SECONDS * 4)
