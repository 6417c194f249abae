"""Commands that bring a site into the system: its estate and its leases."""

from pathlib import Path
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.operations.tenancy.cli import Readings
from cloud_api.operations.tenancy.words import day_of, pairs_of

app = typer.Typer()


@app.command("mail-sender")
def mail_sender(
    address: Annotated[str, typer.Argument(help="mailtos://user:password@host:465?from=bills@park.example")],
    organisation: Annotated[str | None, typer.Option(help="Its code; needed when there are several.")] = None,
) -> None:
    """Set the mail account that bills and other letters to tenants leave from."""
    from cloud_api.identity import repository as identity
    from cloud_api.notify import letters

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await identity.organisation_ids(conn, organisation)
        if len(found) != 1:
            raise Invalid("name one organisation with --organisation CODE (import-estate creates them)")
        await letters.set_sender(conn, organisation_id=found[0], address=address, actor=actor(), clock=clock)
        return letters.shown(address)

    print(carry_out(use_case))


@app.command("import-estate")
def import_estate(file: Annotated[Path, typer.Argument(help="Estate file (YAML).")]) -> None:
    """Import sites, spaces, meters and equipment; may be repeated."""
    from cloud_api.operations.site_import import service

    def words(counts: dict[str, int]) -> str:
        return "imported " + ", ".join(f"{count} {noun}" for noun, count in counts.items())

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        estate = service.read_estate(file)
        return words(await service.import_estate(conn, estate, actor=actor(), clock=clock))

    print(carry_out(use_case))


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

    print(carry_out(use_case))


@app.command("import-cards")
def import_cards(
    file: Annotated[Path, typer.Argument(help="CSV, XLSX or JSON: card, tenant, first_day, last_day.")],
    site: Annotated[str | None, typer.Option(help="Code of the site; needed when there are several.")] = None,
) -> None:
    """Record whose cards are whose, as the keyed hashes that doors send; may be repeated."""
    from cloud_api.leasing import access, service
    from cloud_api.leasing.import_file import read_rows

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await service.find_site(conn, site)
        cards = [
            access.Card(
                credential=row.get("card", ""),
                tenant=row.get("tenant", ""),
                first=day_of(row.get("first_day", "")),
                last_day=day_of(row["last_day"]) if row.get("last_day") else None,
            )
            for row in read_rows(file)
        ]
        changed = await access.record_cards(conn, found, cards, actor=actor(), clock=clock)
        return f"cards: {changed} new or changed, {len(cards) - changed} as before"

    print(carry_out(use_case))


@app.command("move-in")
def move_in(
    lease: Annotated[str, typer.Argument(help="Number of an approved lease.")],
    reading: Readings = None,
    site: Annotated[str | None, typer.Option(help="Code of the site; needed when there are several.")] = None,
) -> None:
    """Open a tenancy on its first day, with the opening readings of its meters."""
    from cloud_api.leasing import service
    from cloud_api.operations.tenancy import service as tenancy

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await service.find_site(conn, site)
        values = pairs_of(reading or [])
        opening = await tenancy.move_in(conn, found, lease, readings=values, actor=actor(), clock=clock)
        return "\n".join(f"{meter}: {value}" for meter, value in opening.items())

    print(carry_out(use_case))


@app.command("move-out")
def move_out(
    lease: Annotated[str, typer.Argument(help="Number of an active lease.")],
    last_day: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD.")],
    reading: Readings = None,
    without_final_bill: Annotated[str, typer.Option(help="Why the month's run bills the last days instead.")] = "",
    site: Annotated[str | None, typer.Option(help="Code of the site; needed when there are several.")] = None,
) -> None:
    """Close a tenancy at the end of a day: closing readings, final bill, deposit."""
    from cloud_api.leasing import service
    from cloud_api.operations.tenancy import service as tenancy

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await service.find_site(conn, site)
        values = pairs_of(reading or [])
        closed = await tenancy.move_out(
            conn,
            found,
            lease,
            last_day=day_of(last_day),
            readings=values,
            actor=actor(),
            clock=clock,
            without_final_bill=without_final_bill,
        )
        lines = [f"{meter}: {value}" for meter, value in closed["readings"].items()]
        lines += [f"final bill: {number}" for number in closed["final_bills"]]
        return "\n".join([*lines, f"deposit used: {closed['deposit_used']}, left: {closed['deposit_left']}"])

    print(carry_out(use_case))
