"""Rows of tenants and leases; decides nothing and never commits."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
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


async def align_access(conn: AsyncConnection, lease_ids: Sequence[int], day: date | None) -> None:
    """Make the doors of leases follow their spaces from a day on; None means always."""
    values = {"lease_ids": list(lease_ids), "day": day}
    for statement in (queries.drop_access, queries.cut_access, queries.grant_access):
        await conn.execute(statement, values)


def as_json(value: Any) -> Jsonb:
    """Wrap rows for `jsonb_to_recordset`; dates and decimals travel as text, exactly."""
    return Jsonb(value, dumps=lambda v: json.dumps(v, default=str, ensure_ascii=False))
