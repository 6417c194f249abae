"""Message v1 as it arrives (ARCHITECTURE.md, section 9): columns that may hold anything, read without trust."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_api.ingest.limits import LIMITS
from cloud_api.kit.errors import DomainError
from cloud_api.telemetry.columns import Bools, Ints

SEQ_MAX = 2**62
_COLUMNS = ("seq", "point", "at_ms", "value", "quality")


class MessageRefused(DomainError):
    """The message cannot be read at all; nothing of it was accepted."""

    code = "message_refused"
    status = 422


class NotJson(MessageRefused):
    """The body is not JSON."""

    code = "not_json"
    status = 400


class EventMessage(BaseModel):
    """Something that happened once, as the agent tells it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    seq: int = Field(ge=1, lt=SEQ_MAX)
    kind: str = Field(min_length=1, max_length=100)
    device: str | None = Field(default=None, max_length=100)
    at_ms: int
    received_at_ms: int
    data: dict[str, Any] = {}


class _Head(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1]
    stream: UUID
    sent_at_ms: int | None = None
    clock_offset_ms: int | None = None
    points: list[Annotated[str, Field(max_length=300)]] = Field(default=[], max_length=LIMITS.points_max)
    scales: list[Annotated[int, Field(ge=0, le=18)] | None] = Field(default=[], max_length=LIMITS.points_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A readable message. Rows whose `malformed` entry holds a reason carry zeros in the columns."""

    stream: UUID
    clock_offset_ms: int | None
    points: list[str]
    scales: Ints  # -1 where the point is not exact.
    seq: Ints
    point: Ints
    at_ms: Ints
    value: list[Any]
    quality: Ints
    malformed: dict[int, str]  # By position.
    events: list[EventMessage]
    malformed_events: dict[int, str]  # By sequence number.

    def __len__(self) -> int:
        return len(self.seq)


def read_batch(body: bytes) -> Batch:
    """Read a message; raises NotJson or MessageRefused when no single verdict could be given.

    A value that makes no sense condemns its own observation, never its neighbours: the sequence numbers alone must be
    readable, because every verdict names one.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"the body is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise MessageRefused("the message must be a JSON object")
    try:
        head = _Head.model_validate({key: message[key] for key in _Head.model_fields if key in message})
    except ValidationError as error:
        raise MessageRefused(_first_error(error)) from error
    scales = head.scales or [None] * len(head.points)
    if len(scales) != len(head.points):
        raise MessageRefused(f"scales: {len(scales)} entries for {len(head.points)} points")
    columns = _columns(message)
    malformed: dict[int, str] = {}
    point, at_ms, quality = (_ints(name, columns[name], malformed) for name in ("point", "at_ms", "quality"))
    events, malformed_events = _events(message.get("events", []))
    return Batch(
        stream=head.stream,
        clock_offset_ms=head.clock_offset_ms,
        points=head.points,
        scales=np.array([-1 if s is None else s for s in scales], dtype=np.int64),
        seq=_sequence_numbers(columns["seq"]),
        point=point,
        at_ms=at_ms,
        value=columns["value"],
        quality=quality,
        malformed=malformed,
        events=events,
        malformed_events=malformed_events,
    )


def _columns(message: dict[str, Any]) -> dict[str, list[Any]]:
    columns = {name: message.get(name, []) for name in _COLUMNS}
    for name, column in columns.items():
        if not isinstance(column, list):
            raise MessageRefused(f"{name}: must be a list")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise MessageRefused(f"the columns have different lengths: {lengths}")
    if lengths["seq"] > LIMITS.observations_max:
        raise MessageRefused(f"{lengths['seq']} observations in one message; at most {LIMITS.observations_max}")
    return columns


def _sequence_numbers(column: list[Any]) -> Ints:
    if set(map(type, column)) - {int}:
        place = next(i for i, value in enumerate(column) if type(value) is not int)
        raise MessageRefused(f"seq.{place}: must be an integer, not {column[place]!r:.50}")
    try:
        seq = np.fromiter(column, dtype=np.int64, count=len(column))
    except OverflowError:
        seq = None
    if seq is None or (len(seq) and not (seq.min() >= 1 and seq.max() < SEQ_MAX)):
        raise MessageRefused("seq: numbers start at 1 and stay below 2^62")
    return seq


def _ints(name: str, column: list[Any], malformed: dict[int, str]) -> Ints:
    try:
        if set(map(type, column)) <= {int}:
            return np.fromiter(column, dtype=np.int64, count=len(column))
    except OverflowError:
        pass
    clean: list[int] = []
    for place, value in enumerate(column):
        good = type(value) is int and -(2**63) <= value < 2**63
        clean.append(value if good else 0)
        if not good:
            malformed.setdefault(place, f"{name} must be an integer, not {value!r:.50}")
    return np.array(clean, dtype=np.int64)


def _events(items: Any) -> tuple[list[EventMessage], dict[int, str]]:
    if not isinstance(items, list):
        raise MessageRefused("events: must be a list")
    if len(items) > LIMITS.events_max:
        raise MessageRefused(f"{len(items)} events in one message; at most {LIMITS.events_max}")
    events: list[EventMessage] = []
    malformed: dict[int, str] = {}
    for place, item in enumerate(items):
        try:
            events.append(EventMessage.model_validate(item))
        except ValidationError as error:
            seq = item.get("seq") if isinstance(item, dict) else None
            if type(seq) is not int or not 1 <= seq < SEQ_MAX:
                raise MessageRefused(f"events.{place}: {_first_error(error)}") from error
            malformed[seq] = _first_error(error)
    return events, malformed


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(p) for p in first['loc'])}: {first['msg']}"


def numbers(batch: Batch) -> tuple[Any, Bools, Bools, Bools]:
    """Return the values as doubles (NaN where there is none), which are numbers, which integers, and which are null."""
    kinds = list(map(type, batch.value))
    found = set(kinds)
    is_integer, is_float, is_none = (_are(kind, kinds, found) for kind in (int, float, type(None)))
    is_number = is_integer | is_float
    values = batch.value
    if not found <= {int, float, type(None)}:
        values = [v if ok else None for v, ok in zip(values, is_number.tolist(), strict=True)]
    return np.array(values, dtype=np.float64), is_number, is_integer, is_none


def _are(kind: type, kinds: list[type], found: set[type]) -> Bools:
    if kind not in found or len(found) == 1:
        return np.full(len(kinds), kind in found)
    return np.fromiter((k is kind for k in kinds), dtype=bool, count=len(kinds))
