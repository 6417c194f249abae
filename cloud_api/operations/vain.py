"""What came in vain: observations that were refused for good, and Sparkplug messages whose handling failed."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import GatewayId

queries = load_queries(__file__, "vain.sql")

FAILURES_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An observation (or an event, without a point) that the cloud refused, and why; `reason` is for engineers."""

    gateway_id: GatewayId
    gateway: str
    seq: int
    code: str
    reason: str
    point: str | None
    device: str
    value: str | None
    observed_at: datetime | None
    rejected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A Sparkplug message whose handling failed; its bytes are shown by `cloud-api rejected`."""

    gateway_id: GatewayId
    gateway: str
    failed_at: datetime
    topic: str
    reason: str
    payload_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many observations of a gateway were ever refused, and how many of them are kept."""

    gateway_id: GatewayId
    gateway: str
    rejected_count: int
    kept_count: int


async def refused(
    conn: AsyncConnection, *, gateway_id: GatewayId | None = None, limit: int = 100, offset: int = 0
) -> list[Refused]:
    """Return what was refused, the newest first."""
    async with conn.cursor(row_factory=class_row(Refused)) as cursor:
        await cursor.execute(queries.rejections, {"gateway_id": gateway_id, "limit": limit, "offset": offset})
        return await cursor.fetchall()


async def failed(conn: AsyncConnection, *, gateway_id: GatewayId | None = None) -> list[Failed]:
    """Return Sparkplug messages whose handling failed, the newest first, at most FAILURES_SHOWN."""
    async with conn.cursor(row_factory=class_row(Failed)) as cursor:
        await cursor.execute(queries.failures, {"gateway_id": gateway_id, "limit": FAILURES_SHOWN})
        return await cursor.fetchall()


async def counts(conn: AsyncConnection) -> list[Count]:
    """Return the gateways of which something was ever refused, the worst first."""
    async with conn.cursor(row_factory=class_row(Count)) as cursor:
        await cursor.execute(queries.counts)
        return await cursor.fetchall()
