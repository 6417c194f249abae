"""Durable observations per second through the HTTP ingest, as a share of plain binary COPY of the same rows.

Both sides write the same rows to the same partitioned, indexed table of the same server (fsync and synchronous_commit
on), in batches of the same size, each committed by itself, over as many connections as there are gateways, one side
after the other in one run. The COPY sends prepared bytes and does nothing else. The ingest runs in its own process
(`cloud-api serve`), is fed compressed messages over real sockets, deduplicates, keeps latest values and answers after
the commit; in the end every observation must be stored and the latest values must be right. The bulk figure is all rows in one COPY of one transaction: what the table takes without any batches.

    python -m tests.bench.ingest [--rows 400000] [--rounds 3] [--database timescale] [--sizes 500,10000]
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import psutil
import psycopg
import zstandard

from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.db.pool import make_pool, transaction
from cloud_api.devices import service as devices
from cloud_api.kit.scope import SYSTEM
from cloud_api.telemetry.columns import Observations, copy_rows
from tests.support.timescale import TimescaleServer, why_not

GATEWAYS = 4
DEVICES = 10
POINTS_PER_DEVICE = 50
COPY = "COPY app.observation (point_id, observed_at, value, mantissa, quality, scale) FROM STDIN (FORMAT BINARY)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="10000,500")
    parser.add_argument("--database", choices=("embedded", "timescale"), default="embedded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        if arguments.database == "timescale":
            if reason := why_not():
                raise SystemExit(f"no TimescaleDB here: {reason}")
            server = TimescaleServer({"max_wal_size": "2GB"})
        else:
            server = EmbeddedServer(Path(folder) / "postgres")
        server.start()
        try:
            bootstrap(server.addresses("postgres").superuser, "bench", server.passwords())
            migrate(server.addresses("bench").owner)
            run(server.addresses("bench"), psutil.Process(server.pid), arguments)
        finally:
            server.stop()


def run(addresses, database: psutil.Process, arguments) -> None:
    credentials = asyncio.run(_gateways(addresses.app))
    sizes = [int(size) for size in arguments.sizes.split(",")]
    with serving(addresses.app) as (api, port):
        asyncio.run(_announce(port, credentials))
        with psycopg.connect(addresses.owner) as conn:
            points = [
                row[0]
                for row in conn.execute(
                    "SELECT p.id FROM app.point p JOIN app.device d ON d.id = p.device_id ORDER BY d.gateway_id, d.id, p.id"
                )
            ]
        rows = _rows(points, arguments.rows)
        parts = _by_gateway(rows, points)
        bulk: list[float] = []
        copies, ingests = Runs(arguments.sizes), Runs(arguments.sizes)
        for _ in range(arguments.rounds):
            bulk.append(_time_copy(addresses, [rows], len(rows)))
            for size in sizes:
                with copies.measured(size, database):
                    copies.seconds[size].append(_time_copy(addresses, parts, size))
                with ingests.measured(size, database, api):
                    ingests.seconds[size].append(_time_ingest(addresses, port, credentials, parts, points, size))
                _check(addresses, len(rows))
        name, count = arguments.database, len(rows)
        print(f"{name}: COPY, one transaction: {count / statistics.median(bulk):,.0f} observations/s")
        for size in sizes:
            copy_s, ingest_s = (statistics.median(runs.seconds[size]) for runs in (copies, ingests))
            [copy_cpu], [cloud_cpu, api_cpu] = (
                [statistics.median(cpu) / count * 1e6 for cpu in zip(*runs.cpu[size], strict=True)]
                for runs in (copies, ingests)
            )
            print(
                f"{name}: batches of {size:>6,} over {GATEWAYS} connections: COPY {count / copy_s:,.0f}/s, "
                f"ingest {count / ingest_s:,.0f}/s = {copy_s / ingest_s:.0%} of COPY "
                f"({statistics.median(bulk) / ingest_s:.0%} of one transaction)\n"
                f"    CPU per observation: COPY {copy_cpu:.1f} µs of the database; "
                f"ingest {cloud_cpu:.1f} µs of the database and {api_cpu:.1f} µs of the API"
            )


class Runs:
    """Seconds and seconds of CPU (one number per process) of the rounds, by size of the batches."""

    def __init__(self, sizes: str) -> None:
        self.seconds: dict[int, list[float]] = {int(size): [] for size in sizes.split(",")}
        self.cpu: dict[int, list[list[float]]] = {int(size): [] for size in sizes.split(",")}

    @contextmanager
    def measured(self, size: int, *processes: psutil.Process) -> Iterator[None]:
        before = [_cpu(process) for process in processes]
        yield
        # Sessions that ended are counted once their parent has taken note; the last latest values move meanwhile.
        time.sleep(1.0)
        self.cpu[size].append([_cpu(process) - old for process, old in zip(processes, before, strict=True)])


def _cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process, its children, and those that have ended."""
    total = sum(process.cpu_times()[:4])
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:4])
    return total


@contextmanager
def serving(app_url: str) -> Iterator[tuple[psutil.Process, int]]:
    """Run `cloud-api serve` on a free port."""
    port = _free_port()
    environment = os.environ | {
        "CLOUD_DATABASE_URL": app_url, "CLOUD_PORT": str(port)
    }  # fmt: skip
    api = psutil.Popen(
        [str(Path(sys.executable).with_name("cloud-api")), "serve"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield api, port
    finally:
        api.terminate()
        api.wait()


def _rows(points: list[int], count: int) -> Observations:
    start_ms = int(datetime.now(UTC).replace(minute=0, second=0, microsecond=0).timestamp() * 1000) - 3 * 86_400_000
    rng = np.random.default_rng(1)
    n = np.arange(count)
    return Observations(
        point_id=np.array(points)[n % len(points)],
        at_ms=start_ms + n // len(points) * 60_000 + n % len(points),
        value=np.round(rng.normal(200, 50, count), 2),
        mantissa=np.zeros(count, dtype=np.int64),
        quality=np.zeros(count, dtype=np.int64),
        scale=np.full(count, -1),
    )


def _by_gateway(rows: Observations, points: list[int]) -> list[Observations]:
    per_gateway = len(points) // GATEWAYS
    owner = np.searchsorted(np.array(points), rows.point_id) // per_gateway
    return [rows.pick(owner == gateway) for gateway in range(GATEWAYS)]


def _batches(rows: Observations, size: int) -> Iterator[Observations]:
    return (rows.pick(slice(first, first + size)) for first in range(0, len(rows), size))


def _time_copy(addresses, parts: list[Observations], size: int) -> float:
    data = [[copy_rows(batch) for batch in _batches(part, size)] for part in parts]
    _empty(addresses, parts[0])
    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(addresses.app)) for _ in parts]
        begin = time.perf_counter()
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(_copy_all, connections, data))
        return time.perf_counter() - begin


def _copy_all(conn: psycopg.Connection, batches: list[bytes]) -> None:
    for batch in batches:
        with conn.cursor().copy(COPY) as copy:
            copy.write(batch)
        conn.commit()


def _empty(addresses, rows: Observations) -> None:
    """Both sides begin with an empty table, the partitions they need, old latest values and a fresh checkpoint."""
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        conn.execute("TRUNCATE app.observation, app.series_mark")
        conn.execute("UPDATE app.latest_value SET observed_at = '2000-01-01'")  # So that every round moves them.
        conn.execute("VACUUM app.latest_value")
        first, last = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (rows.at_ms[0], rows.at_ms[-1]))
        conn.execute("SELECT app.ensure_observation_partitions(%s, %s)", (first, last))
    with psycopg.connect(addresses.superuser, autocommit=True) as conn:
        conn.execute("CHECKPOINT")


def _time_ingest(addresses, port, credentials, parts, points, size) -> float:
    names = [f"dev-{d}/p{p}" for d in range(DEVICES) for p in range(POINTS_PER_DEVICE)]
    jobs = []
    for gateway, part in enumerate(parts):
        mine = np.array(points[gateway * len(names) : (gateway + 1) * len(names)])
        jobs.append(_messages(part, np.searchsorted(mine, part.point_id), names, size, credentials[gateway]))
    _empty(addresses, parts[0])
    begin = time.perf_counter()
    accepted = asyncio.run(_send_all(port, jobs))
    seconds = time.perf_counter() - begin
    count = sum(len(part) for part in parts)
    assert accepted == count, f"{accepted} accepted of {count}"
    return seconds


def _check(addresses, count: int) -> None:
    """Every observation is stored, and the latest values are the newest of them soon after the last batch."""
    with psycopg.connect(addresses.owner, autocommit=True) as conn:
        [stored] = conn.execute("SELECT count(*) FROM app.observation").fetchone()
        assert stored == count, f"{stored} stored of {count}"
        for _ in range(50):
            [behind] = conn.execute(
                "SELECT count(*) FROM (SELECT point_id, max(observed_at) AS observed_at FROM app.observation GROUP BY 1) o"
                " LEFT JOIN app.latest_value l USING (point_id) WHERE l.observed_at IS DISTINCT FROM o.observed_at"
            ).fetchone()
            if not behind:
                return
            time.sleep(0.1)
    raise AssertionError(f"{behind} latest values are not the newest")


def _messages(rows: Observations, column, names: list[str], size: int, credential: str) -> list[bytes]:
    stream, packer = str(uuid.uuid4()), zstandard.ZstdCompressor(level=1)
    requests = []
    for first in range(0, len(rows), size):
        chosen = slice(first, first + size)
        batch = rows.pick(chosen)
        message = {
            "v": 1, "stream": stream, "sent_at_ms": 1, "clock_offset_ms": 0, "points": names,
            "scales": [None] * len(names),
            "seq": list(range(first + 1, first + 1 + len(batch))), "point": column[chosen].tolist(),
            "at_ms": batch.at_ms.tolist(), "value": batch.value.tolist(), "quality": batch.quality.tolist(), "events": [],
        }  # fmt: skip
        requests.append(_request("POST", "/ingest/v1/batches", credential, packer.compress(orjson.dumps(message))))
    return requests


def _request(method: str, path: str, credential: str, body: bytes, encoding: str = "zstd") -> bytes:
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {credential}\r\n"
        f"Content-Type: application/json\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _send_all(port: int, jobs: list[list[bytes]]) -> int:
    return sum(await asyncio.gather(*(_send(port, requests) for requests in jobs)))


async def _send(port: int, requests: list[bytes]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    accepted = 0
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = orjson.loads(await reader.readexactly(length))
        assert b" 200 " in head.split(b"\r\n")[0] + b" ", body
        accepted += sum(last - first + 1 for first, last in body.get("accepted", []))
    writer.close()
    await writer.wait_closed()
    return accepted


async def _gateways(app_url: str) -> list[str]:
    async with make_pool(app_url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
        [organisation] = await (
            await conn.execute(
                "INSERT INTO organisation (code, name_zh, name_en) VALUES ('bench', 'b', 'b') RETURNING id"
            )
        ).fetchone()
        await conn.execute(
            "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 'bench', 'b', 'b')", (organisation,)
        )
        now = datetime.now(UTC)
        return [
            await devices.add_gateway(conn, site_code="bench", name=f"gw-{n}", actor="bench", now=now)
            for n in range(GATEWAYS)
        ]


async def _announce(port: int, credentials: list[str], points: int = POINTS_PER_DEVICE) -> None:
    catalogue = {"v": 1, "revision": "1", "devices": [
        {"name": f"dev-{d}", "points": [{"name": f"p{p}"} for p in range(points)]} for d in range(DEVICES)
    ]}  # fmt: skip
    for _ in range(1200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            break
        except OSError:
            await asyncio.sleep(0.1)
    for credential in credentials:
        request = _request("PUT", "/ingest/v1/catalogue", credential, orjson.dumps(catalogue), "identity")
        await _send(port, [request])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
