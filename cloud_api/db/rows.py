"""Rows as dictionaries, for read models that no other class describes; a value of the domain is read by `class_row`."""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row


async def all_rows(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Carry out a named query and return every row."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement, values)).fetchall()


async def one_row(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """Carry out a named query and return its first row, if there is one."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement, values)).fetchone()
