"""`cloud-api notify …`: channels, routes, rotas, and the delivery log."""

from datetime import date, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import carry_out, listed
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound

app = typer.Typer(no_args_is_help=True, help="Who is told of alarms: channels, routes, rotas, delivery log.")

Organisation = Annotated[str | None, typer.Option("--organisation", help="Its code; needed when there are several.")]
Language = Annotated[str, typer.Option(help="zh or en.")]


@app.command()
def channels() -> None:
    """List the channels: name, kind, language, whether it is on, when it last worked or why not."""
    from cloud_api.notify import service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await service.list_channels(conn)
        lines = [
            f"{c['name']:<24}{c['address']:<14}{c['language']}  {'on ' if c['is_enabled'] else 'off'}  "
            f"{c['last_error'] or _instant(c['last_sent_at'])}"
            for c in found
        ]
        return listed(lines, "channels")

    print(carry_out(use_case))


@app.command("add-channel")
def add_channel(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    address: Annotated[str, typer.Argument(help="webhook+https://…, mailto://…, dingtalk://…, wecombot://…, ntfy://…")],
    language: Language = "zh",
    per_minute: Annotated[int, typer.Option(min=1, max=600, help="Messages per minute it takes (DingTalk: 20).")] = 20,
    recoveries: Annotated[bool, typer.Option(help="Whether it is told that an alarm is over.")] = True,
    organisation: Organisation = None,
) -> None:
    """Add a channel; `notify test NAME` tries it."""
    from cloud_api.notify import service
    from cloud_api.notify.channels import ChannelRefused

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        owner = await _organisation(conn, organisation)
        try:
            await service.add_channel(
                conn,
                organisation_id=owner,
                name=name,
                address=address,
                language=language,
                per_minute=per_minute,
                sends_recovery=recoveries,
            )
        except ChannelRefused as error:
            raise Invalid(str(error)) from error
        return f"channel {name}"

    print(carry_out(use_case))


@app.command()
def test(name: Annotated[str, typer.Argument(help="Name of the channel.")]) -> None:
    """Send a test message; `notify log` says how it went."""
    from cloud_api.notify import service

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await service.send_test(conn, clock, await _channel(conn, name))
        return "the message is on its way; see: cloud-api notify log"

    print(carry_out(use_case))


@app.command()
def log() -> None:
    """Print the newest lines of the delivery log."""
    from cloud_api.notify import service

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        return "\n".join(
            f"{_instant(d['started_at'])}  {d['channel']:<20}{d['outcome']:<8}{d['detail'] or d['title']}"
            for d in await service.deliveries(conn)
        )

    print(carry_out(use_case))


@app.command()
def routes() -> None:
    """List who is told of what."""
    from cloud_api.alarms import routing

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await routing.routes(conn)
        lines = [
            f"{r['id']:>6}  {r['channel'] or r['rota']:<20}severity 1-{r['severity_max']}"
            f"  {r['rule_prefix'] or 'all rules'}  {r['name_en'] or 'all sites'}"
            + (f"  after {r['after_minutes']} min" if r["after_minutes"] else "")
            for r in found
        ]
        return listed(lines, "routes")

    print(carry_out(use_case))


@app.command("add-route")
def add_route(
    channel: Annotated[str | None, typer.Option(help="Name of the channel.")] = None,
    rota: Annotated[str | None, typer.Option(help="Name of the rota: whoever is on call.")] = None,
    severity: Annotated[int, typer.Option(min=1, max=4, help="The least severe that is told.")] = 3,
    rules: Annotated[str, typer.Option(help="Only rules that begin so (AHU, MTR-04).")] = "",
    after_minutes: Annotated[int, typer.Option(min=0, help="A later step: only if nobody has acknowledged.")] = 0,
    repeat_minutes: Annotated[int, typer.Option(min=5, help="Said again until acknowledged.")] = 240,
    fallback: Annotated[str | None, typer.Option(help="Channel for critical alarms when this one cannot.")] = None,
    organisation: Organisation = None,
) -> None:
    """Tell a channel or a rota of alarms."""
    from cloud_api.alarms import routing

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        number = await routing.add_route(
            conn,
            organisation_id=await _organisation(conn, organisation),
            channel_id=await _channel(conn, channel) if channel else None,
            rota_id=(await _rota(conn, clock, rota))["id"] if rota else None,
            fallback_channel_id=await _channel(conn, fallback) if fallback else None,
            rule_prefix=rules,
            severity_max=severity,
            after_minutes=after_minutes,
            repeat_minutes=repeat_minutes,
        )
        return f"route {number}"

    print(carry_out(use_case))


@app.command("remove-route")
def remove_route(route: Annotated[int, typer.Argument(help="Number of the route (notify routes).")]) -> None:
    """Remove a route."""
    from cloud_api.alarms import routing

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        if not await routing.remove_route(conn, route):
            raise NotFound
        return f"route {route} is removed"

    print(carry_out(use_case))


@app.command()
def rotas() -> None:
    """List the rotas: who is on call now, until when, and how far each is planned."""
    from cloud_api.alarms import rota

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await rota.rotas(conn, clock)
        lines = [
            f"{r['name']:<20}{r['on_call'] or '-':<20}until {_local(r['until'], r)}"
            f"  planned until {_local(r['planned_until'], r)}"
            for r in found
        ]
        return listed(lines, "rotas")

    print(carry_out(use_case))


@app.command()
def plan(
    name: Annotated[str, typer.Argument(help="Name of the rota.")],
    channels: Annotated[list[str], typer.Argument(help="Channels, in the order of their turns.")],
    first: Annotated[str, typer.Option(help="First day (2026-12-01).")],
    days: Annotated[int, typer.Option(help="How many days.")] = 84,
    turn_days: Annotated[int, typer.Option(min=1, max=31, help="How many days a turn lasts.")] = 7,
    handover_hour: Annotated[int, typer.Option(min=0, max=23, help="When one hands over to the next.")] = 9,
    zone: Annotated[str, typer.Option(help="Whose days and hours.")] = "Asia/Shanghai",
    holidays: Annotated[str | None, typer.Option(help="The channel that takes public holidays.")] = None,
    organisation: Organisation = None,
) -> None:
    """Make a rota, or plan one of that name anew from a day on."""
    from cloud_api.alarms import rota

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        try:
            starts_on = date.fromisoformat(first)
        except ValueError as error:
            raise Invalid("give the first day as 2026-12-01") from error
        await rota.save(
            conn,
            organisation_id=await _organisation(conn, organisation),
            name=name,
            channels=[await _channel(conn, channel) for channel in channels],
            starts_on=starts_on,
            days=days,
            turn_days=turn_days,
            handover_hour=handover_hour,
            time_zone=zone,
            holiday_channel_id=await _channel(conn, holidays) if holidays else None,
        )
        return f"rota {name} is planned for {days} days from {starts_on}"

    print(carry_out(use_case))


@app.command()
def shifts(name: Annotated[str, typer.Argument(help="Name of the rota.")]) -> None:
    """List the present and coming shifts of a rota, in its own time zone."""
    from cloud_api.alarms import rota

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await _rota(conn, clock, name)
        return "\n".join(
            f"{_local(s['starts_at'], found)} to {_local(s['ends_at'], found)}  {s['channel']}"
            for s in await rota.shifts_of(conn, clock, found["id"])
        )

    print(carry_out(use_case))


@app.command()
def give(
    name: Annotated[str, typer.Argument(help="Name of the rota.")],
    channel: Annotated[str, typer.Argument(help="The channel that takes over.")],
    start: Annotated[str, typer.Option(help="From when, in the rota's zone (2026-12-01T09:00).")],
    end: Annotated[str, typer.Option(help="Until when.")],
) -> None:
    """Give a period of a rota to a channel: an exchanged shift, a sick day."""
    from cloud_api.alarms import rota

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        found = await _rota(conn, clock, name)
        zone = ZoneInfo(found["time_zone"])
        try:
            period = [datetime.fromisoformat(text).replace(tzinfo=zone) for text in (start, end)]
        except ValueError as error:
            raise Invalid("give the times as 2026-12-01T09:00") from error
        await rota.give(
            conn, found["id"], channel_id=await _channel(conn, channel), starts_at=period[0], ends_at=period[1]
        )
        return f"{channel} is on call from {start} to {end}"

    print(carry_out(use_case))


async def _organisation(conn: AsyncConnection, code: str | None) -> int:
    from cloud_api.identity import repository as identity

    found = await identity.organisation_ids(conn, code)
    if len(found) != 1:
        raise Invalid("name one organisation with --organisation CODE (import-estate creates them)")
    return found[0]


async def _channel(conn: AsyncConnection, name: str) -> int:
    from cloud_api.notify import service

    found = [c["id"] for c in await service.list_channels(conn) if c["name"] == name]
    if len(found) != 1:
        raise Invalid("there is no channel {name}", name=name)
    return found[0]


async def _rota(conn: AsyncConnection, clock: Clock, name: str) -> dict[str, Any]:
    from cloud_api.alarms import rota

    found = [r for r in await rota.rotas(conn, clock) if r["name"] == name]
    if len(found) != 1:
        raise Invalid("there is no rota {name}", name=name)
    return found[0]


def _instant(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else "-"


def _local(at: datetime | None, rota: dict[str, Any]) -> str:
    return f"{at.astimezone(ZoneInfo(rota['time_zone'])):%Y-%m-%d %H:%M}" if at else "-"
