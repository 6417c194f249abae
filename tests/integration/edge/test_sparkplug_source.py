"""Devices behind edge nodes: one written by others (pysparkplug), and our own."""

import asyncio
import os
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from device_profiles.catalog import load_file
from edge_agent.drivers.mqtt.subscriber import BrokerSubscriber
from edge_agent.model import Frame, Quality
from edge_agent.outbox import Outbox
from edge_agent.settings import MqttBroker, MqttDevice
from edge_agent.sparkplug.payload import DataType, Metric, Payload, encode
from tests.integration.edge.test_mqtt_subscriber import running, states, stored, until
from tests.integration.edge.test_sparkplug_uplink import PEER, SCRIPT
from tests.integration.edge.test_sparkplug_uplink import running as node_running
from tests.support.broker import MOSQUITTO, Broker

pytestmark = pytest.mark.skipif(
    not (PEER.exists() and Path(MOSQUITTO).exists()) and not os.environ.get("CI"),
    reason="needs mosquitto and pysparkplug (tests/services/install.sh)",
)

PROFILE = """
profile: sparkplug_press
kind: mqtt
category: meter
label: {en: Press behind an edge node, zh: 边缘节点后的压机}
products: [{brand: Any, model: edge node that names its metrics so}]
source: The names of the metrics are those of this test.
confidence: documented
messages:
  - topic: 'spBv1.0/{group}/+/{node}/{device}'
    points:
      - {name: active_energy_import, path: $.energy}
      - {name: active_power_total, path: $.power}
      - {name: reactive_power_total, path: $.count}
    example: '{"energy": 12.5, "power": 1.0, "count": 3}'
"""


@pytest.fixture
def broker(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder).start()
    yield broker
    broker.stop()


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "reader.db")
    yield box
    box.close()


def reader(broker, outbox, tmp_path, **parameters):
    path = tmp_path / "sparkplug_press.yaml"
    path.write_text(PROFILE)
    device = MqttDevice(name="press-1", profile="sparkplug_press", topic="unused", parameters=parameters)
    section = MqttBroker(name="broker", host="127.0.0.1", port=broker.port, devices=[device])
    return BrokerSubscriber(
        section, [(device, load_file(path))], outbox, gateway="gw-reader", zone=ZoneInfo("Asia/Shanghai"), key=b"k" * 32
    )


def values(outbox, point):
    return [
        value
        for frame in stored(outbox)[0]
        for name, value in zip(frame.layout.points, frame.values, strict=True)
        if name == point and value is not None
    ]


async def test_the_metrics_of_a_foreign_edge_node_are_read(broker, outbox, tmp_path):
    process = await asyncio.create_subprocess_exec(
        PEER, SCRIPT, "edge", str(broker.port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        await process.stdout.readline()
        subscriber = reader(broker, outbox, tmp_path, group="plant", node="line-1", device="press")
        async with running(subscriber):
            for value in (12.5, 13.25):
                process.stdin.write(f"{value}\n".encode())
                await process.stdout.readline()
                await asyncio.sleep(0.3)
            await until(lambda: values(outbox, "active_energy_import")[-2:] == [12500, 13250])
            assert values(outbox, "reactive_power_total")[-2:] == [-12.0, -13.0]
            assert states(outbox, "press-1") == ["online"]
            process.kill()
            await process.wait()
            await until(lambda: states(outbox, "press-1") == ["online", "offline"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.stdin.close()


async def test_one_of_our_nodes_is_read_exactly_and_a_late_reader_asks_for_a_birth(broker, outbox, tmp_path):
    sender = Outbox(tmp_path / "sender.db")
    sender.use_scales({"meter-1/energy": 3})
    now = time.time_ns() // 1_000_000

    def frame(energy, at):
        return Frame(
            device="meter-1",
            observed_at_ms=at,
            points=("energy", "power"),
            values=(energy, 5.5),
            qualities=(Quality.GOOD, Quality.UNCERTAIN),
        )

    async with node_running(sender, broker.port):
        sender.append([frame(9_007_199_254_740_993, now)])
        await until(lambda: sum(sender.waiting().values()) == 0 and sender.report()["settled"] > 0)
        subscriber = reader(broker, outbox, tmp_path, group="park", node="gw-1", device="meter-1")
        async with running(subscriber):
            await until(lambda: values(outbox, "active_energy_import") == [9_007_199_254_740_993])
            sender.append([frame(9_007_199_254_740_994, now + 1000)])
            await until(lambda: len(values(outbox, "active_energy_import")) == 2)
        assert subscriber.counters["rebirths_asked"] == 1
    sender.close()
    assert values(outbox, "active_energy_import") == [9_007_199_254_740_993, 9_007_199_254_740_994]
    stamps = {frame.at_ms for frame in stored(outbox)[0]}
    assert stamps == {now, now + 1000}


async def test_rubbish_in_the_namespace_is_counted(broker, outbox, tmp_path):
    from tests.integration.edge.test_mqtt_subscriber import publish, publisher

    subscriber = reader(broker, outbox, tmp_path, group="plant", node="line-1", device="press")
    async with running(subscriber):
        with publisher(broker) as client:
            for kind in ("DBIRTH", "DDATA", "NBIRTH", "NDEATH"):
                topic = f"spBv1.0/plant/{kind}/line-1" + ("/press" if kind[0] == "D" else "")
                publish(client, topic, b"\xff\xff\xff rubbish")
            await until(lambda: subscriber.counters["messages"] >= 4)
    assert subscriber.counters["internal_error"] == 0
    assert stored(outbox) == ([], [])
    assert subscriber.counters["not_sparkplug"] >= 4


async def test_a_gap_in_the_numbers_of_a_node_asks_for_a_birth_whichever_device_it_hit(broker, outbox, tmp_path):
    from tests.integration.edge.test_mqtt_subscriber import publisher

    asked = []

    def message(seq, name, value):
        metric = Metric(name=name, timestamp_ms=now + seq, datatype=DataType.DOUBLE, value=value)
        return encode(Payload(timestamp_ms=now + seq, seq=seq % 256, metrics=(metric,)))

    def publish(client, kind, seq, device="", value=1.0):
        topic = f"spBv1.0/plant/{kind}/line-1" + (f"/{device}" if device else "")
        client.publish(topic, message(seq, "energy", value), qos=0).wait_for_publish(5)

    now = time.time_ns() // 1_000_000
    subscriber = reader(broker, outbox, tmp_path, group="plant", node="line-1", device="press")
    async with running(subscriber):
        with publisher(broker) as client:
            client.on_message = lambda _c, _u, message: asked.append(message.topic)
            client.subscribe("spBv1.0/plant/NCMD/line-1")
            publish(client, "NBIRTH", 0)
            publish(client, "DBIRTH", 1, "press")
            publish(client, "DBIRTH", 2, "other")
            publish(client, "DDATA", 3, "other")
            publish(client, "DDATA", 4, "press", 2.0)
            await until(lambda: values(outbox, "active_energy_import") == [1000, 2000])
            assert subscriber.counters["sequence_gap"] == 0
            assert subscriber.counters["unknown_topic"] == 0
            subscriber._rebirth_asked_at_s.clear()  # The one of the connection was a moment ago.
            publish(client, "DDATA", 6, "press", 3.0)
            await until(lambda: subscriber.counters["sequence_gap"] == 1)
            await until(lambda: asked)
            await until(lambda: values(outbox, "active_energy_import")[-1] == 3000)
