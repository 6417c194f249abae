"""Observations as columns, and PostgreSQL's binary COPY format made from them without a loop over rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"
COPY_COLUMNS = ("point_id", "observed_at", "value", "mantissa", "quality", "scale")
_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01 UTC, from which timestamptz counts microseconds.
_NULL = -1
_NO_INTS: Ints = np.array([], dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Columns of equal length. `value` is NaN where there is none; `scale` is -1 where the value is not exact."""

    point_id: Ints
    at_ms: Ints
    value: npt.NDArray[np.float64]
    mantissa: Ints
    quality: Ints
    scale: Ints

    def __len__(self) -> int:
        return len(self.point_id)

    def pick(self, which: Any) -> "Observations":
        """Return the rows chosen by an index array or a mask."""
        return Observations(
            point_id=self.point_id[which],
            at_ms=self.at_ms[which],
            value=self.value[which],
            mantissa=self.mantissa[which],
            quality=self.quality[which],
            scale=self.scale[which],
        )

    @staticmethod
    def joined(parts: "Sequence[Observations]") -> "Observations":
        """Return the rows of all parts, one part after the other; there is at least one part."""
        if len(parts) == 1:
            return parts[0]
        names = ("point_id", "at_ms", "value", "mantissa", "quality", "scale")
        return Observations(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def newest(self) -> Ints:
        """Return where the newest row of each point stands, ordered by point; of equal instants the later row."""
        order = np.lexsort((self.at_ms, self.point_id))
        points = self.point_id[order]
        last = np.ones(len(points), dtype=bool)
        last[:-1] = points[1:] != points[:-1]
        return order[last]

    def spans(self) -> tuple[Ints, Ints, Ints]:
        """Return each exact point's id with its first and last instant (ms): what the ledger must look at again."""
        is_exact = (self.scale >= 0) & (self.quality <= 1)
        if not is_exact.any():
            return _NO_INTS, _NO_INTS, _NO_INTS
        exact = self.pick(is_exact)
        points, where = np.unique(exact.point_id, return_inverse=True)
        first = np.full(len(points), np.iinfo(np.int64).max)
        last = np.full(len(points), np.iinfo(np.int64).min)
        np.minimum.at(first, where, exact.at_ms)
        np.maximum.at(last, where, exact.at_ms)
        return points, first, last


def no_observations() -> Observations:
    """Return no observations."""
    none = np.array([], dtype=np.int64)
    return Observations(
        point_id=none, at_ms=none, value=np.array([], dtype=np.float64), mantissa=none, quality=none, scale=none
    )


def copy_rows(rows: Observations) -> bytes:
    """Return the rows in PostgreSQL's binary COPY format for the columns of COPY_COLUMNS, header and trailer included.

    Rows are grouped by which of their fields are null, because each group has rows of one width; their order changes.
    """
    has_value = ~np.isnan(rows.value)
    is_exact = rows.scale >= 0
    groups = (
        _group(rows.pick(mask), value=value, exact=exact)
        for value in (True, False)
        for exact in (True, False)
        if (mask := (has_value == value) & (is_exact == exact)).any()
    )
    return b"".join((COPY_HEADER, *groups, COPY_TRAILER))


def _group(rows: Observations, *, value: bool, exact: bool) -> bytes:
    fields: list[tuple[str, str, Any]] = [
        ("point_id", ">i8", rows.point_id),
        ("observed_at", ">i8", (rows.at_ms - _POSTGRES_EPOCH_MS) * 1000),
        ("value", ">f8", rows.value if value else None),
        ("mantissa", ">i8", rows.mantissa if exact else None),
        ("quality", ">i2", rows.quality),
        ("scale", ">i2", rows.scale if exact else None),
    ]
    layout: list[tuple[str, str]] = [("count", ">i2")]
    for name, kind, column in fields:
        layout.append((f"{name}_length", ">i4"))
        if column is not None:
            layout.append((name, kind))
    table = np.empty(len(rows), dtype=np.dtype(layout))
    table["count"] = len(fields)
    for name, kind, column in fields:
        table[f"{name}_length"] = _NULL if column is None else int(kind[-1])
        if column is not None:
            table[name] = column
    return table.tobytes()
