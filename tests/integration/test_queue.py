import pytest

from cloud_api.db.pool import transaction
from cloud_api.db.queue import Worker, defer, registry, task
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.worker.run import drain

seen: list[int] = []


@task("tests:remember")
async def remember(worker, number):
    seen.append(number)


@pytest.fixture
def worker(pool, database):
    seen.clear()
    return Worker(pool=pool, clock=Clock(), database_url=database.app)


async def test_a_deferred_job_runs_with_its_arguments(worker):
    async with worker.transaction() as conn:
        await defer(conn, "tests:remember", number=7)
    await drain(worker)
    assert seen == [7]


async def test_a_job_of_a_transaction_that_rolled_back_never_existed(worker, pool):
    with pytest.raises(RuntimeError):
        async with transaction(pool, SYSTEM) as conn:
            await defer(conn, "tests:remember", number=8)
            raise RuntimeError
    await drain(worker)
    assert seen == []


async def test_an_equal_waiting_job_is_not_added_again_and_the_transaction_goes_on(worker):
    async with worker.transaction() as conn:
        await defer(conn, "tests:remember", queueing_lock="once", number=1)
        await defer(conn, "tests:remember", queueing_lock="once", number=2)
        await defer(conn, "tests:remember", number=3)
    await drain(worker)
    assert sorted(seen) == [1, 3]


def test_tasks_are_registered_under_their_own_names():
    assert "tests:remember" in registry.jobs.tasks
