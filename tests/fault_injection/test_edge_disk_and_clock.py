"""A full disk, a clock that jumps, a line that cuts messages in half: nothing lost, nothing twice."""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_agent.outbox import Outbox
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.https import Destination, HttpsUplink
from tests.fault_injection.agent_process import CATALOGUE, served
from tests.fault_injection.test_edge_killed import compare
from tests.support.contract_cloud import ContractCloud
from tests.support.fault_proxy import FaultProxy, sometimes

ROOT = Path(__file__).parents[2]
IS_ROOT = os.geteuid() == 0


@contextlib.asynccontextmanager
async def running(outbox, url):
    uplink = HttpsUplink(
        Destination(url=url, credential="secret", timeout_s=2),
        outbox,
        catalogue=lambda: CATALOGUE,
        health=dict,
        backoff=Backoff(first_s=0.01, max_s=0.1),
        now_ms=outbox._now_ms,
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


@pytest.fixture
async def cloud():
    cloud = ContractCloud()
    cloud.url = await cloud.start()
    yield cloud
    await cloud.stop()


def without_events(cloud, count):
    found = sorted(row["at_ms"] for row in cloud.stored.values() if row.get("point") == "source/number")
    assert found == [served(number).observed_at_ms for number in range(count)]
    assert cloud.conflicts == []


async def test_messages_and_receipts_cut_anywhere(cloud, tmp_path):
    source = random.Random(4)
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.use_scales(CATALOGUE.scales())
    async with FaultProxy(cloud.port) as proxy:
        proxy.cut_after = sometimes(0.5, 600, source)
        async with running(outbox, f"http://127.0.0.1:{proxy.port}"):
            for number in range(400):
                outbox.append([served(number)])
                if number % 4 == 0:
                    await asyncio.sleep(0.01)
                if number % 40 == 0:
                    proxy.cut_all()
            proxy.cut_after = lambda: None
            await drain(outbox)
        assert proxy.cuts > 0
    outbox.close()
    without_events(cloud, 400)


async def test_a_line_that_swallows_everything_for_a_while(cloud, tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.use_scales(CATALOGUE.scales())
    async with FaultProxy(cloud.port) as proxy, running(outbox, f"http://127.0.0.1:{proxy.port}") as uplink:
        outbox.append([served(0)])
        await drain(outbox)
        proxy.is_black_hole = True
        outbox.append([served(number) for number in range(1, 50)])
        await asyncio.sleep(2.5)
        assert uplink.status.state == "waiting"
        proxy.is_black_hole = False
        proxy.cut_all()
        await drain(outbox)
    outbox.close()
    without_events(cloud, 50)


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
async def test_a_clock_that_jumps_by_an_hour_and_back(cloud, tmp_path, jump_ms):
    offset = [0]
    outbox = Outbox(tmp_path / "outbox.db", now_ms=lambda: time.time_ns() // 1_000_000 + offset[0])
    outbox.use_scales(CATALOGUE.scales())
    async with running(outbox, cloud.url) as uplink:
        for number in range(300):
            if number == 100:
                offset[0] = jump_ms
                uplink.clock_was_set()
            if number == 200:
                offset[0] = 0
                uplink.clock_was_set()
            outbox.append([served(number)])
            outbox.maintain()
            await asyncio.sleep(0.003)
        await drain(outbox)
        assert abs(uplink.status.clock_offset_ms) < 1000
    outbox.close()
    without_events(cloud, 300)


FULL_DISK = """
import os, sqlite3, sys
from pathlib import Path
from edge_agent.outbox import Outbox
from tests.fault_injection.agent_process import CATALOGUE, served
folder = Path(sys.argv[1])
outbox = Outbox(folder / "outbox.db")
outbox.use_scales(CATALOGUE.scales())
for number in range(200):
    outbox.append([served(number)])
    outbox.flush()
filler = (folder / "filler").open("wb", buffering=0)
try:
    while True:
        filler.write(b"x" * 4096)
except OSError:
    pass
refused = 0
for number in range(200, 3000):
    outbox.append([served(number)])
    if number % 10 == 9:
        try:
            outbox.flush()
        except sqlite3.OperationalError:
            refused += 1
assert refused > 0, "the disk never was full"
assert outbox.report()["last_error"], "nobody would know"
assert outbox.report()["dropped"] == {"telemetry": 0, "event": 0, "billing": 0}
# The link is up while the disk is full: what the cloud takes must go, and what it does not take must stay.
settled = 0
for _ in range(5):
    batch = outbox.begin_batch(60)
    if batch is not None:
        first = min(span.first for span in batch.chunks)
        last = max(span.last for span in batch.chunks)
        outbox.settle(batch, accepted=[(first, last)])
filler.close()
(folder / "filler").unlink()
outbox.flush()
found = {}
batches = []
while (batch := outbox.begin_batch(100_000)) is not None:
    batches.append(batch)
    for frame in batch.frames:
        found[frame.first_seq] = frame.at_ms
waiting = {at - served(0).observed_at_ms for at in found.values()}
gone = set(range(3000)) - waiting
assert gone == set(range(len(gone))), "only what was settled, the oldest, has left"
assert outbox.report()["last_error"] is None
print("refused", refused, "settled", len(gone), "waiting", len(waiting))
"""


@pytest.mark.skipif(
    not (IS_ROOT or shutil.which("unshare")) and not os.environ.get("CI"), reason="needs a small file system of its own"
)
def test_a_full_disk_stops_nothing_and_loses_nothing(tmp_path):
    script = tmp_path / "full_disk.py"
    script.write_text(FULL_DISK)
    folder = tmp_path / "small"
    folder.mkdir()
    rights = [] if IS_ROOT else ["-r", "-U"]
    mount = f"mount -t tmpfs -o size=12m tmpfs {folder} && exec {sys.executable} {script} {folder}"
    # The mount lives and dies with the process, in a namespace of its own.
    done = subprocess.run(
        ["unshare", "-m", *rights, "sh", "-c", mount],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "refused" in done.stdout


async def test_the_comparison_itself_notices_a_loss_and_a_repeat(cloud, tmp_path):
    """A test that cannot fail proves nothing."""
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.use_scales(CATALOGUE.scales())
    outbox.append([served(number) for number in range(8)])
    async with running(outbox, cloud.url):
        await drain(outbox)
    outbox.close()
    stream = outbox.stream
    lost = cloud.stored.pop((stream, 4))
    with pytest.raises(AssertionError, match="missing or there twice"):
        compare(cloud, 0)
    cloud.stored[stream, 4] = lost
    cloud.stored["another", 4] = lost
    with pytest.raises(AssertionError, match="missing or there twice"):
        compare(cloud, 0)
