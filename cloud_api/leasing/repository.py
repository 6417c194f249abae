"""Rows of tenants and leases; decides nothing and never commits."""

import json
from collections.abc import Mapping
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cloud_api.db.queries import load_queries

queries = load_queries(__file__)


async def rows(conn: AsyncConnection, statement: LiteralString, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a named statement as dictionaries."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


async def store(conn: AsyncConnection, statement: LiteralString, values: Mapping[str, Any]) -> None:
    """Run a named statement that returns nothing."""
    await conn.execute(statement, values)


def as_json(value: Any) -> Jsonb:
    """Wrap rows for `jsonb_to_recordset`; dates and decimals travel as text, exactly."""
    return Jsonb(value, dumps=lambda v: json.dumps(v, default=str, ensure_ascii=False))
