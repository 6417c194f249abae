"""Bill runs in the background: opened by a person, filled by the worker, with progress that everybody may see."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection

from cloud_api.billing import inputs as loading
from cloud_api.billing import service
from cloud_api.billing.compose import compose
from cloud_api.billing.repository import one, queries, store
from cloud_api.billing.run_model import RunResult, SiteFacts
from cloud_api.billing.states import RunState
from cloud_api.db import queue
from cloud_api.db.queue import Worker
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, NotFound

PROGRESS_SECONDS = 0.5
UNEXPECTED = "the calculation broke off unexpectedly; it is tried again, and the worker's log says more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is. `count` of `total` bills are rated; `documents` of `bills` have their PDF."""

    run_id: int
    organisation_id: int
    state: str
    phase: str
    failure: str
    count: int
    total: int
    began_at: datetime
    bills: int
    documents: int

    @property
    def is_running(self) -> bool:
        """Tell whether the worker still has to fill the run."""
        return self.state == RunState.DRAFT and self.phase != "failed"

    @property
    def makes_documents(self) -> bool:
        """Tell whether PDFs are still to come."""
        return self.documents < self.bills


@dataclass(slots=True)
class _Tally:
    """Where the calculation's thread stands; read beside it."""

    phase: str = "reading"
    count: int = 0
    total: int = 0

    def rated(self, count: int, total: int) -> None:
        self.phase, self.count, self.total = "rating", count, total


async def start(
    conn: AsyncConnection, site: SiteFacts, month: str, *, actor: str, clock: Clock, utility: str = "electricity"
) -> int:
    """Open a run and leave its calculation to the worker. Raises RunExists, or Invalid for a month that is not over."""
    run_id = await service.open_run(conn, site, month, actor=actor, clock=clock, utility=utility)
    await queue.defer(conn, "billing:fill_run", run_id=run_id, lock=f"bill-run-{run_id}")
    return run_id


async def progress(conn: AsyncConnection, run_id: int) -> Progress:
    """Return how far a run is. Raises NotFound."""
    row = await one(conn, queries.progress, {"run_id": run_id})
    if row is None:
        raise NotFound("there is no bill run {run_id}", run_id=run_id)
    return Progress(
        run_id=row["id"],
        organisation_id=row["organisation_id"],
        state=row["state"],
        phase=row["phase"],
        failure=row["failure"],
        count=row["progress_count"],
        total=row["progress_total"],
        began_at=row["created_at"],
        bills=row["bills"],
        documents=row["documents"],
    )


async def fill(worker: Worker, run_id: int) -> None:
    """Calculate a drafted run. A refusal stays on the run for people to read; anything else is tried again."""
    tally = _Tally()
    try:
        async with _shown(worker, run_id, tally):
            await _fill(worker, run_id, tally)
    except DomainError as error:
        await _note_failure(worker, run_id, str(error))
    except Exception:
        await _note_failure(worker, run_id, UNEXPECTED)
        raise


async def _fill(worker: Worker, run_id: int, tally: _Tally) -> None:
    async with worker.transaction() as conn:
        run = await one(conn, queries.run_by_id, {"run_id": run_id})
        if run is None or run["state"] != RunState.DRAFT:
            return
        site = await loading.find_site(conn, site_id=run["site_id"])
        period = run["period"]
        inputs, issues = await loading.load_inputs(conn, site, run["utility"], period.lower, period.upper)
        known_at = await service.now_known(conn)
    # The rating is a computation of seconds; the worker's other jobs go on beside it.
    result: RunResult = await asyncio.to_thread(compose, inputs, issues, tick=tally.rated)
    tally.phase = "storing"
    async with worker.transaction() as conn:
        await service.store_result(conn, run_id, result, known_at=known_at, clock=worker.clock)


@asynccontextmanager
async def _shown(worker: Worker, run_id: int, tally: _Tally) -> AsyncIterator[None]:
    """Write the tally down now and then while the block runs."""

    async def keep_writing() -> None:
        shown: tuple[str, int, int] | None = None
        while True:
            now = (tally.phase, tally.count, tally.total)
            if now != shown and tally.phase != "storing":
                await _write(worker, run_id, *now)
                shown = now
            await asyncio.sleep(PROGRESS_SECONDS)

    writing = asyncio.create_task(keep_writing())
    try:
        yield
    finally:
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


async def _write(worker: Worker, run_id: int, phase: str, count: int, total: int, failure: str = "") -> None:
    async with worker.transaction() as conn:
        values = {"run_id": run_id, "phase": phase, "count": count, "total": total, "failure": failure}
        await store(conn, queries.set_progress, values)


async def _note_failure(worker: Worker, run_id: int, words: str) -> None:
    await _write(worker, run_id, "failed", 0, 0, words)
