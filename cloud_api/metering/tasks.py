"""The worker keeps the interval ledger up to date."""

import asyncio

from cloud_api.db.queue import Worker, service
from cloud_api.metering import worklist
from cloud_api.metering.service import recompute_all

_CHECK_EVERY_S = 900.0
_CHECK_DAYS_FIRST = 45
_CHECK_DAYS = 3  # Readings later than that bring their findings with the next start of the worker.
_PAUSE_S = 2.0  # An interval is in the ledger this much after the reading that closes it.


@service("metering:ledger")
async def keep_ledger(worker: Worker) -> None:
    """Work off dirty ranges for ever; several workers share them."""
    while True:
        await recompute_all(worker.pool, worker.clock)
        await asyncio.sleep(_PAUSE_S)


@service("metering:checks")
async def check_intervals(worker: Worker) -> None:
    """Keep the worklist of doubtful intervals: all of the recent past at the start, the last days from then on."""
    days = _CHECK_DAYS_FIRST
    while True:
        async with worker.transaction() as conn:
            await worklist.check(conn, worker.clock, days=days)
        days = _CHECK_DAYS
        await asyncio.sleep(_CHECK_EVERY_S)
