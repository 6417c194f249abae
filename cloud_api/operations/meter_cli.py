"""Commands about meters: export intervals, import files of readings; and what all of them share.

What people decide about meters is in `meter_decisions_cli.py`, the worklist and gaps in `meter_doubts_cli.py`.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import OrganisationId, UserId
from cloud_api.kit.period import local_days
from cloud_api.leasing import service as leasing
from cloud_api.metering import analysis, exports, imports
from cloud_api.metering.imports import Preview
from cloud_api.metering.model import Meter
from cloud_api.operations.touched import Stretch, Touched, touched

meter_app = typer.Typer(
    no_args_is_help=True, help="Meters: export, import of readings, worklist, exchange, gaps, limits, virtual meters."
)

SiteOption = Annotated[str | None, typer.Option("--site", help="Code of the site, where there are several.")]
PROBLEMS_SHOWN = 20


@meter_app.command("export")
def export(
    code: Annotated[str, typer.Argument(help="Code of the meter, measured or virtual.")],
    first: Annotated[str, typer.Option("--from", help="First local day, such as 2026-10-01.")],
    last: Annotated[str, typer.Option("--to", help="Last local day, included.")],
    out: Annotated[Path, typer.Option(help="File to write; ending in .csv, .xlsx, .parquet or .xml (Green Button).")],
) -> None:
    """Write a meter's intervals to a file."""
    form = out.suffix.removeprefix(".")
    if form not in exports.MEDIA_TYPES:
        raise typer.BadParameter(f"{out.name}: the ending must be one of {', '.join(exports.MEDIA_TYPES)}")
    since, until = _day(first), _day(last)

    async def run(conn: AsyncConnection, _: Clock) -> str:
        meter = await find_meter(conn, code)
        period = local_days(since, until + timedelta(days=1), meter.zone)
        intervals = await analysis.virtual_intervals(conn, meter.id, period)
        out.write_bytes(exports.export(meter, intervals, form))
        return f"{out}: {len(intervals)} intervals of {meter.code}"

    typer.echo(carry_out(run))


@meter_app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV, Excel, NEM12 or Green Button.", exists=True, dir_okay=False)],
    meter: Annotated[str, typer.Option(help="Code of the meter, where the file does not name it.")] = "",
    site: SiteOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Import; without it the file is only looked at.")] = False,
) -> None:
    """Look at a file of readings, row by row, and with --yes import what can be read."""

    async def run(conn: AsyncConnection, clock: Clock) -> str:
        where = await leasing.find_site(conn, site)
        viewer = operator(where)
        found = await imports.upload(
            conn, clock, viewer, name=file.name, content=file.read_bytes(), default_meter=meter, zone=where.zone
        )
        said = _said(found)
        if yes:
            count = await imports.confirm(conn, clock, viewer, found.upload_id, zone=where.zone)
            said += f"\n{count} imported; the worker brings the ledger up to date"
        return said

    typer.echo(carry_out(run))


async def find_meter(conn: AsyncConnection, code: str) -> Meter:
    """Return the meter with a code. Raises NotFound."""
    for meter in await analysis.meters(conn):
        if meter.code == code:
            return meter
    raise NotFound("there is no meter {code}", code=code)


async def touches_of(conn: AsyncConnection, stretches: Sequence[Stretch]) -> list[Touched]:
    """Return what stretches touch; a command sees every organisation, a meter has one site of one of them."""
    sites = {m.id: m.site_id for m in await analysis.meters(conn)}
    organisations = {s.id: s.organisation_id for s in await leasing.sites(conn)}
    found: dict[int, Touched] = {}
    for organisation_id in set(organisations.values()):
        places = [n for n, s in enumerate(stretches) if organisations[sites[s.meter_id]] == organisation_id]
        part = await touched(conn, organisation_id, [stretches[n] for n in places])
        found |= dict(zip(places, part, strict=True))
    return [found[n] for n in range(len(stretches))]


def said_touched(what: Touched) -> str:
    """Return what is touched in one line."""
    bills = ", ".join(f"{b.number or f'bill {b.id}'} ({b.state})" for b in what.bills) or "no bill"
    return "; ".join([bills, *(f"virtual meter {m.code}" for m in what.virtual_meters)])


def span(start: datetime, end: datetime | None, meter: Meter) -> str:
    """Return a stretch in the meter's local time."""
    until = f"{end.astimezone(meter.zone):%Y-%m-%d %H:%M}" if end else "lasts"
    return f"{start.astimezone(meter.zone):%Y-%m-%d %H:%M} – {until}"


def operator(site: leasing.Site) -> StaffViewer:
    """Return who runs the command, as a member of staff of the site's organisation."""
    return StaffViewer(
        user_id=UserId(0), organisation_id=OrganisationId(site.organisation_id), login=actor(), name=actor(),
        roles=frozenset({Role.FACILITIES}), language="en",
    )  # fmt: skip


def _said(found: Preview) -> str:
    lines = [f"{found.file_name}: {found.format}, {len(found.new)} new, {found.known_count} known already"]
    lines += [f"  line {e.line}: {e.reason}" for e in found.errors[:PROBLEMS_SHOWN]]
    if len(found.errors) > PROBLEMS_SHOWN:
        lines.append(f"  … and {len(found.errors) - PROBLEMS_SHOWN} more")
    return "\n".join(lines)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a day; write 2026-10-01") from error
