"""What an edge node must say, in which order, with which numbers (Sparkplug B 3.0, chapters 5 and 6). Pure.

A session begins with a connection: `will` before it, `births` after it, then `data` and `device_death` / `device_birth`
as things happen. It remembers the newest value of each metric, because a birth repeats them.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import orjson

from edge_agent.model import Quality as Trust
from edge_agent.outbox.model import StoredEvent, StoredFrame
from edge_agent.sparkplug.payload import DataType, Metric, Payload, Quality, encode
from edge_agent.uplink.wire import Catalogue

REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"
EVENT_METRIC = "event"  # JSON text of the last event of a device or of the node.
_FORBIDDEN = re.compile(r"[+/#\x00]")

# Uncertain has no word of its own among the three that the specification allows; stale is the one short of good.
QUALITIES = {
    Trust.GOOD: Quality.GOOD,
    Trust.UNCERTAIN: Quality.STALE,
    Trust.INVALID: Quality.BAD,
    Trust.NO_ANSWER: Quality.STALE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One publication: data, births and device deaths with QoS 0, the node's death with QoS 1; never retained."""

    topic: str
    payload: bytes
    qos: int = 0


class Session:
    """The state of one edge node; a new connection calls `begin`."""

    def __init__(self, *, group: str, node: str, catalogue: Catalogue) -> None:
        for name in (group, node):
            if not name or _FORBIDDEN.search(name):
                raise ValueError(f"{name!r}: group and node must not be empty or contain + / #")
        self.group = group
        self.node = node
        self._bd_seq = 0
        self._seq = 0
        self._alias: dict[tuple[str, str], int] = {}
        self._newest: dict[tuple[str, str], Metric] = {}
        self._dead: set[str] = set()
        self.use(catalogue)

    def use(self, catalogue: Catalogue) -> None:
        """Take another catalogue; it needs a rebirth. An alias stays with its metric for the life of the process."""
        self._devices = {device.name: device for device in catalogue.devices}
        names = [("", EVENT_METRIC)]
        for device in catalogue.devices:
            names += [(device.name, EVENT_METRIC), *((device.name, point.name) for point in device.points)]
        for name in names:
            self._alias.setdefault(name, len(self._alias) + 1)

    def topic(self, kind: str, device: str = "") -> str:
        """Return the topic of a message type."""
        return f"spBv1.0/{self.group}/{kind}/{self.node}" + (f"/{device}" if device else "")

    def begin(self, bd_seq: int, now_ms: int) -> Message:
        """Start a session; returns the will of its connection."""
        self._bd_seq = bd_seq % 256
        self._dead.clear()
        return self.death(now_ms)

    def death(self, now_ms: int) -> Message:
        """Return the node's death: no sequence number, the bdSeq of this session's birth."""
        metric = Metric(name=BD_SEQ, timestamp_ms=now_ms, datatype=DataType.INT64, value=self._bd_seq)
        payload = encode(Payload(timestamp_ms=now_ms, metrics=(metric,)))
        return Message(topic=self.topic("NDEATH"), payload=payload, qos=1)

    def births(self, now_ms: int) -> Iterator[Message]:
        """Return the node's birth and those of its living devices, from sequence number 0."""
        self._seq = 0
        metrics = (
            Metric(name=BD_SEQ, timestamp_ms=now_ms, datatype=DataType.INT64, value=self._bd_seq),
            Metric(name=REBIRTH, timestamp_ms=now_ms, datatype=DataType.BOOLEAN, value=False),
            self._born("", EVENT_METRIC, DataType.STRING, now_ms),
        )
        yield self._message("NBIRTH", "", metrics, now_ms)
        for device in self._devices:
            if device not in self._dead:
                yield self.device_birth(device, now_ms)

    def device_birth(self, device: str, now_ms: int) -> Message:
        """Return the birth of one device: every metric with name, alias, type and newest value."""
        self._dead.discard(device)
        metrics = [self._born(device, EVENT_METRIC, DataType.STRING, now_ms)]
        for point in self._devices[device].points:
            born = self._born(device, point.name, DataType.DOUBLE, now_ms)
            metrics.append(replace(born, properties={**born.properties, "engUnit": point.unit}))
        return self._message("DBIRTH", device, metrics, now_ms)

    def device_death(self, device: str, now_ms: int) -> Message:
        """Return the death of one device; it carries a sequence number."""
        self._dead.add(device)
        return self._message("DDEATH", device, (), now_ms)

    def _born(self, device: str, name: str, datatype: DataType, now_ms: int) -> Metric:
        known = self._newest.get((device, name))
        alias = self._alias[device, name]
        if known is None:
            properties = {"Quality": int(Quality.STALE)}
            return Metric(name=name, alias=alias, timestamp_ms=now_ms, datatype=datatype, properties=properties)
        return replace(known, name=name, alias=alias, datatype=datatype, is_historical=False)

    def data(
        self, frames: Iterable[StoredFrame], events: Iterable[StoredEvent], now_ms: int, *, is_historical: bool
    ) -> Iterator[Message]:
        """Return one message per device, its metrics in order of time; what the catalogue lacks is left out."""
        found: dict[str, list[tuple[str, Metric]]] = {}
        for frame in frames:
            device = frame.layout.device
            if device in self._devices:
                found.setdefault(device, []).extend(self._metrics(frame, is_historical=is_historical))
        for event in events:
            device = event.device if event.device in self._devices else ""
            found.setdefault(device, []).append((EVENT_METRIC, _event_metric(event, is_historical=is_historical)))
        for device, metrics in found.items():
            if device in self._dead:
                yield self.device_birth(device, now_ms)
            metrics.sort(key=lambda entry: entry[1].timestamp_ms or 0)
            self._remember(device, metrics)
            sent = [replace(metric, alias=self._alias[device, name], datatype=None) for name, metric in metrics]
            yield self._message("DDATA" if device else "NDATA", device, sent, now_ms)

    def _metrics(self, frame: StoredFrame, *, is_historical: bool) -> Iterator[tuple[str, Metric]]:
        qualities = frame.qualities or [0] * len(frame.values)
        columns = zip(frame.layout.points, frame.layout.scales, frame.values, qualities, strict=True)
        for name, scale, value, quality in columns:
            if (frame.layout.device, name) not in self._alias:
                continue
            properties: dict[str, int | str] = {"Quality": int(QUALITIES[Trust(quality)])}
            number: float | None = None if value is None else float(value)
            if scale is not None and value is not None:
                exact = Decimal(value).scaleb(-scale)
                properties["Exact"] = str(exact)  # A double cannot carry every counter.
                number = float(exact)
            yield (
                name,
                Metric(
                    timestamp_ms=frame.at_ms,
                    datatype=DataType.DOUBLE,
                    value=number,
                    is_historical=is_historical,
                    properties=properties,
                ),
            )

    def _remember(self, device: str, metrics: Sequence[tuple[str, Metric]]) -> None:
        for name, metric in metrics:
            known = self._newest.get((device, name))
            if known is None or (known.timestamp_ms or 0) <= (metric.timestamp_ms or 0):
                self._newest[device, name] = metric

    def _message(self, kind: str, device: str, metrics: Iterable[Metric], now_ms: int) -> Message:
        payload = Payload(timestamp_ms=now_ms, seq=self._seq, metrics=tuple(metrics))
        self._seq = (self._seq + 1) % 256
        return Message(topic=self.topic(kind, device), payload=encode(payload))


def _event_metric(event: StoredEvent, *, is_historical: bool) -> Metric:
    content: dict[str, Any] = {"kind": event.kind, "received_at_ms": event.received_at_ms, "data": event.data}
    return Metric(
        timestamp_ms=event.at_ms,
        datatype=DataType.STRING,
        value=orjson.dumps(content, default=str).decode(),
        is_historical=is_historical,
    )
