"""`cloud-api gateway …`: give a gateway its credential."""

from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.devices import service
from cloud_api.kit.clock import Clock

app = typer.Typer(no_args_is_help=True, help="Gateways and their credentials.")


@app.command()
def add(
    site: Annotated[str, typer.Argument(help="Code of the site.")],
    name: Annotated[str, typer.Argument(help="Name of the gateway: small letters, digits, hyphens.")],
) -> None:
    """Create a gateway and print its credential, once."""
    print(
        carry_out(
            lambda conn, clock: service.add_gateway(conn, site_code=site, name=name, actor=actor(), now=clock.now())
        )
    )


@app.command()
def credential(
    name: Annotated[str, typer.Argument(help="Name of the gateway.")],
    revoke_others: Annotated[bool, typer.Option(help="Refuse its older credentials from now on.")] = False,
) -> None:
    """Print a new credential of an existing gateway, once."""
    print(
        carry_out(
            lambda conn, clock: service.new_credential(
                conn, name=name, actor=actor(), now=clock.now(), revoke_others=revoke_others
            )
        )
    )


@app.command(name="list")
def list_() -> None:
    """List the gateways: name, last seen, devices, devices offline."""

    async def lines(conn: AsyncConnection, _clock: Clock) -> str:
        return "\n".join(
            f"{g['name']}\t{g['last_seen_at'] or 'never seen'}\t{g['device_count']}\t{g['offline_count']}"
            for g in await service.gateways(conn)
        )

    print(carry_out(lines))
