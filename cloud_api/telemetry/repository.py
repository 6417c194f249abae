"""Rows of observations, latest values and events; decides nothing and never commits."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from cloud_api.db.arrays import Float8s, Instants, Int2s, Int8s
from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.kit.ids import GatewayId, OrganisationId, PointId
from cloud_api.telemetry.columns import Observations, copy_rows
from cloud_api.telemetry.model import Event, LatestValue

queries = load_queries(__file__)


async def copy_observations(conn: AsyncConnection, rows: Observations) -> None:
    """Append the rows; the caller has made sure that they are new and that their months have partitions."""
    async with conn.cursor() as cursor, cursor.copy(queries.copy_observations) as copy:
        await copy.write(copy_rows(rows))


async def ensure_partitions(conn: AsyncConnection, first: datetime, last: datetime) -> int:
    """Create the monthly partitions from `first` to `last` and return how many were new (none on a hypertable)."""
    cursor = await conn.execute(queries.ensure_partitions, {"first": first, "last": last})
    row = await cursor.fetchone()
    return row[0] if row else 0


async def known_places(conn: AsyncConnection, rows: Observations) -> list[int]:
    """Return the places of rows whose point has an observation of that instant already."""
    first, last = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (rows.at_ms.min(), rows.at_ms.max()))
    arguments = {"point_id": Int8s(rows.point_id), "observed_at": Instants(rows.at_ms), "first": first, "last": last}
    return [place for [place] in await (await conn.execute(queries.known_places, arguments)).fetchall()]


async def move_latest(conn: AsyncConnection, newest: Observations, received_at: datetime) -> None:
    """Take the newest row of each point where it is newer than what is known."""
    await conn.execute(queries.move_latest, arguments(newest) | {"received_at": received_at})


async def streams_held(conn: AsyncConnection, held_for: timedelta) -> list[int]:
    """Return the streams whose latest values were left with a process, all of them at least that long ago."""
    cursor = await conn.execute(queries.streams_held, {"held_for": held_for})
    return [stream_id for [stream_id] in await cursor.fetchall()]


async def catch_up_latest(conn: AsyncConnection, stream_id: int) -> None:
    """Move the latest values of the stream's gateway to its newest observations."""
    await conn.execute(queries.catch_up_latest, {"stream_id": stream_id})


async def add_events(
    conn: AsyncConnection, *, organisation_id: OrganisationId, gateway_id: GatewayId, events: Sequence[Event]
) -> None:
    """Append events that are known to be new."""
    await conn.execute(
        queries.add_events,
        {
            "organisation_id": organisation_id,
            "gateway_id": gateway_id,
            "device_id": [event.device_id for event in events],
            "kind": [event.kind for event in events],
            "occurred_at": [event.occurred_at for event in events],
            "received_at": [event.received_at for event in events],
            "data": [Jsonb(dict(event.data)) for event in events],
        },
    )


async def event_is_known(conn: AsyncConnection, event: Event) -> bool:
    """Return whether an event of that device, kind, instant and content is stored already."""
    names = ("gateway_id", "device_id", "kind", "occurred_at")
    arguments = {name: getattr(event, name) for name in names} | {"data": Jsonb(dict(event.data))}
    row = await (await conn.execute(queries.event_is_known, arguments)).fetchone()
    return bool(row and row[0])


async def notify_live(conn: AsyncConnection, payloads: Sequence[str]) -> None:
    """Tell every listening process at commit."""
    if payloads:
        await conn.execute(queries.notify_live, {"payload": list(payloads)})


async def latest_values(conn: AsyncConnection, point_ids: Sequence[PointId]) -> list[LatestValue]:
    """Return the newest value of each of the points that has one."""
    rows = await all_rows(conn, queries.latest_values, {"point_id": list(point_ids)})
    return [LatestValue(**row) for row in rows]


async def events_after(conn: AsyncConnection, after: int, kinds: Sequence[str], limit: int) -> list[Event]:
    """Return events by id after `after`, none of which a running transaction could still precede."""
    rows = await all_rows(conn, queries.events_after, {"after": after, "kinds": list(kinds), "limit": limit})
    return [Event(**row) for row in rows]


async def live_values(
    conn: AsyncConnection, point_ids: Sequence[PointId]
) -> dict[OrganisationId, list[dict[str, float | int | None]]]:
    """Return what the live pages draw of these points, by organisation."""
    found: dict[OrganisationId, list[dict[str, float | int | None]]] = {}
    for row in await all_rows(conn, queries.live_values, {"point_id": list(point_ids)}):
        found.setdefault(OrganisationId(row["organisation_id"]), []).append(
            {
                "point": row["point_id"],
                "value": row["value"],
                "quality": row["quality"],
                "at_ms": int(row["observed_at"].timestamp() * 1000),
            }
        )
    return found


def arguments(rows: Observations) -> dict[str, Any]:
    """Return the columns as parameters; those of exact values are empty where no row has one: unnest fills up nulls."""
    is_exact = len(rows) > 0 and int(rows.scale.max()) >= 0
    return {
        "point_id": Int8s(rows.point_id),
        "observed_at": Instants(rows.at_ms),
        "value": Float8s(rows.value),
        "mantissa": Int8s(rows.mantissa if is_exact else ()),
        "quality": Int2s(rows.quality),
        "scale": Int2s(rows.scale if is_exact else ()),
    }
