"""One command is one transaction: how the commands of every package run a use case."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence

import typer
from psycopg import AsyncConnection

from cloud_api.db.pool import make_pool, transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.scope import SYSTEM
from cloud_api.settings import load_settings

UseCase = Callable[[AsyncConnection, Clock], Awaitable[str]]


def actor() -> str:
    """Return who runs the command, for the audit trail."""
    return f"cli:{getpass.getuser()}"


def listed(lines: Sequence[str], what: str) -> str:
    """Return what a command prints of a list: its lines, and how many there are."""
    return "\n".join([*lines, f"{len(lines)} {what}"])


def carry_out(use_case: UseCase) -> str:
    """Run a use case in one transaction that sees everything; a refusal ends the command with its words."""

    async def inside() -> str:
        database_url = load_settings().database_url.get_secret_value()
        async with make_pool(database_url, size_max=1) as pool, transaction(pool, SYSTEM) as conn:
            return await use_case(conn, Clock())

    try:
        return asyncio.run(inside())
    except DomainError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
