"""From an observation in ingest to the webhook: the time it takes at 10,000 observations/s with 20,000 limits.

Real parts on one machine: `cloud-api serve`, a worker for limits and notifications, PostgreSQL with fsync on, four gateways
that send batches over sockets, and a receiver that answers like a webhook. A probe is a value beyond its critical limit
hidden in a batch; its time runs from the first byte of the request to the arrival of the webhook. Values that follow soon
after are as before: many a probe lasts a quarter of a second only, and must be told all the same. What did not come is listed.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psycopg
import zstandard

from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from tests.bench.ingest import _announce, _free_port, _gateways, _request

GATEWAYS = 4
DEVICES = 10
LIMIT_OF_REST = 1_000.0
COMMAND = str(Path(sys.executable).with_name("cloud-api"))


@dataclass
class Probes:
    """When each probe was sent (by point) and when its webhook came (by alarm)."""

    sent: dict[int, float] = field(default_factory=dict)
    got: dict[int, float] = field(default_factory=dict)
    posts: list[float] = field(default_factory=list)

    def times(self, owner_url: str) -> list[float]:
        """Return the seconds of the probes that came through, shortest first."""
        with psycopg.connect(owner_url) as conn:
            alarms = {int(s.partition(":")[2]): i for i, s in conn.execute("SELECT id, subject FROM app.alarm")}
        return sorted(self.got[alarms[p]] - at for p, at in self.sent.items() if alarms.get(p) in self.got)


def what_became(owner_url: str, probes: Probes) -> str:
    """Say of the probes that did not come where they are: not judged, not announced, or in which state of the outbox."""
    query = (
        "SELECT coalesce(n.state, CASE WHEN a.id IS NULL THEN 'not judged' ELSE 'not routed' END), count(*)"
        " FROM unnest(%s::bigint[]) AS p (id) LEFT JOIN app.alarm a ON a.subject = 'point:' || p.id"
        " LEFT JOIN app.notification n ON n.topic LIKE 'alarm:' || a.id || ':%%' AND n.transition = 'opened'"
        " WHERE a.id IS NULL OR a.id <> ALL(%s::bigint[]) GROUP BY 1"
    )
    with psycopg.connect(owner_url) as conn:
        rows = conn.execute(query, (list(probes.sent), list(probes.got))).fetchall()
    return ", ".join(f"{count} {state}" for state, count in rows) or "none missing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000, help="observations per second")
    parser.add_argument("--limits", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--probes", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
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
        "CLOUD_DATABASE_URL": addresses.app, "CLOUD_PORT": str(port)
    }  # fmt: skip
    probes = Probes()

    def start(*command: str) -> subprocess.Popen:
        return subprocess.Popen(
            [COMMAND, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    processes = [start("serve")]
    try:
        asyncio.run(_announce(port, credentials, -(-arguments.limits // (GATEWAYS * DEVICES))))
        points = _prepare(addresses.owner)
        processes.append(start("worker", "--only", "alarms:limits", "--only", "alarms:notify"))
        asyncio.run(_measure(addresses.owner, port, credentials, points, arguments, probes))
    finally:
        for process in processes:
            process.terminate()
            process.wait()
    _print(arguments, len(points), probes, probes.times(addresses.owner))
    print(what_became(addresses.owner, probes))


async def _measure(owner_url, port, credentials, points, arguments, probes) -> None:
    receiver = await asyncio.start_server(lambda r, w: _receive(r, w, probes), "127.0.0.1", 0)
    _add_channel(owner_url, f"webhook+http://127.0.0.1:{receiver.sockets[0].getsockname()[1]}/")
    await _warm_up(port, credentials[0], points[0], len(points) // GATEWAYS, probes)
    await _feed(port, credentials, points, arguments, probes)
    for _ in range(300):  # Late ones count as late, not as lost.
        if len(probes.got) > len(probes.sent):
            break
        await asyncio.sleep(0.1)
    receiver.close()


def _prepare(owner_url: str) -> list[int]:
    """Put a limit on every point; return the points in order of gateway and index."""
    with psycopg.connect(owner_url) as conn:
        conn.execute("SET search_path = app, public")
        points = [
            row[0]
            for row in conn.execute(
                "SELECT p.id FROM point p JOIN device d ON d.id = p.device_id ORDER BY d.gateway_id, d.id, p.id"
            )
        ]
        conn.execute(
            "INSERT INTO point_limit (organisation_id, point_id, kind, severity, value, clear_value, valid_from, set_by)"
            " SELECT organisation_id, id, 'above', 1, %s, %s, now() - interval '1 hour', 'bench' FROM point",
            (LIMIT_OF_REST, LIMIT_OF_REST * 0.98),
        )
    return points


def _add_channel(owner_url: str, hook: str) -> None:
    with psycopg.connect(owner_url) as conn:
        conn.execute("SET search_path = app, public")
        conn.execute(
            "INSERT INTO notification_channel (organisation_id, name, address, per_minute, tokens)"
            " SELECT id, 'hook', %s, 600, 600 FROM organisation",
            (hook,),
        )
        conn.execute(
            "INSERT INTO notification_route (organisation_id, channel_id) SELECT organisation_id, id"
            " FROM notification_channel"
        )


async def _feed(port, credentials, points, arguments, probes) -> None:
    period = 0.25
    per_batch = round(arguments.rate * period / GATEWAYS)
    per_gateway = len(points) // GATEWAYS
    rounds = round(arguments.seconds / period)
    chosen = random.Random(1).sample(range(1, len(points)), arguments.probes)
    due: dict[tuple[int, int], list[int]] = {}
    for n, point in enumerate(chosen):
        due.setdefault((point // per_gateway, 8 + n * (rounds - 8) // len(chosen)), []).append(point)
    start = time.perf_counter() + 0.5
    await asyncio.gather(
        *(
            _gateway(port, credentials[g], g, per_gateway, per_batch, rounds, period, start, due, points, probes)
            for g in range(GATEWAYS)
        )
    )


async def _warm_up(port, credential, point, size, probes) -> None:
    """Send a first value beyond its limit and wait for its webhook: the worker has read the limits then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    at_ms = int(time.time() * 1000)
    message = _message(str(uuid.uuid4()), _names(size), 1, [0], [at_ms], [LIMIT_OF_REST + 1])
    await _post(reader, writer, _request("POST", "/ingest/v1/batches", credential, _packed(message)))
    for _ in range(1200):
        if probes.got:
            break
        await asyncio.sleep(0.05)
    writer.close()
    await writer.wait_closed()


def _names(size: int) -> list[str]:
    return [f"dev-{n * DEVICES // size}/p{n % (size // DEVICES)}" for n in range(size)]


def _packed(message) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(orjson.dumps(message))


def _message(stream, names, seq, column, at_ms, values):
    count = len(column)
    return {
        "v": 1, "stream": stream, "sent_at_ms": at_ms[0], "clock_offset_ms": 0, "points": names,
        "scales": [None] * len(names), "seq": list(range(seq, seq + count)), "point": column, "at_ms": at_ms,
        "value": values, "quality": [0] * count, "events": [],
    }  # fmt: skip


async def _post(reader, writer, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    assert b" 200 " in head.split(b"\r\n")[0] + b" ", head


async def _gateway(port, credential, gateway, size, per_batch, rounds, period, start, due, points, probes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    names = _names(size)
    stream, seq, at = str(uuid.uuid4()), 1, 0
    start += period * gateway / GATEWAYS
    for round_ in range(rounds):
        await asyncio.sleep(max(0.0, start + round_ * period - time.perf_counter()))
        now_ms = int(time.time() * 1000)
        column = [(at + i) % size for i in range(per_batch)]
        at += per_batch
        values = [round(20 + (c + round_) % 7 * 0.1, 1) for c in column]
        hidden = due.get((gateway, round_), [])
        for point in hidden:
            column.append(point - gateway * size)
            values.append(LIMIT_OF_REST + 1)
        count = len(column)
        at_ms = [now_ms + i % 200 for i in range(count - len(hidden))] + [now_ms + 240] * len(hidden)
        message = _message(stream, names, seq, column, at_ms, values)
        seq += count
        request = _request("POST", "/ingest/v1/batches", credential, _packed(message))
        before = time.perf_counter()
        probes.sent |= dict.fromkeys((points[point] for point in hidden), before)
        await _post(reader, writer, request)
        probes.posts.append(time.perf_counter() - before)
    writer.close()
    await writer.wait_closed()


async def _receive(reader, writer, probes: Probes) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    body = json.loads(await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])))
    arrived = time.perf_counter()
    for item in body["items"]:
        probes.got.setdefault(int(item["topic"].split(":")[1]), arrived)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


def _print(arguments, count: int, probes: Probes, times: list[float]) -> None:
    head = f"{arguments.rate:,} observations/s, {count:,} limits"
    if not times:
        raise SystemExit(f"{head}: no probe came through")
    p50, p99 = (1000 * times[min(len(times) - 1, round(len(times) * q))] for q in (0.5, 0.99))
    post = 1000 * sorted(probes.posts)[len(probes.posts) // 2]
    print(
        f"{head}: observation in ingest to webhook p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {1000 * times[-1]:.0f} ms;"
        f" {p99 / 1000:.2f} of the allowed second ({len(times)} of {len(probes.sent)} probes came; the ingest alone answers"
        f" in {post:.0f} ms; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    )


if __name__ == "__main__":
    main()
