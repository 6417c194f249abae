"""`edge-agent profiles`: which devices are known, what a profile says, whether a new file is sound."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="List, show and check device profiles.")

Extra = Annotated[Path | None, typer.Option("--profiles", help="A profile file or folder outside the package.")]


@app.command("list")
def list_profiles(
    word: Annotated[str, typer.Argument(help="Only profiles whose name, brand or model contains this.")] = "",
    extra: Extra = None,
) -> None:
    """List every profile: name, category, points, confidence, products."""
    from device_profiles.catalog import load_profile, profile_files
    from device_profiles.lined_yaml import ProfileError

    shown = 0
    for name in sorted(profile_files(extra)):
        try:
            profile = load_profile(name, extra=extra)
        except ProfileError as error:
            typer.echo(str(error), err=True)
            continue
        products = ", ".join(profile.products)
        if word.lower() in f"{name} {products} {profile.label_zh}".lower():
            shown += 1
            head = f"{name:28} {profile.kind:6} {profile.category:8} {len(profile.points):4} {profile.confidence:10}"
            typer.echo(f"{head} {products}")
    if not shown:
        typer.echo(f"no profile contains “{word}”", err=True)
        raise typer.Exit(1)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a profile, or path of a file.")],
    extra: Extra = None,
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show the points of a profile as the agent understands them."""
    from device_profiles.catalog import load_file, load_profile
    from device_profiles.lined_yaml import ProfileError

    try:
        profile = load_file(Path(name)) if name.endswith(".yaml") else load_profile(name, extra=extra)
    except ProfileError as error:
        raise _refusal(error) from error
    if json_:
        from edge_agent.commands.profile_table import as_json

        typer.echo(as_json(profile))
        return
    from edge_agent.commands.profile_table import as_text

    typer.echo(as_text(profile))


@app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(help="Profile files.", metavar="FILE…")], extra: Extra = None
) -> None:
    """Check profile files: every mistake with file, line and remedy; exit code 1 when there is one."""
    from device_profiles.catalog import load_file
    from device_profiles.lined_yaml import ProfileError

    failed = False
    for path in files:
        try:
            profile = load_file(path, extra=extra)
        except ProfileError as error:
            failed = True
            typer.echo(str(error), err=True)
        else:
            typer.echo(f"{path}: {profile.name}, {len(profile.points)} points: sound")
    if failed:
        raise typer.Exit(1)


def _refusal(error: Exception) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(1)
