"""Durable observations per second through the HTTP ingest, as a share of plain binary COPY of the same rows.

Both write to the same partitioned, indexed table of the same server (fsync on), one after the other in one run. The COPY
is one statement with everything prepared; the ingest runs in its own process (`cloud-api serve`), is fed compressed
messages over real sockets by several gateways, deduplicates, keeps latest values and answers after the commit.
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
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=2)
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
            run(server.addresses("bench"), arguments)
        finally:
            server.stop()


def run(addresses, arguments) -> None:
    credentials = asyncio.run(_gateways(addresses.app))
    port = _free_port()
    environment = os.environ | {
        "CLOUD_DATABASE_URL": addresses.app, "CLOUD_SECRET_KEY": "x" * 32, "CLOUD_PORT": str(port)
    }  # fmt: skip
    api = subprocess.Popen(
        [sys.executable, "-m", "cloud_api.cli_main"]
        if False
        else [str(Path(sys.executable).with_name("cloud-api")), "serve"],
        env=environment,
    )
    try:
        asyncio.run(_announce(port, credentials))
        with psycopg.connect(addresses.owner) as conn:
            points = [
                row[0]
                for row in conn.execute(
                    "SELECT p.id FROM app.point p JOIN app.device d ON d.id = p.device_id ORDER BY d.gateway_id, d.id, p.id"
                )
            ]
        rows = _rows(points, arguments.rows)
        shares: dict[int, list[float]] = {10_000: [], 500: []}
        copies: list[float] = []
        for _ in range(arguments.rounds):
            copy_s = _time_copy(addresses.owner, rows)
            copies.append(copy_s)
            for size, found in shares.items():
                _empty(addresses.owner)
                found.append(_time_ingest(port, credentials, rows, points, size) / copy_s)
        count = len(rows)
        print(f"{arguments.database}: plain binary COPY {count / statistics.median(copies):,.0f} observations/s")
        for size, found in shares.items():
            share = 1 / statistics.median(found)
            print(f"{arguments.database}: HTTP ingest, batches of {size:>6,}: {share:.0%} of COPY")
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


def _time_copy(owner_url: str, rows: Observations) -> float:
    _empty(owner_url)
    data = copy_rows(rows)
    with psycopg.connect(owner_url) as conn:
        first, last = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (rows.at_ms[0], rows.at_ms[-1]))
        conn.execute("SELECT app.ensure_observation_partitions(%s, %s)", (first, last))
        conn.commit()
        begin = time.perf_counter()
        statement = (
            "COPY app.observation (point_id, observed_at, value, mantissa, quality, scale) FROM STDIN (FORMAT BINARY)"
        )
        with conn.cursor().copy(statement) as copy:
            copy.write(data)
        conn.commit()
        return time.perf_counter() - begin


def _empty(owner_url: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as conn:
        conn.execute("TRUNCATE app.observation")


def _time_ingest(port, credentials, rows, points, size) -> float:
    per_gateway = len(points) // GATEWAYS
    jobs = []
    packer = zstandard.ZstdCompressor(level=1)
    gateway_of = {point: i // per_gateway for i, point in enumerate(points)}
    owners = np.array([gateway_of[p] for p in rows.point_id.tolist()])
    names = [f"dev-{d}/p{p}" for d in range(DEVICES) for p in range(POINTS_PER_DEVICE)]
    for gateway, credential in enumerate(credentials):
        part = rows.pick(owners == gateway)
        index = {point: i for i, point in enumerate(points[gateway * per_gateway : (gateway + 1) * per_gateway])}
        column = [index[p] for p in part.point_id.tolist()]
        stream = str(uuid.uuid4())
        requests = []
        for first in range(0, len(part), size):
            chosen = slice(first, first + size)
            message = {
                "v": 1, "stream": stream, "sent_at_ms": 1, "clock_offset_ms": 0, "points": names,
                "scales": [None] * len(names),
                "seq": list(range(first + 1, first + 1 + len(part.at_ms[chosen]))), "point": column[chosen],
                "at_ms": part.at_ms[chosen].tolist(), "value": part.value[chosen].tolist(),
                "quality": part.quality[chosen].tolist(), "events": [],
            }  # fmt: skip
            requests.append(_request("POST", "/ingest/v1/batches", credential, packer.compress(orjson.dumps(message))))
        jobs.append(requests)
    begin = time.perf_counter()
    accepted = asyncio.run(_send_all(port, jobs))
    seconds = time.perf_counter() - begin
    assert accepted == len(rows), f"{accepted} accepted of {len(rows)}"
    return seconds


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
    for _ in range(200):
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
