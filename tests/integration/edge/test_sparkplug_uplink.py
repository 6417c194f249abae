"""The edge node against mosquitto and a host application written by others (pysparkplug)."""

import asyncio
import contextlib
import itertools
import json
import os
import time
from pathlib import Path

import pytest

from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox import Outbox
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.mqtt import SparkplugDestination, SparkplugUplink
from edge_agent.uplink.wire import Catalogue, CatalogueDevice, CataloguePoint
from tests.support.broker import MOSQUITTO, Broker
from tests.support.fault_proxy import FaultProxy

PEER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wattlease/sparkplug-peer/bin/python"
SCRIPT = Path(__file__).parents[2] / "support/sparkplug_peer.py"
pytestmark = pytest.mark.skipif(
    not (PEER.exists() and Path(MOSQUITTO).exists()) and not os.environ.get("CI"),
    reason="needs mosquitto and pysparkplug (tests/services/install.sh)",
)

CATALOGUE = Catalogue(
    devices=(
        CatalogueDevice(
            name="meter-1", label="", profile="p", profile_revision="r", bus="b", address="a", poll_s=1, timeout_s=10,
            points=(
                CataloguePoint(name="energy", kind="sensor", quantity="e", unit="kWh", scale=3),
                CataloguePoint(name="power", kind="sensor", quantity="p", unit="W"),
            ),
        ),
        CatalogueDevice(
            name="door-1", label="", profile="p", profile_revision="r", bus="b", address="a", poll_s=None, timeout_s=None
        ),
    )
)  # fmt: skip


@pytest.fixture
def broker(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder).start()
    yield broker
    broker.stop()


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    box.use_scales(CATALOGUE.scales())
    yield box
    box.close()


class Host:
    def __init__(self, process):
        self._process = process
        self.messages: list[dict] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self):
        while line := await self._process.stdout.readline():
            self.messages.append(json.loads(line))

    def tell(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n".encode())

    def kinds(self) -> list[str]:
        return [m["kind"] for m in self.messages if m["kind"] != "ready"]

    def of(self, kind: str) -> list[dict]:
        return [m for m in self.messages if m["kind"] == kind]


@pytest.fixture
async def host(broker):
    process = await asyncio.create_subprocess_exec(
        PEER, SCRIPT, "host", str(broker.port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    host = Host(process)
    await until(lambda: host.of("ready"))
    yield host
    process.kill()
    await process.wait()
    await host._task
    process.stdin.close()


@contextlib.asynccontextmanager
async def running(outbox, port, **more):
    uplink = SparkplugUplink(
        SparkplugDestination(host="127.0.0.1", port=port, group="park", node="gw-1", **more),
        outbox,
        catalogue=lambda: CATALOGUE,
        backoff=Backoff(first_s=0.05, max_s=0.2),
    )
    tasks = [asyncio.create_task(uplink.run()), asyncio.create_task(outbox.run())]
    try:
        yield uplink
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def until(condition, *, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0.02)


def now_ms():
    return time.time_ns() // 1_000_000


def frame(energy, power, at=None, quality=Quality.GOOD):
    return Frame(
        device="meter-1", observed_at_ms=at or now_ms(), points=("energy", "power"), values=(energy, power),
        qualities=(Quality.GOOD, quality),
    )  # fmt: skip


def assert_sequence(messages):
    """One counter for births, data and device deaths of a session: 0, 1, 2 … 255, 0."""
    numbers = [m["seq"] for m in messages if m["kind"] != "NDEATH"]
    for before, after in itertools.pairwise(numbers):
        assert after in {(before + 1) % 256, 0}


async def test_births_come_first_and_data_follow_by_alias(broker, host, outbox):
    async with running(outbox, broker.port):
        await until(lambda: host.kinds() == ["NBIRTH", "DBIRTH", "DBIRTH"])
        outbox.append([frame(12_345_678, 5.5)])
        await until(lambda: host.of("DDATA"))
    nbirth, dbirth, _ = host.messages[1:4]
    assert [nbirth["seq"], dbirth["seq"]] == [0, 1]
    metrics = {m["name"]: m for m in nbirth["metrics"]}
    assert metrics["bdSeq"]["value"] == 0
    assert (metrics["Node Control/Rebirth"]["value"], metrics["Node Control/Rebirth"]["alias"]) == (False, None)
    assert {m["name"]: m["value"] for m in dbirth["metrics"]} == {"event": None, "energy": None, "power": None}
    [data] = host.of("DDATA")
    assert [(m["name"], m["value"]) for m in data["metrics"]] == [("energy", 12345.678), ("power", 5.5)]
    assert not any(m["is_historical"] for m in data["metrics"])
    aliases = [m["alias"] for b in host.messages[1:4] for m in b["metrics"] if m["alias"] is not None]
    assert len(aliases) == len(set(aliases))
    assert all((m["qos"], m["retain"]) == (0, 0) for m in host.messages[1:] if m["kind"] != "NDEATH")
    assert not any("error" in m for m in host.messages)
    assert_sequence(host.messages[1:])


async def test_a_planned_stop_says_goodbye_and_the_next_session_has_the_next_number(broker, host, outbox):
    for expected in (0, 1):
        async with running(outbox, broker.port):
            await until(lambda expected=expected: len(host.of("NBIRTH")) == expected + 1)
        await until(lambda expected=expected: len(host.of("NDEATH")) == expected + 1)
        assert host.of("NDEATH")[-1]["bd_seq"] == expected
        assert host.of("NDEATH")[-1]["seq"] is None
    bd_seqs = [m["value"] for b in host.of("NBIRTH") for m in b["metrics"] if m["name"] == "bdSeq"]
    assert bd_seqs == [0, 1]


async def test_a_rebirth_repeats_the_newest_values_and_keeps_the_session_number(broker, host, outbox):
    async with running(outbox, broker.port):
        outbox.append([frame(1000, 7.5)])
        await until(lambda: host.of("DDATA"))
        host.tell("rebirth park gw-1")
        await until(lambda: len(host.of("NBIRTH")) == 2)
        await until(lambda: len(host.of("DBIRTH")) == 4)
    second = host.of("DBIRTH")[2]
    assert {m["name"]: m["value"] for m in second["metrics"]}["power"] == 7.5
    assert [m["value"] for b in host.of("NBIRTH") for m in b["metrics"] if m["name"] == "bdSeq"] == [0, 0]
    assert host.of("NBIRTH")[1]["seq"] == 0


async def test_a_broken_connection_leaves_a_death_and_what_waited_comes_afterwards(broker, host, outbox):
    async with FaultProxy(broker.port) as proxy, running(outbox, proxy.port):
        outbox.append([frame(1, 1.0)])
        await until(lambda: host.of("DDATA"))
        proxy.is_black_hole = True
        proxy.cut_all()
        await until(lambda: host.of("NDEATH"))
        old = now_ms() - 60_000
        for index in range(5):
            outbox.append([frame(2 + index, 2.0 + index, at=old + index)])
            await asyncio.to_thread(outbox.flush)
        await asyncio.sleep(0.2)
        proxy.is_black_hole = False
        proxy.cut_all()
        await until(lambda: sum(outbox.waiting().values()) == 0)
        # The broker's receipt may come before the broker has handed the message on.
        await until(lambda: {(old + index, 2.0 + index) for index in range(5)} <= stamped_powers(host))
    assert host.of("NDEATH")[0]["bd_seq"] == 0
    births = [m["value"] for b in host.of("NBIRTH") for m in b["metrics"] if m["name"] == "bdSeq"]
    assert births[0] == 0
    assert births[-1] > 0


async def test_data_of_an_earlier_run_are_marked_historical(broker, host, outbox):
    outbox.append([frame(1, 1.0, at=now_ms() - 3_600_000)])
    outbox.close()
    reopened = Outbox(outbox._path)
    reopened.use_scales(CATALOGUE.scales())
    async with running(reopened, broker.port):
        await until(lambda: host.of("DDATA"))
    reopened.close()
    assert all(m["is_historical"] for m in host.of("DDATA")[0]["metrics"])


async def test_a_lost_device_dies_and_its_return_is_a_birth(broker, host, outbox):
    async with running(outbox, broker.port):
        await until(lambda: len(host.of("DBIRTH")) == 2)
        await asyncio.sleep(0.3)
        for state in ("offline", "online"):
            at = now_ms()
            outbox.append(
                [], [Event(kind="device.state", device="meter-1", at_ms=at, received_at_ms=at, data={"state": state})]
            )
            await asyncio.sleep(0.6)
        await until(lambda: host.of("DDEATH") and len(host.of("DBIRTH")) >= 3)
    assert host.of("DDEATH")[0]["device"] == "meter-1"
    assert_sequence(host.messages[1:])


async def test_values_that_are_none_travel_as_null(broker, host, outbox):
    async with running(outbox, broker.port):
        outbox.append([frame(5, None, quality=Quality.INVALID)])
        await until(lambda: host.of("DDATA"))
    assert {m["name"]: m["value"] for m in host.of("DDATA")[0]["metrics"]} == {"energy": 0.005, "power": None}


async def test_nothing_is_published_before_the_primary_host_is_online(broker, host, outbox):
    outbox.append([frame(1, 1.0)])
    async with running(outbox, broker.port, primary_host="scada"):
        await asyncio.sleep(0.6)
        assert host.kinds() == []
        host.tell("state scada true 1000")
        await until(lambda: host.of("DDATA"))
        host.tell("state scada false 500")  # The late will of an earlier session.
        outbox.append([frame(2, 2.0)])
        await until(lambda: len(host.of("DDATA")) == 2)
        host.tell("state scada false 2000")
        await until(lambda: host.of("NDEATH"))
        outbox.append([frame(3, 3.0)])
        await asyncio.sleep(0.5)
        assert len(host.of("DDATA")) == 2
        host.tell("state scada true 3000")
        # It may have missed the first two: nobody knows when it died.
        await until(lambda: powers(host)[:2] == [1.0, 2.0] and sorted(powers(host)[2:]) == [1.0, 2.0, 3.0])


def stamped_powers(host):
    return {(m["at_ms"], m["value"]) for d in host.of("DDATA") for m in d["metrics"] if m["name"] == "power"}


def powers(host):
    return [m["value"] for d in host.of("DDATA") for m in d["metrics"] if m["name"] == "power"]


async def test_the_sequence_wraps_after_255(broker, host, outbox):
    async with running(outbox, broker.port):
        await until(lambda: host.of("NBIRTH"))
        for index in range(300):
            outbox.append([frame(index, float(index))])
            await asyncio.to_thread(outbox.flush)
            if index % 20 == 0:
                await asyncio.sleep(0.02)
        await until(lambda: sorted(powers(host)) == [float(index) for index in range(300)])
    assert_sequence(host.messages[1:])


async def test_a_batch_is_settled_only_when_the_primary_host_has_outlived_it(broker, host, outbox):
    host.tell("state scada true 1000")
    async with running(outbox, broker.port, primary_host="scada", host_silence_s=3.0):
        outbox.append([frame(1, 1.0)])
        await until(lambda: powers(host) == [1.0])
        await asyncio.sleep(0.5)
        assert sum(outbox.waiting().values()) > 0
        await until(lambda: sum(outbox.waiting().values()) == 0)


async def test_what_a_dying_primary_host_may_have_missed_is_sent_again_as_history(broker, host, outbox):
    host.tell("state scada true 1000")
    async with running(outbox, broker.port, primary_host="scada", host_silence_s=3.0):
        outbox.append([frame(1, 1.0)])
        await until(lambda: powers(host) == [1.0])
        host.tell("state scada false 2000")  # Its will: it was dead already when the data came.
        await until(lambda: host.of("NDEATH"))
        assert sum(outbox.waiting().values()) > 0
        host.tell("state scada true 3000")
        await until(lambda: powers(host) == [1.0, 1.0])
        await until(lambda: sum(outbox.waiting().values()) == 0)
