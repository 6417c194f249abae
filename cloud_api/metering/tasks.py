"""The worker keeps the interval ledger up to date."""

import asyncio

from cloud_api.db.queue import Worker, service
from cloud_api.metering.service import recompute_all

_PAUSE_S = 2.0  # An interval is in the ledger this much after the reading that closes it.


@service("metering:ledger")
async def keep_ledger(worker: Worker) -> None:
    """Work off dirty ranges for ever; several workers share them."""
    while True:
        await recompute_all(worker.pool, worker.clock)
        await asyncio.sleep(_PAUSE_S)
