"""Use cases of observations: store, latest value, chart series, follow events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
from psycopg import AsyncConnection

from cloud_api.kit.ids import GatewayId, OrganisationId, PointId
from cloud_api.telemetry import arrivals, repository, series
from cloud_api.telemetry.columns import Ints, Observations, no_observations
from cloud_api.telemetry.model import Event, LatestValue

_POINTS_PER_NOTICE = 700  # PostgreSQL limits a notification to 8000 bytes; an id takes up to 11.
# Older values do not move a live page; the backlog of a site that was cut off would only flood it.
_LIVE_AGE_MAX = timedelta(minutes=10)


async def ensure_partitions(conn: AsyncConnection, first_ms: int, last_ms: int) -> int:
    """Make sure that observations from `first_ms` to `last_ms` have a place; commits are the caller's."""
    return await repository.ensure_partitions(conn, _instant(first_ms), _instant(last_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """The observations of a batch, and whether its latest values are held in memory and move later."""

    rows: Observations
    holds_latest: bool


async def store(
    conn: AsyncConnection, rows: Observations, received_at: datetime, *, holds_latest: bool = False
) -> None:
    """Append observations, move the latest values and tell the live pages at commit.

    With `holds_latest` the caller moves the latest values and tells the pages soon after.
    """
    latest = rows.pick(rows.newest())
    has_limits, is_mirrored = await arrivals.followers(conn)
    await repository.copy_observations(conn, rows)
    async with conn.pipeline():
        if not holds_latest:
            await move_latest(conn, latest, received_at)
        if has_limits:
            await arrivals.add(conn, rows)
        if is_mirrored:
            await arrivals.add_to_mirror(conn, rows)
        await series.mark_late(conn, rows, latest.point_id, received_at)


async def unknown_places(conn: AsyncConnection, rows: Observations) -> Ints:
    """Return the places of the first row of each point and instant that is not stored yet, in order."""
    _, first = np.unique(np.stack([rows.point_id, rows.at_ms]), axis=1, return_index=True)
    return np.setdiff1d(first, np.array(await repository.known_places(conn, rows), dtype=np.int64))


async def unknown_events(conn: AsyncConnection, events: Sequence[Event]) -> list[Event]:
    """Return the events that are not stored yet."""
    return [event for event in events if not await repository.event_is_known(conn, event)]


def store_arguments(batches: Sequence[Arrived], received_at: datetime, *, with_copy: bool) -> dict[str, Any]:
    """Return what app.accept_batches takes of the observations of several batches.

    `with_copy` says whether the copy for the evaluator of limits and the mirror is among it.
    """
    rows = Observations.joined([batch.rows for batch in batches])
    newest = [batch.rows.pick(batch.rows.newest()) for batch in batches]
    moving = [found for batch, found in zip(batches, newest, strict=True) if not batch.holds_latest]
    latest = Observations.joined(moving) if moving else no_observations()
    if len(moving) > 1:
        latest = latest.pick(latest.newest())
    late = [
        (found.point_id, batch.rows)
        for batch, found in zip(batches, newest, strict=True)
        if series.is_late(batch.rows, received_at)
    ]
    copy = arrivals.arguments(rows)
    return (
        repository.arguments(rows)
        | {f"latest_{name}": column for name, column in repository.arguments(latest).items()}
        | series.mark_arguments(late)
        | {"notices": _notices(latest, received_at)}
        | (copy if with_copy else dict.fromkeys(copy))
    )


async def move_latest(conn: AsyncConnection, newest: Observations, received_at: datetime) -> None:
    """Move latest values without storing anything, and tell the live pages at commit."""
    await repository.move_latest(conn, newest, received_at)
    await repository.notify_live(conn, _notices(newest, received_at))


async def streams_held(conn: AsyncConnection, held_for: timedelta) -> list[int]:
    """Return the streams whose latest values a process took that long ago, and may have lost."""
    return await repository.streams_held(conn, held_for)


async def catch_up_latest(conn: AsyncConnection, stream_id: int) -> None:
    """Move the latest values of the stream's gateway to what is stored; its batches wait until the commit."""
    await repository.catch_up_latest(conn, stream_id)


def _notices(latest: Observations, received_at: datetime) -> list[str]:
    live_since_ms = (received_at - _LIVE_AGE_MAX).timestamp() * 1000
    return values_notices(latest.point_id[latest.at_ms >= live_since_ms].tolist())


async def store_events(
    conn: AsyncConnection, *, organisation_id: OrganisationId, gateway_id: GatewayId, events: Sequence[Event]
) -> None:
    """Append events and wake those who follow them."""
    await repository.add_events(conn, organisation_id=organisation_id, gateway_id=gateway_id, events=events)
    kinds = sorted({event.kind for event in events})
    await notify(conn, {"kind": "events", "kinds": kinds[:50]})


async def notify(conn: AsyncConnection, notice: dict[str, object]) -> None:
    """Send one live notice (ARCHITECTURE.md, section 9) when the transaction commits."""
    await repository.notify_live(conn, [orjson.dumps(notice).decode()])


def values_notices(points: Sequence[int]) -> list[str]:
    """Return the notices that name these points, split so that each fits into a notification."""
    chunks = (points[i : i + _POINTS_PER_NOTICE] for i in range(0, len(points), _POINTS_PER_NOTICE))
    return [orjson.dumps({"kind": "values", "points": list(chunk)}).decode() for chunk in chunks]


async def latest_values(conn: AsyncConnection, point_ids: Sequence[PointId]) -> list[LatestValue]:
    """Return the newest value of each of the points that has one."""
    return await repository.latest_values(conn, point_ids)


async def events_after(conn: AsyncConnection, after: int, kinds: Sequence[str], *, limit: int = 1_000) -> list[Event]:
    """Return the events with an id above `after`, for readers that keep a cursor; none is ever jumped over."""
    return await repository.events_after(conn, after, kinds, limit)


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
