"""`cloud-api gateway …`: give a gateway its credential and its site file, set its points."""

from pathlib import Path
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.devices import commands, configurations, service
from cloud_api.devices.model import ConfigurationRefused
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


@app.command()
def configure(
    name: Annotated[str, typer.Argument(help="Name of the gateway.")],
    site_file: Annotated[Path, typer.Argument(help="The site file that it shall run with.", exists=True)],
    why: Annotated[str, typer.Option(help="Why it changes; kept with the version.")],
) -> None:
    """Offer a site file to a gateway; `gateway configurations NAME` shows what became of it."""

    async def offer(conn: AsyncConnection, clock: Clock) -> str:
        version = await configurations.offer(
            conn,
            await service.gateway_named(conn, name),
            site_file=_text_of(site_file),
            actor=actor(),
            why=why,
            now=clock.now(),
        )
        return f"version {version} is offered with the gateway's next heartbeat"

    print(carry_out(offer))


@app.command(name="configurations")
def list_configurations(name: Annotated[str, typer.Argument(help="Name of the gateway.")]) -> None:
    """List the site files offered to a gateway: version, state, when, by whom, why, problems."""

    async def lines(conn: AsyncConnection, _clock: Clock) -> str:
        found = await configurations.versions(conn, await service.gateway_named(conn, name))
        return "\n".join(
            "\t".join((str(v["version"]), v["state"], f"{v['offered_at']:%F %T%z}", v["offered_by"], v["why"]))
            + "".join(f"\n\t{problem}" for problem in v["problems"])
            for v in found
        )

    print(carry_out(lines))


@app.command(name="set")
def set_point(
    name: Annotated[str, typer.Argument(help="Name of the gateway.")],
    point: Annotated[str, typer.Argument(help="device/point")],
    value: Annotated[str, typer.Argument(help="A number in the point's unit, or the word of a state.")],
    why: Annotated[str, typer.Option(help="Why it is set; kept with the command.")],
    release_after_s: Annotated[int | None, typer.Option(help="Give the point back after so many seconds.")] = None,
) -> None:
    """Ask a gateway to set a point; `gateway commands NAME` shows what became of it."""

    async def ask(conn: AsyncConnection, clock: Clock) -> str:
        number = await commands.order(
            conn,
            await commands.point_by_address(conn, name, point),
            value=value,
            why=why,
            actor=actor(),
            now=clock.now(),
            release_after_s=release_after_s,
        )
        return f"command {number} is offered with the gateway's next heartbeat"

    print(carry_out(ask))


@app.command(name="commands")
def list_commands(name: Annotated[str, typer.Argument(help="Name of the gateway.")]) -> None:
    """List the newest commands of a gateway: number, state, point, value, by whom, why, reason."""

    async def lines(conn: AsyncConnection, clock: Clock) -> str:
        found = await commands.commands(conn, clock.now(), gateway_id=await service.gateway_named(conn, name))
        return "\n".join(
            f"{c['id']}\t{c['state']}\t{c['device']}/{c['point']}\t{c['value']}\t{c['made_by']}\t{c['why']}\t{c['reason']}"
            for c in found
        )

    print(carry_out(lines))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationRefused(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
