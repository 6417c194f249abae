"""The worker keeps the sums for charts up with the data."""

import asyncio

from cloud_api.db.queue import Worker, service
from cloud_api.telemetry import series

_PAUSE_S = 20.0


@service("telemetry:series")
async def sum_series(worker: Worker) -> None:
    """Sum what came in time by the clock and what came late by its marks, for ever."""
    while True:
        async with worker.transaction() as conn:
            more = await series.sum_due(conn, worker.clock)
        if not more:
            await asyncio.sleep(_PAUSE_S)
