"""Rows of tariffs, runs and bills; decides nothing and never commits."""

import json
from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries

queries = load_queries(__file__)

Row = dict[str, Any]


async def rows(conn: AsyncConnection, statement: LiteralString, values: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a named statement as dictionaries."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


async def one(conn: AsyncConnection, statement: LiteralString, values: Mapping[str, Any]) -> Row | None:
    """Return the first row of a named statement, or None."""
    found = await rows(conn, statement, values)
    return found[0] if found else None


async def plain_rows(
    conn: AsyncConnection, statement: LiteralString, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Return the rows of a named statement as tuples: for the large ones."""
    cursor = await conn.execute(statement, values)
    return await cursor.fetchall()


async def store(conn: AsyncConnection, statement: LiteralString, values: Mapping[str, Any]) -> int:
    """Run a named statement and return how many rows it touched."""
    cursor = await conn.execute(statement, values)
    return cursor.rowcount


def as_json(value: Any) -> Jsonb:
    """Wrap JSON data; decimals and dates travel as text, exactly."""
    return Jsonb(value, dumps=lambda v: json.dumps(v, default=str, ensure_ascii=False))
