"""Silences of meters: since when, until when, why, and which intervals had to be estimated for them.

Silence is not zero, not a device that is offline and not a number that never arrived: each is said by itself. The
ledger keeps a row per silence that is over (`recompute.py`), from the same readings as its intervals; late data end it.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row, dict_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period

queries = load_queries(__file__, "gaps.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterGap:
    """A stretch in which a register had no usable reading; `silent_to` is None while it lasts.

    `cause` is one of telemetry's `Silence`. The counts are of its intervals, the first and the last included.
    """

    meter_id: MeterId
    register_id: RegisterId
    code: str
    name_zh: str
    name_en: str
    quantity: str
    unit: str
    device: str
    silent_from: datetime
    silent_to: datetime | None
    cause: str
    estimated_count: int
    edited_count: int
    missing_count: int
    estimated_quantity: Decimal

    @property
    def is_open(self) -> bool:
        """Tell whether the silence lasts."""
        return self.silent_to is None


async def gaps(
    conn: AsyncConnection,
    clock: Clock,
    period: Period,
    *,
    meter_id: MeterId | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[MeterGap]:
    """Return the silences that touch a period: those that last first, then the newest."""
    arguments = _arguments(period, meter_id) | {"now": clock.now(), "limit": limit, "offset": offset}
    async with conn.cursor(row_factory=class_row(MeterGap)) as cursor:
        await cursor.execute(queries.gaps, arguments)
        return await cursor.fetchall()


async def count(conn: AsyncConnection, period: Period, *, meter_id: MeterId | None = None) -> int:
    """Return how many silences of a period are over."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.count_gaps, _arguments(period, meter_id))
        row = await cursor.fetchone()
    return row["count"] if row else 0


def _arguments(period: Period, meter_id: MeterId | None) -> dict[str, Any]:
    return {"start": period.start, "end": period.end, "meter_id": meter_id}
