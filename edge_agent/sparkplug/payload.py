"""Sparkplug B payloads (specification 3.0, chapter 6): protobuf bytes to metrics and back. Pure.

The message types are described here by field numbers, as the specification gives them, instead of generated from a
.proto file. Data sets, templates and metadata are skipped when read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

PAYLOAD_BYTES_MAX = 4 * 1024**2
METRICS_MAX = 50_000


class SparkplugError(ValueError):
    """Bytes that are no Sparkplug B payload."""


class DataType(IntEnum):
    """The scalar types of metrics (section 6.4.16)."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14


class Quality(IntEnum):
    """The values that the metric property `Quality` may have (section 6.4.9)."""

    BAD = 0
    GOOD = 192
    STALE = 500


Scalar = bool | int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One value. A birth gives name and alias, data only the alias; a null has `value` None."""

    name: str | None = None
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: DataType | None = None
    value: Scalar = None
    is_historical: bool = False
    properties: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What one Sparkplug message carries; deaths of nodes and commands have no `seq`."""

    timestamp_ms: int
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None


_FIELD = descriptor_pb2.FieldDescriptorProto
_VALUES = {"int": 4, "long": 4, "float": 2, "double": 1, "boolean": 8, "string": 9}  # Wire types by name.
_INT_TYPES = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_LONG_TYPES = frozenset({DataType.INT64, DataType.UINT64, DataType.DATETIME})
_BY_CODE = {int(datatype): datatype for datatype in DataType}
# Data leave the type out, their birth has said it.
_NATURAL = {bool: DataType.BOOLEAN, int: DataType.INT64, float: DataType.DOUBLE, str: DataType.STRING}
_TEXT_TYPES = frozenset({DataType.STRING, DataType.TEXT})
_UINT32, _UINT64, _STRING, _BOOL, _MESSAGE = 13, 4, 9, 8, 11


def _message_classes() -> tuple[Any, Any]:
    """Build the message classes; optional fields throughout, as in proto2."""
    file = descriptor_pb2.FileDescriptorProto(name="sparkplug.proto", package="sparkplug", syntax="proto2")
    value = file.message_type.add(name="PropertyValue")
    _add(value, ("type", 1, _UINT32), ("is_null", 2, _BOOL))
    _add_values(value, first=3)
    properties = file.message_type.add(name="PropertySet")
    _add(properties, ("keys", 1, _STRING), ("values", 2, "PropertyValue"), repeated=True)
    metric = file.message_type.add(name="Metric")
    _add(
        metric,
        ("name", 1, _STRING),
        ("alias", 2, _UINT64),
        ("timestamp", 3, _UINT64),
        ("datatype", 4, _UINT32),
        ("is_historical", 5, _BOOL),
        ("is_transient", 6, _BOOL),
        ("is_null", 7, _BOOL),
        ("properties", 9, "PropertySet"),
    )
    _add_values(metric, first=10)
    payload = file.message_type.add(name="Payload")
    _add(payload, ("timestamp", 1, _UINT64), ("seq", 3, _UINT64))
    _add(payload, ("metrics", 2, "Metric"), repeated=True)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sparkplug.{name}"))
        for name in ("Payload", "PropertyValue")
    ]
    return classes[0], classes[1]


def _add(message: Any, *fields: tuple[str, int, int | str], repeated: bool = False) -> None:
    for name, number, kind in fields:
        entry = message.field.add(name=name, number=number)
        entry.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        if isinstance(kind, str):
            entry.type, entry.type_name = _MESSAGE, f".sparkplug.{kind}"
        else:
            entry.type = kind


def _add_values(message: Any, *, first: int) -> None:
    """Add the alternatives of a value: int, long, float, double, boolean, string, in this order."""
    message.oneof_decl.add(name="value")
    for offset, (name, kind) in enumerate(_VALUES.items()):
        wire_type = _UINT32 if name == "int" else kind
        message.field.add(
            name=f"{name}_value", number=first + offset, label=_FIELD.LABEL_OPTIONAL, type=wire_type, oneof_index=0
        )


_Payload, _PropertyValue = _message_classes()


def encode(payload: Payload) -> bytes:
    """Return the bytes of a payload."""
    message = _Payload(timestamp=payload.timestamp_ms)
    if payload.seq is not None:
        message.seq = payload.seq
    for metric in payload.metrics:
        _write(message.metrics.add(), metric)
    return message.SerializeToString()


def _write(entry: Any, metric: Metric) -> None:
    if metric.name is not None:
        entry.name = metric.name
    if metric.alias is not None:
        entry.alias = metric.alias
    if metric.timestamp_ms is not None:
        entry.timestamp = metric.timestamp_ms
    if metric.datatype is not None:
        entry.datatype = int(metric.datatype)
    if metric.is_historical:
        entry.is_historical = True
    for name, value in metric.properties.items():
        entry.properties.keys.append(name)
        if isinstance(value, str):
            entry.properties.values.append(_PropertyValue(type=int(DataType.STRING), string_value=value))
        else:
            entry.properties.values.append(_PropertyValue(type=int(DataType.INT32), int_value=value & 0xFFFF_FFFF))
    if metric.value is None:
        entry.is_null = True
    else:
        _write_value(entry, metric.datatype or _NATURAL[type(metric.value)], metric.value)


def _write_value(entry: Any, datatype: DataType, value: Scalar) -> None:
    if datatype in _TEXT_TYPES:
        entry.string_value = str(value)
    elif datatype is DataType.BOOLEAN:
        entry.boolean_value = bool(value)
    elif datatype is DataType.DOUBLE:
        entry.double_value = float(value or 0)
    elif datatype is DataType.FLOAT:
        entry.float_value = float(value or 0)
    elif datatype in _LONG_TYPES:
        entry.long_value = int(value or 0) & 0xFFFF_FFFF_FFFF_FFFF  # Two's complement, as the specification wants it.
    else:
        entry.int_value = int(value or 0) & 0xFFFF_FFFF


def decode(data: bytes) -> Payload:
    """Read a payload; raises SparkplugError when it is none, or too large."""
    if len(data) > PAYLOAD_BYTES_MAX:
        raise SparkplugError(f"{len(data)} bytes")
    message = _Payload()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise SparkplugError("not a Sparkplug B payload") from error
    if len(message.metrics) > METRICS_MAX:
        raise SparkplugError(f"{len(message.metrics)} metrics")
    return Payload(
        timestamp_ms=message.timestamp,
        seq=message.seq if message.HasField("seq") else None,
        metrics=tuple(_read(entry) for entry in message.metrics),
    )


def _read(entry: Any) -> Metric:
    return Metric(
        name=entry.name if entry.HasField("name") else None,
        alias=entry.alias if entry.HasField("alias") else None,
        timestamp_ms=entry.timestamp if entry.HasField("timestamp") else None,
        datatype=_BY_CODE.get(entry.datatype),
        value=None if entry.is_null else _read_value(entry),
        is_historical=entry.is_historical,
        properties=_read_properties(entry.properties),
    )


def _read_value(entry: Any) -> Scalar:
    name = entry.WhichOneof("value")
    return None if name is None else getattr(entry, name)


def _read_properties(properties: Any) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    for name, value in zip(properties.keys, properties.values, strict=False):
        content = _read_value(value)
        if isinstance(content, (int, str)):
            found[name] = content
    return found


def signed(value: Scalar, datatype: DataType | None) -> Scalar:
    """Return what an integer means: signed ones travel as two's complement, in 32 or 64 bits."""
    bits = _INT_TYPES.get(datatype) if datatype is not None else None
    if bits is None or isinstance(value, (bool, float, str)) or value is None:
        return value
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def aliases(metrics: Sequence[Metric]) -> dict[int, tuple[str, DataType | None]]:
    """Return name and type by alias, from the metrics of a birth."""
    return {m.alias: (m.name, m.datatype) for m in metrics if m.alias is not None and m.name is not None}
