"""Limits on single points: what a value says about its limit, one value after the other. Pure.

The same fold judges data as they arrive and stored data when they are judged again: both give the same verdicts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_api.alarms.states import Policy
from cloud_api.faults.evaluation import FAULT, NO_EVAL, OK
from cloud_api.telemetry.columns import Observations

# A signal that keeps crossing its limit is one case, told once.
REOPEN_WITHIN = timedelta(hours=2)
# Between the limit and its clear value: what was said before still holds.
HOLD = 3
# Beside these, a value says nothing (invalid, no answer).
QUALITY_USABLE_MAX = 1

Codes = NDArray[np.int8]
Ints = NDArray[np.int64]


class Kind(StrEnum):
    """How a value is compared with its limit."""

    ABOVE = "above"
    BELOW = "below"
    EQUALS = "equals"
    STEP = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit on a point. `clear_value` is where the alarm ends; `valid_from` is when the limit was set."""

    id: int
    organisation_id: int
    site_id: int
    gateway_id: int
    point_id: int
    kind: Kind
    severity: int
    value: float
    clear_value: float
    policy: Policy
    valid_from: datetime

    @property
    def subject(self) -> str:
        """The subject of its alarm."""
        return f"point:{self.point_id}"

    @property
    def rule(self) -> str:
        """The rule of its alarm; two limits of one kind differ by severity (high, high-high)."""
        return f"{RULES[self.kind]}/{self.severity}"


# The rules of faults/rules/point.yaml whose title and playbook these alarms show.
RULES = {Kind.ABOVE: "PNT-01", Kind.BELOW: "PNT-02", Kind.STEP: "PNT-03", Kind.EQUALS: "PNT-10"}


@dataclass(slots=True)
class Memory:
    """What judging the next value of a limit needs: the verdict that holds, and the last usable value."""

    verdict: int = NO_EVAL
    last_value: float = float("nan")


def say(limit: Limit, memory: Memory, value: float, quality: int) -> int:
    """Judge one value and remember it; returns OK, FAULT or NO_EVAL."""
    if quality > QUALITY_USABLE_MAX or value != value:  # noqa: PLR0124  # NaN is not equal to itself.
        memory.verdict = NO_EVAL
        return NO_EVAL
    match limit.kind:
        case Kind.ABOVE:
            said = FAULT if value > limit.value else OK if _is_clear(value < limit.clear_value, limit) else HOLD
        case Kind.BELOW:
            said = FAULT if value < limit.value else OK if _is_clear(value > limit.clear_value, limit) else HOLD
        case Kind.EQUALS:
            said = FAULT if value == limit.value else OK
        case Kind.STEP:
            said = FAULT if abs(value - memory.last_value) > limit.value else OK
    memory.last_value = value
    if said != HOLD:
        memory.verdict = said
    return memory.verdict


def fold(limit: Limit, memory: Memory, rows: Iterable[tuple[int, float, int]]) -> list[tuple[int, int]]:
    """Judge (instant in ms, value, quality) in order and return the changes: (instant, verdict)."""
    changes = []
    for at_ms, value, quality in rows:
        before = memory.verdict
        if say(limit, memory, value, quality) != before:
            changes.append((at_ms, memory.verdict))
    return changes


def _is_clear(beyond: bool, limit: Limit) -> bool:  # noqa: FBT001  # The comparison itself.
    # Without a band the limit itself is no fault, so everything that is not beyond it is fine.
    return beyond or limit.clear_value == limit.value


@dataclass(slots=True, kw_only=True)
class Taken:
    """What a batch said: changes of verdicts (limit number, instant, verdict); which limits are to be judged again."""

    changes: list[tuple[int, int, int]] = field(default_factory=list)
    late: dict[int, int] = field(default_factory=dict)


class LimitSet:
    """All limits with what they remember, as columns: a batch costs a few array operations, not one per limit.

    `limits` are sorted by point. `frontier_ms` is the newest instant judged per limit; what is not newer is late.
    """

    def __init__(self, limits: list[Limit]) -> None:
        self.limits = sorted(limits, key=lambda limit: (limit.point_id, limit.id))
        points = np.array([limit.point_id for limit in self.limits], dtype=np.int64)
        self._points, self._first, self._count = np.unique(points, return_index=True, return_counts=True)
        self._upper = np.array([limit.value for limit in self.limits])
        self._clear = np.array([limit.clear_value for limit in self.limits])
        self._kind = np.array([list(Kind).index(limit.kind) for limit in self.limits], dtype=np.int8)
        self._valid_ms = np.array([_ms(limit.valid_from) for limit in self.limits], dtype=np.int64)
        self._gateway = np.array([limit.gateway_id for limit in self.limits], dtype=np.int64)
        self.verdict = np.full(len(self.limits), NO_EVAL, dtype=np.int8)
        self.last_value = np.full(len(self.limits), np.nan)
        self.frontier_ms = np.full(len(self.limits), np.iinfo(np.int64).min, dtype=np.int64)
        # Since when nothing has been wrong: an older value that is not a fault either cannot change anything.
        self.quiet_since_ms = self._valid_ms.copy()
        # Whether there is an alarm that OK or NO_EVAL could concern; without one, only a fault matters.
        self.has_alarm = np.zeros(len(self.limits), dtype=bool)
        self.number_of = {limit.id: number for number, limit in enumerate(self.limits)}
        self.gateway_ms: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.limits)

    def numbers_of(self, point_id: int) -> range:
        """Return the numbers of a point's limits."""
        at = int(np.searchsorted(self._points, point_id))
        if at == len(self._points) or self._points[at] != point_id:
            return range(0)
        return range(int(self._first[at]), int(self._first[at] + self._count[at]))

    def take(self, rows: Observations) -> Taken:
        """Judge a batch. Its rows may come in any order; rows older than what was judged before are only reported."""
        taken = Taken()
        if not len(rows) or not self.limits:
            return taken
        row, number = self._pairs(rows)
        at, value, quality = rows.at_ms[row], rows.value[row], rows.quality[row]
        said = self._codes(number, value, quality)
        late = at <= self.frontier_ms[number]
        matters = late & ((said == FAULT) | (at < self.quiet_since_ms[number]) | (self._kind[number] == _STEP))
        for n, instant in zip(number[matters].tolist(), at[matters].tolist(), strict=True):
            taken.late[n] = min(instant, taken.late.get(n, instant))
        number, at, value, quality, said = (x[~late] for x in (number, at, value, quality, said))
        np.maximum.at(self.frontier_ms, number, at)
        self._note_gateways(number, at)
        moved = ((said != HOLD) & (said != self.verdict[number]) & (self.has_alarm[number] | (said == FAULT))) | (
            self._kind[number] == _STEP
        )
        for n in np.unique(number[moved]).tolist():
            first, end = np.searchsorted(number, [n, n + 1])
            part = slice(int(first), int(end))
            self._fold_one(n, at[part], value[part], quality[part], taken)
        return taken

    def _pairs(self, rows: Observations) -> tuple[Ints, Ints]:
        """Return (row, limit number) for every limit that a row concerns, by limit, in order of time."""
        where = np.minimum(np.searchsorted(self._points, rows.point_id), len(self._points) - 1)
        known = np.flatnonzero(self._points[where] == rows.point_id)
        where = where[known]
        counts = self._count[where]
        row = np.repeat(known, counts)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        number = np.repeat(self._first[where], counts) + nth
        fresh = rows.at_ms[row] >= self._valid_ms[number]
        row, number = row[fresh], number[fresh]
        order = np.lexsort((rows.at_ms[row], number))
        return row[order], number[order]

    def _codes(self, number: Ints, value: NDArray[np.float64], quality: Ints) -> Codes:
        """Return what each value says by itself; a step depends on the value before and is left to the fold."""
        limit, clear, kind = self._upper[number], self._clear[number], self._kind[number]
        fault = np.select(
            [kind == _ABOVE, kind == _BELOW, kind == _EQUALS], [value > limit, value < limit, value == limit], False
        )
        clears = np.select([kind == _ABOVE, kind == _BELOW], [value < clear, value > clear], True) | (limit == clear)
        said = np.where(fault, FAULT, np.where(clears, OK, HOLD))
        return np.where((quality > QUALITY_USABLE_MAX) | np.isnan(value), NO_EVAL, said).astype(np.int8)

    def _fold_one(self, number: int, at: Ints, value: NDArray[np.float64], quality: Ints, taken: Taken) -> None:
        memory = Memory(verdict=int(self.verdict[number]), last_value=float(self.last_value[number]))
        rows = zip(at.tolist(), value.tolist(), quality.tolist(), strict=True)
        for instant, verdict in fold(self.limits[number], memory, rows):
            if verdict != FAULT and not self.has_alarm[number]:
                continue
            taken.changes.append((number, instant, verdict))
            if verdict == FAULT:
                self.has_alarm[number] = True
                self.quiet_since_ms[number] = NEVER_QUIET
            elif verdict == OK and self.quiet_since_ms[number] == NEVER_QUIET:
                self.quiet_since_ms[number] = instant
        self.verdict[number], self.last_value[number] = memory.verdict, memory.last_value

    def _note_gateways(self, number: Ints, at: Ints) -> None:
        gateways = self._gateway[number]
        for gateway in np.unique(gateways).tolist():
            newest = int(at[gateways == gateway].max())
            self.gateway_ms[gateway] = max(newest, self.gateway_ms.get(gateway, newest))


_ABOVE, _BELOW, _EQUALS, _STEP = (list(Kind).index(k) for k in (Kind.ABOVE, Kind.BELOW, Kind.EQUALS, Kind.STEP))
NEVER_QUIET = np.iinfo(np.int64).max


def instant(ms: int) -> datetime:
    """Return an instant given in milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def limit_from_row(row: dict[str, Any]) -> Limit:
    """Read a row of `point_limit` with its site and gateway."""
    return Limit(
        id=row["id"],
        organisation_id=row["organisation_id"],
        site_id=row["site_id"],
        gateway_id=row["gateway_id"],
        point_id=row["point_id"],
        kind=Kind(row["kind"]),
        severity=row["severity"],
        value=row["value"],
        clear_value=row["clear_value"],
        policy=Policy(
            on_delay=timedelta(seconds=row["on_delay_s"]),
            off_delay=timedelta(seconds=row["off_delay_s"]),
            reopen_within=REOPEN_WITHIN,
            is_latching=row["is_latching"],
        ),
        valid_from=row["valid_from"],
    )
