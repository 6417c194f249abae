"""`edge-agent outbox`: what waits for the cloud, what it rejected, and a copy of all of it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Look into the outbox; the agent may run meanwhile.")

File = Annotated[Path | None, typer.Argument(help="The outbox; default: outbox.sqlite3 in EDGE_DATA_DIR.")]


def _path(file: Path | None) -> Path:
    from edge_agent.settings import AgentSettings

    return file or AgentSettings().data_dir / "outbox.sqlite3"


def _inspect(file: Path | None) -> Any:
    from edge_agent.outbox.inspection import Inspection
    from edge_agent.outbox.store import OutboxError

    try:
        return Inspection(_path(file))
    except OutboxError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@app.command()
def show(file: File = None, json_: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Show what waits, since when, and what went wrong."""
    import orjson

    with _inspect(file) as inspection:
        summary = inspection.summary()
    if json_:
        typer.echo(orjson.dumps(summary, default=str).decode())
        return
    typer.echo(f"{summary.path}: {summary.used_bytes / 1e6:.1f} MB in use, file {summary.file_bytes / 1e6:.1f} MB")
    for name, (count, rows, since) in summary.waiting.items():
        typer.echo(f"  waiting  {name:10} {count:12,} in {rows:,} rows, the oldest stored {_time(since)}")
    if not summary.waiting:
        typer.echo("  nothing waits")
    typer.echo(f"  rejected by the cloud {summary.rejected:,}; damaged rows {summary.damaged:,}")
    for name, count in summary.counters.items():
        typer.echo(f"  {name} {count:,}")
    for stream, next_seq in summary.streams:
        typer.echo(f"  stream   {stream}, next number {next_seq:,}")
    for at_ms, text in summary.notes:
        typer.echo(f"  {_time(at_ms)}  {text}")


@app.command()
def rejected(
    file: File = None, limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 50
) -> None:
    """List what the cloud rejected for good, newest first, one JSON object per line."""
    import orjson

    with _inspect(file) as inspection:
        for row in inspection.rejected(limit):
            typer.echo(orjson.dumps(row).decode())


@app.command()
def export(
    file: File = None,
    to: Annotated[Path | None, typer.Option("--to", help="A new file; default: standard output.")] = None,
) -> None:
    """Write everything that waits as JSON lines, oldest first; nothing is taken out of the outbox."""
    import orjson

    with _inspect(file) as inspection:
        if to is None:
            for row in inspection.waiting():
                typer.echo(orjson.dumps(row).decode())
            return
        try:
            with to.open("xb") as target:
                count = 0
                for row in inspection.waiting():
                    target.write(orjson.dumps(row) + b"\n")
                    count += 1
        except OSError as error:
            typer.echo(f"{to}: {error.strerror}; name a file that does not exist yet, in a writable folder", err=True)
            raise typer.Exit(1) from error
        typer.echo(f"{count:,} lines written to {to}")
