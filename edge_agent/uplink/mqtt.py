"""Sends what the outbox holds to an MQTT broker as a Sparkplug B edge node; the alternative to HTTPS.

Sparkplug data have no receipt, and QoS 0 unless told otherwise. The broker has a batch when it has answered a request
that was sent after it: bytes of one connection arrive in order. That settles the batch, unless a primary host reads
with QoS 0: then it is settled when that host was still online so much later that the broker would have told its death
(its will comes when its keep-alive has passed one and a half times). What was under way when the connection broke or
the host died is sent again, marked historical; a host that keeps metric and time together stores it once.
"""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.outbox import Batch, Lane, Outbox
from edge_agent.outbox.outbox import system_now_ms
from edge_agent.sparkplug.payload import SparkplugError, decode
from edge_agent.sparkplug.session import REBIRTH, Message, Session
from edge_agent.tls import client_context
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.https import LIVE_INTERVAL_S, LinkStatus
from edge_agent.uplink.wire import Catalogue

log = structlog.get_logger()

BATCH_OBSERVATIONS_MAX = 5_000
ANSWER_TIMEOUT_S = 10.0
KEEPALIVE_S = 30
IDLE_S = 1.0
HISTORICAL_AFTER_MS = 10_000
UNCONFIRMED_MAX = 200_000  # Observations that wait for the host to prove that it lives.
BD_SEQ_CURSOR = "sparkplug/bdSeq"


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkplugDestination:
    """Which broker, and under which names."""

    host: str
    port: int = 1883
    group: str
    node: str
    primary_host: str | None = None  # Publish only while this host application says that it is online.
    data_qos: int = 0
    host_silence_s: float = 90.0  # So long a dead host may go unnoticed by the broker.
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: Path | None = None


class _ConnectionLost(Exception):
    """The connection, or the host application behind it, is gone."""


class SparkplugUplink:
    """One edge node: `run` until cancelled."""

    def __init__(
        self,
        destination: SparkplugDestination,
        outbox: Outbox,
        *,
        catalogue: Callable[[], Catalogue],
        now_ms: Callable[[], int] = system_now_ms,
        backoff: Backoff | None = None,
    ) -> None:
        self.status = LinkStatus()
        self.counters: Counter[str] = Counter()
        self._destination = destination
        self._outbox = outbox
        self._catalogue = catalogue
        self._now_ms = now_ms
        self._backoff = backoff or Backoff()
        self._session = Session(group=destination.group, node=destination.node, catalogue=catalogue())
        self._live_at_s = float("-inf")
        self._rebirth_wanted = False
        self._unconfirmed: deque[tuple[float, Batch]] = deque()

    def catalogue_changed(self) -> None:
        """Announce everything anew before the next data."""
        self._rebirth_wanted = True

    def clock_was_set(self) -> None:
        """Nothing to forget: the broker tells no time."""

    async def run(self) -> NoReturn:
        """Stay connected until cancelled; then say goodbye."""
        self._outbox.release_all()
        while True:
            connection = _Connection(self._destination, self.counters)
            try:
                await self._serve(connection)
            except (_ConnectionLost, TimeoutError, OSError) as error:
                self.status.state = "waiting"
                self.status.failures += 1
                self.status.last_error = str(error) or type(error).__name__
                log.warning("sparkplug_link_down", reason=self.status.last_error)
            finally:
                self._doubt_unconfirmed()
                # A DISCONNECT cancels the will, so the death is published; on a broken connection the broker does it.
                connection.publish(self._session.death(self._now_ms()))
                await asyncio.shield(asyncio.to_thread(connection.close))
            await asyncio.sleep(self._backoff.failed())

    async def _serve(self, connection: "_Connection") -> None:
        await connection.open(self._session.begin(await self._next_bd_seq(), self._now_ms()))
        await connection.subscribe(self._session.topic("NCMD"))
        if self._destination.primary_host is not None:
            await connection.wait_for_host(self._destination.primary_host)
        self._rebirth_wanted = True
        self.status.state, self.status.last_error = "connected", None
        self._backoff.succeeded()
        while True:
            connection.check()
            if self._rebirth_wanted or connection.rebirth_asked:
                connection.rebirth_asked = self._rebirth_wanted = False
                self._session.use(self._catalogue())
                for message in self._session.births(self._now_ms()):
                    connection.publish(message)
            await self._settle_confirmed()
            is_free = sum(batch.count for _, batch in self._unconfirmed) < UNCONFIRMED_MAX
            batch = await asyncio.to_thread(self._next_batch) if is_free and self._outbox.has_data() else None
            if batch is None:
                await asyncio.sleep(LIVE_INTERVAL_S)
            else:
                await self._send(connection, batch)

    async def _next_bd_seq(self) -> int:
        """Count connections on the disk: a number used twice would let a host match a wrong death."""
        stored = self._outbox.cursor(BD_SEQ_CURSOR)
        number = 0 if stored is None else (int(stored) + 1) % 256
        self._outbox.append((), (), cursors={BD_SEQ_CURSOR: str(number)})
        await asyncio.to_thread(self._outbox.flush)
        return number

    def _next_batch(self) -> Batch | None:
        now = monotonic()
        if now - self._live_at_s >= LIVE_INTERVAL_S:
            self._live_at_s = now
            live = self._outbox.live_batch(BATCH_OBSERVATIONS_MAX)
            if live is not None:
                return live
        return self._outbox.begin_batch(BATCH_OBSERVATIONS_MAX)

    async def _send(self, connection: "_Connection", batch: Batch) -> None:
        try:
            now_ms = self._now_ms()
            is_historical = batch.lane is Lane.BACKLOG and _oldest_ms(batch) < now_ms - HISTORICAL_AFTER_MS
            for message in self._session.data(batch.frames, batch.events, now_ms, is_historical=is_historical):
                self.status.bytes_sent += connection.publish(message)
            if not is_historical:
                self._follow_devices(connection, batch)
            await connection.subscribe(self._session.topic("NCMD"))  # The answer proves that the data are there.
        except BaseException:
            self._outbox.release(batch)
            raise
        to = self._destination
        is_done = to.primary_host is None or to.data_qos > 0
        wait_s = 0.0 if is_done else to.host_silence_s
        self._unconfirmed.append((monotonic() + wait_s, batch))
        self.status.batches += 1
        self.status.observations += batch.count
        self.status.last_success_at_ms = self._now_ms()
        await self._settle_confirmed()

    async def _settle_confirmed(self) -> None:
        """Let go what whoever reads it has for certain; with a primary host only while it is online."""
        while self._unconfirmed and self._unconfirmed[0][0] <= monotonic():
            _, batch = self._unconfirmed.popleft()
            spans = [(span.first, span.last) for span in batch.chunks]
            await asyncio.to_thread(self._outbox.settle, batch, accepted=spans)

    def _doubt_unconfirmed(self) -> None:
        """Keep for sending again what the host may never have seen."""
        while self._unconfirmed:
            self._outbox.release(self._unconfirmed.popleft()[1])

    def _follow_devices(self, connection: "_Connection", batch: Batch) -> None:
        known = {device.name for device in self._catalogue().devices}
        for event in batch.events:
            if event.kind != "device.state" or event.device not in known:
                continue
            if event.data.get("state") == "offline":
                connection.publish(self._session.device_death(event.device, self._now_ms()))
            else:
                connection.publish(self._session.device_birth(event.device, self._now_ms()))


def _oldest_ms(batch: Batch) -> int:
    return min([*(frame.at_ms for frame in batch.frames), *(event.at_ms for event in batch.events)])


class _Connection:
    """One MQTT connection: a new client each time, because the will belongs to the connection."""

    def __init__(self, destination: SparkplugDestination, counters: Counter[str]) -> None:
        self.rebirth_asked = False
        self._destination = destination
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._answers: dict[int | None, asyncio.Future[None]] = {}
        self._host_is_online = asyncio.Event()
        self._host_seen_ms = -1
        self._lost: str | None = None
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2, clean_session=True, protocol=mqtt.MQTTv311, reconnect_on_failure=False
        )
        # Messages with QoS 1 must not wait for the answers to those before: `subscribe` relies on their order.
        client.max_inflight_messages_set(0)
        if destination.username:
            client.username_pw_set(destination.username, destination.password)
        if destination.tls:
            client.tls_set_context(client_context(destination.ca_file))
        client.on_connect = lambda _c, _u, _f, reason, _p: self._call(self._connected, reason)
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._call(self._disconnected, str(reason))
        client.on_subscribe = lambda _c, _u, mid, _r, _p: self._call(self._answered, mid)
        client.on_message = lambda _c, _u, message: self._call(self._received, message.topic, bytes(message.payload))

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Bring a callback of the network thread into the event loop."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    async def open(self, will: Message) -> None:
        self._client.will_set(will.topic, will.payload, qos=will.qos, retain=False)
        self._client.connect_timeout = ANSWER_TIMEOUT_S
        await asyncio.to_thread(
            self._client.connect, self._destination.host, self._destination.port, keepalive=KEEPALIVE_S
        )
        self._client.loop_start()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await self._opened

    def publish(self, message: Message) -> int:
        qos = max(message.qos, self._destination.data_qos)
        self._client.publish(message.topic, message.payload, qos=qos, retain=False)
        return len(message.payload)

    async def subscribe(self, topic: str) -> None:
        """Return when the broker has answered, and so has received everything published before."""
        self.check()
        _, number = self._client.subscribe(topic, qos=1)
        answer = self._answers.setdefault(number, self._loop.create_future())
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await answer
        finally:
            self._answers.pop(number, None)

    async def wait_for_host(self, host: str) -> None:
        """Wait for the primary host; there is no sense in publishing to nobody."""
        await self.subscribe(f"spBv1.0/STATE/{host}")
        while not self._host_is_online.is_set():
            self.check()
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._host_is_online.wait()
            except TimeoutError:
                continue

    def check(self) -> None:
        """Raise when this connection is of no use any more."""
        if self._lost is not None:
            raise _ConnectionLost(self._lost)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, reason: Any) -> None:
        if self._opened.done():
            return
        if reason.is_failure:
            self._opened.set_exception(_ConnectionLost(str(reason)))
        else:
            self._opened.set_result(None)

    def _disconnected(self, reason: str) -> None:
        self._lost = self._lost or f"disconnected: {reason}"
        for future in (self._opened, *self._answers.values()):
            if not future.done():
                future.set_exception(_ConnectionLost(self._lost))

    def _answered(self, number: int) -> None:
        future = self._answers.setdefault(number, self._loop.create_future())
        if not future.done():
            future.set_result(None)

    def _received(self, topic: str, payload: bytes) -> None:
        if "/STATE/" in topic:
            self._host_state(payload)
            return
        try:
            command = decode(payload)
        except SparkplugError:
            self._counters["malformed_command"] += 1
            return
        for metric in command.metrics:
            if metric.name == REBIRTH and metric.value is True:
                self.rebirth_asked = True
            else:
                self._counters["unknown_command"] += 1

    def _host_state(self, payload: bytes) -> None:
        try:
            state = json.loads(payload)
            is_online, at_ms = state["online"] is True, int(state["timestamp"])
        except (ValueError, TypeError, KeyError):
            self._counters["malformed_state"] += 1
            return
        if at_ms < self._host_seen_ms:
            return  # An older will that arrives late says nothing about now.
        self._host_seen_ms = at_ms
        if is_online:
            self._host_is_online.set()
        elif self._host_is_online.is_set():
            self._lost = "the primary host is offline"
