"""kill -9 at random instants, with a cloud and a line that misbehave: what was stored is what was served, once."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.fault_injection.agent_process import event, served
from tests.support.broker import MOSQUITTO, Broker
from tests.support.contract_cloud import ContractCloud
from tests.support.fault_proxy import FaultProxy, sometimes

ROUNDS = 220
FAULTS = ("cut_before", "cut_after", "half_receipt", "stale_receipt", "foreign_receipt", "garbage", "refuse_half")
ROOT = Path(__file__).parents[2]


class Victim:
    """Starts agents one after the other, and ends them without a warning."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.durable = 0

    async def _until(self, word: bytes, *, seconds: float = 20) -> int:
        while True:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
            assert line, "the agent's parent died"
            name, _, number = line.partition(b" ")
            if name == b"durable":
                self.durable = max(self.durable, int(number))
            if name == word:
                return int(number)

    async def round(self, outbox: Path, url: str, seed: int, source: random.Random, mode: str = "") -> None:
        """Kill an agent that has just started, or one that has been at work for a while."""
        self._process.stdin.write(f"{outbox} {url} {seed} {mode}\n".encode())
        pid = await self._until(b"started")
        if source.random() < 0.7:
            await self._until(b"durable")
        await asyncio.sleep(source.random() * (0.5 if mode else 0.1))
        os.kill(pid, signal.SIGKILL)
        await self._until(b"ended")

    async def start(self, outbox: Path, url: str, mode: str) -> int:
        """Start an agent that lives until `end`."""
        self._process.stdin.write(f"{outbox} {url} 0 {mode}\n".encode())
        return await self._until(b"started")

    async def end(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        await self._until(b"ended")

    async def drain(self, outbox: Path, url: str) -> None:
        self._process.stdin.write(f"{outbox} {url} 0 drain\n".encode())
        await self._until(b"ended", seconds=60)


@contextlib.asynccontextmanager
async def victim_process(inside: list[str] | None = None):
    """Start the parent of agents; `inside` is a shell command that ends with what is to be run."""
    command = [sys.executable, str(ROOT / "tests/fault_injection/agent_process.py")]
    if inside is not None:
        command = [*inside[:-1], inside[-1] + " ".join(command)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        yield Victim(process)
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def victim():
    async with victim_process() as victim:
        yield victim


def compare(cloud: ContractCloud, durable: int) -> int:
    """Assert that the cloud has every number of the source once, with its values; return how many there are."""
    numbers: dict[str, list[int]] = {"source/number": [], "source/double": [], "source/energy": []}
    events: list[int] = []
    for row in cloud.stored.values():
        if "kind" in row:
            if row["kind"] == "door.access":
                events.append(row["data"]["number"])
            continue
        number = row["at_ms"] - served(0).observed_at_ms
        frame = served(number)
        expected = dict(zip((f"source/{name}" for name in frame.points), frame.values, strict=True))
        assert row["value"] == expected[row["point"]]
        assert row["scale"] == (3 if row["point"] == "source/energy" else None)
        numbers[row["point"]].append(number)
    highest = max(numbers["source/number"])
    for point, found in numbers.items():
        assert sorted(found) == list(range(highest + 1)), f"{point}: something is missing or there twice"
    assert sorted(events) == [n for n in range(highest + 1) if n % 7 == 0]
    assert event(0).data == {"number": 0}
    assert highest + 1 >= durable, "what was acknowledged as durable is missing"
    assert cloud.conflicts == []
    return highest + 1


async def test_nothing_is_lost_and_nothing_stored_twice_when_the_agent_is_killed(victim, tmp_path):
    source = random.Random(20260302)
    cloud = ContractCloud()
    await cloud.start()
    cloud.fault_of = lambda: source.choice(FAULTS) if source.random() < 0.25 else None
    outbox = tmp_path / "outbox.db"
    try:
        async with FaultProxy(cloud.port) as proxy:
            proxy.cut_after = sometimes(0.2, 3000, source)
            url = f"http://127.0.0.1:{proxy.port}"
            for number in range(ROUNDS):
                await victim.round(outbox, url, number, source)
            cloud.fault_of = lambda: None
            proxy.cut_after = lambda: None
            await victim.drain(outbox, url)
        count = compare(cloud, victim.durable)
        print(f"{ROUNDS} kills, {count} readings, {cloud.duplicates} repeats recognised, {proxy.cuts} cuts")
        assert count > ROUNDS
        assert cloud.duplicates > 0
    finally:
        await cloud.stop()


async def test_killed_while_the_cloud_is_away_for_long(victim, tmp_path):
    source = random.Random(7)
    cloud = ContractCloud()
    url = await cloud.start()
    port = cloud.port
    outbox = tmp_path / "outbox.db"
    try:
        for number in range(30):
            if number == 10:
                await cloud.stop()
            if number == 20:
                await cloud.start(port)
            await victim.round(outbox, url, number, source)
        await victim.drain(outbox, url)
        assert compare(cloud, victim.durable) > 30
    finally:
        await cloud.stop()


@pytest.mark.skipif(not Path(MOSQUITTO).exists() and not os.environ.get("CI"), reason="needs mosquitto")
async def test_every_badge_behind_a_broker_arrives_once_however_often_the_agent_is_killed(victim, tmp_path):
    source = random.Random(11)
    cloud = ContractCloud()
    url = await cloud.start()
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder).start()
    outbox = tmp_path / "outbox.db"
    shown = 0
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="reader")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish("doors/lobby/online", "true", qos=1, retain=True)
    # The session must exist before the first badge: a broker keeps nothing for a client that it has never seen.
    pid = await victim.start(outbox, url, f"mqtt {broker.port}")
    await until(lambda: any(row.get("kind") == "device.state" for row in cloud.stored.values()))
    await victim.end(pid)
    try:
        for number in range(40):
            for _ in range(source.randint(1, 6)):
                shown += 1
                badge = {"seq": shown, "door": "lobby", "direction": "in", "result": "granted", "card": str(shown)}
                client.publish("doors/lobby/access", json.dumps(badge), qos=1).wait_for_publish(5)
            await victim.round(outbox, url, number, source, f"mqtt {broker.port}")
        pid = await victim.start(outbox, url, f"mqtt {broker.port}")
        await until(lambda: len(badges(cloud)) >= shown)
        await asyncio.sleep(0.5)  # A repeat would come now.
        await victim.end(pid)
    finally:
        client.disconnect()
        client.loop_stop()
        broker.stop()
        await cloud.stop()
    assert sorted(badges(cloud)) == list(range(1, shown + 1))


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # Another process decides.
            await asyncio.sleep(0.05)


def badges(cloud: ContractCloud) -> list[int]:
    return [row["data"]["sequence"] for row in cloud.stored.values() if row.get("kind") == "door.access"]
