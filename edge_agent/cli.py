"""The `edge-agent` command: run · check · read · scan · write · decode · profiles · outbox · simulate."""

from pathlib import Path
from typing import Annotated

import typer

from edge_agent.commands import outbox, profiles, read, scan, simulate
from edge_agent.commands.decode import decode
from edge_agent.commands.target import Language

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

app.command()(decode)
app.command()(read.read)
app.command()(scan.scan)
app.add_typer(outbox.app, name="outbox")
app.add_typer(profiles.app, name="profiles")
app.add_typer(simulate.app, name="simulate")

SitePath = Annotated[Path, typer.Argument(help="The site file (YAML).", metavar="SITE")]


@app.callback()
def root() -> None:
    """Read a building's meters, HVAC and doors, and hand every value to the cloud exactly once."""


@app.command()
def check(site: SitePath, lang: Language = "en") -> None:
    """Check a site file offline: every mistake with line and remedy, and whether each bus can carry it."""
    from edge_agent.commands.check import check_site

    raise typer.Exit(check_site(site, lang))


@app.command()
def run(
    site: Annotated[Path, typer.Option(envvar="EDGE_SITE", help="The site file (YAML).")],
    data_dir: Annotated[Path | None, typer.Option(help="Instead of EDGE_DATA_DIR.")] = None,
) -> None:
    """Read the devices of a site file until stopped (Ctrl-C, SIGTERM); SIGHUP reloads the file."""
    from edge_agent.commands.run import run_agent

    raise typer.Exit(run_agent(site, data_dir))


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
