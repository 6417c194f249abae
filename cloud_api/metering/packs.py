"""Reading months of many registers: the packed days of the ledger as numpy columns, exact.

The table `interval_pack` holds each UTC day of a register in one row; a trigger keeps it equal to `interval`. What the
columns mean is written in the migration that made it. Quantities stay integers: value = mantissa * 10^-scale.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import RegisterId
from cloud_api.kit.period import Period
from cloud_api.metering.model import Quality

queries = load_queries(__file__, "packs.sql")

REGISTERS_PER_READ = 200  # A month of them at a quarter of an hour fills some 20 MB.
GRADES = (Quality.ACTUAL, Quality.ESTIMATED, Quality.EDITED, Quality.MISSING)
ESTIMATED, MISSING = GRADES.index(Quality.ESTIMATED), GRADES.index(Quality.MISSING)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_S = 86_400
_MICRO = 6

Ints = NDArray[np.int64]
_Row = tuple[int, date, int, bytes, bytes | None, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Intervals of some registers, by register and start; the columns have one element per interval."""

    registers: Ints
    starts_s: Ints  # Seconds since 1970 UTC.
    mantissas: Any  # Integers of 64 bits, or Python's own where a sum might not fit into them.
    grades: NDArray[np.uint8]  # Places in GRADES.
    scale: int

    def register_ids(self) -> list[int]:
        """Return the registers that have intervals here, in order."""
        return self.registers[np.flatnonzero(np.diff(self.registers, prepend=-1))].tolist()

    def of(self, register_id: int, period: Period) -> slice:
        """Return where the intervals of a register stand that start in the period."""
        first, last = np.searchsorted(self.registers, [register_id, register_id + 1])
        starts = self.starts_s[first:last]
        bounds = np.searchsorted(starts, [epoch_seconds(period.start), epoch_seconds(period.end)])
        return slice(int(first + bounds[0]), int(first + bounds[1]))


async def read(conn: AsyncConnection, register_ids: Sequence[RegisterId], period: Period) -> AsyncIterator[Columns]:
    """Yield the current intervals that start in the period, some registers at a time, in order of register and time."""
    first, last = period.start.date(), (period.end - timedelta(microseconds=1)).date()
    ids = sorted(set(register_ids))
    for at in range(0, len(ids), REGISTERS_PER_READ):
        some = ids[at : at + REGISTERS_PER_READ]
        async with conn.cursor(binary=True) as cursor:
            await cursor.execute(queries.packs, {"register_id": some, "first": first, "last": last})
            rows = cast("list[_Row]", await cursor.fetchall())
        wide = [row for row in rows if row[4] is None]
        columns = _unpack([row for row in rows if row[4] is not None])
        if wide:
            columns = _with_wide(columns, await _wide_days(conn, wide))
        yield _within(columns, period)


def sums(places: Ints, columns: Columns, part: slice, count: int) -> Any:
    """Return the exact sum of the mantissas in `part` per place (`places` says which, below `count`)."""
    total = np.zeros(count, dtype=columns.mantissas.dtype)
    np.add.at(total, places[part], columns.mantissas[part])
    return total


class Total:
    """Sums per place over any number of reads: quantities as mantissas of one scale, and how many intervals."""

    def __init__(self, count: int) -> None:
        self.scale = 0
        self.mantissas = [0] * count
        self.counts = np.zeros(count, dtype=np.int64)
        self.estimated = np.zeros(count, dtype=np.int64)

    def add(self, columns: Columns, places: Ints) -> None:
        """Add the intervals, each at its place."""
        count = len(self.mantissas)
        more = max(columns.scale - self.scale, 0)
        factor = 10 ** max(self.scale - columns.scale, 0)
        added = sums(places, columns, slice(None), count).tolist()
        self.mantissas = [a * 10**more + b * factor for a, b in zip(self.mantissas, added, strict=True)]
        self.scale += more
        self.counts += np.bincount(places, minlength=count)
        self.estimated += np.bincount(places[columns.grades == ESTIMATED], minlength=count)


def to_decimal(mantissa: int, scale: int) -> Decimal:
    """Return mantissa * 10^-scale, exactly."""
    return Decimal(f"{mantissa}E-{scale}")


def to_micro(mantissa: int, scale: int) -> int:
    """Return the value in millionths of the unit, halves away from zero, as PostgreSQL rounds."""
    whole = int(mantissa)
    if scale <= _MICRO:
        return whole * 10 ** (_MICRO - scale)
    unit = 10 ** (scale - _MICRO)
    size = (2 * abs(whole) + unit) // (2 * unit)
    return size if whole >= 0 else -size


def epoch_seconds(instant: datetime) -> int:
    """Return whole seconds since 1970; a ledger's edge has no fraction."""
    return int(instant.timestamp())


def _unpack(rows: Sequence[_Row]) -> Columns:
    counts = np.array([len(row[5]) for row in rows], dtype=np.int64)
    day_s = np.array([(row[1].toordinal() - _EPOCH_DAY) * _DAY_S for row in rows], dtype=np.int64)
    minutes = np.frombuffer(b"".join(row[3] for row in rows), dtype=">i2").astype(np.int64)
    mantissas = np.frombuffer(b"".join(cast("bytes", row[4]) for row in rows), dtype=">i8").astype(np.int64)
    scales = np.array([row[2] for row in rows], dtype=np.int64)
    scale = int(scales.max(initial=0))
    return Columns(
        registers=np.repeat(np.array([row[0] for row in rows], dtype=np.int64), counts),
        starts_s=np.repeat(day_s, counts) + minutes * 60,
        mantissas=_at_one_scale(mantissas, np.repeat(scale - scales, counts)),
        grades=np.frombuffer(b"".join(row[5] for row in rows), dtype=np.uint8),
        scale=scale,
    )


def _at_one_scale(mantissas: Ints, powers: Ints) -> Any:
    """Return the mantissas times 10^powers; Python's integers when the sum of all might not fit into 64 bits."""
    largest = max(abs(int(mantissas.max(initial=0))), abs(int(mantissas.min(initial=0))))
    power = int(powers.max(initial=0))
    if largest * 10**power * max(len(mantissas), 1) < 2**63:
        return mantissas * 10**powers if power else mantissas
    return mantissas.astype(object) * 10 ** powers.astype(object)


async def _wide_days(conn: AsyncConnection, days: Sequence[_Row]) -> Columns:
    """Read the days in which a quantity needs more than 64 bits from the ledger itself."""
    cursor = await conn.execute(
        queries.rows_of_days, {"register_id": [row[0] for row in days], "day": [row[1] for row in days]}
    )
    found = await cursor.fetchall()
    scale = max(-cast("int", row[2].as_tuple().exponent) for row in found)
    with localcontext(prec=1000):
        mantissas = [int(row[2].scaleb(scale)) for row in found]
    return Columns(
        registers=np.array([row[0] for row in found], dtype=np.int64),
        starts_s=np.array([epoch_seconds(row[1]) for row in found], dtype=np.int64),
        mantissas=np.array(mantissas, dtype=object),
        grades=np.array([GRADES.index(row[3]) for row in found], dtype=np.uint8),
        scale=scale,
    )


def _with_wide(narrow: Columns, wide: Columns) -> Columns:
    scale = max(narrow.scale, wide.scale)
    registers = np.concatenate([narrow.registers, wide.registers])
    starts = np.concatenate([narrow.starts_s, wide.starts_s])
    mantissas = np.concatenate([c.mantissas.astype(object) * 10 ** (scale - c.scale) for c in (narrow, wide)])
    order = np.lexsort((starts, registers))
    return Columns(
        registers=registers[order],
        starts_s=starts[order],
        mantissas=mantissas[order],
        grades=np.concatenate([narrow.grades, wide.grades])[order],
        scale=scale,
    )


def _within(columns: Columns, period: Period) -> Columns:
    inside = (columns.starts_s >= epoch_seconds(period.start)) & (columns.starts_s < epoch_seconds(period.end))
    if inside.all():
        return columns
    return Columns(
        registers=columns.registers[inside],
        starts_s=columns.starts_s[inside],
        mantissas=columns.mantissas[inside],
        grades=columns.grades[inside],
        scale=columns.scale,
    )
