"""What was just stored, for a follower in another process: whole batches as columns, taken away once they are judged.

The row is written by the transaction that stores the observations and deleted by the one that stores what followed from
them, so that a batch is judged exactly once however often either process dies.
"""

from typing import Any

import numpy as np
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cloud_api.db.arrays import Instants
from cloud_api.db.queries import load_queries
from cloud_api.telemetry.columns import Observations

queries = load_queries(__file__)

# Batches that may wait. Ingest never waits for its follower: beyond this it leaves nothing, and the follower, which
# sees the full table, reads the stored observations instead.
WAITING_MAX = 20_000
TAKEN_MAX = 500
CHANNEL = "arrival"

_ROW = np.dtype([("point_id", "<i8"), ("at_ms", "<i8"), ("value", "<f8"), ("quality", "i1")])


async def followers(conn: AsyncConnection) -> tuple[bool, bool]:
    """Return whether the evaluator of limits and the mirror want a copy: a large one is not sent in vain."""
    row = await (await conn.execute(queries.followers)).fetchone()
    assert row is not None, "a SELECT without FROM has one row"
    return row[0], row[1]


async def add(conn: AsyncConnection, rows: Observations) -> None:
    """Leave the rows for the follower and wake it at commit; nothing is left while no point has a limit."""
    await conn.execute(queries.add_arrival, arguments(rows))


def arguments(rows: Observations) -> dict[str, Any]:
    """Return the same as the parameters of app.add_arrival, for a statement that does it among other things."""
    return {"content": _packed(rows), "waiting_max": WAITING_MAX}


async def add_to_mirror(conn: AsyncConnection, rows: Observations) -> None:
    """Leave the rows for the mirror; nothing is left while it is off."""
    span = Instants([rows.at_ms.min(), rows.at_ms.max()])
    await conn.execute(queries.add_to_mirror, {"content": _packed(rows), "observed_at": span})


async def take(conn: AsyncConnection) -> tuple[Observations, int]:
    """Take away what waits (at most 500 batches) and return it with the number of batches, oldest batch first."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.take_arrivals, {"limit": TAKEN_MAX})
        found = await cursor.fetchall()
    return unpacked(b"".join(row["content"] for row in found)), len(found)


async def waiting(conn: AsyncConnection) -> int:
    """Return about how many batches wait."""
    row = await (await conn.execute(queries.waiting_arrivals)).fetchone()
    return row[0] if row else 0


async def forget(conn: AsyncConnection) -> None:
    """Take away everything that waits, unread."""
    await conn.execute(queries.forget_arrivals)


def _packed(rows: Observations) -> bytes:
    table = np.empty(len(rows), dtype=_ROW)
    for name in _ROW.names or ():
        table[name] = getattr(rows, name)
    return table.tobytes()


def unpacked(content: bytes) -> Observations:
    """Return the rows as they were left; exact digits are not among them."""
    table = np.frombuffer(content, dtype=_ROW)
    return Observations(
        point_id=table["point_id"],
        at_ms=table["at_ms"],
        value=table["value"],
        quality=table["quality"].astype(np.int64),
        mantissa=np.zeros(len(table), dtype=np.int64),
        scale=np.full(len(table), -1),
    )
