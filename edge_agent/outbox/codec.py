"""How frames and events become the payload of a chunk, and back. Pure.

A chunk is JSON, `[label, rows]`, compressed with a checksum. The label repeats stream and first number, so that a
damaged row of the table cannot give its payload other numbers. A row of observations is `[layout, at_ms, values]` or
`[layout, at_ms, values, qualities]`. JSON keeps a double exactly (shortest form) and an integer exactly; the work per
value is done in C.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
import zstandard

from edge_agent.model import Event, Frame, Quality
from edge_agent.outbox.model import Layout, StoredEvent, StoredFrame
from edge_agent.outbox.ranges import Range

PAYLOAD_BYTES_MAX = 64 * 1024**2  # Against a damaged length field, far above any real chunk.
INTEGER_MAX = 2**63 - 1  # The database's bigint.

_compressor = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=True)
_decompressor = zstandard.ZstdDecompressor()

LayoutRef = int | list[Any]


class DamagedChunkError(ValueError):
    """The stored payload cannot be read; it is set aside, never guessed at."""


def is_well_formed(frame: Frame) -> bool:
    """Tell whether the columns of a frame agree, so that sequence numbers can be given."""
    return len(frame.points) == len(frame.values) == len(frame.qualities) > 0


def label_of(stream: str, first_seq: int) -> str:
    """Return what ties a payload to its numbers."""
    return f"{stream[:8]}/{first_seq}"


def encode_frames(label: str, frames: Sequence[Frame], layout_of: Callable[[Frame], LayoutRef]) -> tuple[bytes, int]:
    """Return the payload and the number of values that were not finite numbers and became invalid."""
    rows: list[tuple[Any, ...]] = [
        (layout_of(f), f.observed_at_ms, f.values, tuple(map(int, f.qualities)))
        if any(f.qualities)
        else (layout_of(f), f.observed_at_ms, f.values)
        for f in frames
    ]
    bad = 0
    try:
        raw = orjson.dumps(rows)
        # Four columns: some quality is not good. "u" and "a" are letters of null, true and false.
        is_plain = b"u" not in raw and b"a" not in raw and all(len(row) == 3 for row in rows)
    except TypeError:  # An integer beyond 64 bits, or not a number at all.
        is_plain, raw = False, b""
    if not is_plain:
        rows, bad = _only_numbers(rows)
        raw = orjson.dumps(rows)
    return _compressor.compress(b'["%b",%b]' % (label.encode(), raw)), bad


def _only_numbers(rows: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], int]:
    """Enforce that a value is a finite number exactly when its quality is good or uncertain."""
    clean: list[tuple[Any, ...]] = []
    bad = 0
    for layout, at_ms, values, *rest in rows:
        qualities = list(rest[0]) if rest else [0] * len(values)
        numbers: list[float | int | None] = []
        for index, value in enumerate(values):
            number = _number(value) if qualities[index] < Quality.INVALID else None
            if number is None and qualities[index] < Quality.INVALID:
                qualities[index] = int(Quality.INVALID)
                bad += 1
            numbers.append(number)
        clean.append((layout, at_ms, numbers, qualities) if any(qualities) else (layout, at_ms, numbers))
    return clean, bad


def _number(value: object) -> float | int | None:
    if isinstance(value, int):  # bool too: its numeric code travels.
        return int(value) if -INTEGER_MAX <= value <= INTEGER_MAX else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def encode_events(label: str, events: Sequence[Event]) -> bytes:
    """Return the payload of a chunk of events; what JSON cannot carry becomes its text."""
    rows = [(e.kind, e.device, e.at_ms, e.received_at_ms, dict(e.data)) for e in events]
    return _compressor.compress(orjson.dumps((label, rows), default=str, option=orjson.OPT_NON_STR_KEYS))


def decode_frames(
    payload: bytes,
    label: str,
    first_seq: int,
    count: int,
    layouts: Mapping[int, Layout],
    wanted: Sequence[Range] | None = None,
) -> list[StoredFrame]:
    """Return the frames of a chunk, cut to the `wanted` sequence numbers (all when None)."""
    frames: list[StoredFrame] = []
    seq = first_seq
    try:
        for ref, at_ms, values, *rest in _load(payload, label):
            layout = layouts[ref] if isinstance(ref, int) else inline_layout(ref)
            frames.append(StoredFrame(seq, layout, at_ms, values, rest[0] if rest else None))
            seq += len(values)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedChunkError(f"chunk at sequence {first_seq}: {error!r}") from error
    if seq != first_seq + count:
        raise DamagedChunkError(f"chunk at sequence {first_seq}: {seq - first_seq} observations, expected {count}")
    if wanted is None:
        return frames
    return [part for frame in frames for part in _cut(frame, wanted)]


def decode_events(
    payload: bytes, label: str, first_seq: int, count: int, wanted: Sequence[Range] | None = None
) -> list[StoredEvent]:
    """Return the events of a chunk, cut to the `wanted` sequence numbers (all when None)."""
    try:
        events = [StoredEvent(first_seq + index, *row) for index, row in enumerate(_load(payload, label))]
    except TypeError as error:
        raise DamagedChunkError(f"chunk at sequence {first_seq}: {error!r}") from error
    if len(events) != count:
        raise DamagedChunkError(f"chunk at sequence {first_seq}: {len(events)} events, expected {count}")
    if wanted is None:
        return events
    return [event for event in events if any(first <= event.seq <= last for first, last in wanted)]


def inline_layout(ref: Sequence[Any]) -> Layout:
    """Return the layout written inside a chunk because the layout table was full."""
    device, points, scales = ref
    return Layout(device=device, points=tuple(points), scales=tuple(scales))


def _load(payload: bytes, label: str) -> list[Any]:
    try:
        raw = _decompressor.decompress(payload, max_output_size=PAYLOAD_BYTES_MAX)
        found, rows = orjson.loads(raw)
    except (zstandard.ZstdError, ValueError, TypeError) as error:
        raise DamagedChunkError(str(error)) from error
    if found != label or not isinstance(rows, list):
        raise DamagedChunkError(f"payload of {found!r} where {label} belongs")
    return rows


def _cut(frame: StoredFrame, wanted: Sequence[Range]) -> list[StoredFrame]:
    last_seq = frame.first_seq + len(frame.values) - 1
    parts: list[StoredFrame] = []
    for first, last in wanted:
        start, stop = max(first, frame.first_seq), min(last, last_seq) + 1
        if start >= stop:
            continue
        begin, end = start - frame.first_seq, stop - frame.first_seq
        qualities = None if frame.qualities is None else frame.qualities[begin:end]
        parts.append(StoredFrame(start, frame.layout.part(begin, end), frame.at_ms, frame.values[begin:end], qualities))
    return parts
