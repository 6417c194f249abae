"""The length of a meter's intervals, decided where bills are known: what was issued is never cut anew."""

from datetime import datetime

from psycopg import AsyncConnection

from cloud_api.billing import corrections as billing
from cloud_api.kit.ids import MeterId
from cloud_api.kit.period import local_day
from cloud_api.metering import analysis, length_changes
from cloud_api.metering.corrections import Author, CorrectionRefused


async def change(conn: AsyncConnection, author: Author, meter_id: MeterId, *, at: datetime, minutes: int) -> int:
    """Change the length from an instant on; as `metering.length_changes`, and not before the end of an issued bill."""
    length_changes.check(at, minutes)
    await _refuse_billed(conn, meter_id, at)
    return await length_changes.change(conn, author, meter_id, at=at, minutes=minutes)


async def undo(conn: AsyncConnection, author: Author, meter_id: MeterId, change_id: int) -> None:
    """Take a change back, unless a bill was issued since."""
    found = await length_changes.standing(conn, meter_id, change_id)
    await _refuse_billed(conn, meter_id, found["at"])
    await length_changes.undo(conn, author, meter_id, change_id)


async def _refuse_billed(conn: AsyncConnection, meter_id: MeterId, at: datetime) -> None:
    meter = await analysis.meter(conn, meter_id)
    last = await billing.issued_before(conn, meter.id)
    if last is not None and at < local_day(last, meter.zone).start:
        raise CorrectionRefused(
            "bills made from {meter} are issued up to {last}: choose that day or a later one",
            meter=meter.code,
            last=last,
        )
