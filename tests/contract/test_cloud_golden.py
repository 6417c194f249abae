"""The cloud reads the golden messages of the edge, and what it answers is what the edge can read."""

from datetime import UTC, datetime
from pathlib import Path

import orjson

from cloud_api.devices.model import Catalogue, Heartbeat
from cloud_api.ingest.limits import LIMITS
from cloud_api.ingest.message import read_batch
from cloud_api.ingest.service import Receipt
from cloud_api.ingest.verdicts import judge
from edge_agent.outbox import Outbox
from edge_agent.uplink import wire
from edge_agent.uplink.https import Destination, HttpsUplink
from tests.contract.edge_messages import BATCH, CATALOGUE, STREAM

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime.fromtimestamp(1_764_000_000.450, UTC)


def test_the_catalogue_is_understood():
    catalogue = Catalogue.model_validate(orjson.loads((GOLDEN / "catalogue.json").read_bytes()))
    assert [device.name for device in catalogue.devices] == ["meter-t301", "door-1"]
    energy = catalogue.devices[0].points[0]
    assert (energy.name, energy.unit, energy.scale, energy.cumulative) == ("active_energy_import", "kWh", 3, True)
    assert catalogue.devices[0].label == "三层租户电表"


def test_a_batch_is_understood_to_the_last_digit():
    batch = read_batch((GOLDEN / "batch.json").read_bytes())
    assert str(batch.stream) == STREAM
    assert batch.seq.tolist() == [101, 102, 103, 104, 105, 106, 107]
    assert batch.value == [230.25, -0.5, None, 1, 1e-7, None, 9_007_199_254_740_993]
    assert batch.quality.tolist() == [0, 0, 2, 0, 1, 3, 0]
    assert batch.scales.tolist()[-1] == 3
    assert (batch.malformed, batch.malformed_events) == ({}, {})
    assert [(event.seq, event.kind) for event in batch.events] == [(108, "door.access"), (109, "device.state")]


def test_the_receipt_of_the_cloud_settles_at_the_edge():
    batch = read_batch((GOLDEN / "batch.json").read_bytes())
    points = {"meter-t301/active_energy_import": 1, "meter-t301/voltage_l1": 2}
    verdicts = judge(
        batch,
        settled=[(101, 102)],
        points=points,
        devices={"door-1": 1},
        now_ms=int(NOW.timestamp() * 1000),
        limits=LIMITS,
    )
    body = orjson.dumps(Receipt(batch=batch, rejected=verdicts.rejected, retry=verdicts.retry, now=NOW).body())
    receipt = wire.decode_receipt(body, stream=STREAM)
    assert receipt.accepted == [(101, 101), (107, 108)]
    assert [(entry.first, entry.last, entry.code) for entry in receipt.retry] == [
        (102, 106, "unknown_point"),
        (109, 109, "unknown_point"),
    ]
    assert receipt.server_time_ms == 1_764_000_000_450


def test_the_heartbeat_of_the_edge_is_understood(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    device = {"name": "meter-t301", "state": "offline", "since_ms": 5, "last_error": "no answer for 15 s"}
    uplink = HttpsUplink(
        Destination(url="http://127.0.0.1:1", credential="x"),
        outbox,
        catalogue=lambda: CATALOGUE,
        health=lambda: {"devices": [device, {**device, "name": "door-1", "last_error": None}]},
    )
    heartbeat = Heartbeat.model_validate(orjson.loads(uplink._heartbeat()))
    outbox.close()
    assert [(d.name, d.state) for d in heartbeat.devices] == [("meter-t301", "offline"), ("door-1", "offline")]
    assert heartbeat.model_extra["outbox"]["waiting"] == {"telemetry": 0, "event": 0, "billing": 0}


def test_the_golden_batch_is_the_one_the_edge_writes_today():
    message = wire.encode_batch(BATCH, sent_at_ms=1_764_000_000_400, clock_offset_ms=3)
    assert orjson.loads(message) == orjson.loads((GOLDEN / "batch.json").read_bytes())
