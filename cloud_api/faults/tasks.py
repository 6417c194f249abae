"""The clockwork of fault rules: units learn what is normal for them."""

from cloud_api.db.queue import Worker, task
from cloud_api.faults import history


@task("faults:learn", cron="40 3 * * *")
async def learn(worker: Worker) -> None:
    """Every night: units that have been quiet for long enough learn, once."""
    async with worker.transaction() as conn:
        await history.learn_quiet_units(conn, worker.clock.now())
