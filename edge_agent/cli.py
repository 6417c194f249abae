"""The `edge-agent` command: run · check · read · scan · write · decode · profiles · outbox · simulate."""

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.commands import outbox, profiles, simulate
from edge_agent.commands.decode import decode

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

app.command()(decode)
app.add_typer(outbox.app, name="outbox")
app.add_typer(profiles.app, name="profiles")
app.add_typer(simulate.app, name="simulate")

SitePath = Annotated[Path, typer.Argument(help="The site file (YAML).", metavar="SITE")]


@app.callback()
def root() -> None:
    """Read a building's meters, HVAC and doors, and hand every value to the cloud exactly once."""


@app.command()
def check(site: SitePath) -> None:
    """Check a site file offline: every mistake with file, line and remedy."""
    from edge_agent.settings import load_site
    from edge_agent.yaml_lines import FileError

    try:
        checked = load_site(site)
    except FileError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(1) from error
    devices = sum(len(bus.devices) for bus in checked.buses) + sum(len(broker.devices) for broker in checked.mqtt)
    typer.echo(f"{site}: {len(checked.buses)} buses, {len(checked.mqtt)} brokers, {devices} devices: sound")


def main() -> None:
    """Entry point of the console script."""
    app()
