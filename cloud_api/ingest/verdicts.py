"""The three verdicts: what of a batch is accepted, rejected for good, or to be sent again. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import orjson

from cloud_api.ingest.limits import Limits
from cloud_api.ingest.message import Batch, EventMessage, numbers
from cloud_api.kit.ids import DeviceId, PointId
from cloud_api.telemetry.columns import Bools, Ints, Observations, no_observations

MANTISSA_MAX = 2**63 - 1
Range = tuple[int, int]  # Half-open.


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One observation or event that will never be accepted, and what it said."""

    seq: int
    code: str
    reason: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Numbers (inclusive) to be sent again once the cause is gone."""

    first: int
    last: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """What shall happen to a batch. Numbers settled before are in none of the lists."""

    accepted: Observations
    accepted_events: list[EventMessage]
    accepted_seq: Ints
    rejected: list[Rejection]
    retry: list[Retry]


def judge(
    batch: Batch,
    *,
    settled: Iterable[Range],
    points: Mapping[str, PointId],
    devices: Mapping[str, DeviceId],
    now_ms: int,
    limits: Limits,
) -> Verdicts:
    """Give every new observation and event of a batch its verdict.

    `settled` are the sequence numbers that have their verdict already. A number that stands twice in one message counts
    once, by its first row.
    """
    ranges = sorted(settled)
    new = _is_new(batch.seq, ranges)
    ids = np.array(list(map(points.get, batch.points, repeat(-1))) or [-1], dtype=np.int64)
    in_range = (batch.point >= 0) & (batch.point < len(batch.points))
    point_id = ids[np.where(in_range, batch.point, 0)]
    value, mantissa, scale, reasons = _values(batch, in_range)
    latest_ms = now_ms + int(limits.future_tolerance.total_seconds() * 1000)
    reasons["too_old"] = (batch.at_ms < limits.oldest_ms, "observed before the year 2000")
    reasons["future"] = (
        batch.at_ms > latest_ms,
        f"more than {limits.future_tolerance} ahead of the cloud's clock",
    )
    refused = np.zeros(len(batch), dtype=bool)
    for mask, _ in reasons.values():
        refused |= mask
    refused[list(batch.malformed)] = True
    unknown = new & in_range & (point_id < 0) & ~refused
    good = new & ~unknown & ~refused
    rejected = [_rejection(batch, i, reasons) for i in np.flatnonzero(new & refused).tolist()]
    retry = _unknown_points(batch, np.flatnonzero(unknown))
    rows = Observations(
        point_id=point_id, at_ms=batch.at_ms, value=value, mantissa=mantissa, quality=batch.quality, scale=scale
    )
    if good.all() and not batch.events and not batch.malformed_events:
        return Verdicts(accepted=rows, accepted_events=[], accepted_seq=batch.seq, rejected=[], retry=[])
    events = _judge_events(batch, ranges, devices, latest_ms, limits)
    return Verdicts(
        accepted=rows.pick(good),
        accepted_events=events.accepted_events,
        accepted_seq=np.concatenate([batch.seq[good], events.accepted_seq]),
        rejected=rejected + events.rejected,
        retry=retry + events.retry,
    )


def to_ranges(numbers_: Ints) -> list[Range]:
    """Return sorted half-open ranges that hold exactly these numbers."""
    if not len(numbers_):
        return []
    ordered = numbers_ if increasing(numbers_) else np.unique(numbers_)
    breaks = np.flatnonzero(np.diff(ordered) > 1)
    firsts = np.concatenate([ordered[:1], ordered[breaks + 1]])
    lasts = np.concatenate([ordered[breaks], ordered[-1:]])
    return [(first, last + 1) for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True)]


def increasing(numbers_: Ints) -> bool:
    """Return whether each number is greater than the one before, as an agent sends them."""
    return bool((numbers_[1:] > numbers_[:-1]).all())


def merged(settled: Iterable[Range], more: Iterable[Range]) -> list[Range]:
    """Return the ranges that hold the numbers of both, sorted, none touching the next."""
    found: list[Range] = []
    for first, end in sorted([*settled, *more]):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((first, end))
    return found


def _rejection(batch: Batch, i: int, reasons: Mapping[str, tuple[Bools, str]]) -> Rejection:
    if i in batch.malformed:
        code, reason = "malformed", batch.malformed[i]
    else:
        code, reason = next((code, reason) for code, (mask, reason) in reasons.items() if mask[i])
    return Rejection(seq=int(batch.seq[i]), code=code, reason=reason, content=_content(batch, i))


def _is_new(seq: Ints, ranges: list[Range]) -> Bools:
    if increasing(seq):
        new = np.ones(len(seq), dtype=bool)
    else:
        new = np.zeros(len(seq), dtype=bool)
        new[np.unique(seq, return_index=True)[1]] = True  # The first row of each number.
    if ranges and len(seq):
        starts = np.array([first for first, _ in ranges], dtype=np.int64)
        ends = np.array([end for _, end in ranges], dtype=np.int64)
        where = np.searchsorted(starts, seq, side="right") - 1
        new &= ~((where >= 0) & (seq < ends[where]))
    return new


def _values(batch: Batch, in_range: Bools) -> tuple[Any, Ints, Ints, dict[str, tuple[Bools, str]]]:
    """Return value, mantissa and scale by row, and which rows are refused for them."""
    number, is_number, is_integer, is_none = numbers(batch)
    padded = batch.scales if len(batch.scales) else np.array([-1], dtype=np.int64)
    scale = padded[np.where(in_range, batch.point, 0)]
    bad_quality = (batch.quality < 0) | (batch.quality > 3)
    carries = batch.quality <= 1  # Invalid and unanswered observations have no value.
    value = np.where(carries & is_number, number, np.nan)
    mantissa = np.zeros(len(batch), dtype=np.int64)
    reasons = {
        "no_such_column": (~in_range, "point: no such entry in points"),
        "bad_quality": (bad_quality, "quality: 0 good, 1 uncertain, 2 invalid, 3 no answer"),
        "no_value": (carries & is_none, "a good or uncertain observation needs a value"),
        "not_a_number": (carries & ~is_none & ~is_number, "value: must be a number"),
    }
    exact = (scale >= 0) & carries
    if not exact.any():
        return value, mantissa, np.full(len(batch), -1), reasons
    fits = is_integer & (np.abs(np.where(is_number, number, 0.0)) < float(MANTISSA_MAX))
    usable = exact & fits
    places = np.flatnonzero(usable).tolist()
    mantissa[places] = [batch.value[i] for i in places]
    value[usable] = number[usable] / np.power(10.0, scale[usable])
    reasons |= {
        "not_exact": (exact & is_number & ~is_integer, "an exact point needs an integer mantissa within 64 bits"),
        "out_of_range": (exact & is_integer & ~fits, "an exact point needs an integer mantissa within 64 bits"),
    }
    return value, mantissa, np.where(usable, scale, -1), reasons


def _unknown_points(batch: Batch, places: Ints) -> list[Retry]:
    names = sorted({batch.points[p] for p in np.unique(batch.point[places]).tolist()}) if len(places) else []
    reason = f"not in the catalogue: {', '.join(names[:5])}" + (" …" if len(names) > 5 else "")
    return [
        Retry(first=first, last=end - 1, code="unknown_point", reason=reason)
        for first, end in to_ranges(batch.seq[places])
    ]


def _judge_events(
    batch: Batch, ranges: list[Range], devices: Mapping[str, DeviceId], latest_ms: int, limits: Limits
) -> Verdicts:
    seqs = np.array([event.seq for event in batch.events], dtype=np.int64)
    new = _is_new(seqs, ranges) & ~np.isin(seqs, batch.seq)
    accepted: list[EventMessage] = []
    rejected: list[Rejection] = []
    retry: list[Retry] = []
    for event, is_new in zip(batch.events, new.tolist(), strict=True):
        if not is_new:
            continue
        refusal = _event_refusal(event, latest_ms, limits)
        if refusal:
            content = {"kind": event.kind, "device": event.device, "at_ms": event.at_ms}
            rejected.append(Rejection(seq=event.seq, code=refusal[0], reason=refusal[1], content=content))
        elif event.device and event.device not in devices:
            reason = f"not in the catalogue: {event.device}"
            retry.append(Retry(first=event.seq, last=event.seq, code="unknown_point", reason=reason))
        else:
            accepted.append(event)
    bad = np.array(list(batch.malformed_events), dtype=np.int64)
    rejected += [
        Rejection(seq=seq, code="malformed", reason=batch.malformed_events[seq], content={})
        for seq in bad[_is_new(bad, ranges)].tolist()
    ]
    return Verdicts(
        accepted=no_observations(),
        accepted_events=accepted,
        accepted_seq=np.array([event.seq for event in accepted], dtype=np.int64),
        rejected=rejected,
        retry=retry,
    )


def _event_refusal(event: EventMessage, latest_ms: int, limits: Limits) -> tuple[str, str] | None:
    if event.received_at_ms > latest_ms:
        return "future", f"received more than {limits.future_tolerance} ahead of the cloud's clock"
    if event.received_at_ms < limits.oldest_ms:
        return "too_old", "received before the year 2000"
    data = orjson.dumps(event.data)
    if len(data) > limits.event_bytes_max:
        return "too_large", f"the data of an event may have {limits.event_bytes_max} bytes"
    if b"\\u0000" in data or "\0" in event.kind:
        return "malformed", "text must not contain the zero character"
    return None


def _content(batch: Batch, place: int) -> dict[str, Any]:
    point = int(batch.point[place])
    name = batch.points[point] if 0 <= point < len(batch.points) else None
    value = batch.value[place]
    return {
        "point": name and name.replace("\0", ""),
        "at_ms": int(batch.at_ms[place]),
        "value": value if isinstance(value, (int, float)) else repr(value)[:200],
        "quality": int(batch.quality[place]),
    }
