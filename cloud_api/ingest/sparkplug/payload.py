"""Sparkplug B payloads (specification 3.0, chapter 6) read from protobuf, and the one that asks for a rebirth. Pure.

The message types are described by field numbers, as the specification gives them. Data sets, templates and metadata are
skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

PAYLOAD_BYTES_MAX = 4 * 1024**2
METRICS_MAX = 50_000
REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"

Scalar = bool | int | float | str | None
_SIGNED_BITS = {1: 32, 2: 32, 3: 32, 4: 64}  # Int8 to Int64 travel as two's complement in these widths.
_BOOLEAN = 11


class Unreadable(ValueError):
    """Bytes that are no Sparkplug B payload, or too many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One value; a birth gives name and alias, data may give the alias alone. A null has the value None."""

    name: str | None
    alias: int | None
    at_ms: int | None
    datatype: int
    value: Scalar
    is_historical: bool
    properties: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What one message carries; the death of a node has no sequence number."""

    at_ms: int
    seq: int | None
    metrics: tuple[Metric, ...]


_FIELD = descriptor_pb2.FieldDescriptorProto
_UINT32, _UINT64, _STRING, _BOOL, _MESSAGE = 13, 4, 9, 8, 11
_VALUES = (("int", _UINT32), ("long", _UINT64), ("float", 2), ("double", 1), ("boolean", _BOOL), ("string", _STRING))


def _payload_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug_b.proto", package="sparkplug", syntax="proto2")
    value, properties, metric, payload = (
        file.message_type.add(name=name) for name in ("PropertyValue", "PropertySet", "Metric", "Payload")
    )
    _add(value, ("type", 1, _UINT32), ("is_null", 2, _BOOL))
    _add_values(value, first=3)
    _add(properties, ("keys", 1, _STRING), ("values", 2, "PropertyValue"), repeated=True)
    _add(metric, ("name", 1, _STRING), ("alias", 2, _UINT64), ("timestamp", 3, _UINT64), ("datatype", 4, _UINT32),
         ("is_historical", 5, _BOOL), ("is_null", 7, _BOOL), ("properties", 9, "PropertySet"))  # fmt: skip
    _add_values(metric, first=10)
    _add(payload, ("timestamp", 1, _UINT64), ("seq", 3, _UINT64))
    _add(payload, ("metrics", 2, "Metric"), repeated=True)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))


def _add(message: Any, *fields: tuple[str, int, int | str], repeated: bool = False) -> None:
    for name, number, kind in fields:
        entry = message.field.add(name=name, number=number)
        entry.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        entry.type = kind if isinstance(kind, int) else _MESSAGE
        if isinstance(kind, str):
            entry.type_name = f".sparkplug.{kind}"


def _add_values(message: Any, *, first: int) -> None:
    message.oneof_decl.add(name="value")
    for offset, (name, kind) in enumerate(_VALUES):
        message.field.add(
            name=f"{name}_value", number=first + offset, label=_FIELD.LABEL_OPTIONAL, type=kind, oneof_index=0
        )


_Payload = _payload_class()


def decode(data: bytes) -> Payload:
    """Read a payload; raises Unreadable when it is none, or larger than the cloud takes."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise Unreadable(f"{len(data)} bytes")
    message = _Payload()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Unreadable("not a Sparkplug B payload") from error
    if len(message.metrics) > METRICS_MAX:
        raise Unreadable(f"{len(message.metrics)} metrics")
    return Payload(
        at_ms=min(message.timestamp, 2**62),
        seq=message.seq if message.HasField("seq") else None,
        metrics=tuple(map(_read, message.metrics)),
    )


def _read(entry: Any) -> Metric:
    properties = {
        name: content
        for name, value in zip(entry.properties.keys, entry.properties.values, strict=False)
        if isinstance(content := _value(value), (int, str))
    }
    return Metric(
        name=entry.name if entry.HasField("name") else None,
        alias=entry.alias if entry.HasField("alias") else None,
        at_ms=min(entry.timestamp, 2**62) if entry.HasField("timestamp") else None,
        datatype=entry.datatype,
        value=None if entry.is_null else _value(entry),
        is_historical=entry.is_historical,
        properties=properties,
    )


def _value(entry: Any) -> Scalar:
    name = entry.WhichOneof("value")
    return None if name is None else getattr(entry, name)


def meaning(value: Scalar, datatype: int) -> Scalar:
    """Return what a value means in the type that its birth declared."""
    if datatype == _BOOLEAN:
        return bool(value)
    bits = _SIGNED_BITS.get(datatype)
    if bits is None or not isinstance(value, int) or isinstance(value, bool):
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def rebirth_command(now_ms: int) -> bytes:
    """Return the command (NCMD) that asks an edge node to say everything anew."""
    message = _Payload(timestamp=now_ms)
    metric = message.metrics.add()
    metric.name, metric.timestamp, metric.datatype, metric.boolean_value = REBIRTH, now_ms, _BOOLEAN, True
    return message.SerializeToString()
