"""The clockwork of work orders: confirm repairs, open and close maintenance windows, make preventive orders."""

from cloud_api.db.queue import Worker, task
from cloud_api.workorders import service, upkeep


@task("workorders:follow_up", cron="* * * * *")
async def follow_up(worker: Worker) -> None:
    """Every minute; each part may run twice without effect."""
    async with worker.transaction() as conn:
        await upkeep.run_plans(conn, worker.clock)
        await upkeep.apply_windows(conn, worker.clock)
        await service.confirm_repairs(conn, worker.clock)
