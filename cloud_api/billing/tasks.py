"""Jobs of billing: look for bills that late data would change."""

from cloud_api.billing import corrections
from cloud_api.db.queue import Worker, task


@task("billing:propose_adjustments", cron="17 * * * *")
async def propose_adjustments(worker: Worker, **_: object) -> None:
    """Propose corrections of issued bills whose readings changed; a person decides."""
    async with worker.transaction() as conn:
        await corrections.propose_adjustments(conn, worker.clock)
