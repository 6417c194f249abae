"""What people decide about a meter: exchange, reset, ratio, wrong reading, interval. Audited; undone, never deleted.

Each decision writes one dated fact; the database marks what it touches and the ledger follows by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, LiteralString

from psycopg import AsyncConnection, errors
from psycopg.rows import class_row, dict_row

from cloud_api.db.queries import load_queries
from cloud_api.identity import service as identity
from cloud_api.identity.model import Viewer
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, Invalid, NotFound
from cloud_api.kit.ids import MeterId, PointId, RegisterId
from cloud_api.metering import repository
from cloud_api.metering.ledger import SCALE

queries = load_queries(__file__, "corrections.sql")

REASON_LENGTH_MAX = 500
Undoable = Literal["reset", "multiplier", "exclusion", "edit"]
_UNDO: dict[Undoable, LiteralString] = {
    "reset": queries.undo_register_reset,
    "multiplier": queries.undo_register_multiplier,
    "exclusion": queries.undo_reading_exclusion,
    "edit": queries.undo_interval_edit,
}


class RegisterNotFound(NotFound):
    """There is no such register, or it is not yours to see."""

    code = "register_not_found"


class CorrectionRefused(DomainError):
    """The correction contradicts what is known."""

    code = "correction_refused"
    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who decides, when and why; every decision keeps it."""

    viewer: Viewer
    clock: Clock
    reason: str

    def __post_init__(self) -> None:
        if not 3 <= len(self.reason.strip()) <= REASON_LENGTH_MAX:
            raise Invalid("reason: say why in 3 to {longest} characters", longest=REASON_LENGTH_MAX)

    def columns(self) -> dict[str, Any]:
        """Return reason, actor and time as the tables name them."""
        return {"reason": self.reason.strip(), "actor": self.viewer.login, "now": self.clock.now()}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterLine:
    """A register as its meter's page lists it."""

    id: RegisterId
    quantity: str
    unit: str
    multiplier: Decimal
    modulus: Decimal | None
    opened_at: datetime | None
    closed_at: datetime | None
    point_id: PointId | None
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One thing a person decided about a register."""

    kind: Undoable
    id: int
    register_id: RegisterId
    at: datetime | None
    what: str
    reason: str
    actor: str
    created_at: datetime
    undone_at: datetime | None


async def exchange(
    conn: AsyncConnection,
    author: Author,
    register_id: RegisterId,
    *,
    at: datetime,
    closing: Decimal,
    opening: Decimal,
    point_id: PointId | None = None,
    multiplier: Decimal | None = None,
    modulus: Decimal | None = None,
) -> RegisterId:
    """Close a register and open its successor at one instant, with the readings of both; return the successor.

    What was used until `at` is the old register's, what is used from then on the new one's; nothing is lost between.
    """
    register = await _register(conn, register_id)
    now = author.clock.now()
    for name, value in (("closing", closing), ("opening", opening)):
        _check_value(name, value)
    if at > now:
        raise CorrectionRefused("an exchange cannot lie in the future: enter it when it has happened")
    if (register["opened_at"] and at <= register["opened_at"]) or (
        register["closed_at"] and at > register["closed_at"]
    ):
        raise CorrectionRefused("the register was not open at that instant: choose the one that was")
    before = [r for r in await repository.readings_around(conn, register_id, at) if r.taken_at <= at]
    if before and closing < before[0].value and register["modulus"] is None:
        raise CorrectionRefused(
            "closing: {closing} is less than {earlier}, read at {taken_at:%Y-%m-%d %H:%M} UTC;"
            " exclude that reading first if it is wrong",
            closing=closing,
            earlier=before[0].value,
            taken_at=before[0].taken_at,
        )
    until = register["closed_at"]
    await conn.execute(queries.close_register, {"register_id": register_id, "at": at})
    successor = await _one(
        conn,
        queries.open_successor,
        {"register_id": register_id, "at": at, "until": until, "point_id": point_id, "multiplier": multiplier,
         "modulus": modulus},
    )  # fmt: skip
    assert successor is not None, "the register was just read"
    for target, value in ((register_id, closing), (successor["id"], opening)):
        await _add_reading(conn, RegisterId(target), at, value, source="exchange", quality="actual", now=now)
    await _audit(conn, author, "meter.exchange", register, instant=at, closing=closing, opening=opening)
    return RegisterId(successor["id"])


async def declare_reset(
    conn: AsyncConnection,
    author: Author,
    register_id: RegisterId,
    *,
    at: datetime,
    stop: Decimal | None,
    start: Decimal,
) -> None:
    """Say that the counter was set anew; without `stop` the part before is not known and stays missing."""
    register = await _register(conn, register_id)
    _check_value("start", start)
    if stop is not None:
        _check_value("stop", stop)
    found = await _one(
        conn,
        queries.add_reset,
        author.columns() | {"register_id": register_id, "at": at, "stop_value": stop, "start_value": start},
    )
    if found is None:
        raise CorrectionRefused("a reset of that instant is already declared")
    await _audit(conn, author, "register.reset", register, instant=at, stop=stop, start=start)


async def change_multiplier(
    conn: AsyncConnection, author: Author, register_id: RegisterId, *, at: datetime, multiplier: Decimal
) -> None:
    """Apply another ratio (CT, PT, unit, wiring) from an instant on, until the next dated one."""
    register = await _register(conn, register_id)
    if multiplier == 0 or not multiplier.is_finite():
        raise Invalid("multiplier: must be a number other than zero; a reversed current transformer is negative")
    await conn.execute(queries.end_multiplier, {"register_id": register_id, "at": at})
    try:
        await conn.execute(
            queries.add_multiplier,
            author.columns() | {"register_id": register_id, "at": at, "multiplier": multiplier},
        )
    except errors.ExclusionViolation as error:
        raise CorrectionRefused("another multiplier begins at that instant; undo it first") from error
    await _audit(conn, author, "register.multiplier", register, instant=at, multiplier=multiplier)


async def exclude_reading(
    conn: AsyncConnection,
    author: Author,
    register_id: RegisterId,
    *,
    taken_at: datetime,
    correct_value: Decimal | None = None,
) -> None:
    """Declare a reading wrong, and enter the right one where it is known. The wrong one is kept."""
    register = await _register(conn, register_id)
    arguments = {"register_id": register_id, "taken_at": taken_at}
    if await _one(conn, queries.has_reading, arguments) is None:
        raise CorrectionRefused("there is no reading of that instant")
    if await _one(conn, queries.add_exclusion, author.columns() | arguments) is None:
        raise CorrectionRefused("that reading is already excluded")
    if correct_value is not None:
        _check_value("correct_value", correct_value)
        now = author.clock.now()
        await _add_reading(conn, register_id, taken_at, correct_value, source="manual", quality="corrected", now=now)
    await _audit(conn, author, "reading.exclude", register, taken_at=taken_at, correct_value=correct_value)


async def add_reading(
    conn: AsyncConnection, author: Author, register_id: RegisterId, *, taken_at: datetime, value: Decimal
) -> None:
    """Enter a reading taken by hand."""
    register = await _register(conn, register_id)
    _check_value("value", value)
    now = author.clock.now()
    if taken_at > now:
        raise CorrectionRefused("a reading cannot lie in the future")
    await _add_reading(conn, register_id, taken_at, value, source="manual", quality="actual", now=now)
    await _audit(conn, author, "reading.add", register, taken_at=taken_at, value=value)


async def edit_interval(
    conn: AsyncConnection,
    author: Author,
    register_id: RegisterId,
    *,
    starts_at: datetime,
    quantity: Decimal,
    method: str = "edit",
) -> None:
    """Decide an interval's quantity; it stands until it is undone, whatever readings come.

    With a `method` of the estimation cascade the interval counts as estimated, otherwise as edited.
    """
    register = await _register(conn, register_id)
    if not quantity.is_finite() or abs(quantity) >= Decimal(10) ** 12:
        raise Invalid("quantity: must be a number below 10^12")
    key = {"register_id": register_id, "starts_at": starts_at}
    await conn.execute(queries.replace_edit, author.columns() | key)
    await conn.execute(queries.add_edit, author.columns() | key | {"quantity": quantity, "method": method})
    await _audit(conn, author, "interval.edit", register, starts_at=starts_at, quantity=quantity)


async def undo(
    conn: AsyncConnection, author: Author, register_id: RegisterId, *, kind: Undoable, decision_id: int
) -> None:
    """Take a decision back; the ledger returns to what the readings say."""
    register = await _register(conn, register_id)
    cursor = await conn.execute(_UNDO[kind], {"id": decision_id, "register_id": register_id, "now": author.clock.now()})
    if cursor.rowcount == 0:
        raise CorrectionRefused("that decision does not exist or is undone already")
    await _audit(conn, author, f"{kind}.undo", register, decision=decision_id)


async def registers_of_meter(conn: AsyncConnection, meter_id: MeterId) -> list[RegisterLine]:
    """Return a meter's registers, newest first within a quantity."""
    async with conn.cursor(row_factory=class_row(RegisterLine)) as cursor:
        await cursor.execute(queries.registers_of_meter, {"meter_id": meter_id})
        return await cursor.fetchall()


async def decisions(conn: AsyncConnection, meter_id: MeterId) -> list[Decision]:
    """Return what people decided about a meter's registers, newest first."""
    async with conn.cursor(row_factory=class_row(Decision)) as cursor:
        await cursor.execute(queries.decisions, {"meter_id": meter_id})
        return await cursor.fetchall()


async def _register(conn: AsyncConnection, register_id: RegisterId) -> dict[str, Any]:
    register = await _one(conn, queries.register_of_viewer, {"register_id": register_id})
    if register is None:
        raise RegisterNotFound
    return register


async def _add_reading(
    conn: AsyncConnection,
    register_id: RegisterId,
    taken_at: datetime,
    value: Decimal,
    *,
    source: str,
    quality: str,
    now: datetime,
) -> None:
    columns = {"register_id": register_id, "taken_at": taken_at, "value": value, "source": source, "quality": quality}
    if await _one(conn, queries.add_reading, columns | {"now": now}) is None:
        raise CorrectionRefused("a {source} reading of that instant is there already; exclude it first", source=source)


def _check_value(name: str, value: Decimal) -> None:
    """Refuse what no register shows: a negative value, 10^15 or more, more than nine decimals."""
    if not value.is_finite() or value < 0 or value >= Decimal(10) ** 15:
        raise Invalid("{name}: must be a number from 0 to below 10^15", name=name)
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > SCALE:
        raise Invalid("{name}: has more than {scale} decimals", name=name, scale=SCALE)


async def _audit(
    conn: AsyncConnection, author: Author, action: str, register: Mapping[str, Any], **detail: object
) -> None:
    await identity.audit(
        conn,
        viewer=author.viewer,
        at=author.clock.now(),
        action=action,
        subject=f"meter:{register['meter_code']}/register:{register['id']}",
        reason=author.reason.strip(),
        **{key: None if value is None else str(value) for key, value in detail.items()},
    )


async def _one(conn: AsyncConnection, statement: Any, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, arguments)
        return await cursor.fetchone()
