"""Commands about tariffs that need no database: check a file, try it on a load profile."""

import json
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from cloud_api.billing import calendar as holiday_calendar
from cloud_api.billing import coverage, timetable, what_if
from cloud_api.billing.charge import Facts
from cloud_api.billing.load_csv import read_load
from cloud_api.billing.tariff import Tariff, Version, bucket_name
from cloud_api.billing.tariff_file import TariffFile, load_tariff
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError
from cloud_api.kit.period import local_days

tariff_app = typer.Typer(no_args_is_help=True, help="Check, try and import tariffs.")
_out = Console()

TEMPLATES = Path(__file__).parent / "tariffs"
File = Annotated[Path, typer.Argument(help="Tariff file (YAML), or the name of a template such as single-price.")]


@tariff_app.command("templates")
def templates() -> None:
    """List the templates that come with the product; their prices are demonstration prices."""
    for path in sorted(TEMPLATES.glob("*.yaml")):
        tariff = load_tariff(path).tariff
        _out.print(f"{path.stem:32} {tariff.name.en} · {tariff.name.zh}", highlight=False, soft_wrap=True)


@tariff_app.command("check")
def check(
    file: File,
    year: Annotated[int | None, typer.Option(help="Year for the minute-by-minute proof; default: this year.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove that every minute of every kind of day is priced exactly once."""
    try:
        found = load_tariff(resolve(file))
        proof = _proof(found, year or Clock().now().year)
    except DomainError as error:
        _fail(error, as_json=as_json)
    if as_json:
        print(json.dumps(proof, ensure_ascii=False, indent=2))
        return
    _print_proof(found, proof)


@tariff_app.command("rate")
def rate(
    file: File,
    intervals: Annotated[Path, typer.Option(help="CSV with the columns start and kwh (also end, kvarh).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    first: Annotated[
        str | None, typer.Option("--from", help="First local day billed; default: the first day of the file.")
    ] = None,
    after: Annotated[str | None, typer.Option("--to", help="Local day after the last one billed.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of times without an offset; default: the tariff's zone.")
    ] = None,
    interval_minutes: Annotated[int | None, typer.Option(min=1, max=1440, help="Default: found from the file.")] = None,
    contract_kw: Annotated[str | None, typer.Option(help="Contract demand, for demand rules.")] = None,
    capacity_kva: Annotated[str | None, typer.Option(help="Transformer capacity, for capacity charges.")] = None,
    used_before: Annotated[
        str | None, typer.Option(help="kWh already used in the tier period before the file starts.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit with 1 when a bill could not be issued on this.")] = False,
) -> None:
    """Rate a load profile offline and print the charges per month and component."""
    try:
        tariff = load_tariff(resolve(file)).tariff
        zone = tariff.zone if time_zone is None else ZoneInfo(time_zone)
        load = read_load(intervals, zone, minutes=interval_minutes)
        facts = Facts(
            contract_kw=_decimal(contract_kw, "--contract-kw"),
            capacity_kva=_decimal(capacity_kva, "--capacity-kva"),
            used_before={} if used_before is None else {"*": _decimal(used_before, "--used-before") or Decimal(0)},
        )
        calendar = _calendar(tariff)
        months = what_if.rate_months(
            tariff, calendar, load, facts, first=_day(first, "--from"), after=_day(after, "--to")
        )
    except DomainError as error:
        _fail(error, as_json=as_json)
    except (KeyError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        print(json.dumps(what_if.as_json(tariff, months), ensure_ascii=False, indent=2))
    else:
        _print_months(tariff, months)
    if strict and any(month.issues for month in months):
        raise typer.Exit(1)


@tariff_app.command("import-urdb")
def import_urdb(
    file: Annotated[Path, typer.Argument(help="One rate of the OpenEI Utility Rate Database, JSON.")],
    out: Annotated[Path | None, typer.Option(help="Write the tariff file here; default: print it.")] = None,
    time_zone: Annotated[str, typer.Option(help="The utility's time zone.")] = "America/New_York",
    tier_basis: Annotated[
        str, typer.Option(help="proportional (as NREL's SAM) or per_bucket (each period by itself).")
    ] = "proportional",
    ignore_unsupported: Annotated[bool, typer.Option(help="Leave out what cannot be represented.")] = False,
) -> None:
    """Turn a URDB record into a tariff file; what cannot be said exactly is refused with its reasons."""
    from cloud_api.billing.urdb import as_file, read_urdb

    if tier_basis not in {"proportional", "per_bucket"}:
        raise typer.BadParameter("proportional or per_bucket", param_hint="--tier-basis")
    try:
        tariff = read_urdb(file, time_zone=time_zone, tier_basis=tier_basis, ignore=ignore_unsupported)
    except DomainError as error:
        _fail(error, as_json=False)
    text = as_file(tariff)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        print(f"{tariff.tariff} written to {out}; try: cloud-api tariff check {out}")


def resolve(file: Path) -> Path:
    """Return the file itself, or the template that bears its name (hyphens and underscores are the same)."""
    template = TEMPLATES / f"{file.name.replace('_', '-')}.yaml"
    return template if not file.exists() and file.parent == Path() and template.is_file() else file


def _calendar(tariff: Tariff) -> holiday_calendar.HolidayCalendar:
    return holiday_calendar.built_in(tariff.holiday_calendar)


def _fail(error: DomainError, *, as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"ok": False} | error.problem(), ensure_ascii=False, indent=2))
    else:
        typer.echo(str(error), err=True)
    raise typer.Exit(1)


def _decimal(text: str | None, option: str) -> Decimal | None:
    if text is None:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise typer.BadParameter(f"{text!r} is not a number", param_hint=option) from None
    if not value.is_finite() or value < 0:
        raise typer.BadParameter(f"{text} has to be a number from 0", param_hint=option)
    return value


def _day(text: str | None, option: str) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; write 2026-07-01", param_hint=option) from None


def _proof(found: TariffFile, year: int) -> dict[str, Any]:
    tariff = found.tariff
    calendar = _calendar(tariff)
    minutes = None
    if tariff.versions and _in_force_all(tariff, year):
        minutes = coverage.minutes_of_year(tariff, calendar, year)
    return {
        "ok": True,
        "tariff": tariff.tariff,
        "versions": [_version_proof(version) for version in tariff.versions],
        "year": year,
        "minutes_by_bucket": minutes,
        "minutes": None if minutes is None else sum(minutes.values()),
        "calendar_official": calendar.is_official(year),
        "warnings": [str(text) for text in found.warnings],
    }


def _in_force_all(tariff: Tariff, year: int) -> bool:
    try:
        timetable.cut(tariff, _calendar(tariff), local_days(date(year, 1, 1), date(year + 1, 1, 1), tariff.zone))
    except timetable.NoTariff:
        return False
    return True


def _version_proof(version: Version) -> dict[str, Any]:
    days = [
        {
            "season": season.code,
            "day_type": day_type.code,
            "windows": [
                f"{coverage.clock(w.start)}-{coverage.clock(w.end)} {w.bucket}"
                for w in timetable.windows_of(version, season.code, day_type.code)
            ],
        }
        for season in version.seasons
        for day_type in version.day_types
    ]
    return {
        "version": version.version,
        "valid_from": version.valid_from.isoformat(),
        "valid_to": None if version.valid_to is None else version.valid_to.isoformat(),
        "components": [component.code for component in version.components],
        "days": days,
    }


def _print_proof(found: TariffFile, proof: dict[str, Any]) -> None:
    tariff = found.tariff
    _out.print(f"{tariff.name.zh} · {tariff.name.en}", style="bold", highlight=False, soft_wrap=True)
    for version, shown in zip(tariff.versions, proof["versions"], strict=True):
        table = Table(title=f"{version.version}: from {version.valid_from} to {version.valid_to or '…'}")
        for heading in ("season", "day type", "windows"):
            table.add_column(heading)
        for day in shown["days"]:
            table.add_row(day["season"], day["day_type"], "  ".join(day["windows"]))
        _out.print(table)
    combinations = sum(len(v["days"]) for v in proof["versions"])
    _out.print(
        f"Every minute of {combinations} kinds of day (season x day type) is priced exactly once.", soft_wrap=True
    )
    if proof["minutes_by_bucket"]:
        last = tariff.version_on(date(proof["year"], 12, 31)) or tariff.versions[-1]
        hours = ", ".join(
            f"{bucket_name(last, code).en} {minutes // 60:,} h" for code, minutes in proof["minutes_by_bucket"].items()
        )
        _out.print(
            f"{proof['year']}: {proof['minutes']:,} minutes, each in one bucket: {hours}.",
            highlight=False,
            soft_wrap=True,
        )
    else:
        _out.print(
            f"{proof['year']} is not wholly in force; the year's proof is left out (choose another --year).",
            soft_wrap=True,
        )
    if not proof["calendar_official"]:
        _out.print(
            f"{proof['year']} has no official holiday calendar yet: bills cannot be issued.",
            style="yellow",
            soft_wrap=True,
        )
    for warning in proof["warnings"]:
        _out.print(f"Look at: {warning}", style="yellow", highlight=False, soft_wrap=True)


def _print_months(tariff: Tariff, months: list[what_if.RatedMonth]) -> None:
    for month in months:
        table = Table(title=f"{month.month}  {what_if.plain(month.quantity)} · peak {month.peak_kw:.2f} kW")
        for heading in ("component", "bucket", "quantity", "unit price", f"amount {tariff.currency}"):
            table.add_column(heading, justify="left" if heading in {"component", "bucket"} else "right")
        for line in month.rated.lines:
            shown = what_if.line_json(line)
            bucket = line.bucket_label.en if line.bucket_label else ""
            tier = f" tier {line.tier}" if line.tier else ""
            table.add_row(
                line.name.en,
                bucket + tier,
                f"{shown['quantity']} {line.unit}",
                shown["unit_price"] or "",
                shown["amount"],
            )
        table.add_row("total", "", "", "", str(month.rated.total), style="bold")
        _out.print(table)
        for issue in month.issues:
            _out.print(f"{issue.code}: {issue.text}", style="yellow", highlight=False, soft_wrap=True)
    total = sum((m.rated.total for m in months), Decimal("0.00"))
    _out.print(f"Total {total} {tariff.currency}", style="bold", highlight=False, soft_wrap=True)
