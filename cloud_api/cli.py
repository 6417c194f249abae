"""`cloud-api`: serve · worker · migrate, and the commands of each package."""

import asyncio
import gc
from typing import Annotated

import typer

from cloud_api.alarms.alarm_cli import app as alarm
from cloud_api.alarms.limit_cli import app as limit
from cloud_api.alarms.notify_cli import app as notify
from cloud_api.billing.bill_cli import bill_app, verify_app
from cloud_api.billing.cli import tariff_app
from cloud_api.devices.cli import app as gateway
from cloud_api.faults.cli import app as faults
from cloud_api.identity.cli import app as user_commands
from cloud_api.leasing.cli import hours_app, notice_app
from cloud_api.operations.cli import app as operations
from cloud_api.operations.meter_doubts_cli import meter_app
from cloud_api.operations.places.cli import app as place_app
from cloud_api.operations.storage.cli import storage_app
from cloud_api.operations.tenancy.cli import app as lease_app
from cloud_api.operations.tenancy.cli import space_app
from cloud_api.settings import load_settings
from cloud_api.workorders.cli import app as work

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="The cloud side of Wattlease.")
app.add_typer(user_commands, name="user")
app.add_typer(gateway, name="gateway")
app.add_typer(faults, name="faults")
app.add_typer(work, name="work")
app.add_typer(alarm, name="alarm")
app.add_typer(limit, name="limit")
app.add_typer(notify, name="notify")
app.add_typer(tariff_app, name="tariff")
app.add_typer(bill_app, name="bill")
app.add_typer(lease_app, name="lease")
app.add_typer(place_app, name="place")
app.add_typer(hours_app, name="after-hours")
app.add_typer(notice_app, name="notice")
app.add_typer(space_app, name="space")
app.add_typer(storage_app, name="storage")
app.add_typer(meter_app, name="meter")
app.registered_commands += [*operations.registered_commands, *verify_app.registered_commands]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; CLOUD_HOST if not given.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; CLOUD_PORT if not given.")] = None,
) -> None:
    """Run the API and the pages."""
    import uvicorn

    from cloud_api.main import create_app

    settings = load_settings()
    app = create_app(settings)
    gc.collect()
    gc.freeze()  # What stands now stays: no collection need look at it again while batches come in.
    uvicorn.run(
        app,
        host=host or settings.host,
        port=port or settings.port,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


@app.command()
def worker(
    only: Annotated[list[str] | None, typer.Option(help="Run this service alone (may be given again).")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave this service to another worker.")] = None,
) -> None:
    """Run the job queue, the schedule and the background services; several workers share them by locks."""
    from cloud_api.kit.clock import Clock
    from cloud_api.worker.run import chosen, import_tasks, run_worker

    import_tasks()
    try:
        chosen(only or (), without or ())
    except ValueError as error:
        raise SystemExit(str(error)) from error
    asyncio.run(run_worker(load_settings(), Clock(), only=only or (), without=without or ()))


@app.command()
def sparkplug(
    name: Annotated[str, typer.Option(help="Name of this worker at the broker; each worker needs its own.")] = "a",
) -> None:
    """Take in what Sparkplug B edge nodes publish; several workers share the load. Needs CLOUD_MQTT_URL."""
    from cloud_api.ingest.sparkplug.run import run_sparkplug
    from cloud_api.kit.clock import Clock

    asyncio.run(run_sparkplug(load_settings(), Clock(), name))


@app.command()
def rejected(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of each kind at most.")] = 50,
) -> None:
    """Print what was sent in vain, newest first: rejected observations and Sparkplug messages that failed."""
    from cloud_api.ingest.inspect import lines_about

    for line in asyncio.run(lines_about(load_settings().database_url.get_secret_value(), limit)):
        typer.echo(line)


@app.command()
def mirror(
    off: Annotated[bool, typer.Option("--off", help="Stop mirroring and give up what waits.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Print how it goes.")] = False,
) -> None:
    """Copy observations to InfluxDB 2 as they are stored. Needs CLOUD_INFLUX_URL; off unless this process runs."""
    from cloud_api.kit.clock import Clock
    from cloud_api.telemetry.mirror import run_mirror

    asyncio.run(run_mirror(load_settings(), Clock(), off=off, status=status))


@app.command()
def bootstrap() -> None:
    """Create the roles and the database named in the addresses; needs CLOUD_SUPERUSER_DATABASE_URL."""
    from urllib.parse import unquote, urlsplit

    from cloud_api.db.migrate import bootstrap as create

    settings = load_settings()
    superuser, owner, grafana = (
        settings.superuser_database_url,
        settings.owner_database_url,
        settings.grafana_database_password,
    )
    if superuser is None or owner is None or grafana is None:
        raise SystemExit(
            "bootstrap needs CLOUD_SUPERUSER_DATABASE_URL, CLOUD_OWNER_DATABASE_URL and CLOUD_GRAFANA_DATABASE_PASSWORD"
        )
    passwords = {"wattlease_grafana": grafana.get_secret_value()}
    for url in (owner, settings.database_url):
        parts = urlsplit(url.get_secret_value())
        passwords[parts.username or ""] = unquote(parts.password or "")
    database = urlsplit(settings.database_url.get_secret_value()).path.lstrip("/")
    try:
        create(superuser.get_secret_value(), database, passwords)
    except KeyError as error:
        raise SystemExit(f"the addresses must name the role {error.args[0]}, with its password") from error
    print(f"roles and database {database} are there")


@app.command()
def migrate() -> None:
    """Bring the database to the current schema; safe to run from several machines at once."""
    from cloud_api.db.migrate import MigrationError
    from cloud_api.db.migrate import migrate as apply

    settings = load_settings()
    if settings.owner_database_url is None:
        raise SystemExit("CLOUD_OWNER_DATABASE_URL is missing: migrations run as the role wattlease_owner")
    try:
        applied = apply(settings.owner_database_url.get_secret_value())
    except MigrationError as error:
        raise SystemExit(str(error)) from error
    print("\n".join(applied) if applied else "nothing to do")


def main() -> None:
    """Entry point of the console script."""
    app()
