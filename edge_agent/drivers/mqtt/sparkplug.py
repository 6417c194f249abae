"""A device behind a foreign Sparkplug B edge node: births, data and deaths to frames. No I/O.

The topic namespace `spBv1.0/` is reserved for Sparkplug, so a profile needs no key of its own: a message with the topic
`spBv1.0/{group}/+/{node}/{device}` is read here, and the path of a point is the name of its metric: `$['energy']`.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from device_profiles.model import PayloadTime
from edge_agent.drivers.mqtt.mapping import Arrival, Reading, Route
from edge_agent.drivers.mqtt.timestamps import moment
from edge_agent.model import DeviceState, Frame, Quality
from edge_agent.sparkplug.payload import (
    DataType,
    Metric,
    Payload,
    Scalar,
    SparkplugError,
    aliases,
    decode,
    encode,
    signed,
)
from edge_agent.sparkplug.payload import Quality as Said

NAMESPACE = "spBv1.0/"
_REBIRTH = "Node Control/Rebirth"
NUMBERED = frozenset({"NBIRTH", "NDATA", "DBIRTH", "DDATA", "DDEATH"})
SEQUENCE_NUMBERS = 256
_TIME = PayloadTime(path=(), format="ms")


class NodeSequence:
    """Looks for messages of an edge node that were lost: all but its death and commands are numbered together."""

    def __init__(self) -> None:
        self._last: int | None = None

    def has_gap(self, kind: str, message: bytes) -> bool:
        """Note a message of the node or of one of its devices; returns whether others before it are missing."""
        if kind not in NUMBERED:
            self._last = None if kind == "NDEATH" else self._last
            return False
        try:
            number = decode(message).seq
        except (SparkplugError, UnicodeDecodeError):
            return False
        before, self._last = self._last, number
        if kind == "NBIRTH" or before is None or number is None:
            return False
        return number != (before + 1) % SEQUENCE_NUMBERS


class SparkplugRoute:
    """The messages of one device of an edge node. Keeps the aliases of the last birth."""

    def __init__(self, inner: Route) -> None:
        parts = inner.topic.split("/")
        self.device = inner.device
        self.topic = inner.topic
        self.qos = 0
        self._inner = inner
        self.node_topic = "/".join([parts[0], parts[1], "+", parts[3]])
        self.everything = f"{self.node_topic}/#"  # Also what the node says of itself and of its other devices.
        self.node = (parts[1], parts[3])
        self.rebirth_topic = "/".join([parts[0], parts[1], "NCMD", parts[3]])
        self._names: dict[int, tuple[str, DataType | None]] | None = None
        self._types: dict[str, DataType | None] = {}
        self._newest_ms: dict[str, int] = {}
        self._bd_seq: Scalar = None

    def read(self, arrival: Arrival) -> Reading:
        """Return what a message says; `wants_rebirth` when it cannot be understood without a new birth."""
        kind = arrival.topic.split("/")[2]
        if kind in {"NCMD", "DCMD", "NDATA"}:
            return Reading()
        try:
            payload = decode(arrival.payload)
        except (SparkplugError, UnicodeDecodeError):
            return Reading(problems=["not_sparkplug"])
        if kind in {"NBIRTH", "NDEATH", "DDEATH"}:
            return self._session(kind, payload)
        if kind == "DBIRTH":
            self._names = aliases(payload.metrics)
            self._types = {m.name: m.datatype for m in payload.metrics if m.name is not None}
        return self._data(payload, arrival)

    def _session(self, kind: str, payload: Payload) -> Reading:
        said = next((m.value for m in payload.metrics if m.name == "bdSeq"), None)
        if kind == "NBIRTH":
            self._bd_seq, self._names = said, None
            return Reading()
        if kind == "NDEATH" and self._bd_seq is not None and said != self._bd_seq:
            return Reading(problems=["old_death"])  # The will of an earlier connection of the node.
        self._names = None
        return Reading(state=DeviceState.OFFLINE)

    def _data(self, payload: Payload, arrival: Arrival) -> Reading:
        reading = Reading(state=DeviceState.ONLINE)
        by_time: dict[int, list[tuple[str, Metric]]] = defaultdict(list)
        for metric in payload.metrics:
            name = self._name(metric)
            if name is None:
                reading.wants_rebirth = True
                reading.problems.append("unknown_alias")
                continue
            at_ms = metric.timestamp_ms if metric.timestamp_ms is not None else payload.timestamp_ms
            # A birth repeats what is known already.
            if not metric.is_historical and at_ms <= self._newest_ms.get(name, -1):
                continue
            self._newest_ms[name] = max(at_ms, self._newest_ms.get(name, -1))
            by_time[at_ms].append((name, metric))
        for at_ms, metrics in sorted(by_time.items()):
            self._frames(at_ms, metrics, arrival, reading)
        return reading

    def _name(self, metric: Metric) -> str | None:
        if metric.name is not None:
            return metric.name
        known = (self._names or {}).get(metric.alias if metric.alias is not None else -1)
        return known[0] if known else None

    def _frames(self, at_ms: int, metrics: Sequence[tuple[str, Metric]], arrival: Arrival, reading: Reading) -> None:
        document: dict[str, Any] = {}
        doubtful: set[str] = set()
        for name, metric in metrics:
            quality = metric.properties.get("Quality", int(Said.GOOD))
            document[name] = None if quality == Said.BAD else self._content(name, metric)
            if quality == Said.STALE:
                doubtful.add(name)
        when = moment(_TIME, at_ms, arrival.received_at_ms, self._inner.zone)
        if when.problem is not None:
            reading.problems.append(when.problem)
        part = Reading()
        self._inner.read_points(document, when, arrival, part)
        reading.problems += part.problems
        reading.attributes.update(part.attributes)
        names = {r.point.name: str(r.point.path[-1]) for r in self._inner.points if r.point.path}
        reading.frames += [_doubted(frame, names, doubtful) for frame in part.frames]

    def _content(self, name: str, metric: Metric) -> Any:
        exact = metric.properties.get("Exact")  # Our own edge nodes carry counters as decimal text beside the double.
        if isinstance(exact, str) and metric.value is not None:
            return exact
        value = signed(metric.value, metric.datatype or self._types.get(name))
        if isinstance(value, float):
            return Decimal(repr(value)) if math.isfinite(value) else None
        return value

    def rebirth(self, now_ms: int) -> tuple[str, bytes]:
        """Return the command that asks the node to announce everything anew."""
        metric = Metric(name=_REBIRTH, timestamp_ms=now_ms, datatype=DataType.BOOLEAN, value=True)
        return self.rebirth_topic, encode(Payload(timestamp_ms=now_ms, metrics=(metric,)))


def _doubted(frame: Frame, names: dict[str, str], doubtful: set[str]) -> Frame:
    if not doubtful:
        return frame
    qualities = tuple(
        Quality.UNCERTAIN if quality is Quality.GOOD and names.get(point) in doubtful else quality
        for point, quality in zip(frame.points, frame.qualities, strict=True)
    )
    return Frame(
        device=frame.device,
        observed_at_ms=frame.observed_at_ms,
        points=frame.points,
        values=frame.values,
        qualities=qualities,
        is_billing=frame.is_billing,
    )
