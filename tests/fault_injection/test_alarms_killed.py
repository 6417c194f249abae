"""kill -9 of evaluator, notifier, API and database in a replayed day: the alarms and messages of an undisturbed run."""

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import loads
from pathlib import Path
from threading import Thread

import httpx
import psycopg
import pytest

from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.db.pool import make_pool, transaction
from cloud_api.devices import service as devices
from cloud_api.kit.scope import SYSTEM

COMMAND = Path(sys.executable).with_name("cloud-api")
START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
POINTS, BATCHES, MINUTES = 6, 48, 30
LIMIT = 30.0
PROCESSES = {
    "serve": ("serve",),
    "evaluator": ("worker", "--only", "alarms:limits"),
    "notifier": ("worker", "--only", "alarms:notify"),
}


class Receiver:
    """A webhook that knows idempotency keys: a message sent again after a crash counts once."""

    def __init__(self):
        self.messages = {}
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = loads(self.rfile.read(int(self.headers["Content-Length"])))
                mine.messages[self.headers["Idempotency-Key"]] = body
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"webhook+http://127.0.0.1:{self.server.server_port}/"

    def told(self):
        return sorted((i["topic"], i["transition"]) for body in self.messages.values() for i in body["items"])

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Cloud:
    """Database, API, evaluator and notifier as processes that can be killed."""

    def __init__(self, folder, receiver):
        folder.mkdir()
        folder.chmod(0o755)
        self.server = EmbeddedServer(folder / "postgres")
        self.server.start()
        bootstrap(self.server.addresses("postgres").superuser, "cloud", self.server.passwords())
        migrate(self.server.addresses("cloud").owner)
        self.url = self.server.addresses("cloud").app
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.receiver, self.processes = receiver, {}
        for name in PROCESSES:
            self.run(name)

    def run(self, name):
        environment = os.environ | {
            "CLOUD_DATABASE_URL": self.url, "CLOUD_PORT": str(self.port)
        }  # fmt: skip
        self.processes[name] = subprocess.Popen(
            [COMMAND, *PROCESSES[name]], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def kill(self, name):
        if name == "database":
            os.killpg(self.server.pid, signal.SIGKILL)
            time.sleep(0.3)
            self.server.start()
            return
        self.processes[name].kill()
        self.processes[name].wait()
        self.run(name)

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.server.stop()

    def ask(self, query):
        with psycopg.connect(self.url) as conn:
            conn.execute("SELECT set_config('app.viewer_kind', 'system', false)")
            return conn.execute(query).fetchall()


async def set_up(cloud):
    async with make_pool(cloud.url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
        [organisation] = await (
            await conn.execute("INSERT INTO organisation (code, name_zh, name_en) VALUES ('f','f','f') RETURNING id")
        ).fetchone()
        await conn.execute(
            "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s,'f','f','f')", (organisation,)
        )
        credential = await devices.add_gateway(conn, site_code="f", name="gw", actor="test", now=datetime.now(UTC))
    points = [{"name": f"p{n}"} for n in range(POINTS)]
    catalogue = {"v": 1, "revision": "1", "devices": [{"name": "d", "points": points}]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{cloud.port}") as client:
        await until_answered(client, "PUT", "/ingest/v1/catalogue", credential, catalogue)
    async with make_pool(cloud.url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO point_limit (organisation_id, point_id, kind, severity, value, clear_value, on_delay_s,"
            " off_delay_s, valid_from, set_by) SELECT organisation_id, id, 'above', 1, %s, %s, 120 * (id %% 3), 60, %s, 't'"
            " FROM point",
            (LIMIT, LIMIT - 2, START),
        )
        await conn.execute("SELECT pg_notify('limits', '')")
        await conn.execute(
            "WITH c AS (INSERT INTO notification_channel (organisation_id, name, address, per_minute, tokens)"
            " VALUES (%s, 'hook', %s, 600, 600) RETURNING id, organisation_id)"
            " INSERT INTO notification_route (organisation_id, channel_id) SELECT organisation_id, id FROM c",
            (organisation, cloud.receiver.address),
        )
    return credential


async def until_answered(client, method, path, credential, body):
    deadline = time.monotonic() + 150
    while True:
        try:
            headers = {"Authorization": f"Bearer {credential}"}
            answer = await client.request(method, path, json=body, headers=headers, timeout=20)
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code == 200:
            return
        assert answer is None or answer.status_code in {429, 500, 503}, answer.text
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def day():
    """Return batches of (point, at_ms, value): spikes, then faults that last; after noon they end, with relapses."""
    rng = random.Random(3)
    begins = [rng.randrange(60, 600) for _ in range(POINTS)]
    ends = [rng.randrange(760, 1200) for _ in range(POINTS)]
    for number in range(BATCHES):
        rows = []
        for minute in range(number * MINUTES, (number + 1) * MINUTES):
            for point in range(POINTS):
                faulty = begins[point] <= minute < ends[point]
                value = rng.choice((29.0, 31.0, 35.0)) if faulty else 25.0
                if not faulty and minute > ends[point] and rng.random() < 0.02:
                    value = 33.0
                rows.append((point, int((START + timedelta(minutes=minute)).timestamp() * 1000), value))
        yield rows


async def settled(cloud):
    """Wait until everything sent is judged, routed and told (recoveries wait for minutes of their own)."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            [(waiting,)] = cloud.ask(
                "SELECT (SELECT count(*) FROM app.observation_arrival) + (SELECT count(*) FROM app.alarm_dispatch)"
                " + (SELECT count(*) FROM app.point_limit WHERE late_from IS NOT NULL) + (SELECT count(*)"
                " FROM app.notification WHERE state IN ('waiting', 'sending') AND transition NOT LIKE 'cleared%')"
            )
        except psycopg.OperationalError:
            waiting = 1
        if not waiting:
            return
        await asyncio.sleep(0.2)
    pytest.fail("the evaluator or the notifier did not come to an end")


async def replay(cloud, faults):
    credential = await set_up(cloud)
    rng = random.Random(9)
    when = dict(zip(sorted(rng.sample(range(2, BATCHES), len(faults))), faults, strict=True))
    stream, seq = str(uuid.UUID(int=7)), 1
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{cloud.port}") as client:
        for number, rows in enumerate(day()):
            count = len(rows)
            message = {
                "v": 1, "stream": stream, "points": [f"d/p{n}" for n in range(POINTS)], "scales": [None] * POINTS,
                "seq": list(range(seq, seq + count)), "point": [r[0] for r in rows], "at_ms": [r[1] for r in rows],
                "value": [r[2] for r in rows], "quality": [0] * count, "events": [],
            }  # fmt: skip
            seq += count
            sending = asyncio.create_task(until_answered(client, "POST", "/ingest/v1/batches", credential, message))
            if number in when:
                await asyncio.sleep(rng.random() * 0.2)
                await asyncio.to_thread(cloud.kill, when[number])
            await sending
            if number == BATCHES // 2:
                await settled(cloud)  # Noon: everyone has been told before the first fault ends.
    await settled(cloud)
    occurrences = cloud.ask(
        "SELECT a.subject, o.opened_at, o.cleared_at FROM app.alarm_occurrence o JOIN app.alarm a ON a.id = o.alarm_id"
        " WHERE NOT o.is_disproved ORDER BY 1, 2"
    )
    states = cloud.ask("SELECT subject, active, acknowledged, verdict, opened_at FROM app.alarm ORDER BY 1")
    subjects = dict(cloud.ask("SELECT id, subject FROM app.alarm"))
    told = sorted((subjects[int(topic.split(":")[1])], transition) for topic, transition in cloud.receiver.told())
    return occurrences, states, told


async def test_kills_at_random_instants_leave_the_alarms_and_messages_of_an_undisturbed_run(tmp_path):
    found = []
    kills = ["evaluator", "notifier", "database", "evaluator", "serve", "notifier", "database", "evaluator"]
    for name, faults in (("undisturbed", []), ("disturbed", kills)):
        receiver = Receiver()
        cloud = Cloud(tmp_path / name, receiver)
        try:
            found.append(await replay(cloud, faults))
        finally:
            cloud.stop()
            receiver.close()
    (occurrences, states, told), disturbed = found
    assert len(occurrences) >= POINTS
    assert {subject for subject, transition in told if transition == "opened"} == {state[0] for state in states}
    assert disturbed == (occurrences, states, told)
