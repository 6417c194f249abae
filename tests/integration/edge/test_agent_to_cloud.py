"""Outbox and uplink against the real cloud: what was read is what is stored, once."""

import asyncio
import contextlib
import time
from dataclasses import replace

import pytest

from edge_agent.clock import ConfirmedClock, SystemClock
from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox import Outbox
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.https import Destination, HttpsUplink
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint
from tests.support.real_cloud import RealCloud

POINTS = (
    CataloguePoint(name="active_energy_import", kind="sensor", quantity="active_energy_import", unit="kWh", scale=3),
    CataloguePoint(name="active_power", kind="sensor", quantity="active_power", unit="W"),
)
CATALOGUE = Catalogue(
    devices=tuple(
        CatalogueDevice(
            name=name, label="", profile="p", profile_revision="r", bus="b", address="a", poll_s=1, timeout_s=10, points=POINTS
        )
        for name in ("meter-1", "meter-2")
    )
)  # fmt: skip
NOW_MS = int(time.time() * 1000) // 1000 * 1000


def frame(device: str, second: int) -> Frame:
    return Frame(
        device=device,
        observed_at_ms=NOW_MS - 3_600_000 + second * 1000,
        points=("active_energy_import", "active_power"),
        values=(10**9 + second, second / 7),
        qualities=(Quality.GOOD, Quality.UNCERTAIN if second % 10 == 0 else Quality.GOOD),
        is_billing=second % 900 == 0,
    )


@pytest.fixture
async def cloud(database, pool):
    cloud = RealCloud(database.app, pool)
    await cloud.start()
    yield cloud
    await cloud.stop()


@contextlib.asynccontextmanager
async def running(outbox, cloud, credential):
    uplink = HttpsUplink(
        Destination(url=cloud.url, credential=credential),
        outbox,
        catalogue=lambda: CATALOGUE,
        health=lambda: {"devices": [{"name": "meter-1", "state": "online", "since_ms": 1, "last_error": None}]},
        backoff=Backoff(first_s=0.05, max_s=0.2),
    )
    tasks = [asyncio.create_task(uplink.run()), asyncio.create_task(outbox.run())]
    try:
        yield uplink
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def drain(outbox):
    deadline = time.monotonic() + 30
    while sum(outbox.waiting().values()) or outbox.report()["buffered"]:
        assert time.monotonic() < deadline, outbox.report()
        await asyncio.sleep(0.02)


async def test_what_was_read_is_what_is_stored_even_when_the_cloud_restarts(cloud, tmp_path):
    credential = await cloud.add_gateway()
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.use_scales(CATALOGUE.scales())
    expected = []
    async with running(outbox, cloud, credential) as uplink:
        for second in range(600):
            for device in ("meter-1", "meter-2"):
                read = frame(device, second)
                outbox.append([read])
                at, (energy, power), (_, quality) = read.observed_at_ms, read.values, read.qualities
                expected += [
                    (device, "active_energy_import", at, energy / 1000, energy, 3, 0),
                    (device, "active_power", at, power, None, None, int(quality)),
                ]
            if second % 20 == 0:
                await asyncio.sleep(0.02)
            if second == 300:
                await cloud.stop()
                await asyncio.sleep(0.2)
                await cloud.start()
        outbox.append(
            [], [Event(kind="door.access", device="meter-1", at_ms=NOW_MS, received_at_ms=NOW_MS, data={"door": "1"})]
        )
        await drain(outbox)
        assert uplink.status.state == "connected"
        assert abs(uplink.status.clock_offset_ms) < 1000
    outbox.close()
    stored = [tuple(float(v) if i == 3 else v for i, v in enumerate(row)) for row in await cloud.stored()]
    assert stored == sorted(expected, key=lambda row: (row[2], row[0], row[1]))
    assert ("door.access", {"door": "1"}) in await cloud.events()
    assert outbox.stats.rejected == 0


async def test_a_batch_whose_receipt_was_lost_is_not_stored_again(cloud, tmp_path, monkeypatch):
    credential = await cloud.add_gateway()
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.use_scales(CATALOGUE.scales())
    for second in range(50):
        outbox.append([frame("meter-1", second)])
        outbox.flush()
    real, lost = Outbox.settle, []

    def lose(self, batch, **verdicts):
        if len(lost) < 3:
            lost.append(batch)
            self.release(batch)
            return
        real(self, batch, **verdicts)

    monkeypatch.setattr(Outbox, "settle", lose)
    async with running(outbox, cloud, credential):
        await drain(outbox)
    outbox.close()
    assert len(lost) == 3
    assert len(await cloud.stored()) == 100


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
async def test_a_machine_clock_that_jumps_by_an_hour_costs_no_reading(cloud, tmp_path, jump_ms):
    class Machine(SystemClock):
        jumped_ms = 0

        def now_ms(self):
            return super().now_ms() + self.jumped_ms

    machine = Machine()
    clock = ConfirmedClock(machine)
    outbox = Outbox(tmp_path / "outbox.db", now_ms=clock.now_ms)
    outbox.use_scales(CATALOGUE.scales())
    uplink = HttpsUplink(
        Destination(url=cloud.url, credential=await cloud.add_gateway()),
        outbox,
        catalogue=lambda: CATALOGUE,
        health=dict,
        now_ms=clock.now_ms,
        set_clock=clock.confirm,
    )
    tasks = [asyncio.create_task(uplink.run()), asyncio.create_task(outbox.run())]
    async with asyncio.timeout(20):
        while uplink.status.clock_offset_ms is None:  # noqa: ASYNC110  # The status is for reading, not for waiting.
            await asyncio.sleep(0.02)
    stamps = []
    for second in range(200):
        if second == 50:
            machine.jumped_ms = jump_ms
        if second == 150:
            machine.jumped_ms = 0
        stamps.append(clock.now_ms())
        outbox.append([replace(frame("meter-1", second), observed_at_ms=stamps[-1])])
        await asyncio.sleep(0.005)
    await drain(outbox)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    outbox.close()
    assert outbox.stats.rejected == 0
    assert stamps == sorted(stamps)
    assert [row[2] for row in await cloud.stored() if row[1] == "active_power"] == stamps
