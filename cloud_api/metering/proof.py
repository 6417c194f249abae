"""Intervals computed from raw readings alone, stored nowhere: the independent check of the ledger."""

from collections.abc import Sequence

from psycopg import AsyncConnection

from cloud_api.kit.ids import RegisterId
from cloud_api.kit.period import Period
from cloud_api.metering import ledger_store as store
from cloud_api.metering.ledger import Computed, compute
from cloud_api.metering.recompute import rules_of, with_edits

REGISTERS_MAX = 50


async def intervals_from_readings(
    conn: AsyncConnection, register_ids: Sequence[RegisterId], period: Period
) -> dict[RegisterId, list[Computed]]:
    """Return what the ledger's rules make of the readings now, for intervals that start in the period.

    Reads telemetry, entered readings and people's decisions, never the ledger's rows; `REGISTERS_MAX` at a time.
    """
    if len(register_ids) > REGISTERS_MAX:
        raise ValueError(f"at most {REGISTERS_MAX} registers at a time")
    ids = list(register_ids)
    registers = await store.registers(conn, ids)
    due = [store.Due(register_id=i, mark_ids=[], stretches=[(period.start, period.end)]) for i in ids if i in registers]
    if not due:
        return {}
    wanted = await store.stretches(conn, due)
    readings = await store.readings(conn, wanted)
    rules = await rules_of(conn, registers)
    computed = [
        (stretch.register_id, interval)
        for stretch, course in zip(wanted, readings, strict=True)
        for interval in compute(
            course, rules[stretch.register_id], start_ms=store.to_ms(period.start), end_ms=store.to_ms(period.end)
        )
    ]
    found: dict[RegisterId, list[Computed]] = {i: [] for i in ids}
    for register_id, interval in with_edits(computed, await store.edits(conn, ids)):
        found[register_id].append(interval)
    return found
