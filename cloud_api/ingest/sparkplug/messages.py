"""What Sparkplug messages say, in our words: topics, and metrics as observations and events. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from cloud_api.ingest.sparkplug.payload import BD_SEQ, REBIRTH, Metric, Payload, Scalar, meaning

NAMESPACE = "spBv1.0"
EVENT_METRIC = "event"  # JSON text of an event, as our edge agent publishes it.
KINDS = frozenset({"NBIRTH", "NDEATH", "NDATA", "DBIRTH", "DDEATH", "DDATA"})
_GOOD, _BAD = 192, 0  # Values of the property `Quality` (specification 6.4.9); 500 is stale.
_SCALE_MAX = 9

Aliases = Mapping[int, tuple[str, int]]  # Name and datatype.


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """Where a message belongs; `device` is empty for the node itself."""

    group: str
    kind: str
    node: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One value of one point. `scale` is -1 where there are no exact digits; quality as on our own wire."""

    point: str
    at_ms: int
    value: float | None
    mantissa: int
    scale: int
    quality: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidEvent:
    """One event of a device or of the node."""

    kind: str
    at_ms: int
    data: Mapping[str, Any]


def read_topic(topic: str) -> Topic | None:
    """Return where a message belongs, or None when it is nothing that a host application stores."""
    namespace, *parts = topic.split("/")
    if namespace != NAMESPACE or not 3 <= len(parts) <= 4 or parts[1] not in KINDS:
        return None
    device = parts[3] if len(parts) == 4 else ""
    if bool(device) != parts[1].startswith("D"):
        return None
    return Topic(group=parts[0], kind=parts[1], node=parts[2], device=device)


def bd_seq(payload: Payload) -> int:
    """Return the number that ties a death to its birth; -1 when there is none."""
    found = next((m.value for m in payload.metrics if m.name == BD_SEQ), None)
    return found if isinstance(found, int) else -1


def aliases(payload: Payload) -> dict[int, tuple[str, int]]:
    """Return name and type by alias, from a birth."""
    return {m.alias: (m.name, m.datatype) for m in payload.metrics if m.alias is not None and m.name}


def units(payload: Payload) -> dict[str, str]:
    """Return the engineering unit of each point that a birth names."""
    return {m.name: str(m.properties.get("engUnit", ""))[:400] for m in payload.metrics if m.name and _is_point(m.name)}


def read_metrics(payload: Payload, known: Aliases, *, is_birth: bool) -> tuple[list[Said], list[SaidEvent], int]:
    """Return observations, events, and how many metrics have an alias that no birth has declared."""
    said: list[Said] = []
    events: list[SaidEvent] = []
    unknown = 0
    for metric in payload.metrics:
        name, datatype = _name(metric, known)
        if name is None:
            unknown += 1
        elif name == EVENT_METRIC:
            events += _event(metric, payload.at_ms)
        elif _is_point(name) and not (is_birth and metric.value is None):  # A birth says null for "never read".
            said.append(_said(name, metric, meaning(metric.value, datatype), payload.at_ms))
    return said, events, unknown


def _is_point(name: str) -> bool:
    return name not in {BD_SEQ, REBIRTH, EVENT_METRIC} and not name.startswith(("Node Control/", "Device Control/"))


def _name(metric: Metric, known: Aliases) -> tuple[str | None, int]:
    if metric.name:
        return metric.name, metric.datatype
    name, datatype = known.get(metric.alias if metric.alias is not None else -1, (None, 0))
    return name, metric.datatype or datatype


def _said(point: str, metric: Metric, value: Scalar, sent_ms: int) -> Said:
    number = float(value) if isinstance(value, (int, float)) else None
    if number is not None and not abs(number) < float("inf"):
        number = None
    mantissa, scale = _exact(metric.properties.get("Exact", value)) if number is not None else (0, -1)
    return Said(
        point=point,
        at_ms=metric.at_ms if metric.at_ms is not None else sent_ms,
        value=number,
        mantissa=mantissa,
        scale=scale,
        quality=_quality(metric.properties.get("Quality", _GOOD), is_null=number is None),
    )


def _quality(code: int | str, *, is_null: bool) -> int:
    if code == _BAD:
        return 2
    if is_null:
        return 3
    return 0 if code == _GOOD else 1


def _exact(digits: Scalar) -> tuple[int, int]:
    if isinstance(digits, int):
        return (int(digits), 0) if abs(digits) < 2**63 else (0, -1)
    if not isinstance(digits, str) or len(digits) > 40:
        return 0, -1
    try:
        sign, figures, exponent = Decimal(digits).as_tuple()
    except InvalidOperation:
        return 0, -1
    if not isinstance(exponent, int) or not -_SCALE_MAX <= exponent <= 0:
        return 0, -1
    mantissa = int("".join(map(str, figures)))
    return ((-mantissa if sign else mantissa), -exponent) if mantissa < 2**63 else (0, -1)


def _event(metric: Metric, sent_ms: int) -> Sequence[SaidEvent]:
    if not isinstance(metric.value, str):
        return ()
    try:
        content = orjson.loads(metric.value)
        kind, data = str(content["kind"])[:100], dict(content["data"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return ()
    at_ms = metric.at_ms if metric.at_ms is not None else sent_ms
    return (SaidEvent(kind=kind, at_ms=at_ms, data=data),)
