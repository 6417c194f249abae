"""Rows of meters, readings and intervals; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period
from cloud_api.metering.model import Energy, Interval, LedgerChange, MeterInterval, Reading, ReadingLine

queries = load_queries(__file__)

Row = TypeVar("Row")


async def intervals(conn: AsyncConnection, register_ids: Sequence[RegisterId], period: Period) -> list[Interval]:
    """Return the current intervals of registers that start in the period, by register and time."""
    arguments = {"register_id": list(register_ids), "start": period.start, "end": period.end}
    return await _all(conn, Interval, queries.intervals, arguments)


async def meter_intervals(
    conn: AsyncConnection, meter_ids: Sequence[MeterId], period: Period, quantity: str
) -> list[MeterInterval]:
    """Return the intervals of meters that start in the period, by meter and time."""
    arguments = {"meter_id": list(meter_ids), "quantity": quantity, "start": period.start, "end": period.end}
    return await _all(conn, MeterInterval, queries.meter_intervals, arguments)


async def energy_by_meter(
    conn: AsyncConnection, meter_ids: Sequence[MeterId], period: Period, quantity: str
) -> list[Energy]:
    """Return what each meter counted in a period."""
    arguments = {"meter_id": list(meter_ids), "quantity": quantity, "start": period.start, "end": period.end}
    return await _all(conn, Energy, queries.energy_by_meter, arguments)


async def readings_around(conn: AsyncConnection, register_id: RegisterId, at: datetime) -> list[Reading]:
    """Return the last reading at or before an instant and the first one after it, where they exist."""
    return await _all(conn, Reading, queries.readings_around, {"register_id": register_id, "at": at})


async def readings_between(
    conn: AsyncConnection, register_id: RegisterId, first: datetime, last: datetime, limit: int
) -> list[ReadingLine]:
    """Return the readings of a stretch, both ends included, the excluded ones marked."""
    arguments = {"register_id": register_id, "first": first, "last": last, "limit": limit}
    return await _all(conn, ReadingLine, queries.readings_between, arguments)


async def changes_after(conn: AsyncConnection, after: int, limit: int) -> list[LedgerChange]:
    """Return changes of known values by id after `after`."""
    return await _all(conn, LedgerChange, queries.changes_after, {"after": after, "limit": limit})


async def last_change(conn: AsyncConnection) -> int:
    """Return the id of the newest change of a known value; 0 when there is none."""
    row = await (await conn.execute(queries.last_change)).fetchone()
    return row[0] if row else 0


async def _all(conn: AsyncConnection, kind: type[Row], statement: Any, arguments: Mapping[str, Any]) -> list[Row]:
    async with conn.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(statement, arguments)
        return await cursor.fetchall()
