"""Rows of streams and rejections; decides nothing and never commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from cloud_api.db.arrays import Bools, Int4s, Int8s
from cloud_api.db.queries import load_queries
from cloud_api.ingest.verdicts import Range, Rejection
from cloud_api.kit.ids import GatewayId

queries = load_queries(__file__)


UNNUMBERED = UUID(int=0)  # The stream of what comes without sequence numbers.
CHANGED = "WL001"  # What app.claim_batches raises.
FOLLOWED = "WL002"  # What app.accept_batches raises when somebody wants the copy of the rows that was left out.


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One outbox of a gateway, as it was when it was read or settled last."""

    id: int
    settled: list[Range]
    catalogue_version: int


async def find_stream(conn: AsyncConnection, gateway_id: GatewayId, stream: UUID) -> Stream:
    """Return the stream, created if it is new."""
    arguments = {"gateway_id": gateway_id, "stream": stream}
    row = await (await conn.execute(queries.find_stream, arguments)).fetchone()
    if row is None:
        await conn.execute(queries.add_stream, arguments)
        row = await (await conn.execute(queries.find_stream, arguments)).fetchone()
    assert row is not None, "the stream was just added"
    return Stream(id=row[0], settled=[(r.lower, r.upper) for r in row[1]], catalogue_version=row[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Which numbers of a stream now have their verdict, and what of the stream they were judged by."""

    stream: Stream
    settled: Sequence[Range]
    accepted_count: int
    rejected_count: int
    holds_latest: bool  # The process moves the latest values of the batch after it is stored.
    now: datetime


def claim_arguments(claims: Sequence[Claim]) -> dict[str, Any]:
    """Return the parameters of app.claim_batches; the newest of the instants counts for all."""
    return {
        "stream_id": Int8s([claim.stream.id for claim in claims]),
        "known": [_multirange(claim.stream.settled) for claim in claims],
        "catalogue_version": Int8s([claim.stream.catalogue_version for claim in claims]),
        "settled": [_multirange(claim.settled) for claim in claims],
        "accepted_count": Int4s([claim.accepted_count for claim in claims]),
        "rejected_count": Int4s([claim.rejected_count for claim in claims]),
        "holds_latest": Bools([claim.holds_latest for claim in claims]),
        "now": max(claim.now for claim in claims),
    }


async def claim_batch(conn: AsyncConnection, claim: Claim) -> None:
    """Settle the numbers; an error with the state CHANGED undoes the transaction."""
    await conn.execute(queries.claim_batches, claim_arguments([claim]))


async def accept_batches(
    conn: AsyncConnection, claims: Sequence[Claim], observations: Mapping[str, Any], dirty: Mapping[str, Any]
) -> bool:
    """Settle the numbers of different streams and store their observations in one statement.

    Returns whether somebody follows what is stored. Fails for all of them, with the state CHANGED as `claim_batch` does
    or with the state FOLLOWED.
    """
    marks = {f"exact_{name}" if name != "settled_before" else name: value for name, value in dirty.items()}
    arguments = claim_arguments(claims) | dict(observations) | marks
    row = await (await conn.execute(queries.accept_batches, arguments)).fetchone()
    assert row is not None, "a SELECT without FROM has one row"
    return row[0]


async def lock_unnumbered(conn: AsyncConnection, gateway_id: GatewayId, now: datetime) -> int:
    """Return the gateway's stream of data without numbers, held until the commit."""
    arguments = {"gateway_id": gateway_id, "stream": UNNUMBERED, "now": now}
    row = await (await conn.execute(queries.lock_unnumbered, arguments)).fetchone()
    assert row is not None, "the row was inserted or updated"
    return row[0]


async def count_unnumbered(conn: AsyncConnection, stream_id: int, accepted_count: int) -> None:
    """Add to the count of what was accepted."""
    await conn.execute(queries.count_unnumbered, {"stream_id": stream_id, "accepted_count": accepted_count})


async def add_rejections(
    conn: AsyncConnection, stream_id: int, rejections: Sequence[Rejection], *, keep: int, now: datetime
) -> None:
    """Keep the rejections for inspection, at most `keep` per stream."""
    kept = rejections[:keep]
    await conn.execute(
        queries.add_rejections,
        {
            "stream_id": stream_id,
            "seq": [r.seq for r in kept],
            "code": [r.code for r in kept],
            "reason": [r.reason for r in kept],
            "content": [Jsonb(dict(r.content)) for r in kept],
            "now": now,
        },
    )
    await conn.execute(queries.forget_rejections, {"stream_id": stream_id, "keep": keep})


async def known_rejections(conn: AsyncConnection, stream_id: int, first: int, last: int) -> dict[int, tuple[str, str]]:
    """Return code and reason of the numbers from `first` to `last` that were rejected before."""
    cursor = await conn.execute(queries.known_rejections, {"stream_id": stream_id, "first": first, "last": last})
    return {seq: (code, reason) for seq, code, reason in await cursor.fetchall()}


async def rejections(conn: AsyncConnection, limit: int) -> list[dict[str, Any]]:
    """Return the newest rejections of all gateways that the viewer may see."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.rejections, {"limit": limit})
        return await cursor.fetchall()


def _multirange(ranges: Sequence[Range]) -> str:
    return "{" + ",".join(f"[{first},{end})" for first, end in ranges) + "}"
