"""The worker keeps the sums for charts up with the data."""

import asyncio
from datetime import timedelta

from cloud_api.db.queue import Worker
from cloud_api.db.queue import service as background
from cloud_api.telemetry import series, service

_PAUSE_S = 20.0
_HELD_FOR = timedelta(seconds=5)  # Ten times as long as a process that lives holds latest values.


@background("telemetry:series")
async def sum_series(worker: Worker) -> None:
    """Sum what came in time by the clock and what came late by its marks, for ever."""
    while True:
        async with worker.transaction() as conn:
            more = await series.sum_due(conn, worker.clock)
        if not more:
            await asyncio.sleep(_PAUSE_S)


@background("telemetry:latest")
async def mend_latest_values(worker: Worker) -> None:
    """Find the latest values that a killed process held, for ever."""
    while True:
        async with worker.transaction() as conn:
            streams = await service.streams_held(conn, _HELD_FOR)
        for stream_id in streams:
            async with worker.transaction() as conn:
                await service.catch_up_latest(conn, stream_id)
        await asyncio.sleep(_HELD_FOR.total_seconds())
