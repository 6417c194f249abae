"""numpy columns as PostgreSQL arrays in binary: a thousand numbers cost what one parameter costs."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_POSTGRES_EPOCH_MS = 946_684_800_000  # 2000-01-01 UTC, from which timestamptz counts microseconds.


@dataclass(frozen=True, slots=True)
class _Array:
    """A column without nulls, to be passed as a query's parameter; write NaN or -1 and turn it into NULL in SQL."""

    column: Any

    array_oid: ClassVar[int]
    element_oid: ClassVar[int]
    layout: ClassVar[np.dtype[Any]]

    def elements(self) -> Any:
        """Return the elements as they are sent."""
        return np.asarray(self.column, dtype=self.layout["element"].newbyteorder("="))

    def encoded(self) -> bytes:
        """Return the array in PostgreSQL's binary format: a header, then each element after its length."""
        column = self.elements()
        table = np.empty(len(column), dtype=self.layout)
        table["length"] = self.layout["element"].itemsize
        table["element"] = column
        header = np.array([1 if len(column) else 0, 0, self.element_oid], dtype=">i4").tobytes()
        bounds = np.array([len(column), 1], dtype=">i4").tobytes() if len(column) else b""
        return header + bounds + table.tobytes()


def _layout(kind: str) -> np.dtype[Any]:
    return np.dtype([("length", ">i4"), ("element", kind)])


class Int8s(_Array):
    """A bigint[]."""

    array_oid, element_oid, layout = 1016, 20, _layout(">i8")


class Int4s(_Array):
    """An integer[]."""

    array_oid, element_oid, layout = 1007, 23, _layout(">i4")


class Int2s(_Array):
    """A smallint[]."""

    array_oid, element_oid, layout = 1005, 21, _layout(">i2")


class Float8s(_Array):
    """A double precision[]."""

    array_oid, element_oid, layout = 1022, 701, _layout(">f8")


class Bools(_Array):
    """A boolean[]."""

    array_oid, element_oid, layout = 1000, 16, _layout(">i1")


class Instants(_Array):
    """A timestamptz[], made from milliseconds since 1970 UTC."""

    array_oid, element_oid, layout = 1185, 1184, _layout(">i8")

    def elements(self) -> Any:
        """Return the instants as PostgreSQL counts them."""
        return (np.asarray(self.column, dtype=np.int64) - _POSTGRES_EPOCH_MS) * 1000


def _register(kind: type[_Array]) -> None:
    class ArrayDumper(Dumper):
        format = Format.BINARY
        oid = kind.array_oid

        def dump(self, obj: _Array) -> bytes:
            return obj.encoded()

    psycopg.adapters.register_dumper(kind, ArrayDumper)


for _kind in (Int8s, Int4s, Int2s, Float8s, Bools, Instants):
    _register(_kind)
