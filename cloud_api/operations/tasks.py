"""The worker tends the storage once an hour."""

import structlog

from cloud_api.db.queue import Worker, task
from cloud_api.operations.storage import service

log = structlog.get_logger()


@task("operations:tend_storage", cron="23 * * * *")
async def tend_storage(worker: Worker) -> None:
    """Create partitions ahead, have old chunks compressed, drop what is old enough and needed by nobody."""
    for deed in await service.tend(worker.pool, worker.clock):
        log.info("storage_tended", action=deed.action, kind=deed.kind, name=deed.name, rows=deed.row_count)
