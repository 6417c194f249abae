"""A whole agent whose site file sends it to a Sparkplug broker."""

import asyncio
import json
import os
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from edge_agent.agent import Agent
from edge_agent.settings import AgentSettings
from edge_agent.sparkplug.payload import decode
from tests.support.broker import MOSQUITTO, Broker

pytestmark = pytest.mark.skipif(
    not Path(MOSQUITTO).exists() and not os.environ.get("CI"), reason="needs mosquitto (tests/services/install.sh)"
)

SITE = """
gateway: gw-test
cloud:
  uplink: mqtt
  sparkplug: {{host: 127.0.0.1, port: {port}, group: park}}
mqtt:
  - name: broker
    host: 127.0.0.1
    port: {port}
    devices:
      - {{name: co2-1, profile: zigbee2mqtt_co2, topic: zigbee2mqtt, parameters: {{name: hall}}}}
"""


async def test_a_sensor_behind_one_broker_arrives_as_sparkplug_at_the_other(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder).start()
    site = tmp_path / "site.yaml"
    site.write_text(SITE.format(port=broker.port))
    seen: list[tuple[str, bytes]] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="watcher")
    client.on_message = lambda _c, _u, message: seen.append((message.topic, message.payload))
    client.connect("127.0.0.1", broker.port)
    client.subscribe("spBv1.0/#")
    client.loop_start()
    stop = asyncio.Event()
    agent = Agent(site, AgentSettings(data_dir=tmp_path / "data", status_port=0))
    task = asyncio.create_task(agent.run(stop))
    try:
        deadline = time.monotonic() + 15
        while not any(topic == "spBv1.0/park/DDATA/gw-test/co2-1" for topic, _ in seen):
            assert time.monotonic() < deadline, [topic for topic, _ in seen]
            client.publish("zigbee2mqtt/hall", json.dumps({"co2": 612, "temperature": 23.4}), qos=1)
            await asyncio.sleep(0.2)
    finally:
        stop.set()
        await task
        client.disconnect()
        client.loop_stop()
        broker.stop()
    births = {topic: decode(payload) for topic, payload in seen if "BIRTH" in topic}
    names = {m.alias: m.name for m in births["spBv1.0/park/DBIRTH/gw-test/co2-1"].metrics}
    data = [decode(payload) for topic, payload in seen if topic == "spBv1.0/park/DDATA/gw-test/co2-1"]
    values = {names[m.alias]: m.value for message in data for m in message.metrics}
    assert (values["co2"], values["room_temperature"]) == (612.0, 23.4)
    assert seen[-1][0] == "spBv1.0/park/NDEATH/gw-test"
