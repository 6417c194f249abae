"""`cloud-api gateway …`: give a gateway its credential."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.pool import make_pool, transaction
from cloud_api.devices import service
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.scope import SYSTEM
from cloud_api.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Gateways and their credentials.")


@app.command()
def add(
    site: Annotated[str, typer.Argument(help="Code of the site.")],
    name: Annotated[str, typer.Argument(help="Name of the gateway: small letters, digits, hyphens.")],
) -> None:
    """Create a gateway and print its credential, once."""
    print(_run(lambda conn, now: service.add_gateway(conn, site_code=site, name=name, actor=_actor(), now=now)))


@app.command()
def credential(
    name: Annotated[str, typer.Argument(help="Name of the gateway.")],
    revoke_others: Annotated[bool, typer.Option(help="Refuse its older credentials from now on.")] = False,
) -> None:
    """Print a new credential of an existing gateway, once."""
    print(
        _run(
            lambda conn, now: service.new_credential(
                conn, name=name, actor=_actor(), now=now, revoke_others=revoke_others
            )
        )
    )


@app.command(name="list")
def list_() -> None:
    """List the gateways: name, last seen, devices, devices offline."""

    async def lines(conn: AsyncConnection, _now: datetime) -> str:
        return "\n".join(
            f"{g['name']}\t{g['last_seen_at'] or 'never seen'}\t{g['device_count']}\t{g['offline_count']}"
            for g in await service.gateways(conn)
        )

    print(_run(lines))


def _run(use_case: Callable[[AsyncConnection, datetime], Awaitable[str]]) -> str:
    async def run() -> str:
        pool = make_pool(load_settings().database_url.get_secret_value(), size_max=1)
        async with pool, transaction(pool, SYSTEM) as conn:
            return await use_case(conn, Clock().now())

    try:
        return asyncio.run(run())
    except DomainError as error:
        raise SystemExit(str(error)) from error


def _actor() -> str:
    return f"command:{getpass.getuser()}"
