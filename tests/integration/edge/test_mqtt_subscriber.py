"""The MQTT driver against a real mosquitto."""

import asyncio
import contextlib
import json
import os
import sqlite3
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import paho.mqtt.client as mqtt
import pytest

from device_profiles.catalog import load_mqtt
from edge_agent.drivers.mqtt import subscriber as subscribing
from edge_agent.drivers.mqtt.subscriber import BrokerSubscriber
from edge_agent.outbox import Outbox
from edge_agent.settings import MqttBroker, MqttDevice
from tests.support.broker import MOSQUITTO, Broker

pytestmark = pytest.mark.skipif(
    not Path(MOSQUITTO).exists() and not os.environ.get("CI"), reason="needs mosquitto (tests/services/install.sh)"
)


@pytest.fixture
def broker(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder).start()
    yield broker
    broker.stop()


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


@contextlib.contextmanager
def publisher(broker, *, will=None, client_id="publisher"):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id)
    if will:
        client.will_set(*will, qos=1, retain=True)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(client, topic, payload, *, qos=1, retain=False):
    body = payload if isinstance(payload, (bytes, str)) else json.dumps(payload)
    client.publish(topic, body, qos=qos, retain=retain).wait_for_publish(5)


def make(broker, outbox, *, protocol="5", co2=None, **door):
    section = MqttBroker(
        name="broker",
        host="127.0.0.1",
        port=broker.port,
        protocol=protocol,
        devices=[
            MqttDevice(name="door-1", profile="json_door_reader", topic="doors", parameters={"door": "lobby"}, **door),
            MqttDevice(
                name="co2-1",
                profile="zigbee2mqtt_co2",
                topic="zigbee2mqtt",
                parameters={"name": "hall"},
                **(co2 or {}),
            ),
        ],
    )
    return BrokerSubscriber(
        section,
        [(device, load_mqtt(device.profile)) for device in section.devices],
        outbox,
        gateway="gw-test",
        zone=ZoneInfo("Asia/Shanghai"),
        key=b"k" * 32,
    )


@contextlib.asynccontextmanager
async def running(subscriber):
    task = asyncio.create_task(subscriber.run())
    try:
        await until(lambda: subscriber.is_connected)
        await asyncio.sleep(0.15)  # The broker's answer to SUBSCRIBE.
        yield subscriber
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition, *, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        await asyncio.sleep(0.02)


def stored(outbox):
    """Everything in the outbox, without taking it."""
    outbox.flush()
    frames, events = [], []
    batches = []
    while (batch := outbox.begin_batch(10_000)) is not None:
        batches.append(batch)
        frames += batch.frames
        events += batch.events
    for batch in batches:
        outbox.release(batch)
    return frames, events


def badges(outbox):
    return [e.data["sequence"] for e in stored(outbox)[1] if e.kind == "door.access"]


def states(outbox, device):
    return [e.data["state"] for e in stored(outbox)[1] if e.kind == "device.state" and e.device == device]


def badge(sequence, **changes):
    return {"seq": sequence, "door": "lobby", "direction": "in", "result": "granted", "card": "77"} | changes


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_values_and_badges_arrive(broker, outbox, protocol):
    async with running(make(broker, outbox, protocol=protocol)) as subscriber:
        with publisher(broker) as client:
            publish(client, "doors/lobby/access", badge(1))
            publish(client, "zigbee2mqtt/hall", {"co2": 612, "temperature": 23.4})
            await until(lambda: badges(outbox) == [1] and any(f.layout.device == "co2-1" for f in stored(outbox)[0]))
        assert {s["name"]: s["state"] for s in subscriber.states()} == {"door-1": "online", "co2-1": "online"}
    [frame] = [f for f in stored(outbox)[0] if f.layout.device == "co2-1"]
    assert dict(zip(frame.layout.points, frame.values, strict=True)) == {"co2": 612.0, "room_temperature": 23.4}


async def test_a_point_is_kept_no_more_often_than_the_site_file_wants_it(broker, outbox):
    subscriber = make(broker, outbox, co2={"points": {"co2": {"poll_s": 60}}})
    async with running(subscriber):
        with publisher(broker) as client:
            for number in range(5):
                publish(client, "zigbee2mqtt/hall", {"co2": 600 + number, "temperature": 20.0 + number})
            publish(client, "zigbee2mqtt/hall", {"co2": "?", "temperature": 25.0})  # Another quality is always kept.
            await until(lambda: subscriber.counters["messages"] >= 6)
    frames = [dict(zip(f.layout.points, f.values, strict=True)) for f in stored(outbox)[0]]
    assert [f["co2"] for f in frames if "co2" in f] == [600.0, None]
    assert [f["room_temperature"] for f in frames] == [20.0, 21.0, 22.0, 23.0, 24.0, 25.0]
    assert subscriber.counters["left_out"] == 4


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_was_sent_while_the_agent_was_off_is_delivered_when_it_is_back(broker, outbox, protocol):
    async with running(make(broker, outbox, protocol=protocol)):
        pass
    with publisher(broker) as client:
        for sequence in (1, 2, 3):
            publish(client, "doors/lobby/access", badge(sequence))
    async with running(make(broker, outbox, protocol=protocol)):
        await until(lambda: badges(outbox) == [1, 2, 3])


async def test_a_message_is_acknowledged_only_when_it_is_durable(broker, outbox, monkeypatch):
    def full():
        raise sqlite3.OperationalError("database or disk is full")

    with publisher(broker) as client:
        with monkeypatch.context() as patched:
            patched.setattr(outbox, "flush", full)
            async with running(make(broker, outbox)) as subscriber:
                publish(client, "doors/lobby/access", badge(5))
                await until(lambda: subscriber.counters["messages"] >= 1)
                await asyncio.sleep(0.3)
                outbox._buffer.take()  # The agent dies before the data reach the disk.
        async with running(make(broker, outbox)):
            await until(lambda: badges(outbox) == [5])


async def test_a_message_sent_again_after_a_crash_is_not_a_second_event(broker, outbox, monkeypatch):
    async def never_acknowledge(self):
        await asyncio.Event().wait()

    with publisher(broker) as client:
        with monkeypatch.context() as patched:
            patched.setattr(BrokerSubscriber, "_acknowledge", never_acknowledge)
            async with running(make(broker, outbox)):
                publish(client, "doors/lobby/access", badge(5))
                await until(lambda: badges(outbox) == [5])
        async with running(make(broker, outbox)) as subscriber:
            await until(lambda: subscriber.counters["duplicate"] == 1)
            publish(client, "doors/lobby/access", badge(6))
            await until(lambda: badges(outbox) == [5, 6])


async def test_a_reader_that_repeats_itself_counts_once_and_a_hole_is_reported(broker, outbox):
    async with running(make(broker, outbox)) as subscriber:
        with publisher(broker) as client:
            for sequence in (10, 10, 11, 11, 14):
                publish(client, "doors/lobby/access", badge(sequence))
            await until(lambda: badges(outbox) == [10, 11, 14])
        await until(lambda: subscriber.counters["duplicate"] == 2)
        assert subscriber.counters["missed_events"] == 2
    assert [e.data.get("missed") for e in stored(outbox)[1] if e.kind == "door.access"] == [None, None, 2]


async def test_the_last_will_of_a_device_takes_it_offline_and_its_return_brings_it_back(broker, outbox):
    async with running(make(broker, outbox)):
        with publisher(broker, will=("doors/lobby/online", "false"), client_id="door") as client:
            publish(client, "doors/lobby/online", "true", retain=True)
            publish(client, "doors/lobby/state", {"open": True})
            await until(lambda: states(outbox, "door-1") == ["online"])
            client.socket().shutdown(2)  # The cable is pulled: the broker publishes the will ...
            await until(lambda: states(outbox, "door-1")[:2] == ["online", "offline"])
            await until(client.is_connected)  # ... until the device is back.
            publish(client, "doors/lobby/online", "true", retain=True)
            await until(lambda: states(outbox, "door-1") == ["online", "offline", "online"])
    ends = [f for f in stored(outbox)[0] if f.layout.device == "door-1" and f.qualities]
    assert [list(f.qualities) for f in ends] == [[3]]


async def test_a_device_that_falls_silent_is_lost(broker, outbox, monkeypatch):
    monkeypatch.setattr(subscribing, "TICK_S", 0.05)
    async with running(make(broker, outbox, timeout_s=0.4)):
        with publisher(broker) as client:
            publish(client, "doors/lobby/state", {"open": False})
            await until(lambda: states(outbox, "door-1") == ["online", "offline"])


async def test_a_broker_that_stays_away_takes_its_devices_offline_and_all_is_well_when_it_returns(
    broker, outbox, monkeypatch
):
    monkeypatch.setattr(subscribing, "TICK_S", 0.05)
    monkeypatch.setattr(subscribing, "BROKER_GRACE_S", 0.3)
    async with running(make(broker, outbox)) as subscriber:
        with publisher(broker) as client:
            publish(client, "doors/lobby/state", {"open": False})
            await until(lambda: states(outbox, "door-1") == ["online"])
        broker.stop()
        await until(lambda: states(outbox, "door-1") == ["online", "offline"])
        assert "cannot be reached" in subscriber.states()[0]["last_error"]
        broker.start()
        await until(lambda: subscriber.is_connected)
        await asyncio.sleep(0.2)
        with publisher(broker) as client:
            publish(client, "doors/lobby/access", badge(3))
            await until(lambda: badges(outbox) == [3])


async def test_rubbish_is_counted_and_the_next_message_is_read(broker, outbox):
    async with running(make(broker, outbox)) as subscriber:
        with publisher(broker) as client:
            for rubbish in (b"\xff\xfe", b"{", b"[" * 5000, b"", b"NaN", b'{"co2": NaN}', b"\x00" * 1000):
                publish(client, "zigbee2mqtt/hall", rubbish)
            publish(client, "zigbee2mqtt/hall", b'{"co2": 1' + b"0" * 100_000 + b"}")
            publish(client, "zigbee2mqtt/hall", {"co2": 700})
            await until(lambda: [list(f.values) for f in stored(outbox)[0]] == [[700.0]])
        problems = subscriber.report()["devices"][1]["problems"]
    assert sum(problems.values()) == 8
    assert subscriber.counters["internal_error"] == 0


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_a_giant_payload_is_refused_and_the_connection_goes_on(broker, outbox, protocol):
    async with running(make(broker, outbox, protocol=protocol)):
        with publisher(broker) as client:
            publish(client, "zigbee2mqtt/hall", b'{"co2":1}' + b" " * 5_000_000)
            publish(client, "zigbee2mqtt/hall", {"co2": 700})
            await until(lambda: [list(f.values) for f in stored(outbox)[0]] == [[700.0]])


async def test_topics_of_an_earlier_site_file_are_ended(broker, outbox):
    subscriber = make(broker, outbox)
    async with running(subscriber):
        outbox.flush()
    other = make(broker, outbox)
    other._qos.pop("zigbee2mqtt/hall")
    other._exact.pop("zigbee2mqtt/hall")
    async with running(other):
        with publisher(broker) as client:
            publish(client, "zigbee2mqtt/hall", {"co2": 700})
            publish(client, "doors/lobby/access", badge(1))
            await until(lambda: badges(outbox) == [1])
    assert other.counters["unknown_topic"] == 0


async def test_a_thousand_messages_in_a_row_all_arrive(broker, outbox):
    async with running(make(broker, outbox)):
        with publisher(broker) as client:
            for sequence in range(1, 1001):
                client.publish("doors/lobby/access", json.dumps(badge(sequence)), qos=1)
            await until(lambda: len(badges(outbox)) == 1000, seconds=30)
    assert badges(outbox) == list(range(1, 1001))
