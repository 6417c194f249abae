"""Rows of the storage's life; decides nothing and never commits."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.operations.storage.model import Deed, Hold, Keeping, Kind, Piece

queries = load_queries(__file__)


async def pieces(conn: AsyncConnection) -> list[Piece]:
    """Return chunks and partitions, by table and time."""
    async with conn.cursor(row_factory=class_row(Piece)) as cursor:
        await cursor.execute(queries.pieces)
        return await cursor.fetchall()


async def whole_tables(conn: AsyncConnection) -> list[tuple[str, int, int]]:
    """Return (name, rows, bytes) of the tables that are kept in one piece."""
    cursor = await conn.execute(queries.whole_tables)
    return await cursor.fetchall()


async def compression_ratios(conn: AsyncConnection) -> dict[str, float]:
    """Return bytes before compression over bytes after, of the tables with compressed chunks."""
    cursor = await conn.execute(queries.columnstore_bytes)
    return {parent: before / after for parent, before, after in await cursor.fetchall()}


async def keepings(conn: AsyncConnection) -> dict[Kind, Keeping]:
    """Return how long each kind is kept."""
    async with conn.cursor(row_factory=class_row(Keeping)) as cursor:
        await cursor.execute(queries.kinds)
        return {Kind(keeping.kind): keeping for keeping in await cursor.fetchall()}


async def holds(conn: AsyncConnection) -> list[Hold]:
    """Return what still needs old data."""
    async with conn.cursor(row_factory=class_row(Hold)) as cursor:
        await cursor.execute(queries.holds)
        return await cursor.fetchall()


async def licence(conn: AsyncConnection) -> str | None:
    """Return TimescaleDB's licence, None on plain PostgreSQL."""
    return (await all_rows(conn, queries.licence, {}))[0]["licence"]


async def ensure_ahead(conn: AsyncConnection, first: datetime, last: datetime) -> int:
    """Create the partitions from `first` to `last`; return how many were new."""
    return (await all_rows(conn, queries.ensure_ahead, {"first": first, "last": last}))[0]["created"]


async def set_up_columnstore(conn: AsyncConnection, after: timedelta) -> list[str]:
    """Have old chunks compressed where the licence allows it; return the tables that are new to it."""
    return [row["parent"] for row in await all_rows(conn, queries.set_up_columnstore, {"after": after})]


async def drop_oldest_piece(conn: AsyncConnection, parent: str, cutoff: datetime) -> dict[str, Any] | None:
    """Drop at most one piece that ends at or before the cutoff and say which."""
    found = await all_rows(conn, queries.drop_oldest_piece, {"parent": parent, "cutoff": cutoff})
    return found[0] if found else None


async def delete_events(conn: AsyncConnection, cutoff: datetime, limit: int) -> int:
    """Delete some of the events before the cutoff; return how many."""
    return (await conn.execute(queries.delete_events, {"cutoff": cutoff, "limit": limit})).rowcount


async def events_gone(conn: AsyncConnection, cutoff: datetime) -> None:
    """Remember that no older events are there."""
    await conn.execute(queries.events_gone, {"cutoff": cutoff})


async def keep(conn: AsyncConnection, kind: Kind, days: int, actor: str, now: datetime) -> None:
    """Change how long a kind is kept."""
    await conn.execute(queries.keep, {"kind": str(kind), "days": days, "actor": actor, "now": now})


async def write_journal(conn: AsyncConnection, deed: Deed) -> None:
    """Append a line."""
    await conn.execute(queries.write_journal, asdict(deed))


async def journal(conn: AsyncConnection, limit: int) -> list[Deed]:
    """Return the newest lines, newest first."""
    async with conn.cursor(row_factory=class_row(Deed)) as cursor:
        await cursor.execute(queries.journal, {"limit": limit})
        return await cursor.fetchall()
