"""`cloud-api storage`: what is stored, how long it is kept, and dropping what is old enough now."""

import asyncio
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.kit.clock import Clock

storage_app = typer.Typer(help="What is stored, how long it is kept, what was dropped.", invoke_without_command=True)


@storage_app.callback()
def show(context: typer.Context) -> None:
    """Show every table: pieces, rows, bytes per row, compression, oldest and newest, next drop, what holds it."""
    if context.invoked_subcommand is not None:
        return
    from cloud_api.operations.storage import service, words

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        return "\n".join(words.lines(await service.report(conn, clock)))

    print(carry_out(use_case))


@storage_app.command("keep")
def keep(
    kind: Annotated[str, typer.Argument(help="raw, registers, events or series.")],
    days: Annotated[int, typer.Argument(help="How many days.")],
) -> None:
    """Say how long a kind is kept. What an open ledger or a bill still needs stays all the same."""
    from cloud_api.operations.storage import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await service.keep(conn, kind, days, actor=actor(), clock=clock)
        return f"{kind}: {days} days from now on"

    print(carry_out(use_case))


@storage_app.command("tend")
def tend() -> None:
    """Do at once what the worker does every hour: make room ahead, compress, drop."""
    from cloud_api.db.pool import make_pool
    from cloud_api.operations.storage import service
    from cloud_api.settings import load_settings

    async def inside() -> list[str]:
        async with make_pool(load_settings().database_url.get_secret_value(), size_max=1) as pool:
            return [f"{d.action} {d.kind} {d.name} {d.note}".rstrip() for d in await service.tend(pool, Clock())]

    print("\n".join(asyncio.run(inside())) or "nothing to do")
