"""What the road from a reading to the cloud's receipt costs, and how late live data are while a backlog drains.

Cost: CPU seconds of the agent's own process for append, commit with fsync, batch, compression, HTTPS client and settlement,
as a multiple of the least that any agent must do with the same observations: turn them into JSON once.
Lateness: a million observations wait; a thousand new ones come every second; the time from a reading to its receipt.
The cloud is a separate process that reads, checks and acknowledges every message over real sockets.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from edge_agent.model import Frame, Quality
from edge_agent.outbox import Outbox
from edge_agent.outbox.ranges import merge
from edge_agent.uplink.https import Destination, HttpsUplink
from edge_agent.uplink.wire import Catalogue
from tests.support.contract_cloud import ContractCloud

DEVICES, POINTS = 50, 20
NAMES = tuple(f"point_{number}" for number in range(POINTS))
GOOD = (Quality.GOOD,) * POINTS
SOURCE = random.Random(1)


class Sink(ContractCloud):
    """Checks the columns, keeps only the numbers."""

    numbers = 0

    def _store(self, message, *, half):
        self.numbers += len(message["seq"])
        ranges = merge([(seq, seq) for seq in message["seq"]])
        return {"stream": message["stream"], "accepted": ranges, "server_time_ms": self._now_ms()}


async def serve() -> None:
    sink = Sink()
    print(await sink.start(), flush=True)
    await asyncio.Event().wait()


def readings(at_ms: int) -> list[Frame]:
    """One cycle: every device with all its points."""
    return [
        Frame(
            device=f"meter-{number}",
            observed_at_ms=at_ms,
            points=NAMES,
            values=tuple(SOURCE.random() * 400 for _ in NAMES),
            qualities=GOOD,
        )
        for number in range(DEVICES)
    ]


def start(outbox: Outbox, url: str) -> tuple[HttpsUplink, list[asyncio.Task]]:
    uplink = HttpsUplink(
        Destination(url=url, credential="secret"), outbox, catalogue=lambda: Catalogue(devices=()), health=dict
    )
    return uplink, [asyncio.create_task(outbox.run()), asyncio.create_task(uplink.run())]


async def stop(tasks: list[asyncio.Task]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def cost(folder: Path, url: str, seconds: int) -> None:
    cycles = [readings(1_764_000_000_000 + n) for n in range(seconds)]
    count = seconds * DEVICES * POINTS
    began = time.process_time()
    for cycle in cycles:
        for frame in cycle:
            orjson.dumps((frame.device, frame.observed_at_ms, frame.points, frame.values))
    least = time.process_time() - began
    outbox = Outbox(folder / "cost.db")
    _, tasks = start(outbox, url)
    outbox.append(cycles[0])  # Libraries load what they need with the first message.
    await asyncio.sleep(2)
    began, wall = time.process_time(), time.monotonic()
    for cycle in cycles:
        for part in range(0, DEVICES, 5):  # Answers of a busy bus, spread over the second.
            outbox.append(cycle[part : part + 5])
            await asyncio.sleep(0.1)
    while sum(outbox.waiting().values()) or outbox.report()["buffered"]:  # noqa: ASYNC110  # No event for "empty".
        await asyncio.sleep(0.05)
    used = time.process_time() - began
    share = used / (time.monotonic() - wall)
    await stop(tasks)
    outbox.close()
    print(
        f"outbox and uplink: {1e6 * used / count:.1f} µs CPU per observation at {DEVICES * POINTS} a second, "
        f"{used / least:.0f} × one JSON encoding, {share:.1%} of a core"
    )


async def lateness(folder: Path, url: str, backlog: int) -> None:
    outbox = Outbox(folder / "backlog.db")
    began = time.process_time()
    for number in range(backlog // (DEVICES * POINTS)):
        outbox.append(readings(1_764_000_000_000 + number))
        outbox.flush()
    print(
        f"backlog of {backlog:,} written: {1e6 * (time.process_time() - began) / backlog:.2f} µs CPU each, fsync per 1000"
    )
    outbox.close()
    outbox = Outbox(folder / "backlog.db")
    late: list[float] = []
    real = outbox.settle

    def settle(batch, **verdicts):
        now_ms = time.time_ns() / 1e6
        late.extend((now_ms - f.at_ms) / 1000 for f in batch.frames if f.at_ms > start_ms)
        real(batch, **verdicts)

    outbox.settle = settle  # type: ignore[method-assign]
    start_ms = time.time_ns() // 1_000_000 - 1000
    cpu, wall = time.process_time(), time.monotonic()
    uplink, tasks = start(outbox, url)
    drained_s = None
    while drained_s is None or time.monotonic() - wall < 5:
        for part in range(10):
            now = time.time_ns() // 1_000_000
            outbox.append(readings(now)[part * 5 : part * 5 + 5])
            await asyncio.sleep(0.1)
        if drained_s is None and sum(outbox.waiting().values()) < 5 * DEVICES * POINTS:
            drained_s = time.monotonic() - wall
            drain_cpu = time.process_time() - cpu
    await stop(tasks)
    outbox.close()
    late.sort()
    print(
        f"backlog drained in {drained_s:.1f} s ({backlog / drained_s:,.0f} a second, "
        f"{1e6 * drain_cpu / uplink.status.observations:.2f} µs CPU each); live data meanwhile late by "
        f"p50 {late[len(late) // 2]:.2f} s, p99 {late[len(late) * 99 // 100]:.2f} s, at most {late[-1]:.2f} s: "
        f"{late[-1] / 2:.2f} of the 2 s allowed"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--backlog", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.sink:
        asyncio.run(serve())
        return
    sink = subprocess.Popen([sys.executable, "-m", "tests.bench.uplink", "--sink"], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        url = sink.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(cost(Path(folder), url, arguments.seconds))
            asyncio.run(lateness(Path(folder), url, arguments.backlog))
    finally:
        sink.terminate()
        sink.wait()


if __name__ == "__main__":
    main()
