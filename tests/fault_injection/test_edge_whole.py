"""The whole agent, as a process, between a real bus and a real receiving end, while everything goes wrong at once.

Each answer of a meter carries a number of its own. What the cloud holds in the end must be what the meters served: each
number once, none that was never served, and none missing but the last ones before a kill, which no disk had yet.

FAULT_ROUNDS=200 runs more kills than the few of every day.
"""

import asyncio
import contextlib
import os
import random
import shutil
import struct
import time
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

import pytest

from tests.fault_injection.test_edge_disk_and_clock import IS_ROOT
from tests.fault_injection.test_edge_killed import FAULTS, Victim, victim_process
from tests.integration.edge_bus.servers import Request, Server, serving
from tests.support.contract_cloud import ContractCloud
from tests.support.fault_proxy import FaultProxy, sometimes

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "30"))
UNITS = (1, 2, 3)
UNSAVED_S = 2.0  # A commit comes after 0.4 s at the latest; the rest is what a machine with other work takes for it.

PROFILE = """\
profile: counting_meter
kind: modbus
category: meter
label: {en: Counting meter, zh: 计数电表}
products: [{brand: None, model: Test}]
source: Made up for the tests of faults.
confidence: documented
notes: Its energy is the number of its answer.
points:
  - {name: active_energy_import, address: 0, type: uint32, device_unit: kWh}
"""


@dataclass(frozen=True)
class Served:
    number: int
    at: float


class Meters:
    """Answers every read with the next number; sometimes in pieces, sometimes half an answer and a closed connection."""

    def __init__(self, source: random.Random) -> None:
        self.said: dict[int, list[Served]] = {unit: [] for unit in UNITS}
        self.halves = 0
        self.breaks = 0.0  # Share of answers that break off.
        self._numbers = dict.fromkeys(UNITS, 0)
        self._source = source

    async def answer(self, request: Request, server: Server) -> bytes | None:
        self._numbers[request.unit] += 1
        number = self._numbers[request.unit]
        frame = request.mbap(struct.pack(">BBI", request.function, 4, number))
        if self._source.random() < self.breaks:
            self.halves += 1
            writer = server.writers[-1]
            writer.write(frame[: self._source.randint(1, len(frame) - 1)])
            asyncio.get_running_loop().call_later(0.01, writer.transport.abort)
            return None
        self.said[request.unit].append(Served(number, time.monotonic()))
        if self._source.random() < 0.2:
            cut = self._source.randint(1, len(frame) - 1)
            server.later(0.005, frame[cut:])
            return frame[:cut]
        return frame


def site_file(folder: Path, bus_port: int, cloud_url: str) -> Path:
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "counting_meter.yaml").write_text(PROFILE, encoding="utf-8")
    (folder / "secret").write_text("secret", encoding="utf-8")
    devices = "".join(
        f"      - {{name: m-{unit}, profile: counting_meter, unit: {unit}, poll_s: 0.03, response_timeout_s: 10}}\n"
        for unit in UNITS
    )
    path = folder / "site.yaml"
    path.write_text(
        f"gateway: gw-1\nprofiles: profiles\ncloud: {{url: '{cloud_url}', credential_file: secret}}\nbuses:\n"
        f"  - name: b\n    transport: tcp\n    host: 127.0.0.1\n    port: {bus_port}\n    devices:\n{devices}",
        encoding="utf-8",
    )
    return path


def compare(meters: Meters, cloud: ContractCloud, kills: list[float]) -> int:
    """Assert that what is stored is what was served; return how many values that were."""
    stored: dict[int, list[int]] = {unit: [] for unit in UNITS}
    for row in cloud.stored.values():
        if row.get("point", "").endswith("/active_energy_import") and row["value"] is not None:
            stored[int(row["point"][2])].append(row["value"])
    assert cloud.conflicts == []
    for unit, found in stored.items():
        said = {served.number: served.at for served in meters.said[unit]}
        assert len(set(found)) == len(found), f"unit {unit}: something is stored twice"
        assert set(found) <= said.keys(), f"unit {unit}: something was never said, or never whole"
        ends = {number: min((kill for kill in kills if kill >= at), default=inf) for number, at in said.items()}
        missing = {number: ends[number] - said[number] for number in said.keys() - set(found)}
        lost = {number: age for number, age in missing.items() if age > UNSAVED_S}
        assert not lost, f"unit {unit}: missing, by seconds before the kill: {lost}"
        # What a run has read reaches the disk in order: nothing is missing before something that is there.
        first_missing = {ends[number]: number for number in sorted(missing, reverse=True)}
        holes = [number for number in found if number > first_missing.get(ends[number], inf)]
        assert not holes, f"unit {unit}: something is missing before {holes[:5]}"
    return sum(map(len, stored.values()))


async def drained(victim: Victim, data: Path, site: Path, meters: Meters, cloud: ContractCloud) -> float:
    """Let an agent bring everything to the cloud, and end it; returns when."""
    pid = await victim.start(data, str(site), "site")
    start = {unit: len(meters.said[unit]) for unit in UNITS}
    await until(lambda: all(len(meters.said[unit]) > start[unit] + 5 for unit in UNITS))
    mark = {unit: meters.said[unit][-1].number for unit in UNITS}

    def everything_arrived() -> bool:
        newest = dict.fromkeys(UNITS, 0)
        for row in list(cloud.stored.values()):
            if row.get("value") is not None:
                unit = int(row["point"][2])
                newest[unit] = max(newest[unit], row["value"])
        return all(newest[unit] >= mark[unit] for unit in UNITS)

    await until(everything_arrived, 60)
    await asyncio.sleep(1.5)  # The oldest of the backlog may leave last.
    return await killed(victim, pid)


async def killed(victim: Victim, pid: int) -> float:
    """Kill an agent; returns when the meters have answered its last questions, which nobody hears."""
    await victim.end(pid)
    await asyncio.sleep(0.05)
    return time.monotonic()


async def until(condition, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # Another process decides.
            await asyncio.sleep(0.02)


@pytest.fixture
async def cloud():
    cloud = ContractCloud()
    await cloud.start()
    yield cloud
    await cloud.stop()


@pytest.fixture
async def victim():
    async with victim_process() as victim:
        yield victim


async def test_kills_cuts_half_frames_and_wrong_receipts_all_at_once(victim, cloud, tmp_path):
    source = random.Random(20261122)
    meters, kills, began = Meters(source), [], time.monotonic()
    meters.breaks = 0.01
    cloud.fault_of = lambda: source.choice(FAULTS) if source.random() < 0.25 else None
    async with serving(meters.answer) as bus, FaultProxy(cloud.port) as proxy:
        proxy.cut_after = sometimes(0.2, 3000, source)
        site, data = site_file(tmp_path, bus.port, f"http://127.0.0.1:{proxy.port}"), tmp_path / "data"
        for _ in range(ROUNDS):
            before = sum(map(len, meters.said.values()))
            pid = await victim.start(data, str(site), "site")
            if source.random() < 0.8:
                await until(lambda before=before: sum(map(len, meters.said.values())) > before)
            await asyncio.sleep(source.random() * 1.5)
            kills.append(await killed(victim, pid))
        cloud.fault_of, proxy.cut_after, meters.breaks = (lambda: None), (lambda: None), 0.0
        kills.append(await drained(victim, data, site, meters, cloud))
        count = compare(meters, cloud, kills)
    seconds = time.monotonic() - began
    print(
        f"{ROUNDS} kills in {seconds:.0f} s: {count} values stored of {sum(map(len, meters.said.values()))} served, "
        f"{meters.halves} half frames, {proxy.cuts} cuts, {cloud.duplicates} repeats recognised"
    )
    assert count > ROUNDS
    assert meters.halves
    assert cloud.duplicates


def set_clock(data: Path, wrong_by_ms: int) -> None:
    """In one step: the agent reads the file whenever it wants to know the time."""
    (data / "clock.new").write_text(str(wrong_by_ms))
    (data / "clock.new").replace(data / "clock")


async def test_a_wall_clock_set_by_an_hour_and_back_while_the_agent_reads(victim, cloud, tmp_path):
    meters = Meters(random.Random(3))
    async with serving(meters.answer) as bus:
        site, data = site_file(tmp_path, bus.port, f"http://127.0.0.1:{cloud.port}"), tmp_path / "data"
        pid = await victim.start(data, str(site), "site")
        await until(lambda: bool(cloud.heartbeats) and len(cloud.stored) > 30)
        for wrong_by_ms in (3_600_000, 0, -3_600_000, 0):
            set_clock(data, wrong_by_ms)
            await asyncio.sleep(3)
        kill = await killed(victim, pid)
        kills = [kill, await drained(victim, data, site, meters, cloud)]
    compare(meters, cloud, kills)
    jumps = [row["data"]["machine_jump_ms"] for row in cloud.stored.values() if row.get("kind") == "clock.jump"]
    assert [round(jump / 3_600_000) for jump in jumps] == [1, -1, -1, 1]
    # The cloud had confirmed the clock: no reading carries an hour that never was.
    now_ms = time.time_ns() // 1_000_000
    assert all(now_ms - 120_000 < row["at_ms"] < now_ms + 60_000 for row in cloud.stored.values())
    for said in meters.said.values():
        pauses = [after.at - before.at for before, after in pairwise(said) if before.at < kill]
        assert max(pauses[:-1]) < 2, "polling stopped"
        assert len(said) < (said[-1].at - said[0].at) / 0.03 * 1.2 + 20, "polling flooded the bus"


def fill_the_disk(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@pytest.mark.skipif(
    not (IS_ROOT or shutil.which("unshare")) and not os.environ.get("CI"), reason="needs a small file system of its own"
)
async def test_a_disk_that_is_full_for_a_while_loses_nothing(cloud, tmp_path):
    meters = Meters(random.Random(4))
    small = tmp_path / "small"
    small.mkdir()
    rights = [] if IS_ROOT else ["-r", "-U"]
    mount = f"mount -t tmpfs -o size=12m tmpfs {small} && exec "
    async with serving(meters.answer) as bus, victim_process(["unshare", "-m", *rights, "sh", "-c", mount]) as victim:
        site = site_file(tmp_path, bus.port, f"http://127.0.0.1:{cloud.port}")
        await cloud.stop()
        pid = await victim.start(small, str(site), "site")
        await until(lambda: all(len(said) > 10 for said in meters.said.values()))
        await asyncio.sleep(1)
        filler = Path(f"/proc/{pid}/root{small}/filler")
        await asyncio.to_thread(fill_the_disk, filler)
        await asyncio.sleep(3)
        await asyncio.to_thread(filler.unlink)
        await cloud.start(cloud.port)
        counts = [len(said) for said in meters.said.values()]
        await asyncio.sleep(2)
        kill = await killed(victim, pid)
        kills = [kill, await drained(victim, small, site, meters, cloud)]
    assert compare(meters, cloud, kills) > sum(counts)


async def test_the_comparison_itself_notices_a_loss_and_a_repeat(victim, cloud, tmp_path):
    """A test that cannot fail proves nothing."""
    meters = Meters(random.Random(5))
    async with serving(meters.answer) as bus:
        site = site_file(tmp_path, bus.port, f"http://127.0.0.1:{cloud.port}")
        kills = [await drained(victim, tmp_path / "data", site, meters, cloud)]
    compare(meters, cloud, kills)
    key = next(key for key, row in cloud.stored.items() if row.get("value") == 2 and row["point"].startswith("m-1/"))
    row = cloud.stored.pop(key)
    with pytest.raises(AssertionError, match="missing"):
        compare(meters, cloud, kills)
    cloud.stored[key] = cloud.stored["again", 1] = row
    with pytest.raises(AssertionError, match="stored twice"):
        compare(meters, cloud, kills)
    del cloud.stored["again", 1]
    cloud.stored["foreign", 1] = {**row, "value": 10**6}
    with pytest.raises(AssertionError, match="never said"):
        compare(meters, cloud, kills)
