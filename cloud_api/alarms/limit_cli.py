"""`cloud-api limit …`: limits on points, as on the point's page."""

from typing import Annotated, Any

import typer
from psycopg import AsyncConnection

from cloud_api.db.command import actor, carry_out, listed
from cloud_api.kit.clock import Clock

app = typer.Typer(no_args_is_help=True, help="Limits on points: set, remove, list.")


@app.command("list")
def list_() -> None:
    """List the limits: number, point, kind, value (cleared at), severity, delays."""
    from cloud_api.alarms import limit_settings

    async def use_case(conn: AsyncConnection, _clock: Clock) -> str:
        found = await limit_settings.limits(conn)
        lines = [_line(x) for x in found]
        return listed(lines, "limits")

    print(carry_out(use_case))


@app.command("set")
def set_(
    gateway: Annotated[str, typer.Argument(help="Name of the gateway.")],
    point: Annotated[str, typer.Argument(help="device/point")],
    kind: Annotated[str, typer.Argument(help="above, below, equals or step.")],
    value: Annotated[float, typer.Argument(help="In the point's unit.")],
    severity: Annotated[int, typer.Option(min=1, max=4, help="1 critical, 2 high, 3 warning, 4 information.")] = 3,
    clear: Annotated[float | None, typer.Option(help="Where the alarm ends; 2 % inside if not given.")] = None,
    on_delay: Annotated[int, typer.Option(help="Seconds that it must hold.")] = 0,
    off_delay: Annotated[int, typer.Option(help="Seconds that it must be gone.")] = 0,
    latching: Annotated[bool, typer.Option(help="The alarm waits for a reset.")] = False,
) -> None:
    """Set a point's limit of a kind and severity; an earlier one is replaced."""
    from cloud_api.alarms import limit_settings
    from cloud_api.devices import commands

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        number = await limit_settings.set_limit(
            conn,
            clock,
            await commands.point_by_address(conn, gateway, point),
            kind=kind,
            value=value,
            severity=severity,
            clear_value=clear,
            on_delay_s=on_delay,
            off_delay_s=off_delay,
            is_latching=latching,
            actor=actor(),
        )
        return f"limit {number}"

    print(carry_out(use_case))


@app.command()
def remove(limit: Annotated[int, typer.Argument(help="Number of the limit (limit list).")]) -> None:
    """Remove a limit; an alarm that it raised ends now."""
    from cloud_api.alarms import limit_settings

    async def use_case(conn: AsyncConnection, clock: Clock) -> str:
        await limit_settings.remove_limit(conn, clock, limit)
        return f"limit {limit} is removed"

    print(carry_out(use_case))


def _line(limit: dict[str, Any]) -> str:
    value = f"{limit['value']:g}"
    if limit["clear_value"] != limit["value"]:
        value += f" (clears at {limit['clear_value']:g})"
    return (
        f"{limit['id']:>6}  {limit['device']}/{limit['point']}  {limit['kind']} {value} {limit['unit'] or ''}"
        f"  severity {limit['severity']}  on {limit['on_delay_s']} s  off {limit['off_delay_s']} s"
        + ("  latching" if limit["is_latching"] else "")
    )
