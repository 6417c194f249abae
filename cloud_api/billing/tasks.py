"""Jobs of billing: calculate a run, make its documents, look for bills that late data would change."""

from cloud_api.billing import corrections, documents, running
from cloud_api.db.queue import Worker, task


@task("billing:fill_run")
async def fill_run(worker: Worker, *, run_id: int, **_: object) -> None:
    """Calculate a drafted run; its progress stands on the run."""
    await running.fill(worker, run_id)


@task("billing:make_documents")
async def make_documents(worker: Worker, *, run_id: int, **_: object) -> None:
    """Make the PDFs of an issued run."""
    await documents.make_documents(worker, run_id)


@task("billing:propose_adjustments", cron="17 * * * *")
async def propose_adjustments(worker: Worker, **_: object) -> None:
    """Propose corrections of issued bills whose readings changed; a person decides."""
    async with worker.transaction() as conn:
        await corrections.propose_adjustments(conn, worker.clock)
