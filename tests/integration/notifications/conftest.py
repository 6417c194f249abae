"""Receivers that answer like a webhook, and a stage."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import loads
from threading import Thread
from time import sleep

import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM
from tests.integration.notifications.stage import Receiver, Stage


@pytest.fixture
def receivers():
    servers = []

    def make():
        receiver = Receiver()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = loads(self.rfile.read(int(self.headers["Content-Length"])))
                sleep(receiver.delay)
                if receiver.status == 200:
                    receiver.got.append(body)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        receiver.url = f"webhook+http://127.0.0.1:{server.server_port}/hook"
        return receiver

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
async def stage(pool):
    async with transaction(pool, SYSTEM) as conn:
        row = await (
            await conn.execute(
                "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
            )
        ).fetchone()
        site = await (
            await conn.execute(
                "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'S') RETURNING id",
                row,
            )
        ).fetchone()
    return Stage(pool, row[0], site[0])
