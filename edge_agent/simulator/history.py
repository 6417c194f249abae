"""`edge-agent simulate history`: the past of the building through the ingest API, as an agent would have sent it.

One stream of its own, numbered from 1 and the same at every run, so that a run that broke off is simply run again: what
the cloud has is passed over, and what it gets twice it recognises.
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import orjson

from edge_agent.commissioned import Commissioned, load_commissioned
from edge_agent.simulator.keeping import Folder
from edge_agent.simulator.model import MINUTE_MS, Building
from edge_agent.simulator.plan import Plan
from edge_agent.simulator.recorder import PERIOD_MIN, Column, badges_of_day, columns_of, readers_of
from edge_agent.simulator.signals import Instant
from edge_agent.uplink import wire

BATCH_OBSERVATIONS = 10_000
QUEUE_MAX = 4  # Batches made ahead of the sender.
TRIES_MAX = 8
NAMESPACE = uuid.UUID("5e9f4cbb-9fb0-4a3e-9a86-0c9e3c0f7a51")


class HistoryError(RuntimeError):
    """The history cannot be sent; the text says why. Running it again goes on where it broke off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryOptions:
    """What `simulate history` was told."""

    plan: Plan
    site: Path
    state: Path
    url: str
    credential: str
    privacy_key: bytes
    from_day: datetime  # Local midnight.
    until_ms: int
    batch_observations: int = BATCH_OBSERVATIONS


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far it is; read by whoever draws the bar."""

    days: int
    days_done: float = 0.0
    observations: int = 0
    events: int = 0
    rejected: int = 0
    first_rejection: str = ""


@dataclass(slots=True, kw_only=True)
class _Batch:
    """One message in the making."""

    first_seq: int
    addresses: list[str]
    scales: list[int | None]
    point: list[int] = field(default_factory=list)
    at_ms: list[int] = field(default_factory=list)
    value: list[float | int] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    day_done: float = 0.0

    @property
    def last_seq(self) -> int:
        """Number of the last observation or event."""
        return self.first_seq + len(self.value) + len(self.events) - 1

    def message(self, stream: str, sent_at_ms: int) -> bytes:
        """Return message v1, compressed."""
        count = len(self.value)
        for number, event in enumerate(self.events, start=self.first_seq + count):
            event["seq"] = number
        return wire.compress(
            orjson.dumps(
                {
                    "v": wire.VERSION,
                    "stream": stream,
                    "sent_at_ms": sent_at_ms,
                    "clock_offset_ms": 0,
                    "points": self.addresses,
                    "scales": self.scales,
                    "seq": list(range(self.first_seq, self.first_seq + count)),
                    "point": self.point,
                    "at_ms": self.at_ms,
                    "value": self.value,
                    "quality": [0] * count,
                    "events": self.events,
                }
            )
        )


def send_history(options: HistoryOptions, on_progress: Callable[[Progress], object] = lambda _p: None) -> Progress:
    """Make and send the history; raises HistoryError, KeepingError, ProfileError. Returns what was sent in this run."""
    folder = Folder(options.state)
    kept = folder.read("history") or _begin(options, folder)
    commissioned = load_commissioned(options.site)
    from_day, until_ms = datetime.fromisoformat(kept["from"]), int(kept["until_ms"])
    progress = Progress(days=max(1, (until_ms - round(from_day.timestamp() * 1000)) // 86_400_000))
    if kept["done"]:
        return progress
    building = Building(options.plan, from_day, folder.journal().at_minute)
    batches = _batches(building, commissioned, options, until_ms)
    with _Sender(options, commissioned, kept["stream"]) as sender:
        for batch, receipt in sender.send_all(batches, after_seq=int(kept["sent_seq"])):
            _count(progress, batch, receipt)
            kept["sent_seq"] = batch.last_seq
            folder.write("history", kept)
            on_progress(progress)
    kept["done"] = True
    folder.write("history", kept)
    if folder.read("midnight") is None:
        folder.write("midnight", building.midnight)
    return progress


def _begin(options: HistoryOptions, folder: Folder) -> dict[str, Any]:
    """Fix once and for all what this history is, so that every later run makes the same."""
    begun_at = folder.begun_at()
    if begun_at is None:
        begun_at = options.from_day
        folder.begin(begun_at)
    elif begun_at > options.from_day:
        raise HistoryError(
            f"the building in {options.state} began at {begun_at:%Y-%m-%d} and has no earlier past: send the history "
            "before it runs for the first time, or remove the folder"
        )
    identity = f"{options.plan.seed}/{begun_at.isoformat()}/{options.until_ms}"
    kept = {
        "stream": str(uuid.uuid5(NAMESPACE, identity)),
        "from": begun_at.isoformat(),
        "until_ms": options.until_ms,
        "sent_seq": 0,
        "done": False,
    }
    folder.write("history", kept)
    return kept


def _count(progress: Progress, batch: _Batch, receipt: wire.Receipt | None) -> None:
    progress.days_done = batch.day_done
    if receipt is None:
        return
    progress.observations += len(batch.value)
    progress.events += len(batch.events)
    progress.rejected += len(receipt.rejected)
    if receipt.rejected and not progress.first_rejection:
        first = receipt.rejected[0]
        progress.first_rejection = f"{first.code}: {first.reason}"


# -- Making ------------------------------------------------------------------------------------------------------------


def _batches(
    building: Building, commissioned: Commissioned, options: HistoryOptions, until_ms: int
) -> Iterator[_Batch]:
    """Step the building through its past and cut what it shows into messages."""
    columns = columns_of(building, commissioned.profiles)
    readers = readers_of(commissioned.profiles)
    parameters = {d.name: d.parameters for broker in commissioned.site.mqtt for d in broker.devices}
    doors = {name: str(parameters[name].get("door", name)) for name in readers}
    names, scales = [c.address for c in columns], [c.scale for c in columns]
    start_minute, until_minute = building.minute, until_ms // MINUTE_MS
    batch = _Batch(first_seq=1, addresses=names, scales=scales)
    badges: Iterator[dict[str, Any]] = iter(())
    waiting: dict[str, Any] | None = None
    while building.minute <= until_minute:
        if building.second == 0 or building.minute == start_minute:
            badges = badges_of_day(building, readers, doors, options.privacy_key)
            waiting = next(badges, None)
        if building.minute % PERIOD_MIN == 0:
            _observe(building, columns, batch)
            limit_ms = min(building.at_ms + PERIOD_MIN * MINUTE_MS, until_ms)
            while waiting is not None and waiting["at_ms"] < limit_ms:
                batch.events.append(waiting)
                waiting = next(badges, None)
            if len(batch.value) >= options.batch_observations:
                batch.day_done = (building.minute - start_minute) / 1440
                yield batch
                batch = _Batch(first_seq=batch.last_seq + 1, addresses=names, scales=scales)
        building.step()
    batch.day_done = (until_minute - start_minute) / 1440
    if batch.value or batch.events:
        yield batch


def _observe(building: Building, columns: list[Column], batch: _Batch) -> None:
    now = Instant(building=building, ms=0)
    for index, column in enumerate(columns):
        value = column.read(now)
        if value is not None:
            batch.point.append(index)
            batch.value.append(value)
    batch.at_ms += [building.at_ms] * (len(batch.value) - len(batch.at_ms))


# -- Sending -----------------------------------------------------------------------------------------------------------


class _Sender:
    """Sends one message at a time from a thread of its own, so that the next ones are made meanwhile."""

    def __init__(self, options: HistoryOptions, commissioned: Commissioned, stream: str) -> None:
        self._stream = stream
        self._commissioned = commissioned
        self._client = httpx.Client(
            base_url=options.url.rstrip("/") + "/ingest/v1/",
            headers={"Authorization": f"Bearer {options.credential}", "Content-Encoding": wire.CONTENT_ENCODING},
            timeout=120.0,
            trust_env=False,
        )
        self._waiting: queue.Queue[_Batch | None] = queue.Queue(QUEUE_MAX)
        self._done: queue.Queue[tuple[_Batch, wire.Receipt | None] | Exception | None] = queue.Queue()
        self._has_failed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send_all(self, batches: Iterator[_Batch], *, after_seq: int) -> Iterator[tuple[_Batch, wire.Receipt | None]]:
        """Yield every batch once it is settled, with no receipt where an earlier run had sent it."""
        self._send_catalogue()
        worker = threading.Thread(target=self._work, args=(after_seq,), daemon=True)
        worker.start()
        for batch in batches:
            while not self._has_failed.is_set():
                try:
                    self._waiting.put(batch, timeout=0.2)
                    break
                except queue.Full:
                    continue
            yield from self._settled(wait=False)
        self._waiting.put(None)
        yield from self._settled(wait=True)
        worker.join()

    def _settled(self, *, wait: bool) -> Iterator[tuple[_Batch, wire.Receipt | None]]:
        while True:
            try:
                item = self._done.get(block=wait)
            except queue.Empty:
                return
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def _work(self, after_seq: int) -> None:
        try:
            while (batch := self._waiting.get()) is not None:
                self._done.put((batch, None if batch.last_seq <= after_seq else self._send(batch)))
            self._done.put(None)
        except Exception as error:  # noqa: BLE001  # It is raised again where the batches are made.
            self._has_failed.set()
            self._done.put(error)

    def _send_catalogue(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        message, _revision = wire.encode_catalogue(
            self._commissioned.catalogue({}), agent_version="history", started_at_ms=now_ms
        )
        self._call("PUT", "catalogue", wire.compress(message))

    def _send(self, batch: _Batch) -> wire.Receipt:
        reason = ""
        for _ in range(TRIES_MAX):
            body = self._call("POST", "batches", batch.message(self._stream, time.time_ns() // 1_000_000))
            try:
                receipt = wire.decode_receipt(body, stream=self._stream)
            except wire.WireError as error:
                raise HistoryError(f"the cloud's receipt cannot be read: {error}") from error
            if not receipt.retry:
                return receipt
            reason = f"{receipt.retry[0].code}: {receipt.retry[0].reason}"
            if any(entry.code == "unknown_point" for entry in receipt.retry):
                self._send_catalogue()
        raise HistoryError(f"the cloud keeps asking to send again: {reason}")

    def _call(self, method: str, path: str, body: bytes) -> bytes:
        """Send until it gets through; gives up when the cloud refuses, or does not answer for about two minutes."""
        reason = ""
        for attempt in range(TRIES_MAX):
            try:
                answer = self._client.request(method, path, content=body)
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if answer.status_code < 300:
                    return answer.content
                reason = f"{answer.status_code}: {wire.decode_problem(answer.content)}"
                if answer.status_code < 500 and answer.status_code != 429:
                    raise HistoryError(f"the cloud refuses the {path} ({reason})")
            time.sleep(min(30.0, 0.25 * 2**attempt))
        raise HistoryError(f"the cloud does not take the {path} ({reason}); run the command again to go on")


def first_day(plan: Plan, until_ms: int, days: int) -> datetime:
    """Return the local midnight `days` before `until_ms`."""
    at = datetime.fromtimestamp(until_ms / 1000, plan.zone) - timedelta(days=days)
    return datetime(at.year, at.month, at.day, tzinfo=plan.zone)
