"""`edge-agent write`: set one point of a device of the site file, within its guard rails."""

import asyncio
import getpass
from pathlib import Path
from typing import Annotated

import typer

from device_profiles.lined_yaml import ProfileError
from device_profiles.model import ModbusProfile
from edge_agent.clock import SystemClock
from edge_agent.commands.target import device_of
from edge_agent.commissioning.probe import open_line
from edge_agent.drivers.modbus.errors import ModbusError
from edge_agent.settings import AgentSettings, Bus, ModbusDevice
from edge_agent.writes import Guard, Order, WriteFailed, Writer, WriteRefused


def write(
    device: Annotated[str, typer.Argument(help="A device of the site file.")],
    point: Annotated[str, typer.Argument(help="A point that the site file lists under `writes`.")],
    value: Annotated[str, typer.Argument(help="A number in the point's unit, or the word of a state.")],
    site: Annotated[Path, typer.Option(envvar="EDGE_SITE", help="The site file.")],
    why: Annotated[str, typer.Option(help="Goes into the log.")],
    release_after: Annotated[int | None, typer.Option(help="Seconds; the command stays until then.")] = None,
) -> None:
    """Set a point: in range, not too often, read back, and released again when asked for."""
    try:
        bus, config, profile = device_of(site, device)
    except ProfileError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    order = Order(device=device, point=point, value=value, by=getpass.getuser(), why=why, release_after_s=release_after)
    try:
        shown = asyncio.run(_write(bus, config, profile, order))
    except WriteRefused as error:
        typer.echo(f"refused ({error.code}): {error}", err=True)
        raise typer.Exit(3) from error
    except (WriteFailed, ModbusError) as error:
        typer.echo(f"failed: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"{device}/{point} = {shown}")


async def _write(bus: Bus, config: ModbusDevice, profile: ModbusProfile, order: Order) -> float:
    writer = Writer(Guard.load(AgentSettings().data_dir / "writes.json"), SystemClock())
    async with open_line(bus) as line:
        shown = await writer.write(line, config, profile, order)
        if order.release_after_s is None:
            return float(shown)
        typer.echo(f"{order.device}/{order.point} = {float(shown):g}; released in {order.release_after_s} s")
        try:
            await asyncio.sleep(order.release_after_s)
        finally:
            # Also at Ctrl-C: an override must not outlive whoever watches over it.
            for release in writer.releases():
                if (release.device, release.point) == (order.device, order.point):
                    shown = await writer.write(line, config, profile, release, is_release=True)
        return float(shown)
