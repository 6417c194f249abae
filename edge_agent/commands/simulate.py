"""`edge-agent simulate`: a building on real sockets, its history, and its faults."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="A simulated building: serve it, send its history, break its parts.")
fault_app = typer.Typer(no_args_is_help=True, help="Break a device or a piece of equipment, and mend it.")
app.add_typer(fault_app, name="fault")

BuildingFile = Annotated[Path, typer.Argument(help="The building (YAML).", metavar="BUILDING")]
LeasesFile = Annotated[Path | None, typer.Option("--leases", help="Default: leases.csv beside the building file.")]
StateFolder = Annotated[Path, typer.Option("--state", help="Where the building's state is kept between two starts.")]
ControlPort = Annotated[int, typer.Option("--control-port", help="Port of the control channel on the loopback.")]

DEFAULT_STATE = Path("simulator-state")
DEFAULT_CONTROL_PORT = 15_019


def _refusals() -> tuple[type[Exception], ...]:
    """Return what a person can mend; everything else is a bug and shows where."""
    from device_profiles.lined_yaml import ProfileError
    from edge_agent.simulator.faults import FaultError
    from edge_agent.simulator.keeping import KeepingError
    from edge_agent.simulator.plan import PlanError
    from edge_agent.simulator.replay import ReplayError
    from edge_agent.simulator.serve import ServeError

    return PlanError, ReplayError, ServeError, FaultError, KeepingError, ProfileError


@app.command()
def run(
    building: BuildingFile,
    site: Annotated[Path, typer.Option(help="The site file whose buses are served.")],
    leases: LeasesFile = None,
    state: StateFolder = DEFAULT_STATE,
    control_port: ControlPort = DEFAULT_CONTROL_PORT,
    served: Annotated[Path | None, typer.Option(help="Append what was served, one JSON line per answer.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Measured trends (CSV, also .gz) that drive one space.")] = None,
    replay_map: Annotated[Path | None, typer.Option(help="What the columns of the trends mean (YAML).")] = None,
    replay_begin: Annotated[str, typer.Option(help="When the first row is played: `now`, or a time.")] = "now",
) -> None:
    """Serve the building's devices on the sockets of the site file, until stopped."""
    import asyncio

    from edge_agent.simulator.run import RunOptions, run_building

    options = RunOptions(
        building=building,
        leases=leases or building.with_name("leases.csv"),
        site=site,
        state=state,
        control_port=control_port,
        served=served,
        replay=replay,
        replay_map=replay_map,
        replay_begin_ms=_instant_ms(replay_begin),
    )
    if (replay is None) is not (replay_map is None):
        raise typer.BadParameter("--replay and --replay-map go together")
    try:
        asyncio.run(run_building(options))
    except _refusals() as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@app.command("site")
def render(
    site: Annotated[Path, typer.Argument(help="The site file to copy.", metavar="SITE")],
    out: Annotated[Path, typer.Option(help="Where to write the copy.")],
    base_port: Annotated[int | None, typer.Option(help="The lowest Modbus port; the others follow.")] = None,
    broker_port: Annotated[int | None, typer.Option(help="Port of the MQTT broker.")] = None,
    serial_folder: Annotated[Path | None, typer.Option(help="Folder for the serial lines' links.")] = None,
    cloud_url: Annotated[str | None, typer.Option(help="Address of the cloud.")] = None,
    credential_file: Annotated[Path | None, typer.Option(help="File with the gateway's credential.")] = None,
) -> None:
    """Write a copy of a site file with other ports, serial lines and cloud address."""
    from edge_agent.settings import load_site
    from edge_agent.simulator.site_copy import Changes, render_site

    changes = Changes(
        base_port=base_port,
        broker_port=broker_port,
        serial_folder=serial_folder,
        cloud_url=cloud_url,
        credential_file=credential_file,
    )
    try:
        text = render_site(site.read_text(encoding="utf-8"), changes)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        load_site(out)
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    except _refusals() as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error


@app.command()
def history(
    building: BuildingFile,
    url: Annotated[str, typer.Option(help="Address of the cloud.")],
    credential_file: Annotated[Path, typer.Option(help="File with the gateway's credential.")],
    site: Annotated[Path | None, typer.Option(help="Default: site.yaml beside the building file.")] = None,
    leases: LeasesFile = None,
    state: StateFolder = DEFAULT_STATE,
    days: Annotated[int, typer.Option(min=1, max=400, help="How far back.")] = 45,
    until: Annotated[str, typer.Option(help="`now`, or a time such as 2026-11-22T12:00+08:00.")] = "now",
) -> None:
    """Send the building's past through the ingest API. May be run again at any time: it goes on, or has nothing to do.

    Card numbers are hashed with the agent's key: EDGE_PRIVACY_KEY, or the one in EDGE_DATA_DIR.
    """
    from edge_agent.drivers.mqtt.privacy import PrivacyKeyError, load_key
    from edge_agent.settings import AgentSettings
    from edge_agent.simulator.history import HistoryError, HistoryOptions, first_day, send_history
    from edge_agent.simulator.plan import load_plan

    settings = AgentSettings()
    try:
        plan = load_plan(building, leases or building.with_name("leases.csv"))
        until_ms = _instant_ms(until)
        secret = settings.privacy_key
        options = HistoryOptions(
            plan=plan,
            site=site or building.with_name("site.yaml"),
            state=state,
            url=url,
            credential=credential_file.read_text(encoding="utf-8").strip(),
            privacy_key=load_key(secret.get_secret_value() if secret else None, settings.data_dir),
            from_day=first_day(plan, until_ms, days),
            until_ms=until_ms,
        )
        with _bar(days) as show:
            done = send_history(options, show)
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    except (HistoryError, PrivacyKeyError, *_refusals()) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    if not done.observations:
        typer.echo("the history had been sent before; nothing to do")
        return
    typer.echo(f"{done.observations:,} observations and {done.events:,} door events sent")
    if done.rejected:
        typer.echo(f"{done.rejected:,} were rejected; the first: {done.first_rejection}", err=True)


@app.command()
def summary(
    building: BuildingFile,
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")],
    days: Annotated[int, typer.Option(min=1, max=400, help="How many days.")] = 30,
    leases: LeasesFile = None,
) -> None:
    """Simulate a period and print its figures: energy per area, night base, shares, peaks, comfort."""
    from edge_agent.simulator.plan import load_plan
    from edge_agent.simulator.summary import described, summarise

    try:
        plan = load_plan(building, leases or building.with_name("leases.csv"))
    except _refusals() as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    start = first.replace(tzinfo=plan.zone)
    typer.echo(described(summarise(plan, start, days), start))


@app.command()
def cards(
    building: BuildingFile,
    out: Annotated[Path, typer.Option(help="CSV to write: card, tenant, first_day, last_day.")],
    leases: LeasesFile = None,
) -> None:
    """Write whose cards the people of the building carry, as companies hand such lists in; see `edge-agent cards`."""
    import csv

    from edge_agent.simulator.people import card_holders
    from edge_agent.simulator.plan import load_plan

    try:
        holders = card_holders(load_plan(building, leases or building.with_name("leases.csv")))
        with out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("card", "tenant", "first_day", "last_day"))
            writer.writerows((h.card, h.tenant, h.first_day, h.last_day or "") for h in holders)
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    except _refusals() as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{len(holders)} cards in {out}")


@app.command()
def trend(
    building: BuildingFile,
    equipment: Annotated[str, typer.Option(help="Code of the equipment, such as ahu-3.")],
    first: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day.")],
    out: Annotated[Path, typer.Option(help="CSV to write; its column map gets the same name with .yaml.")],
    days: Annotated[int, typer.Option(min=1, max=400, help="How many days.")] = 7,
    step: Annotated[int, typer.Option(min=1, max=60, help="Minutes between rows.")] = 1,
    fault: Annotated[
        list[str] | None, typer.Option(help="TARGET KIND[=SIZE], in force all the time; repeatable.")
    ] = None,
    site: Annotated[Path | None, typer.Option(help="Default: site.yaml beside the building file.")] = None,
    leases: LeasesFile = None,
) -> None:
    """Write the trends of one piece of equipment, healthy or with faults, for `cloud-api faults replay`."""
    from edge_agent.commissioned import load_commissioned
    from edge_agent.simulator.faults import FaultJournal
    from edge_agent.simulator.plan import load_plan
    from edge_agent.simulator.trend import write_trend

    journal = FaultJournal()
    try:
        plan = load_plan(building, leases or building.with_name("leases.csv"))
        start = first.replace(tzinfo=plan.zone)
        for text in fault or []:
            target, _, rest = text.partition(" ")
            kind, _, size = rest.partition("=")
            journal.set(target, kind, at_ms=round(start.timestamp() * 1000), size=float(size) if size else None)
        profiles = load_commissioned(site or building.with_name("site.yaml")).profiles
        rows = write_trend(plan, profiles, equipment, start=start, days=days, journal=journal, out=out, step_min=step)
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    except (ValueError, *_refusals()) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{rows:,} rows in {out}; columns in {out.with_suffix('.yaml')}")


def _instant_ms(text: str) -> int:
    from datetime import UTC

    if text == "now":
        return round(datetime.now(UTC).timestamp()) * 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither `now` nor a time such as 2026-11-22T12:00+08:00") from error
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone; write 2026-11-22T12:00+08:00")
    return round(at.timestamp() * 1000)


@contextmanager
def _bar(days: int) -> Iterator[Callable[[Any], None]]:
    """Draw a progress bar of days."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} days"), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task("history", total=days, note="")

        def show(state: Any) -> None:
            note = f"{state.observations:,} observations"
            progress.update(task, total=state.days, completed=state.days_done, note=note)

        yield show


@fault_app.command("list")
def fault_list(
    control_port: ControlPort = DEFAULT_CONTROL_PORT,
    kinds: Annotated[bool, typer.Option("--kinds", help="What can be broken, instead of what is.")] = False,
) -> None:
    """Show the faults in force, or the kinds of faults there are."""
    if kinds:
        from edge_agent.simulator.faults import KINDS

        for kind in KINDS.values():
            targets = ", ".join(f"{code}*" for code in kind.targets) or "any device"
            size = f"{kind.size:g} {kind.unit}" if kind.unit else ""
            typer.echo(f"{kind.name:20} {targets:36} {size:22} {kind.en} · {kind.zh}")
        return
    faults = _call("GET", f"http://127.0.0.1:{control_port}/faults")
    for fault in faults:
        typer.echo(f"{fault['target']:16} {fault['kind']:20} {fault['size']:g} {fault['point'] or ''}")
    if not faults:
        typer.echo("no fault is in force")


@fault_app.command("set")
def fault_set(
    target: Annotated[str, typer.Argument(help="A device or a piece of equipment, such as ahu-3.")],
    kind: Annotated[str, typer.Argument(help="See `simulate fault list --kinds`.")] = "silent",
    size: Annotated[float | None, typer.Option(help="How much; every kind has a default.")] = None,
    point: Annotated[str | None, typer.Option(help="The point of a sensor fault.")] = None,
    control_port: ControlPort = DEFAULT_CONTROL_PORT,
) -> None:
    """Break something from now on."""
    body = {"kind": kind, "size": size, "point": point}
    fault = _call("PUT", f"http://127.0.0.1:{control_port}/faults/{target}", body)
    typer.echo(f"{fault['target']}: {fault['kind']} {fault['size']:g}")


@fault_app.command("clear")
def fault_clear(
    target: Annotated[str, typer.Argument(help="A device or a piece of equipment.")],
    kind: Annotated[str | None, typer.Argument(help="Only this kind.")] = None,
    control_port: ControlPort = DEFAULT_CONTROL_PORT,
) -> None:
    """Mend what was broken."""
    path = f"{target}/{kind}" if kind else target
    answer = _call("DELETE", f"http://127.0.0.1:{control_port}/faults/{path}")
    typer.echo(f"{target}: {answer['ended']} ended")


def _call(method: str, url: str, body: Any = None) -> Any:
    """Ask the running simulator; says so when there is none."""
    import httpx

    try:
        answer = httpx.request(method, url, json=body, timeout=5.0, trust_env=False)
    except httpx.HTTPError as error:
        typer.echo(f"no simulated building answers at {url} ({error}); is `edge-agent simulate run` running?", err=True)
        raise typer.Exit(1) from error
    if answer.is_error:
        typer.echo(answer.json().get("detail", answer.text), err=True)
        raise typer.Exit(1)
    return answer.json()
