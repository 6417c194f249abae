"""One worker of the host application on a broker: a shared subscription, acknowledged after the commit, and STATE.

Each worker has a session of its own at the broker, which keeps what was sent to it while it is away; two workers need
two names. The broker hands each message to one of them.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
import psycopg
import structlog
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from psycopg_pool import PoolTimeout

from cloud_api.db.pool import transaction
from cloud_api.ingest.limits import counters
from cloud_api.ingest.sparkplug import failures
from cloud_api.ingest.sparkplug.host import Host, Outcome
from cloud_api.ingest.sparkplug.messages import NAMESPACE
from cloud_api.ingest.sparkplug.payload import rebirth_command
from cloud_api.kit.scope import SYSTEM

log = structlog.get_logger()

IN_FLIGHT_MAX = 200  # Messages that the broker may hand out before the first is acknowledged.
SESSION_KEPT_S = 7 * 86_400
_AT_WORK_MAX = 6
_PATIENCE_S = 5.0  # For a message before this one, which another worker holds.
_LOOK_AGAIN_S = 0.05
_DATABASE_AWAY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where to listen, as which host application, sharing the load with whom."""

    url: str
    host_id: str
    share: str
    worker: str


class Consumer:
    """`run` until cancelled."""

    def __init__(self, broker: Broker, host: Host) -> None:
        self._broker = broker
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._at_work = asyncio.Semaphore(_AT_WORK_MAX)
        self._waiting: dict[str, asyncio.Queue[mqtt.MQTTMessage]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._online_ms = self._now_ms()
        self._client = self._make_client()

    async def run(self) -> None:
        """Serve; connections that break are made again by the client, and unacknowledged messages come again."""
        parts = urlsplit(self._broker.url)
        port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        expiry = Properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = SESSION_KEPT_S
        expiry.ReceiveMaximum = IN_FLIGHT_MAX
        self._client.connect_async(parts.hostname or "127.0.0.1", port, clean_start=False, properties=expiry)
        self._client.loop_start()
        try:
            await asyncio.Event().wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._say_state(online=False).wait_for_publish(2)
            self._client.disconnect()
            self._client.loop_stop()

    def _make_client(self) -> mqtt.Client:
        parts = urlsplit(self._broker.url)
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{self._broker.host_id}-{self._broker.worker}",
            protocol=mqtt.MQTTv5,
            manual_ack=True,
        )
        if parts.username:
            client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            client.tls_set_context(ssl.create_default_context())
        client.will_set(self._state_topic(), self._state(online=False), qos=1, retain=True)
        client.on_connect = lambda _c, _u, _f, reason, _p: self._call(self._connected, reason)
        client.on_message = lambda _c, _u, message: self._call(self._received, message)
        return client

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _connected(self, reason: Any) -> None:
        if reason.is_failure:
            log.warning("sparkplug_refused", reason=str(reason))
            return
        self._client.subscribe([(f"$share/{self._broker.share}/{NAMESPACE}/+/+/#", 1), (self._state_topic(), 1)])
        self._say_state(online=True)
        log.info("sparkplug_connected", worker=self._broker.worker)

    def _received(self, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._state_topic():
            self._acknowledge(message)
            self._state_said(bytes(message.payload))
            return
        parts = message.topic.split("/")
        node = parts[3] if len(parts) > 3 else ""
        queue = self._waiting.get(node)
        if queue is None:
            queue = self._waiting[node] = asyncio.Queue()  # Bounded by IN_FLIGHT_MAX, which the broker obeys.
            task = asyncio.create_task(self._follow(node, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        queue.put_nowait(message)

    async def _follow(self, node: str, queue: "asyncio.Queue[mqtt.MQTTMessage]") -> None:
        """Take the messages of one node in the order they came; go away when there are none."""
        while not queue.empty():
            message = queue.get_nowait()
            await self._take(message)
        del self._waiting[node]

    async def _take(self, message: mqtt.MQTTMessage) -> None:
        patient_until = self._loop.time() + _PATIENCE_S
        while True:
            try:
                async with self._at_work:
                    is_patient = self._loop.time() < patient_until
                    outcome = await self._host.take(message.topic, bytes(message.payload), is_patient=is_patient)
            except (psycopg.OperationalError, PoolTimeout) as error:
                counters["sparkplug_database_away"] += 1
                log.warning("sparkplug_database_away", reason=str(error))
                await asyncio.sleep(_DATABASE_AWAY_S)
                continue
            except Exception as error:
                # A message that cannot be stored must not come again for ever, nor keep the others back.
                counters["sparkplug_failed"] += 1
                log.exception("sparkplug_failed", topic=message.topic)
                outcome = await self._kept(message, error)
            if outcome is not Outcome.WAIT:
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        if outcome is Outcome.REBIRTH:
            _, group, _, node, *_ = message.topic.split("/")
            self._client.publish(f"{NAMESPACE}/{group}/NCMD/{node}", rebirth_command(self._now_ms()), qos=0)
            log.info("sparkplug_rebirth_asked", group=group, node=node)
        self._acknowledge(message)

    async def _kept(self, message: mqtt.MQTTMessage, error: Exception) -> Outcome:
        """Keep a message that failed for inspection; without a database for that, the message is tried again."""
        ingest = self._host.ingest
        try:
            async with transaction(ingest.pool, SYSTEM) as conn:
                await failures.keep(
                    conn, ingest.clock, topic=message.topic, payload=bytes(message.payload), error=error
                )
        except (psycopg.OperationalError, PoolTimeout):
            await asyncio.sleep(_DATABASE_AWAY_S)
            return Outcome.WAIT
        return Outcome.DONE

    def _acknowledge(self, message: mqtt.MQTTMessage) -> None:
        if message.qos:
            self._client.ack(message.mid, message.qos)

    def _state_topic(self) -> str:
        return f"{NAMESPACE}/STATE/{self._broker.host_id}"

    def _state(self, *, online: bool) -> str:
        return json.dumps({"online": online, "timestamp": self._online_ms})

    def _say_state(self, *, online: bool) -> mqtt.MQTTMessageInfo:
        self._online_ms = max(self._now_ms(), self._online_ms)
        return self._client.publish(self._state_topic(), self._state(online=online), qos=1, retain=True)

    def _state_said(self, content: bytes) -> None:
        """Another worker's will, or its goodbye, says offline; the application is not while one worker is there."""
        try:
            state = json.loads(content)
            is_offline = state["online"] is False
        except (ValueError, TypeError, KeyError):
            return
        if is_offline:
            self._say_state(online=True)

    def _now_ms(self) -> int:
        return int(self._host.ingest.clock.now().timestamp() * 1000)
