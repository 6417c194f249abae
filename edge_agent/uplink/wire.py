"""Message v1 (ARCHITECTURE.md, section 9): what the agent writes and reads. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import orjson
import zstandard
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_agent.outbox.model import Batch, Layout, Rejection, Retry

VERSION = 1
CONTENT_ENCODING = "zstd"
RECEIPT_BYTES_MAX = 16 * 1024**2

_compressor = zstandard.ZstdCompressor(level=3, write_content_size=True)


class WireError(ValueError):
    """The cloud's answer is not what section 9 promises; nothing is settled by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguePoint:
    """One signal of a device; `scale` is set exactly when the point's values are integer mantissas."""

    name: str
    kind: str
    quantity: str
    unit: str
    scale: int | None = None
    brick: str | None = None
    cumulative: bool = False
    labels: Mapping[str, Any] = field(default_factory=dict)  # Texts of enum codes, names for people.
    write: Mapping[str, Any] | None = None  # Guard rails of a point that may be set here; absent for all others.


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueDevice:
    """One device of the site file with the points that its profile gives it."""

    name: str
    label: str
    profile: str
    profile_revision: str
    bus: str
    address: str
    poll_s: float | None
    timeout_s: float | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[CataloguePoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Everything this gateway can say something about."""

    devices: tuple[CatalogueDevice, ...]

    def scales(self) -> dict[str, int]:
        """Return the decimal scale of each exact point by `device/point`, for `Outbox.use_scales`."""
        return {
            f"{device.name}/{point.name}": point.scale
            for device in self.devices
            for point in device.points
            if point.scale is not None
        }


def encode_catalogue(catalogue: Catalogue, *, agent_version: str, started_at_ms: int) -> tuple[bytes, str]:
    """Return the message and its revision: the SHA-256 of the devices, the same whenever they are the same."""
    devices = orjson.dumps([_device_entry(device) for device in catalogue.devices], option=orjson.OPT_SORT_KEYS)
    revision = hashlib.sha256(devices).hexdigest()
    message = {
        "v": VERSION,
        "agent": {"version": agent_version, "started_at_ms": started_at_ms},
        "revision": revision,
        "devices": orjson.Fragment(devices),
    }
    return orjson.dumps(message), revision


def _device_entry(device: CatalogueDevice) -> dict[str, Any]:
    entry = asdict(device)
    for point in entry["points"]:
        if point["write"] is None:
            del point["write"]
    return entry


def encode_batch(batch: Batch, *, sent_at_ms: int, clock_offset_ms: int | None) -> bytes:
    """Return the message of one batch: columns of equal length, numbered per observation."""
    points: list[str] = []
    scales: list[int | None] = []
    index_of: dict[tuple[str, int | None], int] = {}
    columns_of: dict[Layout, list[int]] = {}
    seq: list[int] = []
    point: list[int] = []
    at_ms: list[int] = []
    value: list[float | int | None] = []
    quality: list[int] = []
    for first_seq, layout, frame_at_ms, values, qualities in batch.frames:
        indexes = columns_of.get(layout)
        if indexes is None:
            indexes = columns_of[layout] = _indexes(layout, index_of, points, scales)
        count = len(values)
        seq.extend(range(first_seq, first_seq + count))
        point += indexes
        at_ms += [frame_at_ms] * count
        value += values
        quality += [0] * count if qualities is None else qualities
    return orjson.dumps(
        {
            "v": VERSION,
            "stream": batch.stream,
            "sent_at_ms": sent_at_ms,
            "clock_offset_ms": clock_offset_ms,
            "points": points,
            "scales": scales,
            "seq": seq,
            "point": point,
            "at_ms": at_ms,
            "value": value,
            "quality": quality,
            "events": [event._asdict() for event in batch.events],
        }
    )


def _indexes(
    layout: Layout, index_of: dict[tuple[str, int | None], int], points: list[str], scales: list[int | None]
) -> list[int]:
    """Give each point of a layout its index; a point that was read under two scales is listed once for each."""
    indexes: list[int] = []
    for name, scale in zip(layout.points, layout.scales, strict=True):
        key = (f"{layout.device}/{name}", scale)
        if key not in index_of:
            index_of[key] = len(points)
            points.append(key[0])
            scales.append(scale)
        indexes.append(index_of[key])
    return indexes


def compress(message: bytes) -> bytes:
    """Return the message as it goes over the line."""
    return _compressor.compress(message)


Seq = Annotated[int, Field(ge=1, le=2**63 - 1)]


class _Answer(BaseModel):
    """Fields that a newer cloud adds are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Rejected(_Answer):
    seq: Seq
    code: str = "unknown"
    reason: str = ""


class _Retry(_Answer):
    first: Seq = Field(alias="from")
    last: Seq = Field(alias="to")
    code: str = "unknown"
    reason: str = ""


class _Receipt(_Answer):
    stream: str
    accepted: list[tuple[Seq, Seq]] = Field(default_factory=list)
    rejected: list[_Rejected] = Field(default_factory=list)
    retry: list[_Retry] = Field(default_factory=list)
    server_time_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The cloud's three verdicts on a batch."""

    accepted: Sequence[tuple[int, int]]
    rejected: Sequence[Rejection]
    retry: Sequence[Retry]
    server_time_ms: int | None


def decode_receipt(body: bytes, *, stream: str) -> Receipt:
    """Read the answer to a batch. Raises `WireError` when it is unreadable or about another stream."""
    if len(body) > RECEIPT_BYTES_MAX:
        raise WireError(f"receipt of {len(body)} bytes")
    try:
        answer = _Receipt.model_validate_json(body)
    except ValidationError as error:
        raise WireError(f"receipt: {error.errors(include_url=False)[0]['msg']}") from error
    if answer.stream != stream:
        raise WireError(f"receipt of stream {answer.stream!r}, sent was {stream!r}")
    return Receipt(
        accepted=answer.accepted,
        rejected=[Rejection(seq=r.seq, code=r.code, reason=r.reason) for r in answer.rejected],
        retry=[Retry(first=r.first, last=r.last, code=r.code, reason=r.reason) for r in answer.retry],
        server_time_ms=answer.server_time_ms,
    )


class Problem(_Answer):
    """Why a whole message was refused (RFC 9457, problem+json)."""

    code: str = ""
    title: str = ""
    detail: str = ""

    def __str__(self) -> str:
        return " · ".join(part for part in (self.code, self.title, self.detail) if part) or "no reason given"


def decode_problem(body: bytes) -> Problem:
    """Read a refusal; one that is not problem+json (a proxy's page) has no reason."""
    try:
        return Problem.model_validate_json(body)
    except ValidationError:
        return Problem()
