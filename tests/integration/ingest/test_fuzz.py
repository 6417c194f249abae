"""The documented API, fed by schemathesis with what its description allows and what it does not: no 5xx."""

import hashlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ENDS_THE_SESSION = {"/api/v1/session"}
EXAMPLES_EACH = 8


@pytest.fixture
def api(database):
    """A real server with one gateway, and a session of an administrator."""
    token, key, secret = secrets.token_urlsafe(16), "0" * 12, "s" * 30

    with psycopg.connect(database.superuser) as conn:
        conn.execute(
            "WITH o AS (INSERT INTO app.organisation (code, name_zh, name_en) VALUES ('f','f','f') RETURNING id),"
            " s AS (INSERT INTO app.site (organisation_id, code, name_zh, name_en) SELECT id,'f','f','f' FROM o RETURNING id),"
            " g AS (INSERT INTO app.gateway (organisation_id, site_id, name) SELECT o.id, s.id, 'f' FROM o, s RETURNING id),"
            " c AS (INSERT INTO app.gateway_credential (key_id, gateway_id, secret_sha256) SELECT %(k)s, id, %(h)s FROM g),"
            " u AS (INSERT INTO app.app_user (organisation_id, login, display_name, roles)"
            "       SELECT id, 'root', 'root', '{admin}' FROM o RETURNING id)"
            " INSERT INTO app.user_session (token_sha256, user_id, csrf_token, created_at, last_seen_at, expires_at)"
            " SELECT %(t)s, id, 'x', now(), now(), now() + interval '1 day' FROM u",
            {"k": key, "h": hashlib.sha256(secret.encode()).digest(), "t": hashlib.sha256(token.encode()).digest()},
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "CLOUD_DATABASE_URL": database.app, "CLOUD_PORT": str(port)
    }  # fmt: skip
    process = subprocess.Popen(
        [Path(sys.executable).with_name("cloud-api"), "serve"], env=environment, stderr=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{base}/healthz")
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield base, {"/ingest": f"wl_gw_{key}_{secret}", "/api": token}
    process.terminate()
    process.wait()


def test_no_request_makes_the_server_fail(api):
    base, credentials = api
    schema = schemathesis.openapi.from_dict(httpx.get(f"{base}/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations() if found.ok().path not in ENDS_THE_SESSION]
    assert len(operations) >= 100
    answered = Counter()
    with httpx.Client(base_url=base, timeout=30) as client:
        for operation in operations:
            fuzz(client, operation, credentials, answered)
    assert answered[401] == 0, "nobody was signed in: the requests never reached what they are about"
    assert answered[200] > 0


def fuzz(client, operation, credentials, answered):
    """Send some requests that the description allows, and some that it does not."""

    @settings(
        max_examples=EXAMPLES_EACH,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.data())
    def send(data):
        case = data.draw(operation.as_strategy())
        credential = credentials["/api" if case.path.startswith("/api/v1/") else "/ingest"]
        prepared = case.as_transport_kwargs(base_url=str(client.base_url))
        answer = client.request(
            prepared["method"],
            prepared["url"],
            params=prepared.get("params"),
            content=prepared.get("data") if isinstance(prepared.get("data"), (str, bytes)) else None,
            json=prepared.get("json"),
            headers={"Authorization": f"Bearer {credential}"},
        )
        answered[answer.status_code] += 1
        sent = (case.method, prepared["url"], prepared.get("params"), prepared.get("json"))
        assert answer.status_code < 500, (sent, answer.text, datetime.now(UTC))

    send()
