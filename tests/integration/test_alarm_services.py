"""The background services as the worker runs them, and what a crash at any point leaves."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from cloud_api.alarms import communication, service, tasks
from cloud_api.alarms.evaluator import evaluate_communication
from cloud_api.db.pool import transaction
from cloud_api.db.queue import Worker
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM

from .test_alarms import at, heard, kinds, plant, say


async def until(condition, seconds=10):
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_the_running_evaluator_raises_and_clears_by_itself_and_a_second_one_stands_by(pool, database):
    worker = Worker(pool=pool, clock=Clock(), database_url=database.app)
    async with transaction(pool, SYSTEM) as conn:
        *_, (device,) = await plant(conn)
        await heard(conn, datetime.now(UTC))
    running = [asyncio.create_task(tasks.evaluate(worker)) for _ in range(2)]

    async def open_rules():
        async with transaction(pool, SYSTEM) as conn:
            return [a.rule for a in await service.open_alarms(conn)]

    async with transaction(pool, SYSTEM) as conn:
        await heard(conn, datetime.now(UTC))
        await say(conn, device, "offline", datetime.now(UTC))

    async def is_raised():
        return await open_rules() == ["device_silent"]

    await until(is_raised)
    async with transaction(pool, SYSTEM) as conn:
        await say(conn, device, "online", datetime.now(UTC))

    async def is_cleared():
        return await open_rules() == []

    await until(is_cleared)
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    async with transaction(pool, SYSTEM) as conn:
        assert await kinds(conn) == ["opened", "cleared"]


class Crash(Exception):
    """The process dies before its transaction commits."""


async def replay(pool, seed, crash_share):
    """Play an hour of devices failing and returning, second by second in steps; some turns die before they commit."""
    rng, crashes = random.Random(seed), random.Random(seed + 1)
    async with transaction(pool, SYSTEM) as conn:
        *_, devices = await plant(conn, devices=[f"d{i}" for i in range(6)], bus="rtu-1")
    lost_until = 0
    for second in range(0, 3600, 10):
        async with transaction(pool, SYSTEM) as conn:
            if rng.random() < 0.01:
                lost_until = second + 120
            if second >= lost_until:
                await heard(conn, at(second))
                if rng.random() < 0.1:
                    await say(conn, rng.choice(devices), rng.choice(["offline", "online"]), at(second))
        done = False
        while not done:
            with suppress(Crash):
                async with transaction(pool, SYSTEM) as conn:
                    await evaluate_communication(conn, at(second), at(-3600))
                    await service.run_timers(conn, at(second))
                    if crashes.random() < crash_share:
                        raise Crash
                done = True
    async with transaction(pool, SYSTEM) as conn:
        rows = await (
            await conn.execute(
                "SELECT a.subject, a.rule, j.kind, j.at, j.occurrence FROM alarm_journal j JOIN alarm a ON a.id = j.alarm_id"
                " ORDER BY j.id"
            )
        ).fetchall()
        state = await (
            await conn.execute(
                "SELECT subject, rule, active, acknowledged, occurrence FROM alarm ORDER BY subject, rule"
            )
        ).fetchall()
    return rows, state


@pytest.fixture
async def second_pool(server, template):
    import psycopg
    from psycopg import sql

    from cloud_api.db.pool import make_pool

    name = "test_second_alarms"
    with psycopg.connect(server.addresses("postgres").superuser, autocommit=True) as conn:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE wattlease_template OWNER wattlease_owner")
        conn.execute(statement.format(sql.Identifier(name)))
    async with make_pool(server.addresses(name).app) as pool:
        yield pool
    with psycopg.connect(server.addresses("postgres").superuser, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def test_an_evaluator_that_dies_again_and_again_ends_with_the_same_journal(pool, second_pool):
    undisturbed, state = await replay(pool, 5, 0.0)
    disturbed, disturbed_state = await replay(second_pool, 5, 0.3)
    assert len(undisturbed) > 10
    assert disturbed == undisturbed
    assert disturbed_state == state


async def test_a_loss_is_known_within_its_timeout_and_one_period_whatever_the_phase(pool):
    """Gateways after three heartbeats, devices when their gateway says so."""
    period = tasks.TURN_SECONDS
    assert timedelta(seconds=period) <= communication.EVALUATION_PERIOD
    for seed in range(20):
        rng = random.Random(seed)
        async with transaction(pool, SYSTEM) as conn, conn.transaction(force_rollback=True):
            organisation, *_, (device,) = await plant(conn, poll_s=rng.choice((5, 60, 300)))
            heard_at, said_at = rng.uniform(0, 5), rng.uniform(0, 5)
            await heard(conn, at(heard_at))
            await say(conn, device, "offline", at(said_at))
            second = 0.0
            while second < heard_at + 40:
                if second >= said_at:  # The gateway's word has arrived.
                    await evaluate_communication(conn, at(second), at(-3600))
                second += period * rng.uniform(0.8, 1)
            rows = await conn.execute(
                "SELECT a.rule, j.recorded_at FROM alarm_journal j JOIN alarm a ON a.id = j.alarm_id WHERE j.kind = 'opened'"
            )
            known = dict(await rows.fetchall())
        limit = communication.EVALUATION_PERIOD
        assert known["gateway_lost"] - at(heard_at) <= communication.GATEWAY_TIMEOUT + limit, f"seed {seed}"
        assert known["device_silent"] - at(said_at) <= limit, f"seed {seed}"
        assert organisation


async def test_data_that_stop_are_known_within_three_polls_or_five_minutes_and_one_period(pool):
    for poll in (5, 300):
        async with transaction(pool, SYSTEM) as conn, conn.transaction(force_rollback=True):
            organisation, *_, (device,) = await plant(conn, poll_s=poll)
            await conn.execute(
                "WITH p AS (INSERT INTO point (organisation_id, device_id, name) VALUES (%s, %s, 'v') RETURNING id)"
                " INSERT INTO latest_value (point_id, observed_at, value, quality, received_at)"
                " SELECT id, %s, 1, 0, %s FROM p",
                (organisation, device, at(0), at(0)),
            )
            timeout = max(3 * poll, 300)
            for second in (timeout - 1, timeout - 0.2, timeout + 0.3):
                await heard(conn, at(second))
                await evaluate_communication(conn, at(second), at(-3600))
            [alarm] = await service.open_alarms(conn)
            assert (alarm.rule, alarm.opened_at) == ("device_stale", at(timeout))
