"""A Sparkplug message whose handling fails is kept for inspection and shown."""

import base64

import orjson
import paho.mqtt.client as mqtt
import psycopg

from cloud_api.db.pool import transaction
from cloud_api.ingest.inspect import lines_about
from cloud_api.ingest.service import Ingest
from cloud_api.ingest.sparkplug import consumer, failures
from cloud_api.ingest.sparkplug.host import Host
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.scope import SYSTEM
from edge_agent.sparkplug.session import Session
from edge_agent.uplink.wire import Catalogue
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.integration.ingest.test_sparkplug import DEVICE


async def test_a_message_that_fails_is_kept_with_its_reason(database, edge, pool, rows_of):
    with psycopg.connect(database.owner, autocommit=True) as conn:
        conn.execute("ALTER TABLE app.device ADD CONSTRAINT no_meters CHECK (name <> 'meter-1')")
    host = Host(ingest=Ingest(pool=pool, clock=fixed_clock(NOW)))
    broker = consumer.Broker(url="mqtt://127.0.0.1:1", host_id="h", share="h", worker="a")
    worker = consumer.Consumer(broker, host)  # Not connected: the messages are handed to it here.
    session = Session(group="park", node="gw-1", catalogue=Catalogue(devices=(DEVICE,)))
    session.begin(0, NOW_MS)
    _, failing = births = list(session.births(NOW_MS))
    for birth in births:
        message = mqtt.MQTTMessage(topic=birth.topic.encode())
        message.payload = birth.payload
        await worker._take(message)
    [line] = await lines_about(database.app, 10)
    kept = orjson.loads(line)
    assert (kept["kind"], kept["topic"], kept["payload_bytes"]) == ("sparkplug", failing.topic, len(failing.payload))
    assert base64.b64decode(kept["payload"]) == failing.payload
    assert "no_meters" in kept["reason"]
    assert await rows_of("SELECT name FROM device") == []


async def test_only_the_newest_failures_are_kept(pool, rows_of):
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO sparkplug_failure (failed_at, topic, reason, payload_bytes, payload)"
            " SELECT now(), n::text, '', 0, '' FROM generate_series(1, 1200) n"
        )
        await failures.keep(conn, fixed_clock(NOW), topic="last", payload=bytes(100_000), error=ValueError("a\0b"))
    assert await rows_of("SELECT count(*) FROM sparkplug_failure") == [(failures.KEPT,)]
    [newest] = await rows_of(
        "SELECT topic, reason, payload_bytes, length(payload) FROM sparkplug_failure ORDER BY id DESC LIMIT 1"
    )
    assert newest == ("last", "ValueError: ab", 100_000, failures.PAYLOAD_BYTES_MAX)
