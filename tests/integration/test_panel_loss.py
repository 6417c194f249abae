"""A panel without power: one opening, one recovery, no meter behind it, in whatever order the meters are polled."""

import random
from datetime import timedelta

from cloud_api.alarms import routing, service
from cloud_api.alarms.evaluator import evaluate_communication
from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM
from cloud_api.notify import service as notify
from tests.support.alarm_stories import told

from .test_alarms import T0, at, one

SEEDS = 25
# Two floors below the main feeder: the meter of each floor and five meters behind it, and a pump that has no meter.
FLOORS, METERS = 2, 5


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

    async def device(name):
        return await one(
            conn,
            "INSERT INTO device (organisation_id, gateway_id, name) VALUES (%s, %s, %s) RETURNING id",
            (organisation, gateway, name),
        )

    async def meter(code, parent, use):
        point = await one(
            conn,
            "INSERT INTO point (organisation_id, device_id, name) VALUES (%s, %s, 'energy') RETURNING id",
            (organisation, owner := await device(code)),
        )
        number = await one(
            conn,
            "INSERT INTO meter (organisation_id, site_id, parent_meter_id, code, name_zh, name_en, use)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (organisation, site, parent, code, code, code, use),
        )
        await conn.execute(
            "INSERT INTO register (organisation_id, meter_id, quantity, unit, point_id)"
            " VALUES (%s, %s, 'active_energy_import', 'kWh', %s)",
            (organisation, number, point),
        )
        return number, owner

    main, main_device = await meter("main", None, "main")
    floors = []
    for floor in range(FLOORS):
        number, own = await meter(f"floor-{floor}", main, "floor")
        floors.append([own, *[(await meter(f"t-{floor}-{n}", number, "tenant"))[1] for n in range(METERS)]])
    pump = await device("pump")
    channel = await notify.add_channel(conn, organisation_id=organisation, name="all", address="null://")
    await routing.add_route(conn, organisation_id=organisation, channel_id=channel, severity_max=4)
    return main_device, floors, pump


class Story:
    """One way a panel loses its power and gets it back, by a seed: buses, polling, timeouts, what was broken before."""

    def __init__(self, seed, conn, main, floors, pump):
        self.random, self.conn, self.main, self.floors, self.pump = random.Random(seed), conn, main, floors, pump
        everything = [main, *floors[0], *floors[1]]
        # A floor's panel, or the main feeder.
        self.dead = floors[0] if seed % 2 else everything
        self.before = set(self.random.sample(self.dead[1:], self.random.choice((0, 0, 1))))
        self.detected = {}

    async def tell(self):
        random_, devices = self.random, [self.main, *self.floors[0], *self.floors[1], self.pump]
        wiring = random_.choice(("none", "one bus", "a bus per floor", "mixed"))
        for device in devices:
            poll = random_.choice((5, 10, 30))
            self.detected[device] = 3 * poll + random_.uniform(0, poll)
            bus = {"none": "", "one bus": "rtu-1", "a bus per floor": f"rtu-{device in self.floors[0]}"}.get(
                wiring, f"rtu-{device % 3}"
            )
            state = "offline" if device in self.before else "online"
            await self.conn.execute(
                "UPDATE device SET poll_s = %s, timeout_s = %s, bus = %s, state = %s, state_since = %s WHERE id = %s",
                (poll, 3 * poll, bus, state, T0, device),
            )
        await self.turns(0, 240, step=20)
        silent = {d: 240 + self.detected[d] for d in self.dead if d not in self.before}
        heard = {d: 900 + random_.uniform(0, self.detected[d] / 4) for d in silent}
        await self.follow(silent, "offline", 240, 900)
        await self.follow(heard, "online", 900, 1800)

    async def follow(self, said, state, start, end):
        step, second, calm_from = self.random.choice((3, 7, 11)), start, max(said.values()) + 90
        while second < end:
            second += step if second < calm_from else 90
            for device in [d for d, when in said.items() if when <= second]:
                when = said.pop(device)
                await self.conn.execute(
                    "UPDATE device SET state = %s, state_since = %s WHERE id = %s", (state, at(when), device)
                )
            await self.turn(second)

    async def turns(self, start, end, step):
        for second in range(start, end, step):
            await self.turn(second)

    async def turn(self, second):
        await self.conn.execute("UPDATE gateway SET last_seen_at = %s", (at(second),))
        await evaluate_communication(self.conn, at(second), T0 - timedelta(hours=1))
        await service.run_timers(self.conn, at(second))
        await routing.dispatch(self.conn, at(second))
        await self.conn.execute(
            "UPDATE notification SET state = 'sent' WHERE state = 'waiting' AND due_at <= %s", (at(second),)
        )

    async def still_open(self):
        rows = await self.conn.execute("SELECT subject FROM alarm WHERE active AND suppression = 'none'")
        return {row[0] for row in await rows.fetchall()}


async def test_a_dead_panel_is_one_opening_and_one_recovery_whatever_the_wiring_and_the_order_of_polling(pool):
    async with transaction(pool, SYSTEM) as conn:
        main, floors, pump = await plant(conn)
        kinds = set()
        for seed in range(SEEDS):
            async with conn.transaction(force_rollback=True):
                story = Story(seed, conn, main, floors, pump)
                await story.tell()
                said = [(subject, transition) for _, subject, transition in await told(conn, story.before)]
                assert [transition for _, transition in said] == ["opened", "cleared"], f"seed {seed}: {said}"
                assert len({subject for subject, _ in said}) == 1, f"seed {seed}: {said}"
                assert said[0][0].split(":")[0] in {"panel", "bus"}, f"seed {seed}: {said}"
                kinds.add(said[0][0].split(":")[0])
                assert await story.still_open() == {f"device:{d}" for d in story.before}, f"seed {seed}"
        assert "panel" in kinds
