"""The `edge-agent` command: run · check · read · scan · write · decode · cards · profiles · outbox · simulate."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge_agent.commands.language import DEFAULT, Language

# Where a command lives: a function, or a Typer app with commands of its own. A module is imported when its command is
# used: `decode` is called from scripts, and shall not wait for drivers and sockets.
COMMANDS = {
    "cards": "edge_agent.commands.cards:cards",
    "decode": "edge_agent.commands.decode:decode",
    "read": "edge_agent.commands.read:read",
    "scan": "edge_agent.commands.scan:scan",
    "write": "edge_agent.commands.write:write",
    "outbox": "edge_agent.commands.outbox:app",
    "profiles": "edge_agent.commands.profiles:app",
    "simulate": "edge_agent.commands.simulate:app",
}


class LazyCommands(TyperGroup):
    """A group that imports a command when somebody asks for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name all commands, imported or not."""
        return [*super().list_commands(ctx), *(name for name in COMMANDS if name not in self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command if need be; None when there is none of that name."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _imported(cmd_name)
        return super().get_command(ctx, cmd_name)


def _imported(name: str) -> Any:
    module, attribute = COMMANDS[name].split(":")
    found = getattr(import_module(module), attribute)
    holder = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    holder.callback()(lambda: None)  # Makes the holder a group even when it holds one command.
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name)
    else:
        holder.command(name)(found)
    group = typer.main.get_command(holder)
    assert isinstance(group, TyperGroup)
    return group.commands[name]


app = typer.Typer(cls=LazyCommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

SitePath = Annotated[Path, typer.Argument(help="The site file (YAML).", metavar="SITE")]


@app.callback()
def root() -> None:
    """Read a building's meters, HVAC and doors, and hand every value to the cloud exactly once."""


@app.command()
def check(site: SitePath, lang: Language = DEFAULT) -> None:
    """Check a site file offline: every mistake with line and remedy, and whether each bus can carry it."""
    from edge_agent.commands.check import check_site

    raise typer.Exit(check_site(site, lang))


@app.command()
def run(
    site: Annotated[Path, typer.Option(envvar="EDGE_SITE", help="The site file (YAML).")],
    data_dir: Annotated[Path | None, typer.Option(help="Instead of EDGE_DATA_DIR.")] = None,
    lang: Language = DEFAULT,
) -> None:
    """Read the devices of a site file until stopped (Ctrl-C, SIGTERM); SIGHUP reloads the file."""
    from edge_agent.commands.run import run_agent

    raise typer.Exit(run_agent(site, data_dir, lang))


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
