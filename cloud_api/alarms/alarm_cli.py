"""`cloud-api alarm …`: see what is open, acknowledge, shelve, reset, and read the figures."""

from datetime import datetime, timedelta
from typing import Annotated

import typer
from psycopg import AsyncConnection

from cloud_api.alarms.model import AlarmId
from cloud_api.db.command import actor, carry_out, listed
from cloud_api.kit.clock import Clock

app = typer.Typer(no_args_is_help=True, help="Alarms: list, acknowledge, shelve, reset, figures.")

Number = Annotated[int, typer.Argument(help="Number of the alarm (alarm list).")]


@app.command("list")
def list_(
    shelved: Annotated[bool, typer.Option(help="Also what is shelved, explained or out of service.")] = False,
    language: Annotated[str, typer.Option(help="zh or en.")] = "en",
) -> None:
    """List what someone still has to look at, worst first: number, severity, state (ISA-18.2), sentence."""
    from cloud_api.alarms import service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.open_alarms(conn, with_suppressed=shelved, limit=service.OPEN_MAX)
        lines = [f"{a.id:>6}  {a.severity}  {a.isa_state}  {a.sentence(language)}" for a in found]
        return listed(lines, "alarms")

    print(carry_out(use_case))


@app.command()
def show(alarm: Number, language: Annotated[str, typer.Option(help="zh or en.")] = "en") -> None:
    """Show an alarm: its sentence, what to check, and its journal, newest first."""
    from cloud_api.alarms import detail, service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.alarm(conn, AlarmId(alarm))
        steps = [f"  {n}. {text}" for n, text in enumerate(detail.playbook(found, language), start=1)]
        journal = [
            f"  {_instant(line.at)}  {line.kind:<14}{line.actor}  {line.reason}".rstrip()
            for line in await service.journal(conn, found.id)
        ]
        return "\n".join([f"{found.isa_state}  {found.sentence(language)}", *steps, *journal])

    print(carry_out(use_case))


@app.command("ack")
def acknowledge(alarm: Number) -> None:
    """Acknowledge an alarm: repetitions and escalation stop on every channel."""
    from cloud_api.alarms import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await service.acknowledge(conn, clock, AlarmId(alarm), actor=actor())
        return f"alarm {alarm} is acknowledged"

    print(carry_out(use_case))


@app.command()
def shelve(
    alarm: Number,
    hours: Annotated[float, typer.Option(help="For how long from now; at most 30 days.")],
    reason: Annotated[str, typer.Option(help="Why; people read it beside the alarm.")],
) -> None:
    """Put an alarm aside for a while; its evaluation goes on."""
    from cloud_api.alarms import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        until = clock.now() + timedelta(hours=hours)
        await service.shelve(conn, clock, AlarmId(alarm), until=until, reason=reason, actor=actor())
        return f"alarm {alarm} is shelved until {_instant(until)}"

    print(carry_out(use_case))


@app.command()
def unshelve(alarm: Number) -> None:
    """End a shelf before its time."""
    from cloud_api.alarms import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await service.unshelve(conn, clock, AlarmId(alarm), actor=actor())
        return f"alarm {alarm} is back"

    print(carry_out(use_case))


@app.command()
def reset(alarm: Number) -> None:
    """Release the latch of an acknowledged alarm whose cause has gone."""
    from cloud_api.alarms import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await service.reset(conn, clock, AlarmId(alarm), actor=actor())
        return f"alarm {alarm} is reset"

    print(carry_out(use_case))


@app.command("figures")
def show_figures(days: Annotated[int, typer.Option(help="Over the last days.")] = 30) -> None:
    """Print the figures of ISA-18.2 / IEC 62682 beside their limits, and the most frequent alarms."""
    from cloud_api.alarms import figures

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        now = clock.now()
        found = await figures.report(conn, now - timedelta(days=days), now)
        lines = [
            f"{f.key:<18}{'-' if f.value is None else f.value:>10} {f.unit:<4}"
            f"{f'(up to {f.good:g})' if f.good is not None else '':<16}{f.state}"
            for f in found.figures
        ]
        top = [f"  {count:>6}  {rule:<12}{name}" for rule, name, count, _share in found.top]
        return "\n".join([f"{found.count} alarms in {days} days", *lines, "most frequent:", *top])

    print(carry_out(use_case))


def _instant(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
