"""Rows behind the interval ledger: dirty ranges, readings as arrays, intervals. Decides nothing and never commits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.arrays import Instants, Int2s, Int8s
from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.kit.ids import RegisterId
from cloud_api.metering.ledger import CONTEXT_READINGS, SCALE, UNIT, Computed, Reset
from cloud_api.metering.model import Register
from cloud_api.telemetry.columns import COPY_HEADER, COPY_TRAILER, Ints

queries = load_queries(__file__, "ledger.sql")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_POSTGRES_EPOCH_MS = 946_684_800_000
_ROW = np.dtype(
    [("count", ">i2")]
    + [
        field
        for name, kind in (("n", ">i8"), ("at", ">i8"), ("mantissa", ">i8"), ("scale", ">i2"))
        for field in ((f"{name}_length", ">i4"), (name, kind))
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A register with marks of intervals that are over; each stretch is (first, last)."""

    register_id: RegisterId
    mark_ids: list[int]
    stretches: list[tuple[datetime, datetime]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What must be computed again (`first` to `last`, on interval edges) and which readings that needs."""

    register_id: RegisterId
    first: datetime
    last: datetime
    read_from: datetime
    read_to: datetime


def dirty_arguments(point_ids: Ints, first_ms: Ints, last_ms: Ints, settled_before: datetime) -> dict[str, Any]:
    """Return what app.mark_dirty takes."""
    return {
        "point_id": Int8s(point_ids),
        "first": Instants(first_ms),
        "last": Instants(last_ms),
        "settled_before": settled_before,
    }


async def mark_dirty(conn: AsyncConnection, arguments: Mapping[str, Any]) -> None:
    """Remember which stretch of which registers must be recomputed."""
    await conn.execute(queries.mark_dirty, arguments)


async def take_due(conn: AsyncConnection, limit: int) -> list[Due]:
    """Return up to `limit` registers with something to recompute that no other worker holds."""
    cursor = await conn.execute(queries.take_due, {"limit": limit})
    due: list[Due] = []
    for register_id, ids, ranges in await cursor.fetchall():
        spans = [(r.lower, r.upper) for r in ranges]
        due.append(Due(register_id=RegisterId(register_id), mark_ids=ids, stretches=spans))
    return due


async def registers(conn: AsyncConnection, ids: Sequence[RegisterId]) -> dict[RegisterId, Register]:
    """Return what the ledger must know of these registers."""
    async with conn.cursor(row_factory=class_row(Register)) as cursor:
        await cursor.execute(queries.registers, {"register_id": list(ids)})
        return {register.id: register for register in await cursor.fetchall()}


async def resets(conn: AsyncConnection, ids: Sequence[RegisterId]) -> dict[RegisterId, list[Reset]]:
    """Return the declared resets by register, in order of time."""
    found: dict[RegisterId, list[Reset]] = defaultdict(list)
    for row in await all_rows(conn, queries.resets, {"register_id": list(ids)}):
        stop = None if row["stop_value"] is None else to_units(row["stop_value"])
        found[RegisterId(row["register_id"])].append(
            Reset(at_ms=to_ms(row["at"]), stop=stop, start=to_units(row["start_value"]))
        )
    return found


async def multipliers(
    conn: AsyncConnection, ids: Sequence[RegisterId]
) -> dict[RegisterId, list[tuple[datetime | None, datetime | None, Decimal]]]:
    """Return (from, to, multiplier) by register, in order of time; None is without end."""
    found: dict[RegisterId, list[tuple[datetime | None, datetime | None, Decimal]]] = defaultdict(list)
    for row in await all_rows(conn, queries.multipliers, {"register_id": list(ids)}):
        found[RegisterId(row["register_id"])].append((row["valid_from"], row["valid_to"], row["multiplier"]))
    return found


async def lengths(conn: AsyncConnection, ids: Sequence[RegisterId]) -> dict[RegisterId, list[tuple[datetime, int]]]:
    """Return (from, minutes of an interval) by register where its meter's length changed, in order of time."""
    found: dict[RegisterId, list[tuple[datetime, int]]] = defaultdict(list)
    for row in await all_rows(conn, queries.lengths, {"register_id": list(ids)}):
        found[RegisterId(row["register_id"])].append((row["valid_from"], row["minutes"]))
    return found


async def stretches(conn: AsyncConnection, due: Sequence[Due]) -> list[Stretch]:
    """Widen what is dirty to what must be computed and read."""
    pairs = [(d.register_id, first, last) for d in due for first, last in d.stretches]
    cursor = await conn.execute(
        queries.stretches,
        {
            "register_id": [p[0] for p in pairs],
            "first": [p[1] for p in pairs],
            "last": [p[2] for p in pairs],
            "context": CONTEXT_READINGS,
        },
    )
    return [
        Stretch(register_id=pairs[n - 1][0], first=first, last=last, read_from=read_from, read_to=read_to)
        for n, first, last, read_from, read_to in await cursor.fetchall()
    ]


async def readings(conn: AsyncConnection, wanted: Sequence[Stretch]) -> list[list[tuple[int, int]]]:
    """Return (ms, value in ledger units) of each stretch, in order of time, one per instant.

    Of several telemetry values of one instant the largest stands, so the order of arrival does not matter; a value that
    a person entered stands before telemetry.
    """
    arguments = {
        "register_id": [s.register_id for s in wanted],
        "read_from": [s.read_from for s in wanted],
        "read_to": [s.read_to for s in wanted],
    }
    parts: list[bytes] = []
    async with conn.cursor() as cursor, cursor.copy(queries.copy_telemetry, arguments) as copy:
        parts = [bytes(block) async for block in copy]
    found = _from_binary(b"".join(parts), len(wanted))
    entered = await conn.execute(queries.entered_readings, arguments)
    changed: set[int] = set()
    for n, taken_at, value in await entered.fetchall():
        found[n - 1][to_ms(taken_at)] = to_units(value)
        changed.add(n - 1)
    return [sorted(part.items()) if n in changed else list(part.items()) for n, part in enumerate(found)]


def _from_binary(data: bytes, count: int) -> list[dict[int, int]]:
    table = np.frombuffer(data, dtype=_ROW, offset=len(COPY_HEADER), count=_row_count(data))
    order = np.lexsort((table["mantissa"], table["at"], table["n"]))
    table = table[order]
    edges = np.searchsorted(table["n"], np.arange(1, count + 2))
    found: list[dict[int, int]] = []
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = table[first:last]
        at_ms = (part["at"] // 1000 + _POSTGRES_EPOCH_MS).tolist()
        scales = np.unique(part["scale"]).tolist()
        mantissas = part["mantissa"].tolist()
        if len(scales) == 1:
            factor = 10 ** (SCALE - scales[0])
            found.append({at: m * factor for at, m in zip(at_ms, mantissas, strict=True)})
        else:
            rows = sorted(
                (at, m * 10 ** (SCALE - s)) for at, m, s in zip(at_ms, mantissas, part["scale"].tolist(), strict=True)
            )
            found.append(dict(rows))
    return found


def _row_count(data: bytes) -> int:
    return (len(data) - len(COPY_HEADER) - len(COPY_TRAILER)) // _ROW.itemsize


async def edits(
    conn: AsyncConnection, ids: Sequence[RegisterId]
) -> dict[tuple[RegisterId, int], tuple[Decimal, str, str]]:
    """Return (quantity, method, reason) that people decided, by register and start (ms)."""
    rows = await all_rows(conn, queries.edits, {"register_id": list(ids)})
    return {
        (RegisterId(row["register_id"]), to_ms(row["starts_at"])): (row["quantity"], row["method"], row["reason"])
        for row in rows
    }


async def write(
    conn: AsyncConnection,
    wanted: Sequence[Stretch],
    computed: Sequence[tuple[RegisterId, Computed]],
    now: datetime,
) -> dict[RegisterId, tuple[datetime, datetime]]:
    """Store the intervals of recomputed stretches; return where a value that was known before has changed."""
    grades = sorted({(c.quality, c.method, c.reason) for _, c in computed})
    place = {grade: n for n, grade in enumerate(grades, start=1)}
    columns = {
        "register_id": Int8s([register_id for register_id, _ in computed]),
        "starts_at": Instants([c.start_ms for _, c in computed]),
        "ends_at": Instants([c.end_ms for _, c in computed]),
        # One text instead of thousands of parameters: psycopg would look at each decimal by itself.
        "quantity": "{" + ",".join(str(c.quantity) for _, c in computed) + "}",
        "grade": Int2s([place[c.quality, c.method, c.reason] for _, c in computed]),
        "qualities": [str(quality) for quality, _, _ in grades],
        "methods": [str(method) for _, method, _ in grades],
        "reasons": [str(reason) for _, _, reason in grades],
        "source_from": Instants([c.source_from_ms for _, c in computed]),
        "source_to": Instants([c.source_to_ms for _, c in computed]),
        "now": now,
    }
    changed = await (await conn.execute(queries.write_intervals, columns)).fetchall()
    gone = await conn.execute(
        queries.remove_intervals,
        {
            "stretch_register_id": [s.register_id for s in wanted],
            "first": [s.first for s in wanted],
            "last": [s.last for s in wanted],
            "register_id": columns["register_id"],
            "starts_at": columns["starts_at"],
            "now": now,
        },
    )
    spans: dict[RegisterId, tuple[datetime, datetime]] = {}
    for register_id, first, last in changed + await gone.fetchall():
        before = spans.get(register_id, (first, last))
        spans[register_id] = (min(first, before[0]), max(last, before[1]))
    return spans


async def write_gaps(
    conn: AsyncConnection, wanted: Sequence[Stretch], found: Sequence[tuple[Register, int, int]], now: datetime
) -> None:
    """Store the silences of recomputed stretches; those that readings have ended since are no longer there."""
    unique = {(register.id, first): (register.organisation_id, last) for register, first, last in found}
    await conn.execute(
        queries.write_gaps,
        {
            "stretch_register_id": [s.register_id for s in wanted],
            "first": [s.first for s in wanted],
            "last": [s.last for s in wanted],
            "register_id": [register_id for register_id, _ in unique],
            "silent_from": Instants([first for _, first in unique]),
            "organisation_id": [organisation_id for organisation_id, _ in unique.values()],
            "silent_to": Instants([last for _, last in unique.values()]),
            "now": now,
        },
    )


async def add_changes(
    conn: AsyncConnection, spans: Mapping[RegisterId, tuple[datetime, datetime]], now: datetime
) -> None:
    """Tell readers of the ledger where a known value has changed."""
    await conn.execute(
        queries.add_changes,
        {
            "register_id": list(spans),
            "starts_at": [first for first, _ in spans.values()],
            "ends_at": [last for _, last in spans.values()],
            "now": now,
        },
    )


async def forget_dirty(conn: AsyncConnection, due: Sequence[Due]) -> None:
    """Remove the marks that were worked off."""
    await conn.execute(queries.forget_dirty, {"ids": [mark for d in due for mark in d.mark_ids]})


async def count_dirty(conn: AsyncConnection) -> int:
    """Return how many marks wait."""
    row = await (await conn.execute(queries.count_dirty)).fetchone()
    return row[0] if row else 0


def to_ms(instant: datetime) -> int:
    """Return milliseconds since 1970; exact."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def to_instant(ms: int) -> datetime:
    """Return the instant of milliseconds since 1970."""
    return EPOCH + timedelta(milliseconds=ms)


def to_units(value: Decimal) -> int:
    """Return a register value in the ledger's unit of 10^-9."""
    return int(value * UNIT)
