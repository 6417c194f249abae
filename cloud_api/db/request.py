"""One HTTP request is one transaction, committed before the answer leaves."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM


def pool_of(request: Request) -> AsyncConnectionPool:
    """Return the application's pool."""
    return request.app.state.pool


def clock_of(request: Request) -> Clock:
    """Return the application's clock."""
    return request.app.state.clock


async def system_transaction(request: Request) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that sees everything: for gateways and health checks, never for people."""
    async with transaction(pool_of(request), SYSTEM) as conn:
        yield conn


# scope="function" commits before the response is sent; the default would answer 200 and then fail to commit.
SystemTx = Annotated[AsyncConnection, Depends(system_transaction, scope="function")]
Now = Annotated[Clock, Depends(clock_of)]
