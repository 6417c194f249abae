"""Setting a point from afar: offered with the heartbeat, carried out within the agent's guard rails, answered by event.

The agent decides: its site file must allow the point, and it holds range, rate and minimum times. What is checked here
saves a round trip.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from cloud_api.devices import repository
from cloud_api.devices.model import CommandRefused
from cloud_api.kit.errors import NotFound
from cloud_api.kit.ids import DeviceId, GatewayId, PointId

WAITING_MAX = 50  # The agent takes as many from one answer.
EXPIRES_AFTER = timedelta(minutes=10)
RELEASE_MAX_S = 7 * 86_400
OUTCOMES = frozenset({"done", "refused", "failed"})


async def order(
    conn: AsyncConnection,
    point_id: PointId,
    *,
    value: str,
    why: str,
    actor: str,
    now: datetime,
    release_after_s: int | None = None,
) -> int:
    """Ask for a point to be set to a number or to the word of a state; returns the command's number.

    Raises NotFound, or CommandRefused with what to do. It expires when no gateway takes it within EXPIRES_AFTER.
    """
    point = await repository.writable_point(conn, point_id)
    if point is None:
        raise NotFound
    _check(point, value, why, release_after_s)
    gateway_id = GatewayId(point["gateway_id"])
    # Held until the commit, so that two people together cannot pass the limit.
    await repository.lock_gateway(conn, gateway_id)
    if await repository.waiting_count(conn, gateway_id, now) >= WAITING_MAX:
        raise CommandRefused(
            "{waiting_max} commands already wait for this gateway; withdraw some or wait", waiting_max=WAITING_MAX
        )
    await repository.add_audit_entry(
        conn,
        organisation_id=point["organisation_id"],
        now=now,
        actor=actor,
        action="device.command",
        subject=f"point:{point['device_name']}/{point['name']}",
        reason=f"{value.strip()}: {why.strip()}",
    )
    return await repository.add_command(
        conn,
        organisation_id=point["organisation_id"],
        gateway_id=gateway_id,
        point_id=point_id,
        value=value.strip(),
        release_after_s=release_after_s,
        actor=actor,
        why=why.strip(),
        now=now,
        expires_at=now + EXPIRES_AFTER,
    )


async def withdraw(conn: AsyncConnection, command_id: int, *, actor: str, now: datetime) -> None:
    """Take a command back that no gateway has answered; raises CommandRefused when it has been."""
    if not await repository.withdraw_command(conn, command_id, actor=actor, now=now):
        raise CommandRefused("there is no such command waiting: the gateway has answered it, or it was withdrawn")


async def wanted(conn: AsyncConnection, gateway_id: GatewayId, now: datetime) -> list[dict[str, Any]]:
    """Return the commands that a gateway has not answered, as section 9 of ARCHITECTURE.md writes them."""
    return [
        {
            "id": str(row["id"]),
            "device": row["device"],
            "point": row["point"],
            "value": row["value"],
            "by": row["made_by"],
            "why": row["why"],
            "release_after_s": row["release_after_s"],
        }
        for row in await repository.wanted_commands(conn, gateway_id, now, limit=WAITING_MAX)
    ]


async def take_results(
    conn: AsyncConnection, gateway_id: GatewayId, results: Sequence[tuple[datetime, Mapping[str, Any]]]
) -> None:
    """Take the `command.result` events of one gateway: (when, data). What is not ours to know is left in the events."""
    for at, data in results:
        number, outcome = str(data.get("id") or ""), data.get("outcome")
        if number.isdecimal() and len(number) < 19 and outcome in OUTCOMES:
            shown = data.get("shown")
            await repository.finish_command(
                conn,
                gateway_id,
                command_id=int(number),
                state=str(outcome),
                reason=str(data.get("reason") or "")[:500],
                shown=float(shown) if isinstance(shown, (int, float)) else None,
                at=at,
            )
        elif not number and outcome == "done" and data.get("by") == "edge-agent":
            await repository.note_release(
                conn, gateway_id, device=str(data.get("device")), point=str(data.get("point")), at=at
            )


async def commands(
    conn: AsyncConnection, now: datetime, *, gateway_id: GatewayId | None = None, device_id: DeviceId | None = None
) -> list[dict[str, Any]]:
    """Return the newest hundred commands with their states; `expired` is what nobody took in time."""
    return await repository.commands(conn, now, gateway_id, device_id)


async def writable_points(conn: AsyncConnection, device_id: DeviceId) -> list[dict[str, Any]]:
    """Return the points of a device that its site file allows to be set, with their guard rails."""
    return await repository.writable_points(conn, device_id)


async def point_by_address(conn: AsyncConnection, gateway: str, address: str) -> PointId:
    """Return the point that people call `device/point`; raises CommandRefused when there is none."""
    found = await repository.point_by_address(conn, gateway, address)
    if found is None:
        raise CommandRefused(
            "gateway {gateway!r} has no point {address!r}; write device/point", gateway=gateway, address=address
        )
    return found


def _check(point: Mapping[str, Any], value: str, why: str, release_after_s: int | None) -> None:
    limits, name = point["write_limits"], f"{point['device_name']}/{point['name']}"
    if limits is None:
        raise CommandRefused(
            "{name} cannot be set: its profile and the gateway's site file (`writes:`) must allow it", name=name
        )
    if not why.strip():
        raise CommandRefused("say why the point is set: it is kept with the command")
    if release_after_s is not None and not 0 < release_after_s <= RELEASE_MAX_S:
        raise CommandRefused("a release comes after 1 to {release_max_s} seconds", release_max_s=RELEASE_MAX_S)
    words = {str(word): code for code, word in point["labels"].items() if code.isdecimal()}
    try:
        number = float(words.get(value.strip(), value))
    except ValueError as error:
        if words:
            raise CommandRefused(
                "{value!r:.40} is no value of {name}; it has the states {states}",
                value=value,
                name=name,
                states=tuple(words),
            ) from error
        raise CommandRefused("{value!r:.40} is no value of {name}", value=value, name=name) from error
    if not limits["low"] <= number <= limits["high"]:
        raise CommandRefused(
            "{name} takes {low:g} to {high:g}{unit}, not {number:g}",
            name=name,
            low=limits["low"],
            high=limits["high"],
            unit=f" {point['unit']}" if point["unit"] else "",
            number=number,
        )
