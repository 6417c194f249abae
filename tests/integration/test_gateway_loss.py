"""A gateway with 500 points dies: one opening, one recovery, no child, in whatever order its devices are polled."""

import json
import random
from datetime import UTC, datetime, timedelta

from cloud_api.alarms import routing, service
from cloud_api.alarms.evaluator import evaluate_communication
from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM
from cloud_api.notify import service as notify
from tests.support.alarm_stories import told

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)
SEEDS = 100
DEVICES, POINTS_EACH = 50, 10


def at(seconds):
    return T0 + timedelta(seconds=seconds)


async def one(conn, query, values=()):
    return (await (await conn.execute(query, values)).fetchone())[0]


async def plant(conn):
    organisation = await one(
        conn, "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
    )
    site = await one(
        conn,
        "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'S') RETURNING id",
        (organisation,),
    )
    gateway = await one(
        conn,
        "INSERT INTO gateway (organisation_id, site_id, name) VALUES (%s, %s, 'gw') RETURNING id",
        (organisation, site),
    )
    await conn.execute(
        "INSERT INTO device (organisation_id, gateway_id, name) SELECT %s, %s, 'd-' || n FROM generate_series(1, %s) n",
        (organisation, gateway, DEVICES),
    )
    await conn.execute(
        "INSERT INTO point (organisation_id, device_id, name) SELECT organisation_id, id, 'p' || n"
        " FROM device, generate_series(1, %s) n",
        (POINTS_EACH,),
    )
    channel = await notify.add_channel(conn, organisation_id=organisation, name="all", address="null://")
    await routing.add_route(conn, organisation_id=organisation, channel_id=channel, severity_max=4)
    devices = [row[0] for row in await (await conn.execute("SELECT id FROM device ORDER BY id")).fetchall()]
    return gateway, devices


class Story:
    """One way a gateway dies and comes back, by a seed: polling order, timeouts, phases, what flaps before and after."""

    def __init__(self, seed, conn, gateway, devices):
        self.random, self.conn, self.gateway, self.devices = random.Random(seed), conn, gateway, devices
        self.before = set(self.random.sample(devices, self.random.choice((0, 0, 1, 3))))

    async def tell(self):
        random_ = self.random
        shared = random_.random() < 0.5
        for device in self.devices:
            poll = random_.choice((5, 10, 30, 60))
            bus = f"rtu-{device % 4}" if shared else ""
            await self.conn.execute(
                "UPDATE device SET poll_s = %s, timeout_s = %s, bus = %s, state = %s, state_since = %s WHERE id = %s",
                (poll, 3 * poll, bus, "offline" if device in self.before else "online", T0, device),
            )
        await self.observed(range(-60, 0))
        for second in (0, 20, 40, 100, 240):
            await self.hear(second)
            await self.turn(second)
        dies = 240 + random_.uniform(0, 10)
        # Some devices are polled over a link that is dying already, and are called silent before the gateway is.
        alive = [d for d in self.devices if d not in self.before]
        dying = random_.sample(alive, random_.randint(0, len(alive)))
        for device in dying:
            await self.say(device, "offline", dies - random_.uniform(0, 5))
        await self.hear(dies)
        away = random_.choice((90, 150, 400, 1200))
        second = dies
        while second < dies + away:
            second += random_.choice((1, 7, 13, 29)) if second < dies + 60 else 97
            await self.turn(min(second, dies + away))
        back = dies + away
        waiting = at(dies) if random_.random() < 0.5 else None
        await self.hear(back, waiting)
        await self.turn(back)
        order = random_.sample(self.devices, len(self.devices))
        for number, device in enumerate(order):
            if device not in self.before:
                await self.say(device, "online", back + 5 * number / len(order))
        for after in (1, 6, 20, 45, 100):
            await self.hear(back + after, waiting if after < 20 else None)
            await self.observed([back + after])
            await self.turn(back + after)
        for after in (160, 300, 700):
            await self.hear(back + after)
            await self.observed([back + after])
            await self.turn(back + after)

    async def turn(self, second):
        now = at(second)
        await evaluate_communication(self.conn, now, T0 - timedelta(hours=1))
        await service.run_timers(self.conn, now)
        await routing.dispatch(self.conn, now)
        await self.conn.execute(
            "UPDATE notification SET state = 'sent' WHERE state = 'waiting' AND due_at <= %s", (now,)
        )

    async def hear(self, second, waiting=None):
        oldest = None if waiting is None else int(waiting.timestamp() * 1000)
        health = json.dumps({"outbox": {"oldest_stored_at_ms": oldest}})
        await self.conn.execute("UPDATE gateway SET last_seen_at = %s, health = %s", (at(second), health))

    async def say(self, device, state, second):
        await self.conn.execute(
            "UPDATE device SET state = %s, state_since = %s WHERE id = %s", (state, at(second), device)
        )

    async def observed(self, seconds):
        await self.conn.execute(
            "INSERT INTO latest_value (point_id, observed_at, value, quality, received_at)"
            " SELECT p.id, %s, 1, 0, %s FROM point p WHERE p.device_id <> ALL(%s)"
            " ON CONFLICT (point_id) DO UPDATE SET observed_at = EXCLUDED.observed_at",
            (at(max(seconds)), at(max(seconds)), sorted(self.before)),
        )

    async def still_open(self):
        rows = await self.conn.execute("SELECT subject FROM alarm WHERE active ORDER BY subject")
        return {row[0] for row in await rows.fetchall()}


async def test_one_opening_one_recovery_and_no_child_whatever_the_order_of_polling(pool):
    async with transaction(pool, SYSTEM) as conn:
        gateway, devices = await plant(conn)
        assert await one(conn, "SELECT count(*) FROM point") == 500
        for seed in range(SEEDS):
            async with conn.transaction(force_rollback=True):
                story = Story(seed, conn, gateway, devices)
                await story.tell()
                said = [(rule, transition) for rule, _, transition in await told(conn, story.before)]
                assert said == [("gateway_lost", "opened"), ("gateway_lost", "cleared")], f"seed {seed}: {said}"
                assert await story.still_open() == {f"device:{d}" for d in story.before}, f"seed {seed}"
