"""Commands that bring a site into the system: its estate and its leases."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError

app = typer.Typer()


@app.command("import-estate")
def import_estate(file: Annotated[Path, typer.Argument(help="Estate file (YAML).")]) -> None:
    """Import sites, spaces, meters and equipment; may be repeated."""
    from cloud_api.operations.site_import import service

    def words(counts: dict[str, int]) -> str:
        return "imported " + ", ".join(f"{count} {noun}" for noun, count in counts.items())

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        estate = service.read_estate(file)
        return words(await service.import_estate(conn, estate, actor=actor(), clock=clock))

    print(run(use_case))


@app.command("import-leases")
def import_leases(
    file: Annotated[Path, typer.Argument(help="Leases: CSV, XLSX or JSON.")],
    tenants: Annotated[Path | None, typer.Option(help="Tenants: CSV, XLSX or JSON.")] = None,
    site: Annotated[str | None, typer.Option(help="Code of the site; needed when there are several.")] = None,
    source: Annotated[str, typer.Option(help="Name of the system the records come from.")] = "file",
    accept_good_rows: Annotated[
        bool, typer.Option(help="Store what can be stored and report the rest; else all or nothing.")
    ] = False,
) -> None:
    """Import tenants and leases; may be repeated. Every refused row is listed with its reason."""
    from cloud_api.leasing import service
    from cloud_api.leasing.import_file import Parsed, parse_leases, parse_tenants, read_rows

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        parsed = Parsed()
        if tenants is not None:
            parse_tenants(read_rows(tenants), parsed)
        parse_leases(read_rows(file), parsed)
        found = await service.find_site(conn, site)
        report = await service.import_leases(
            conn, found, parsed, source=source, actor=actor(), clock=clock, accept_good_rows=accept_good_rows
        )
        lines = [f"leases: {report.created} new, {report.changed} changed, {report.unchanged} as before"]
        lines += [f"refused: {text}" for text in report.refused]
        lines += [f"look at: {text}" for text in report.findings]
        return "\n".join(lines)

    print(run(use_case))


def actor() -> str:
    """Return who runs the command, for the audit trail."""
    return f"cli:{getpass.getuser()}"


def run(use_case: Callable[[AsyncConnection, Clock], Awaitable[str]]) -> str:
    """Run a use case in one transaction that sees everything; a refusal ends the command with its words."""
    from cloud_api.db.pool import make_pool, transaction
    from cloud_api.kit.scope import SYSTEM
    from cloud_api.settings import load_settings

    async def inside() -> str:
        settings = load_settings()
        async with (
            make_pool(settings.database_url.get_secret_value(), size_max=1) as pool,
            transaction(pool, SYSTEM) as conn,
        ):
            return await use_case(conn, Clock())

    try:
        return asyncio.run(inside())
    except DomainError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
