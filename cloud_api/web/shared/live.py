"""A value that moves on the page (`ui.live` draws it first, app.js keeps it moving), and the page's stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import orjson
from fastapi import Request
from fastapi.responses import StreamingResponse

from cloud_api.db.pool import transaction
from cloud_api.db.request import clock_of, pool_of
from cloud_api.identity.model import Viewer
from cloud_api.kit.errors import Invalid
from cloud_api.kit.ids import PointId
from cloud_api.kit.scope import SYSTEM
from cloud_api.operations.overview import service as overview
from cloud_api.telemetry import service as telemetry
from cloud_api.telemetry.live import RESYNC, Audience, Notice

POINTS_MAX = 1000  # On one page.
KEEP_ALIVE_S = 15.0

# Three missed polls of a slow device; the page dims what is older.
STALE_AFTER_S = 60.0


class Observed(Protocol):
    """The latest observation of a point; `value` is None when there is none or it is not usable."""

    @property
    def point_id(self) -> PointId:
        """Which point."""
        ...

    @property
    def value(self) -> float | None:
        """In the point's own unit."""
        ...

    @property
    def observed_at(self) -> datetime | None:
        """When the device said so."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveValue:
    """The sum of some points times `factor`; unknown while one of them is, and as old as the oldest."""

    parts: Sequence[Observed]
    now: datetime
    factor: float = 1.0
    decimals: int = 1
    stale_after_s: float = STALE_AFTER_S

    @property
    def point_ids(self) -> list[PointId]:
        """The points to listen to."""
        return [part.point_id for part in self.parts]

    @property
    def amount(self) -> float | None:
        """The sum, or None when it cannot be known."""
        values = [part.value for part in self.parts]
        known = [value for value in values if value is not None]
        return sum(known) * self.factor if known and len(known) == len(values) else None

    @property
    def observed_at(self) -> datetime | None:
        """When the oldest part was observed."""
        instants = [part.observed_at for part in self.parts if part.observed_at]
        return min(instants) if instants else None

    @property
    def at_ms(self) -> str:
        """The same for the page, in milliseconds since 1970, or nothing."""
        return str(int(self.observed_at.timestamp() * 1000)) if self.observed_at else ""

    @property
    def is_stale(self) -> bool:
        """Whether the oldest part is older than it should be, or there is none."""
        return self.observed_at is None or (self.now - self.observed_at).total_seconds() > self.stale_after_s

    @property
    def values_json(self) -> str:
        """What the page starts from: point → [value, milliseconds]."""
        parts = {str(p.point_id): [p.value, int(p.observed_at.timestamp() * 1000)] for p in self.parts if p.observed_at}
        return json.dumps(parts, separators=(",", ":"))


def live_url(path: str, values: Iterable[LiveValue | None]) -> str:
    """Return the address of the stream for a page that shows `values`."""
    points = sorted({point for value in values if value for point in value.point_ids})
    return f"{path}?points={','.join(str(point) for point in points[:POINTS_MAX])}"


def parse_points(text: str) -> list[PointId]:
    """Read ids separated by commas."""
    try:
        points = [PointId(int(part)) for part in text.split(",") if part]
    except ValueError:
        raise Invalid("points are numbers separated by commas") from None
    if len(points) > POINTS_MAX:
        raise Invalid("a page shows at most {points_max} points", points_max=POINTS_MAX)
    return points


async def visible_points(request: Request, viewer: Viewer, points: Sequence[PointId]) -> frozenset[PointId]:
    """Return those of `points` that the viewer may see."""
    async with transaction(pool_of(request), viewer.scope) as conn:
        return await overview.visible_points(conn, points)


def stream(
    request: Request, points: frozenset[PointId], kinds: Collection[str], *, meter: int | None = None
) -> StreamingResponse:
    """Answer with the events of these points, of a meter's ledger and of these `kinds`, until the page closes."""
    return StreamingResponse(
        _events(request, _audience(points, kinds, meter), points),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(request: Request, audience: Audience, points: frozenset[PointId]) -> AsyncIterator[bytes]:
    with request.app.state.live.subscribe(audience) as subscription:
        yield b"retry: 2000\n\n" + await _snapshot(request, points)
        while True:
            try:
                notice = await asyncio.wait_for(subscription.next(), KEEP_ALIVE_S)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            if notice.kind == RESYNC.kind:
                yield await _snapshot(request, points)
            yield _event(notice.kind, notice.data)


def _audience(points: frozenset[PointId], kinds: Collection[str], meter: int | None) -> Audience:
    """Let through the page's own points, the wanted notices without what they name, and the order to fetch anew."""

    def see(notice: Notice) -> Notice | None:
        if notice.kind == "values":
            rows = [row for row in notice.data["values"] if row["point"] in points]
            return Notice(kind="values", data={"values": rows}) if rows else None
        if notice.kind == "ledger":
            return Notice(kind="ledger", data={}) if meter in notice.data.get("meters", ()) else None
        return Notice(kind=notice.kind, data={}) if notice.kind in kinds or notice.kind == RESYNC.kind else None

    return see


async def _snapshot(request: Request, points: frozenset[PointId]) -> bytes:
    """Return the newest values of a page's points, and the server's time that ages are counted by."""
    async with transaction(pool_of(request), SYSTEM) as conn:
        newest = await telemetry.latest_values(conn, sorted(points))
    rows = [
        {"point": v.point_id, "value": v.value, "quality": v.quality, "at_ms": int(v.observed_at.timestamp() * 1000)}
        for v in newest
    ]
    return _event("values", {"now_ms": int(clock_of(request).now().timestamp() * 1000), "values": rows})


def _event(kind: str, data: Mapping[str, Any]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(dict(data)) + b"\n\n"
