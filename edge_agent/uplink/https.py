"""Sends catalogue, batches and heartbeats over HTTPS; receipts settle the outbox. Live first, backlog behind it."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import orjson
import structlog

from edge_agent.outbox import Batch, Lane, Outbox
from edge_agent.outbox.outbox import system_now_ms
from edge_agent.tls import client_context
from edge_agent.uplink import wire
from edge_agent.uplink.backoff import Backoff, retry_after_s
from edge_agent.uplink.clock_offset import ClockOffset
from edge_agent.uplink.connection import Answer, HttpConnection, HttpError

log = structlog.get_logger()

LIVE_INTERVAL_S = 0.4  # What was read meanwhile is committed and sent together.
LIVE_OBSERVATIONS_MAX = 10_000
BACKLOG_OBSERVATIONS = (250, 20_000)
BACKLOG_TARGET_S = 0.5  # A backlog message that takes longer makes the next one smaller: live waits behind it.
HEARTBEAT_INTERVAL_S = 10.0
CATALOGUE_AGAIN_S = 30.0  # A point that stays unknown does not make the agent send its catalogue in a loop.


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where to send, and as whom."""

    url: str
    credential: str
    ca_file: Path | None = None
    timeout_s: float = 30.0


@dataclass(slots=True, kw_only=True)
class LinkStatus:
    """What the status page says about the link."""

    state: str = "starting"  # starting · connected · waiting · refused
    last_error: str | None = None
    last_success_at_ms: int | None = None
    batches: int = 0
    observations: int = 0
    bytes_sent: int = 0
    failures: int = 0
    refused_messages: int = 0
    last_refusal: str | None = None  # Why the cloud refused a message as a whole; its data wait.
    clock_offset_ms: int | None = None
    backlog_observations_max: int = BACKLOG_OBSERVATIONS[1] // 4


class _LinkError(Exception):
    """The message did not get through; try again after a pause of at least `after_s`."""

    def __init__(self, text: str, *, after_s: float = 0.0, state: str = "waiting") -> None:
        super().__init__(text)
        self.after_s = after_s
        self.state = state


class _MessageRefusedError(Exception):
    """The cloud refuses this message as a whole; another one may well get through."""

    def __init__(self, status: int, problem: wire.Problem) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status


class HttpsUplink:
    """One task per gateway: `run` until cancelled."""

    def __init__(
        self,
        destination: Destination,
        outbox: Outbox,
        *,
        catalogue: Callable[[], wire.Catalogue],
        health: Callable[[], Mapping[str, Any]],
        on_answer: Callable[[Mapping[str, Any]], Awaitable[None]] | None = None,
        agent_version: str = "0.1.0",
        now_ms: Callable[[], int] = system_now_ms,
        set_clock: Callable[[int], bool] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Prepare; `set_clock` is told the clock's offset and returns whether it has set the clock by it."""
        self.status = LinkStatus()
        self._outbox = outbox
        self._catalogue = catalogue
        self._health = health
        self._on_answer = on_answer
        self._agent_version = agent_version
        self._now_ms = now_ms
        self._set_clock = set_clock
        self._started_at_ms = now_ms()
        self._backoff = backoff or Backoff()
        self._clock = ClockOffset()
        self._catalogue_wanted = True
        self._catalogue_refused = False
        self._catalogue_sent_at_s = float("-inf")
        self._careful_batches = 0
        self._live_at_s = float("-inf")
        self._data = self._connection(destination)
        self._beat = self._connection(destination)  # A heartbeat does not wait behind a large batch.

    def _connection(self, destination: Destination) -> HttpConnection:
        return HttpConnection(
            destination.url.rstrip("/") + "/ingest/v1",
            {
                "Authorization": f"Bearer {destination.credential}",
                "User-Agent": f"edge-agent/{self._agent_version}",
                "Content-Encoding": wire.CONTENT_ENCODING,
                "Content-Type": "application/json",
            },
            timeout_s=destination.timeout_s,
            tls=_tls(destination),
        )

    def catalogue_changed(self) -> None:
        """Send the catalogue before the next batch: the site file or a profile has changed."""
        self._catalogue_wanted = True

    def clock_was_set(self) -> None:
        """Forget what was known of the clock's offset."""
        self._clock.forget()

    async def run(self) -> NoReturn:
        """Send until cancelled. Nothing that the network does ends this task."""
        self._outbox.release_all()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._heartbeats())
                while True:
                    try:
                        await self._step()
                    except _LinkError as error:
                        await self._pause(error)
        finally:
            self._data.close()
            self._beat.close()

    async def _step(self) -> None:
        is_again = self._catalogue_refused and monotonic() - self._catalogue_sent_at_s > CATALOGUE_AGAIN_S
        if self._catalogue_wanted or is_again:
            await self._send_catalogue()
        is_live_due = monotonic() - self._live_at_s >= LIVE_INTERVAL_S
        if is_live_due:
            self._live_at_s = monotonic()
        batch, body = None, b""
        if self._outbox.has_data():
            batch, body = await asyncio.to_thread(self._prepare, is_live_due)
        if batch is None:
            await asyncio.sleep(max(self._live_at_s + LIVE_INTERVAL_S - monotonic(), 0.01))
            return
        try:
            await self._send_batch(batch, body)
        except BaseException:
            # Also when cancelled: what was not settled is offered again.
            self._outbox.release(batch)
            raise

    def _backlog_limit(self) -> int:
        if self._careful_batches > 0:
            self._careful_batches -= 1
            return 1
        return self.status.backlog_observations_max

    def _prepare(self, is_live_due: bool) -> tuple[Batch | None, bytes]:  # noqa: FBT001  # A thread's only argument.
        """Commit, pick and encode in one go: each hop to a thread costs more than the work of a small message."""
        batch = self._outbox.live_batch(LIVE_OBSERVATIONS_MAX) if is_live_due else None
        if batch is None:
            batch = self._outbox.begin_batch(self._backlog_limit())
        if batch is None:
            return None, b""
        message = wire.encode_batch(batch, sent_at_ms=self._now_ms(), clock_offset_ms=self._clock.offset_ms)
        return batch, wire.compress(message)

    async def _send_batch(self, batch: Batch, body: bytes) -> None:
        started = monotonic()
        try:
            answer = await self._call("POST", "batches", body)
        except _MessageRefusedError as error:
            self._refused(batch, error)
            return
        try:
            receipt = wire.decode_receipt(answer, stream=batch.stream)
        except wire.WireError as error:
            raise _LinkError(str(error)) from error
        await asyncio.to_thread(
            self._outbox.settle, batch, accepted=receipt.accepted, rejected=receipt.rejected, retry=receipt.retry
        )
        for entry in receipt.rejected[:20]:
            log.warning("observation_rejected", seq=entry.seq, code=entry.code, reason=entry.reason)
        is_long_ago = monotonic() - self._catalogue_sent_at_s > CATALOGUE_AGAIN_S
        if is_long_ago and any(entry.code == "unknown_point" for entry in receipt.retry):
            self._catalogue_wanted = True
        self._delivered()
        self.status.batches += 1
        self.status.observations += batch.count
        if batch.lane is Lane.BACKLOG:
            self._adapt(batch.count, monotonic() - started)

    def _delivered(self) -> None:
        """Forget the failures. A heartbeat that gets through says nothing about batches and does not call this."""
        self._backoff.succeeded()
        self.status.last_error = None

    def _adapt(self, count: int, took_s: float) -> None:
        """Size backlog messages so that live data never wait long behind one."""
        low, high = BACKLOG_OBSERVATIONS
        current = self.status.backlog_observations_max
        if count < current / 2 and took_s <= BACKLOG_TARGET_S:
            return  # A small message says little about a large one.
        factor = min(max(BACKLOG_TARGET_S / max(took_s, 0.001), 0.5), 1.5)
        self.status.backlog_observations_max = int(min(max(current * factor, low), high))

    def _refused(self, batch: Batch, error: _MessageRefusedError) -> None:
        self.status.refused_messages += 1
        self.status.last_refusal = str(error)
        log.error("message_refused", status=error.status, reason=str(error), observations=batch.count)
        if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            self.status.backlog_observations_max = max(self.status.backlog_observations_max // 2, 1)
        if len(batch.chunks) > 1:
            # One chunk may be what the cloud stumbles over: send them one by one, and only that one waits.
            self._careful_batches = len(batch.chunks)
            self._outbox.release(batch)
        else:
            self._outbox.release(batch, refused=True)

    async def _send_catalogue(self) -> None:
        message, revision = wire.encode_catalogue(
            self._catalogue(), agent_version=self._agent_version, started_at_ms=self._started_at_ms
        )
        self._catalogue_wanted = False  # Before it is sent: a change meanwhile asks for another.
        self._catalogue_sent_at_s = monotonic()
        try:
            await self._call("PUT", "catalogue", wire.compress(message))
        except _MessageRefusedError as error:
            # Data go on: the cloud takes what it knows of, the rest waits.
            self._catalogue_refused = True
            self.status.last_refusal = f"catalogue: {error}"
            log.warning("catalogue_refused", revision=revision, reason=str(error), next_try_s=CATALOGUE_AGAIN_S)
            return
        except BaseException:
            self._catalogue_wanted = True
            raise
        self._catalogue_refused = False
        self._delivered()
        self._outbox.offer_refused()
        log.info("catalogue_sent", revision=revision)

    async def _heartbeats(self) -> NoReturn:
        while True:
            try:
                answer = await self._call("POST", "heartbeat", wire.compress(self._heartbeat()))
                await self._take_answer(answer)
            except (_LinkError, _MessageRefusedError) as error:
                log.debug("heartbeat_failed", reason=str(error))
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _heartbeat(self) -> bytes:
        return orjson.dumps(
            {
                "v": wire.VERSION,
                "sent_at_ms": self._now_ms(),
                "clock_offset_ms": self._clock.offset_ms,
                **self._health(),
                "outbox": self._outbox.report(),
                "link": asdict(self.status),
            },
            default=str,
        )

    async def _take_answer(self, body: bytes) -> None:
        try:
            answer = orjson.loads(body) if body else {}
        except orjson.JSONDecodeError:
            return
        if self._on_answer is None or not isinstance(answer, dict):
            return
        try:
            await self._on_answer(answer)
        except Exception:
            log.exception("heartbeat_answer_failed")  # A command that fails must not stop the heartbeat.

    async def _call(self, method: str, path: str, body: bytes) -> bytes:
        """Send one message and return the body of a 2xx answer."""
        sent_at_ms = self._now_ms()
        connection = self._beat if path == "heartbeat" else self._data
        try:
            answer = await connection.request(method, path, body)
        except HttpError as error:
            raise _LinkError(str(error)) from error
        self.status.bytes_sent += len(body)
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self._failure(answer)
        self._arrived(sent_at_ms, answer.content)
        return answer.content

    @staticmethod
    def _failure(answer: Answer) -> _LinkError | _MessageRefusedError:
        problem = wire.decode_problem(answer.content)
        if answer.status in {400, 413, 422}:
            return _MessageRefusedError(answer.status, problem)
        if answer.status in {401, 403}:
            text = f"{answer.status}: the cloud does not know this credential ({problem}); check EDGE_CREDENTIAL"
            return _LinkError(text, after_s=5.0, state="refused")
        after_s = retry_after_s(answer.headers.get("retry-after"), datetime.now(UTC))
        return _LinkError(f"{answer.status}: {problem}", after_s=after_s)

    def _arrived(self, sent_at_ms: int, body: bytes) -> None:
        received_at_ms = self._now_ms()
        self.status.last_success_at_ms = received_at_ms
        if self.status.state != "connected":
            self.status.state = "connected"
            log.info("link_up")
        try:
            server_time_ms = orjson.loads(body).get("server_time_ms")
        except (orjson.JSONDecodeError, AttributeError):
            return
        if isinstance(server_time_ms, int):
            self._clock.sample(sent_at_ms=sent_at_ms, received_at_ms=received_at_ms, server_time_ms=server_time_ms)
            self.status.clock_offset_ms = offset_ms = self._clock.offset_ms
            if self._set_clock is not None and offset_ms is not None and self._set_clock(offset_ms):
                log.warning("clock_set_by_cloud", offset_ms=offset_ms)
                self._clock.forget()

    async def _pause(self, error: _LinkError) -> None:
        seconds = self._backoff.failed(at_least_s=error.after_s)
        self.status.failures += 1
        self.status.last_error = str(error)
        if self.status.state != error.state:
            self.status.state = error.state
            log.warning("link_down", reason=str(error), next_try_s=round(seconds, 1))
        await asyncio.sleep(seconds)


def _tls(destination: Destination) -> ssl.SSLContext | None:
    if not destination.url.startswith("https:"):
        if not destination.url.startswith(("http://127.", "http://localhost", "http://[::1]")):
            log.warning("credential_travels_in_clear", url=destination.url, remedy="use https")
        return None  # There is nothing to verify, and loading the authorities takes its time.
    return client_context(destination.ca_file)
