"""Jobs of use cases that span packages: storage, letters, prepaid accounts."""

import structlog

from cloud_api.db.queue import Worker, task
from cloud_api.operations.bill_mail import service as bill_mail
from cloud_api.operations.places import service as places
from cloud_api.operations.prepaid import service as prepaid
from cloud_api.operations.storage import service

log = structlog.get_logger()


@task("operations:tend_storage", cron="23 * * * *")
async def tend_storage(worker: Worker) -> None:
    """Create partitions ahead, have old chunks compressed, drop what is old enough and needed by nobody."""
    for deed in await service.tend(worker.pool, worker.clock):
        log.info("storage_tended", action=deed.action, kind=deed.kind, name=deed.name, rows=deed.row_count)


@task("operations:bills_issued")
async def bills_issued(worker: Worker, *, run_id: int | None = None, bill_id: int | None = None, **_: object) -> None:
    """Pay bills of prepaid accounts, and write the letters that carry the bills."""
    async with worker.transaction() as conn:
        await prepaid.settle_bills(conn, worker.clock, run_id=run_id, bill_id=bill_id)
        await bill_mail.write_letters(conn, worker.clock, run_id=run_id, bill_id=bill_id)


@task("operations:send_letter")
async def send_letter(worker: Worker, *, letter_id: int, **_: object) -> None:
    """Send one letter, once."""
    await bill_mail.send_letter(worker, letter_id)


@task("operations:burn_prepaid", cron="40 17 * * *")
async def burn_prepaid(worker: Worker, **_: object) -> None:
    """Burn yesterday for every prepaid account; 17:40 UTC is after midnight in China."""
    await prepaid.burn_all(worker)


@task("operations:places_of_today", cron="1 * * * *")
async def places_of_today(worker: Worker, **_: object) -> None:
    """Let names and nesting that were told ahead hold from their day on: hourly, as midnights differ between sites."""
    async with worker.transaction() as conn:
        await places.show_today_everywhere(conn, worker.clock)
