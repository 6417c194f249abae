"""Rows of a tenancy; decides nothing and never commits."""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.leasing.repository import as_json
from cloud_api.leasing.service import Site

queries = load_queries(__file__)
Row = dict[str, Any]


async def rows(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a named statement as dictionaries."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


async def one(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> Row | None:
    """Return the first row, or None."""
    found = await rows(conn, statement, values)
    return found[0] if found else None


async def execute(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> None:
    """Run a named statement that returns nothing."""
    await conn.execute(statement, values)


async def lock_lease(conn: AsyncConnection, site: Site, number: str, states: set[str]) -> Row:
    """Return a lease, held until the transaction ends. Raises NotFound, or Invalid when it does not stand there."""
    found = await one(conn, queries.lease, {"organisation_id": site.organisation_id, "number": number})
    if found is None:
        raise NotFound("there is no lease {number}", number=number)
    if found["status"] not in states:
        raise Invalid(
            "lease {number} is {state}; this step begins at {states}",
            number=number,
            state=Text(found["status"]),
            states=tuple(Text(state) for state in sorted(states)),
        )
    return found


async def find_tenant(conn: AsyncConnection, site: Site, code: str) -> Row:
    """Return a tenant by code. Raises NotFound with the remedy."""
    found = await one(conn, queries.tenant, {"organisation_id": site.organisation_id, "code": code})
    if found is None:
        raise NotFound("there is no tenant {code}; add the company first", code=code)
    return found


async def set_status(conn: AsyncConnection, lease_id: int, status: str, attributes: Mapping[str, Any]) -> None:
    """Take a lease to a status and add to its attributes."""
    await execute(conn, queries.set_status, {"lease_id": lease_id, "status": status, "attributes": as_json(attributes)})


async def note(
    conn: AsyncConnection, lease_id: int, step: str, detail: Mapping[str, Any], actor: str, clock: Clock
) -> None:
    """Write one line of a lease's history."""
    values = {"lease_id": lease_id, "at": clock.now(), "actor": actor, "step": step, "detail": as_json(detail)}
    await execute(conn, queries.add_step, values)
