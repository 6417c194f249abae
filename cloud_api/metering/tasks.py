"""The worker keeps the interval ledger up to date."""

import asyncio
from datetime import datetime

from psycopg import AsyncConnection

from cloud_api.db.queue import Worker, service
from cloud_api.kit.ids import RegisterId
from cloud_api.metering import checks
from cloud_api.metering.service import changes_after, last_change, recompute_all

_CHECK_EVERY_S = 900.0
_CHECK_DAYS_ALL = 45
_CHECK_DAYS = 3
_PAUSE_S = 2.0  # An interval is in the ledger this much after the reading that closes it.


@service("metering:ledger")
async def keep_ledger(worker: Worker) -> None:
    """Work off dirty ranges for ever; several workers share them."""
    while True:
        await recompute_all(worker.pool, worker.clock)
        await asyncio.sleep(_PAUSE_S)


@service("metering:checks")
async def check_intervals(worker: Worker) -> None:
    """Keep the worklist of doubtful intervals: the last days, whatever changed further back, and once a day all."""
    checked_on = None
    async with worker.transaction() as conn:
        after = await last_change(conn)
    while True:
        async with worker.transaction() as conn:
            today = worker.clock.now().date()
            is_due = checked_on != today
            since, after = await _changed(conn, after)
            await checks.check(conn, worker.clock, days=_CHECK_DAYS_ALL if is_due else _CHECK_DAYS, since=since)
        checked_on = today
        await asyncio.sleep(_CHECK_EVERY_S)


async def _changed(conn: AsyncConnection, after: int) -> tuple[dict[RegisterId, datetime], int]:
    """Return since when registers changed after a change, and the newest change."""
    since: dict[RegisterId, datetime] = {}
    while changes := await changes_after(conn, after):
        for change in changes:
            since[change.register_id] = min(change.starts_at, since.get(change.register_id, change.starts_at))
        after = changes[-1].id
    return since, after
