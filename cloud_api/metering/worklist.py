"""The worklist of doubtful intervals: list what the checks found, accept, edit or estimate, undo."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.rows import class_row

from cloud_api.db.queries import load_queries
from cloud_api.db.rows import all_rows
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period, slots
from cloud_api.metering import corrections, estimates, repository
from cloud_api.metering.corrections import Author, CorrectionRefused
from cloud_api.metering.estimation import NothingKnown, estimate

queries = load_queries(__file__, "worklist.sql")

ESTIMATED_INTERVALS_MAX = 3_000  # A month of quarter hours.


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the worklist."""

    id: int
    register_id: RegisterId
    starts_at: datetime
    ends_at: datetime
    check_name: str
    detail: Mapping[str, Any]
    state: str
    found_at: datetime
    settled_at: datetime | None
    settled_by: str | None
    reason: str | None
    meter_id: MeterId
    code: str
    name_zh: str
    name_en: str


async def entries(conn: AsyncConnection, *, state: str = "open", limit: int = 100, offset: int = 0) -> list[Entry]:
    """Return findings of a state, the oldest first."""
    async with conn.cursor(row_factory=class_row(Entry)) as cursor:
        await cursor.execute(queries.open_findings, {"state": state, "limit": limit, "offset": offset})
        return await cursor.fetchall()


async def entry(conn: AsyncConnection, finding_id: int) -> Entry:
    """Return one finding. Raises NotFound."""
    async with conn.cursor(row_factory=class_row(Entry)) as cursor:
        await cursor.execute(queries.one_finding, {"id": finding_id})
        found = await cursor.fetchone()
    if found is None:
        raise NotFound("there is no such finding, or it is not yours to see")
    return found


async def counts(conn: AsyncConnection) -> dict[str, int]:
    """Return how many findings there are by state."""
    return {row["state"]: row["count"] for row in await all_rows(conn, queries.count_findings, {})}


async def accept(conn: AsyncConnection, author: Author, finding_id: int) -> None:
    """Say that the value is right as it is."""
    finding = await _finding(conn, finding_id)
    register = await corrections.register_of(conn, RegisterId(finding["register_id"]))
    await corrections.note(conn, author, "finding.accept", register, finding=finding_id, check=finding["check_name"])
    await _settle(conn, author, finding_id, "accepted")


async def reopen(conn: AsyncConnection, author: Author, finding_id: int) -> None:
    """Undo a decision about a finding: what it edited or estimated is taken back, and it is on the list again."""
    finding = await _finding(conn, finding_id)
    undone = await all_rows(conn, queries.undo_edits_of_finding, {"id": finding_id, "now": author.clock.now()})
    register = await corrections.register_of(conn, RegisterId(finding["register_id"]))
    await corrections.note(conn, author, "finding.reopen", register, finding=finding_id, intervals=len(undone))
    await _settle(conn, author, finding_id, "open")


async def edit(conn: AsyncConnection, author: Author, finding_id: int, *, total: Decimal) -> None:
    """Decide what was used over the finding's stretch; it is spread evenly over its intervals, exactly."""
    finding = await _finding(conn, finding_id)
    starts = _starts(finding)
    unit = Decimal("0.000001")
    share = (total / len(starts)).quantize(unit)
    quantities = [share] * len(starts)
    quantities[0] += total - share * len(starts)
    for start, quantity in zip(starts, quantities, strict=True):
        await corrections.edit_interval(
            conn, author, RegisterId(finding["register_id"]), starts_at=start, quantity=quantity, finding_id=finding_id
        )
    await _settle(conn, author, finding_id, "edited")


async def re_estimate(conn: AsyncConnection, author: Author, finding_id: int, *, is_zero_evident: bool = False) -> str:
    """Fill the finding's stretch by the estimation cascade and return the method.

    The sum stays what the readings say. Where they say nothing (a counter that fell for no known reason), the evidence
    of the cascade does; `is_zero_evident`: the author's reason says why nothing was used.
    """
    finding = await _finding(conn, finding_id)
    zone, register_id = ZoneInfo(finding["time_zone"]), RegisterId(finding["register_id"])
    starts = _starts(finding)
    known = await repository.intervals(
        conn, [register_id], Period(finding["starts_at"] - estimates.HISTORY, finding["ends_at"])
    )
    inside = [i for i in known if finding["starts_at"] <= i.starts_at < finding["ends_at"]]
    is_known = len(inside) == len(starts) and all(i.quality != "missing" for i in inside)
    total = sum((i.quantity for i in inside), Decimal(0)) if is_known else None
    if is_zero_evident and total:
        raise CorrectionRefused("the readings say that {total} was used: it cannot be zero", total=total.normalize())
    evidence = await estimates.gather(conn, finding, known, is_zero_evident=is_zero_evident)
    try:
        method, quantities = estimate(
            starts, total, evidence, zone, step=timedelta(minutes=finding["interval_minutes"])
        )
    except NothingKnown as error:
        raise CorrectionRefused(
            "neither the difference over the gap nor a like day is known: enter a quantity instead"
        ) from error
    for start, quantity in zip(starts, quantities, strict=True):
        await corrections.edit_interval(
            conn, author, register_id, starts_at=start, quantity=quantity, method=str(method), finding_id=finding_id
        )
    await _settle(conn, author, finding_id, "estimated")
    return str(method)


async def _finding(conn: AsyncConnection, finding_id: int) -> dict[str, Any]:
    rows = await all_rows(conn, queries.finding, {"id": finding_id})
    if not rows:
        raise NotFound("there is no such finding, or it is not yours to see")
    return rows[0]


async def _settle(conn: AsyncConnection, author: Author, finding_id: int, state: str) -> None:
    await conn.execute(queries.settle_finding, author.columns() | {"id": finding_id, "state": state})


def _starts(finding: Mapping[str, Any]) -> list[datetime]:
    period = Period(finding["starts_at"], finding["ends_at"])
    starts = [slot.start for slot in slots(period, finding["interval_minutes"])]
    if len(starts) > ESTIMATED_INTERVALS_MAX:
        raise Invalid(
            "the stretch has {count} intervals; at most {most} at once",
            count=len(starts),
            most=ESTIMATED_INTERVALS_MAX,
        )
    return starts
