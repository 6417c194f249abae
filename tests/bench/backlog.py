"""Seven days of backlog while live data go on: how long it takes, and how late the live data of the same gateways are.

2,000 points of four gateways, one observation a minute: 20 million in seven days. Each gateway sends its backlog in
batches of 10,000, one after the other, and beside it what it reads now, every second. Lateness is from the instant of the
observation to its receipt, which leaves after the commit.

    python -m tests.bench.backlog [--share 0.01] [--database timescale]     share 1 is the whole 20 million
"""

import argparse
import asyncio
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import orjson
import psycopg
import zstandard

from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from tests.bench import ingest
from tests.support.timescale import TimescaleServer

POINTS = ingest.DEVICES * ingest.POINTS_PER_DEVICE
MINUTES = 7 * 24 * 60
BATCH = 10_000
NAMES = [f"dev-{d}/p{p}" for d in range(ingest.DEVICES) for p in range(ingest.POINTS_PER_DEVICE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--database", choices=("embedded", "timescale"), default="embedded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        settings = {"max_wal_size": "4GB"}
        server = (
            TimescaleServer(settings)
            if arguments.database == "timescale"
            else EmbeddedServer(Path(folder) / "postgres", settings=settings)
        )
        server.start()
        try:
            bootstrap(server.addresses("postgres").superuser, "bench", server.passwords())
            migrate(server.addresses("bench").owner)
            run(server.addresses("bench"), arguments)
        finally:
            server.stop()


def run(addresses, arguments) -> None:
    credentials = asyncio.run(ingest._gateways(addresses.app))
    minutes = max(BATCH // POINTS, int(MINUTES * arguments.share))
    with ingest.serving(addresses.app) as (_, port):
        asyncio.run(ingest._announce(port, credentials))
        begin = time.perf_counter()
        late_s = asyncio.run(send(port, credentials, minutes))
        seconds = time.perf_counter() - begin
    count = minutes * POINTS * len(credentials)
    with psycopg.connect(addresses.superuser) as conn:
        [stored] = conn.execute("SELECT count(*) FROM app.observation").fetchone()
    assert stored == count + len(late_s) * POINTS, f"{stored} stored"
    whole = MINUTES * POINTS * len(credentials)
    p50, p95 = (float(np.quantile(late_s, q)) for q in (0.5, 0.95))
    print(
        f"{arguments.database}: backlog of {count:,} observations ({count / whole:.0%} of seven days) in {seconds:.0f} s: "
        f"{count / seconds:,.0f}/s, the whole {whole:,} at that pace in {whole / count * seconds / 60:.0f} min; live data "
        f"meanwhile p50 {p50:.2f} s, p95 {p95:.2f} s late = {p95 / 2:.0%} of the 2 s allowed ({len(late_s)} batches)"
    )


async def send(port: int, credentials: list[str], minutes: int) -> list[float]:
    """Return how late each live batch was."""
    late_s: list[float] = []
    until = int(time.time() // 60 * 60_000)

    async def gateway(credential: str) -> None:
        is_over = asyncio.Event()
        live = asyncio.create_task(send_live(port, credential, late_s, is_over))
        await send_backlog(port, credential, until - minutes * 60_000, minutes)
        is_over.set()
        await live

    await asyncio.gather(*(gateway(credential) for credential in credentials))
    return late_s


async def send_backlog(port: int, credential: str, start_ms: int, minutes: int) -> None:
    stream, reader, writer = str(uuid.uuid4()), *await asyncio.open_connection("127.0.0.1", port)
    for first in range(0, minutes * POINTS, BATCH):
        n = np.arange(first, min(first + BATCH, minutes * POINTS))
        body = message(stream, first, n % POINTS, start_ms + n // POINTS * 60_000)
        await deliver(reader, writer, credential, body)
    writer.close()


async def send_live(port: int, credential: str, late_s: list[float], is_over: asyncio.Event) -> None:
    stream, reader, writer = str(uuid.uuid4()), *await asyncio.open_connection("127.0.0.1", port)
    first = 0
    while not is_over.is_set():
        at_s = time.time()
        body = message(stream, first, np.arange(POINTS), np.full(POINTS, int(at_s * 1000)))
        await deliver(reader, writer, credential, body)
        late_s.append(time.time() - at_s)
        first += POINTS
        await asyncio.sleep(max(0.0, at_s + 1 - time.time()))
    writer.close()


async def deliver(reader, writer, credential: str, body: bytes) -> None:
    """Send until it is accepted, as an agent does."""
    request = ingest._request("POST", "/ingest/v1/batches", credential, body)
    while True:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        answer = orjson.loads(await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0])))
        if b" 200 " in head.split(b"\r\n")[0] + b" ":
            assert not answer["rejected"], answer
            assert not answer["retry"], answer
            return
        await asyncio.sleep(int(head.split(b"retry-after: ")[1].split(b"\r\n")[0]))


def message(stream: str, first: int, points, at_ms) -> bytes:
    count = len(points)
    content = {
        "v": 1, "stream": stream, "sent_at_ms": 1, "clock_offset_ms": 0, "points": NAMES, "scales": [None] * POINTS,
        "seq": list(range(first + 1, first + 1 + count)), "point": points.tolist(), "at_ms": at_ms.tolist(),
        "value": np.round(200 + 50 * np.sin(points + first), 2).tolist(), "quality": [0] * count, "events": [],
    }  # fmt: skip
    return zstandard.ZstdCompressor(level=1).compress(orjson.dumps(content))


if __name__ == "__main__":
    main()
