"""A site whose alarms can be told to fail and recover, a notifier on a scripted clock, and real receivers."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cloud_api.alarms import rota, routing, service
from cloud_api.alarms.model import Report
from cloud_api.db.pool import transaction
from cloud_api.faults.model import Verdict
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.notify import outbox
from cloud_api.notify import service as notify

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)  # 09:00 in Shanghai.
FAULT, OK, NO_EVAL = Verdict.FAULT, Verdict.OK, Verdict.NO_EVAL


async def until(condition, *arguments, seconds=15):
    """Wait for what other tasks bring about; fails when they do not."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition(*arguments):
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def at(seconds):
    return T0 + timedelta(seconds=seconds)


@dataclass
class Receiver:
    """A real HTTP server that collects what it is sent; `status` is what it answers."""

    url: str = ""
    status: int = 200
    delay: float = 0.0
    got: list = field(default_factory=list)

    def items(self):
        return [(i["topic"].split(":")[1], i["transition"]) for body in self.got for i in body["items"]]

    async def has_got(self, count=1):
        return len(self.got) >= count

    def transitions(self):
        return [transition for _, transition in self.items()]

    def opened(self):
        return self.transitions().count("opened")


class Stage:
    """A site with alarms that can be told to fail and recover, and a notifier on a scripted clock."""

    def __init__(self, pool, organisation, site):
        self.pool, self.organisation, self.site = pool, organisation, site

    @asynccontextmanager
    async def transaction(self):
        async with transaction(self.pool, SYSTEM) as conn:
            yield conn

    async def channel(self, name, address, **more):
        async with self.transaction() as conn:
            return await notify.add_channel(
                conn, organisation_id=self.organisation, name=name, address=address, language="en", **more
            )

    async def route(self, channel, **more):
        async with self.transaction() as conn:
            return await routing.add_route(conn, organisation_id=self.organisation, channel_id=channel, **more)

    async def rota(self, channels, **more):
        async with self.transaction() as conn:
            return await rota.save(
                conn, organisation_id=self.organisation, name="duty", channels=channels, starts_on=T0.date(), **more
            )

    async def say(self, seconds, verdict, *, subject="device:1", rule="device_silent", severity=2, policy=None):
        instant = at(seconds)
        report = Report(
            organisation_id=self.organisation,
            site_id=self.site,
            subject=subject,
            rule=rule,
            severity=severity,
            verdict=verdict,
            at=instant,
            params={"name": subject},
            policy=policy,
        )
        async with self.transaction() as conn:
            return await service.report(conn, [report], instant)

    async def turn(self, seconds):
        """Let the notifier work as it would at this instant; it keeps nothing in memory between turns."""
        now = at(seconds)
        await self.route_now(seconds)
        async with outbox.Sender(self, fixed_clock(now)) as sender:
            await sender.turn()

    async def route_now(self, seconds):
        """Let timers end and routing fill the outbox; nothing is sent."""
        async with self.transaction() as conn:
            await service.run_timers(conn, at(seconds))
            await routing.dispatch(conn, at(seconds))
            await routing.repeat(conn, at(seconds))

    async def alarm_ids(self):
        async with self.transaction() as conn:
            return [row["id"] for row in await outbox.rows(conn, "SELECT id FROM alarm ORDER BY id", {})]

    async def waiting(self):
        async with self.transaction() as conn:
            return await outbox.rows(conn, "SELECT id FROM notification WHERE state = 'waiting'", {})

    async def turns(self, first, last, step=30):
        for seconds in range(first, last + 1, step):
            await self.turn(seconds)

    async def acknowledge(self, alarm_id, seconds):
        async with self.transaction() as conn:
            await service.acknowledge(conn, fixed_clock(at(seconds)), alarm_id, actor="lin")
