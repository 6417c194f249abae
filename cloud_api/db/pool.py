"""The connection pool and the one way to open a transaction."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from cloud_api.kit.scope import Scope

_SET_SCOPE = """
SELECT set_config('app.viewer_kind', %(kind)s, true),
       set_config('app.organisation_id', %(organisation_id)s, true),
       set_config('app.tenant_id', %(tenant_id)s, true)
"""


def make_pool(database_url: str, *, size_max: int = 10) -> AsyncConnectionPool:
    """Return a closed pool; open it with `async with`. Sessions speak UTC whatever the server's zone."""
    return AsyncConnectionPool(
        database_url,
        min_size=1,
        max_size=size_max,
        open=False,
        timeout=10,
        kwargs={"options": "-c timezone=UTC -c search_path=app,public"},
    )


async def set_scope(conn: AsyncConnection, scope: Scope) -> None:
    """Say for the rest of the transaction whose rows may be seen (row-level security)."""
    await conn.execute(
        _SET_SCOPE,
        {
            "kind": scope.kind,
            "organisation_id": "" if scope.organisation_id is None else str(scope.organisation_id),
            "tenant_id": "" if scope.tenant_id is None else str(scope.tenant_id),
        },
    )


@asynccontextmanager
async def transaction(pool: AsyncConnectionPool, scope: Scope) -> AsyncIterator[AsyncConnection]:
    """Open one transaction in `scope`; it commits at the end of the block and rolls back on an exception."""
    async with pool.connection() as conn, conn.transaction():
        await set_scope(conn, scope)
        yield conn


@asynccontextmanager
async def autocommitting(pool: AsyncConnectionPool) -> AsyncIterator[AsyncConnection]:
    """Lend a connection each of whose statements is a transaction, for one that does everything, its scope included.

    A third of the round trips of `transaction`.
    """
    async with pool.connection() as conn:
        await conn.set_autocommit(True)
        try:
            yield conn
        finally:
            if not conn.closed:
                await conn.set_autocommit(False)
