"""The evaluators and the notifier as background services of the worker.

Each works under a lock: one per database, others stand by. What follows stored data or the journal is woken by it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import structlog
from psycopg import sql

from cloud_api.alarms import repository, routing, service, stream
from cloud_api.alarms.equipment import evaluate_faults
from cloud_api.alarms.evaluator import evaluate_communication
from cloud_api.alarms.rota import hand_over
from cloud_api.db.queue import Worker
from cloud_api.db.queue import service as background
from cloud_api.notify import channels, outbox
from cloud_api.telemetry import arrivals

log = structlog.get_logger()
TURN_SECONDS = 0.5
FAULT_TURN_SECONDS = 5.0
NOTIFY_TURN_SECONDS = 0.5
REPEAT_EVERY = timedelta(seconds=5)
LIMIT_TURN_SECONDS = 0.5
# Batches that arrive within this time are judged together.
GATHER_SECONDS = 0.02
LIMITS_CHANGED = "limits"


class Sole:
    """The session that holds a service's lock and hears what wakes it. Losing the session is losing the lock."""

    def __init__(self, session: psycopg.AsyncConnection) -> None:
        self._session = session

    async def wait(self, seconds: float) -> set[str]:
        """Return what was heard since the last time, at once or within `seconds`; raises when the lock is lost."""
        await self._session.execute("SELECT 1")
        return {note.channel async for note in self._session.notifies(timeout=seconds, stop_after=1)}


@asynccontextmanager
async def alone(worker: Worker, lock: LiteralString, *channels: str) -> AsyncIterator[Sole]:
    """Wait until this process is the only one that holds `lock`, listening on `channels`."""
    async with await psycopg.AsyncConnection.connect(worker.database_url, autocommit=True) as session:
        while True:
            row = await (await session.execute(lock)).fetchone()
            if row and row[0]:
                break
            await asyncio.sleep(TURN_SECONDS * 2)
        for channel in channels:
            await session.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        yield Sole(session)


@background("alarms:evaluate")
async def evaluate(worker: Worker) -> None:
    """Judge gateways, buses and devices, and end the timers of all alarms but those of limits."""
    async with alone(worker, repository.queries.become_sole_evaluator) as sole:
        started_at = worker.clock.now()
        log.info("evaluator_started")
        while True:
            async with worker.transaction() as conn:
                now = worker.clock.now()
                changed = await evaluate_communication(conn, now, started_at)
                changed += await service.run_timers(conn, now)
                await repository.notify_live(conn, list(dict.fromkeys(changed)))
            await sole.wait(TURN_SECONDS)


@background("alarms:limits")
async def evaluate_limits(worker: Worker) -> None:
    """Judge limits on points as soon as their observations are stored."""
    async with alone(worker, repository.queries.become_sole_limit_evaluator, arrivals.CHANNEL, LIMITS_CHANGED) as sole:
        heard = {LIMITS_CHANGED}
        limits = stream.LimitSet([])
        while True:
            async with worker.transaction() as conn:
                if LIMITS_CHANGED in heard:
                    limits = await stream.load(conn)
                changed = await stream.turn(conn, limits, worker.clock.now())
                await repository.notify_live(conn, list(dict.fromkeys(changed)))
            heard = await sole.wait(LIMIT_TURN_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)


@background("alarms:faults")
async def evaluate_equipment(worker: Worker) -> None:
    """Follow the stored data with the fault rules of every equipment."""
    async with alone(worker, repository.queries.become_sole_fault_evaluator) as sole:
        while True:
            async with worker.transaction() as conn:
                changed = await evaluate_faults(conn, worker.clock.now())
                await repository.notify_live(conn, changed)
            await sole.wait(FAULT_TURN_SECONDS)


@background("alarms:notify")
async def notify(worker: Worker) -> None:
    """Route the journal into the outbox and send what is due."""
    await asyncio.to_thread(channels.certificates)
    async with (
        alone(worker, outbox.queries.become_sole_sender, "dispatch") as sole,
        outbox.Sender(worker, worker.clock) as sender,
    ):
        repeated_at = datetime.min.replace(tzinfo=UTC)

        async def route(conn: psycopg.AsyncConnection, now: datetime) -> None:
            nonlocal repeated_at
            await routing.dispatch(conn, now)
            if now - repeated_at >= REPEAT_EVERY:
                await routing.repeat(conn, now)
                await hand_over(conn, now)
                repeated_at = now

        while True:
            await sender.turn(route)
            await sole.wait(NOTIFY_TURN_SECONDS)
