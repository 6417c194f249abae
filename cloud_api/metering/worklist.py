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
from cloud_api.kit.period import Period
from cloud_api.metering import corrections, estimates, repository
from cloud_api.metering.corrections import Author, CorrectionRefused
from cloud_api.metering.estimation import NothingKnown, estimate
from cloud_api.metering.lengths import Lengths

queries = load_queries(__file__, "worklist.sql")

ESTIMATED_INTERVALS_MAX = 3_000  # A month of quarter hours.
_MINUTE = timedelta(minutes=1)
_UNIT = Decimal("0.000001")


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


async def entries(
    conn: AsyncConnection,
    *,
    state: str = "open",
    meter_id: MeterId | None = None,
    check_name: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[Entry]:
    """Return findings of a state, of one meter or one check where they are given, the oldest first."""
    arguments = {"state": state, "meter_id": meter_id, "check_name": check_name, "limit": limit, "offset": offset}
    async with conn.cursor(row_factory=class_row(Entry)) as cursor:
        await cursor.execute(queries.open_findings, arguments)
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
    inside = _slots(finding)
    minutes = [slot.duration // _MINUTE for slot in inside]
    quantities = [(total * part / sum(minutes)).quantize(_UNIT) for part in minutes]
    quantities[0] += total - sum(quantities)
    register_id = RegisterId(finding["register_id"])
    for slot, quantity in zip(inside, quantities, strict=True):
        await corrections.edit_interval(
            conn, author, register_id, starts_at=slot.start, quantity=quantity, finding_id=finding_id
        )
    await _settle(conn, author, finding_id, "edited")


async def re_estimate(conn: AsyncConnection, author: Author, finding_id: int, *, is_zero_evident: bool = False) -> str:
    """Fill the finding's stretch by the estimation cascade and return the method.

    The sum stays what the readings say. Where they say nothing (a counter that fell for no known reason), the evidence
    of the cascade does; `is_zero_evident`: the author's reason says why nothing was used.
    """
    finding = await _finding(conn, finding_id)
    zone, register_id = ZoneInfo(finding["time_zone"]), RegisterId(finding["register_id"])
    slots = _slots(finding)
    if len({slot.duration for slot in slots}) > 1:
        raise CorrectionRefused("the length of the intervals changes in this stretch: enter a quantity instead")
    starts, step = [slot.start for slot in slots], slots[0].duration
    known = await repository.intervals(
        conn, [register_id], Period(finding["starts_at"] - estimates.HISTORY, finding["ends_at"])
    )
    known = [i for i in known if i.ends_at - i.starts_at == step]
    inside = [i for i in known if starts[0] <= i.starts_at < finding["ends_at"]]
    is_known = len(inside) == len(starts) and all(i.quality != "missing" for i in inside)
    total = sum((i.quantity for i in inside), Decimal(0)) if is_known else None
    if is_zero_evident and total:
        raise CorrectionRefused("the readings say that {total} was used: it cannot be zero", total=total.normalize())
    evidence = await estimates.gather(conn, finding, known, step=step, is_zero_evident=is_zero_evident)
    try:
        method, quantities = estimate(starts, total, evidence, zone, step=step)
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


def _slots(finding: Mapping[str, Any]) -> list[Period]:
    found = list(Lengths.of(finding["lengths"]).slots(Period(finding["starts_at"], finding["ends_at"])))
    if len(found) > ESTIMATED_INTERVALS_MAX:
        raise Invalid(
            "the stretch has {count} intervals; at most {most} at once",
            count=len(found),
            most=ESTIMATED_INTERVALS_MAX,
        )
    return found
