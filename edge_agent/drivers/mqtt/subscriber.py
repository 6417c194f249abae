"""One connection to a broker: subscribes, maps, hands over, and acknowledges only what is durable."""

import asyncio
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, NoReturn, Protocol
from zoneinfo import ZoneInfo

import orjson
import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device_profiles.model import MqttProfile
from edge_agent.drivers.mqtt.mapping import Arrival, Reading, Route, routes_of
from edge_agent.drivers.mqtt.payload import PAYLOAD_BYTES_MAX
from edge_agent.drivers.mqtt.repeats import Repeats
from edge_agent.drivers.mqtt.sparkplug import NAMESPACE, NodeSequence, SparkplugRoute
from edge_agent.drivers.mqtt.thinning import Thinning
from edge_agent.drivers.mqtt.topics import is_filter, matches
from edge_agent.drivers.mqtt.watch import Watched
from edge_agent.model import DeviceState, Event, Frame
from edge_agent.outbox.outbox import system_now_ms
from edge_agent.settings import MqttBroker, MqttDevice
from edge_agent.tls import client_context

log = structlog.get_logger()

SESSION_EXPIRY_S = 7 * 86_400  # How long the broker keeps messages for an agent that is off.
TICK_S = 1.0
BROKER_GRACE_S = 15.0  # A broker that restarts does not make its devices lost.
ACKNOWLEDGE_DELAY_S = 0.1  # Gather a few messages per commit ...
ACKNOWLEDGE_AT = 10  # ... but stay below what a broker keeps in flight (mosquitto: 20).
SUBSCRIPTIONS_PER_PACKET = 100
REPEATS_MAX = 10_000
REBIRTH_AGAIN_S = 5.0


class Sink(Protocol):
    """The outbox, as far as a subscriber needs it."""

    def append(
        self, frames: Sequence[Frame], events: Sequence[Event] = (), *, cursors: Mapping[str, str] | None = None
    ) -> None:
        """Take data and how far they were read."""
        ...

    def flush(self) -> int:
        """Make everything appended durable."""
        ...

    def cursor(self, name: str) -> str | None:
        """Return what was stored under a name."""
        ...


class BrokerSubscriber:
    """All devices behind one broker. `run` until cancelled."""

    def __init__(
        self,
        broker: MqttBroker,
        devices: Sequence[tuple[MqttDevice, MqttProfile]],
        sink: Sink,
        *,
        gateway: str,
        zone: ZoneInfo,
        key: bytes,
        now_ms: Callable[[], int] = system_now_ms,
        uptime_s: Callable[[], float] = monotonic,
    ) -> None:
        """Compile the routes; raises TopicError when the site file lacks a topic's parameter."""
        self.counters: Counter[str] = Counter()
        self.is_connected = False
        self.last_error = ""
        self._broker = broker
        self._sink = sink
        self._now_ms = now_ms
        self._uptime_s = uptime_s
        self._connected_at_s = uptime_s()
        self._exact: dict[str, list[Route]] = {}
        self._filters: list[tuple[str, Route | SparkplugRoute]] = []
        self._sources: list[SparkplugRoute] = []
        self._sequences: dict[tuple[str, str], NodeSequence] = {}
        self._rebirth_asked_at_s: dict[str, float] = {}
        self._watched: dict[str, Watched] = {}
        self._thinning: dict[str, Thinning] = {}
        self._repeats: dict[tuple[str, str], Repeats] = {}
        self._qos: dict[str, int] = {}
        self._guard = threading.Lock()  # The network thread takes messages, the event loop watches for silence.
        self._unacknowledged: list[tuple[int, int, int]] = []
        self._connection = 0  # Packet numbers belong to a connection.
        self._arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        for device, profile in devices:
            self._add(device, profile, zone, key)
        self._client = self._make_client(gateway)

    def _add(self, device: MqttDevice, profile: MqttProfile, zone: ZoneInfo, key: bytes) -> None:
        disabled = frozenset(name for name, override in device.points.items() if not override.enabled)
        parameters = {"base": device.topic, "name": device.name, **device.parameters}
        for route in routes_of(device.name, profile, parameters, zone=zone, key=key, disabled=disabled):
            if route.topic.startswith(NAMESPACE):
                source = SparkplugRoute(route)
                self._sources.append(source)
                self._filters += [(source.topic, source), (source.node_topic, source)]
                self._sequences.setdefault(source.node, NodeSequence())
                self._qos[source.everything] = 0  # Once: overlapping subscriptions may bring a message twice.
            elif is_filter(route.topic):
                self._filters.append((route.topic, route))
                self._qos[route.topic] = route.qos
            else:
                self._exact.setdefault(route.topic, []).append(route)
                self._qos[route.topic] = max(route.qos, self._qos.get(route.topic, 0))
        wanted = {name: override.poll_s for name, override in device.points.items() if override.poll_s is not None}
        self._thinning[device.name] = Thinning(wanted)
        self._watched[device.name] = Watched(
            name=device.name,
            points=tuple(p.name for p in profile.points if not p.is_text and p.name not in disabled),
            silent_after_s=device.offline_after_s,
            since_ms=self._now_ms(),
            heard_at_s=self._uptime_s(),
        )

    def _make_client(self, gateway: str) -> mqtt.Client:
        broker = self._broker
        is_v5 = broker.protocol == "5"
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id or f"{gateway}-{broker.name}",
            clean_session=None if is_v5 else False,
            protocol=mqtt.MQTTv5 if is_v5 else mqtt.MQTTv311,
            manual_ack=True,
        )
        if broker.username:
            password = broker.password_file.read_text(encoding="utf-8").strip() if broker.password_file else None
            client.username_pw_set(broker.username, password)
        if broker.tls:
            client.tls_set_context(client_context(broker.ca_file))
        client.reconnect_delay_set(min_delay=1, max_delay=60)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_message = self._on_message
        return client

    async def run(self) -> NoReturn:
        """Stay connected until cancelled; a planned stop leaves the session with the broker, so nothing is missed."""
        self._loop = asyncio.get_running_loop()
        properties = None
        if self._broker.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.MaximumPacketSize = PAYLOAD_BYTES_MAX + 1024
        self._client.connect_async(
            self._broker.host,
            self._broker.port,
            clean_start=False if properties else mqtt.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        self._client.loop_start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._acknowledge())
                while True:
                    await asyncio.sleep(TICK_S)
                    self._look_for_silence()
        finally:
            self._client.disconnect()
            await asyncio.shield(asyncio.to_thread(self._client.loop_stop))

    def states(self) -> list[dict[str, Any]]:
        """Return the state of each device for the heartbeat."""
        with self._guard:
            return [
                {"name": d.name, "state": d.state.value, "since_ms": d.since_ms, "last_error": d.error or None}
                for d in self._watched.values()
            ]

    def report(self) -> dict[str, Any]:
        """Return what the status page says about this broker."""
        with self._guard:
            return {
                "name": self._broker.name,
                "address": f"{self._broker.host}:{self._broker.port}",
                "is_connected": self.is_connected,
                "last_error": self.last_error or None,
                "counters": dict(self.counters),
                "devices": [
                    {"name": d.name, "messages": d.messages, "problems": dict(d.problems)}
                    for d in self._watched.values()
                ],
            }

    # The methods below are called by paho's network thread.

    def _on_connect(self, client: mqtt.Client, _: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._guard:
            self._connection += 1
            self.is_connected = not reason.is_failure
            self.last_error = str(reason) if reason.is_failure else ""
            self._connected_at_s = self._uptime_s()
        if reason.is_failure:
            log.warning("broker_refuses", broker=self._broker.name, reason=str(reason))
            return
        self._drop_old_subscriptions(client)
        wanted = sorted(self._qos.items())
        for start in range(0, len(wanted), SUBSCRIPTIONS_PER_PACKET):
            client.subscribe(wanted[start : start + SUBSCRIPTIONS_PER_PACKET])
        with self._guard:
            self._rebirth_asked_at_s.clear()
            for source in self._sources:  # Births are not retained: ask for one.
                self._ask_for_birth(source)
        log.info("broker_connected", broker=self._broker.name, subscriptions=len(wanted))

    def _drop_old_subscriptions(self, client: mqtt.Client) -> None:
        """End what an earlier site file subscribed to; the broker's session still has it."""
        name = f"mqtt/{self._broker.name}/subscriptions"
        before = self._sink.cursor(name)
        old = [topic for topic in (orjson.loads(before) if before else []) if topic not in self._qos]
        if old:
            client.unsubscribe(old)
        self._sink.append((), (), cursors={name: orjson.dumps(sorted(self._qos)).decode()})

    def _on_disconnect(self, _client: mqtt.Client, _: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._guard:
            self._connection += 1
            if self.is_connected:
                self.is_connected = False
                self._connected_at_s = self._uptime_s()
            self.last_error = str(reason)
        log.warning("broker_lost", broker=self._broker.name, reason=str(reason))

    def _on_connect_fail(self, _client: mqtt.Client, _: Any) -> None:
        # paho tells no reason, but calls from the handler of the error that is one: a name, a port, a certificate.
        reason = sys.exc_info()[1]
        with self._guard:
            self.last_error = f"no connection: {reason}" if reason else "no connection"

    def _on_message(self, _client: mqtt.Client, _: Any, message: mqtt.MQTTMessage) -> None:
        try:
            with self._guard:
                self._take(message)
        except Exception:
            # One message must never end the network thread, and an unacknowledged one would come for ever.
            log.exception("message_broke_the_driver", broker=self._broker.name, topic=message.topic[:100])
            self.counters["internal_error"] += 1
        if message.qos > 0:
            with self._guard:
                self._unacknowledged.append((self._connection, message.mid, message.qos))
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._arrived.set)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        self.counters["messages"] += 1
        arrival = Arrival(
            topic=message.topic,
            payload=bytes(message.payload),
            received_at_ms=self._now_ms(),
            is_retained=message.retain,
        )
        routes = self._exact.get(message.topic) or [
            route for pattern, route in self._filters if matches(pattern, message.topic)
        ]
        is_known_node = message.topic.startswith(NAMESPACE) and self._follow_sequence(message.topic, arrival.payload)
        if not routes and not is_known_node:
            self.counters["unknown_topic"] += 1
        for route in routes:
            reading = route.read(arrival)
            if reading.wants_rebirth and isinstance(route, SparkplugRoute):
                self._ask_for_birth(route)
            self._hand_over(route, reading, arrival, is_resent=message.dup)

    def _follow_sequence(self, topic: str, payload: bytes) -> bool:
        """Ask a node whose messages were lost on the way for a birth; returns whether it is one of ours."""
        _, group, kind, node = topic.split("/")[:4] if topic.count("/") > 2 else ("", "", "", "")
        sequence = self._sequences.get((group, node))
        if sequence is None:
            return False
        if sequence.has_gap(kind, payload):
            self.counters["sequence_gap"] += 1
            for source in self._sources:
                if source.node == (group, node):
                    self._ask_for_birth(source)
        return True

    def _ask_for_birth(self, source: SparkplugRoute) -> None:
        """Ask each node at most every few seconds, however many of its messages cannot be understood."""
        now = self._uptime_s()
        if now - self._rebirth_asked_at_s.get(source.rebirth_topic, float("-inf")) < REBIRTH_AGAIN_S:
            return
        self._rebirth_asked_at_s[source.rebirth_topic] = now
        self.counters["rebirths_asked"] += 1
        self._client.publish(*source.rebirth(self._now_ms()), qos=0)

    def _hand_over(self, route: Route | SparkplugRoute, reading: Reading, arrival: Arrival, *, is_resent: bool) -> None:
        device = self._watched[route.device]
        for problem in reading.problems:
            self.counters[problem] += 1
            device.problems[problem] = device.problems.get(problem, 0) + 1
        cursors: dict[str, str] = {}
        if (reading.frames or reading.events) and not arrival.is_retained:
            name, repeats = self._repeats_of(route, arrival.topic)
            missed = repeats.missed(reading.events[0].data.get("sequence")) if reading.events else 0
            if repeats.is_repeat(reading.sequence, arrival.payload, is_resent=is_resent):
                self.counters["duplicate"] += 1
                return
            if missed:
                self.counters["missed_events"] += missed
                reading.events = [replace(event, data={**event.data, "missed": missed}) for event in reading.events]
            cursors[name] = repeats.cursor()
        self._thin(route.device, reading)
        changes = self._state_changes(device, reading)
        if reading.frames or reading.events or changes:
            self._sink.append(reading.frames, [*changes, *reading.events], cursors=cursors)

    def _thin(self, device: str, reading: Reading) -> None:
        thinning = self._thinning[device]
        before = thinning.left_out
        reading.frames = thinning.keep(reading.frames)
        if thinning.left_out > before:
            self.counters["left_out"] += thinning.left_out - before

    def _repeats_of(self, route: Route | SparkplugRoute, topic: str) -> tuple[str, Repeats]:
        name = f"mqtt/{self._broker.name}/{route.device}/{topic}"
        repeats = self._repeats.get((route.device, topic))
        if repeats is None:
            if len(self._repeats) >= REPEATS_MAX:
                self._repeats.pop(next(iter(self._repeats)))
                self.counters["repeats_forgotten"] += 1
            repeats = self._repeats[route.device, topic] = Repeats(self._sink.cursor(name))
        return name, repeats

    def _state_changes(self, device: Watched, reading: Reading) -> list[Event]:
        now_ms = self._now_ms()
        if reading.state is DeviceState.ONLINE:
            return device.heard(now_ms, self._uptime_s())
        if reading.state is DeviceState.OFFLINE:
            return self._lost(device, device.turn(DeviceState.OFFLINE, now_ms, "its last will says offline"), reading)
        return []

    def _lost(self, device: Watched, changes: list[Event], reading: Reading | None = None) -> list[Event]:
        if changes:
            self._thinning[device.name].forget()
            frames = device.no_answer(self._now_ms())
            if reading is None:
                self._sink.append(frames, changes)
            else:
                reading.frames += frames
        return changes

    # The methods below are called by the event loop.

    def _look_for_silence(self) -> None:
        now_ms, uptime_s = self._now_ms(), self._uptime_s()
        with self._guard:
            if not self.is_connected:
                if uptime_s - self._connected_at_s > BROKER_GRACE_S:
                    error = f"the broker {self._broker.host}:{self._broker.port} cannot be reached ({self.last_error})"
                    for device in self._watched.values():
                        self._lost(device, device.turn(DeviceState.OFFLINE, now_ms, error))
                return
            for device in self._watched.values():
                self._lost(device, device.silence(now_ms, uptime_s))

    async def _acknowledge(self) -> NoReturn:
        """Tell the broker to forget what is on our disk, and nothing else."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if len(self._unacknowledged) < ACKNOWLEDGE_AT:
                await asyncio.sleep(ACKNOWLEDGE_DELAY_S)
            with self._guard:
                taken, self._unacknowledged = self._unacknowledged, []
            try:
                await asyncio.to_thread(self._sink.flush)
            except sqlite3.Error:
                with self._guard:
                    self._unacknowledged = taken + self._unacknowledged
                await asyncio.sleep(1)
                self._arrived.set()
                continue
            for connection, number, qos in taken:
                if connection == self._connection:
                    self._client.ack(number, qos)
