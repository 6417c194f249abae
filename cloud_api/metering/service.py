"""Use cases of meters: what must be recomputed, and what is read from the interval ledger."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import ledger_store, repository
from cloud_api.metering.model import Energy, Interval, LedgerChange, MeterInterval, Reading, ReadingLine
from cloud_api.metering.recompute import recompute_due
from cloud_api.telemetry.columns import Ints

ACTIVE_ENERGY_IMPORT = "active_energy_import"
# An interval ending this soon is about to be worked on: its last readings leave marks of their own, so that no batch
# under way holds up the work by sharing one (app.mark_dirty).
_SETTLING = timedelta(minutes=1)


async def mark_dirty(conn: AsyncConnection, point_ids: Ints, first_ms: Ints, last_ms: Ints, now: datetime) -> None:
    """Note that readings arrived for these points between these instants; part of the transaction that stores them."""
    if len(point_ids):
        await ledger_store.mark_dirty(conn, dirty_arguments(point_ids, first_ms, last_ms, now))


def dirty_arguments(point_ids: Ints, first_ms: Ints, last_ms: Ints, now: datetime) -> dict[str, Any]:
    """Return the same as the parameters of app.mark_dirty, for a statement that does it among other things."""
    return ledger_store.dirty_arguments(point_ids, first_ms, last_ms, now + _SETTLING)


async def recompute_all(pool: AsyncConnectionPool, clock: Clock) -> int:
    """Work off what is dirty now, in transactions of some registers each; return how many intervals were computed.

    For the worker's loop and for imports that want the ledger at once. May run in several processes.
    """
    intervals = 0
    while True:
        async with transaction(pool, SYSTEM) as conn:
            done = await recompute_due(conn, clock)
        intervals += done.intervals
        if not done.registers:
            return intervals


async def count_dirty(conn: AsyncConnection) -> int:
    """Return how many marks wait to be worked off."""
    return await ledger_store.count_dirty(conn)


async def intervals(conn: AsyncConnection, register_ids: Sequence[RegisterId], period: Period) -> list[Interval]:
    """Return the current intervals of registers that start in the period, by register and time.

    An interval that is not over, or that no reading closes yet, has no row.
    """
    return await repository.intervals(conn, register_ids, period)


async def meter_intervals(
    conn: AsyncConnection, meter_ids: Sequence[MeterId], period: Period, quantity: str = ACTIVE_ENERGY_IMPORT
) -> list[MeterInterval]:
    """Return the intervals of meters, over all registers of the quantity, by meter and time."""
    return await repository.meter_intervals(conn, meter_ids, period, quantity)


async def energy_by_meter(
    conn: AsyncConnection, meter_ids: Sequence[MeterId], period: Period, quantity: str = ACTIVE_ENERGY_IMPORT
) -> dict[MeterId, Energy]:
    """Return what each meter counted in a period, how much of it was estimated or edited, and how complete it is."""
    found = await repository.energy_by_meter(conn, meter_ids, period, quantity)
    return {energy.meter_id: energy for energy in found}


async def readings_around(conn: AsyncConnection, register_id: RegisterId, at: datetime) -> list[Reading]:
    """Return the readings between which a boundary lies: the evidence of a bill's line."""
    return await repository.readings_around(conn, register_id, at)


async def readings_between(
    conn: AsyncConnection, register_id: RegisterId, first: datetime, last: datetime, *, limit: int = 300
) -> list[ReadingLine]:
    """Return the readings of a stretch, both ends included: what its intervals were made from."""
    return await repository.readings_between(conn, register_id, first, last, limit)


async def changes_after(conn: AsyncConnection, after: int, *, limit: int = 1_000) -> list[LedgerChange]:
    """Return where known values changed, for readers that keep a cursor; none is ever jumped over."""
    return await repository.changes_after(conn, after, limit)


async def last_change(conn: AsyncConnection) -> int:
    """Return the newest change, for readers that begin now; 0 when there is none."""
    return await repository.last_change(conn)
