"""What people decide about a register: reset, range, factor, wrong reading, interval. Audited; undone, never deleted.

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
from cloud_api.metering.ledger import SCALE

queries = load_queries(__file__, "corrections.sql")

REASON_LENGTH_MAX = 500
Undoable = Literal["reset", "multiplier", "modulus", "exclusion", "edit"]
Cause = Literal["ratio", "reversed", "unit", "wiring"]
_UNDO: dict[Undoable, LiteralString] = {
    "reset": queries.undo_register_reset,
    "multiplier": queries.undo_register_multiplier,
    "modulus": queries.undo_register_modulus,
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
    is_delta: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One thing a person decided about a register, or (without one) about the length of the meter's intervals."""

    kind: Undoable | Literal["exchange", "length"]
    id: int
    register_id: RegisterId | None
    at: datetime | None
    what: str
    cause: str
    photos: list[dict[str, Any]]
    reason: str
    actor: str
    created_at: datetime
    undone_at: datetime | None


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
    register = await register_of(conn, register_id)
    check_value("start", start)
    if stop is not None:
        check_value("stop", stop)
    found = await one(
        conn,
        queries.add_reset,
        author.columns() | {"register_id": register_id, "at": at, "stop_value": stop, "start_value": start},
    )
    if found is None:
        raise CorrectionRefused("a reset of that instant is already declared")
    await note(conn, author, "register.reset", register, instant=at, stop=stop, start=start)


async def change_multiplier(
    conn: AsyncConnection,
    author: Author,
    register_id: RegisterId,
    *,
    at: datetime,
    multiplier: Decimal | None,
    cause: Cause = "ratio",
) -> Decimal:
    """Apply another factor from an instant on, until the next dated one; return what the register counts times then.

    `ratio`: the transformers' new ratio itself. `reversed`: the current transformer is the wrong way round (no number
    needed). `unit`, `wiring`: what the factor that held before is multiplied with, such as 0.001 for a register that
    shows Wh from now on.
    """
    register = await register_of(conn, register_id)
    factor = Decimal(-1) if cause == "reversed" else multiplier
    if factor is None or factor == 0 or not factor.is_finite():
        raise Invalid("multiplier: must be a number other than zero; a reversed current transformer is negative")
    if cause != "ratio":
        before = await one(conn, queries.multiplier_at, {"register_id": register_id, "at": at})
        factor *= before["multiplier"] if before else register["multiplier"]
    await conn.execute(queries.end_multiplier, {"register_id": register_id, "at": at})
    try:
        await conn.execute(
            queries.add_multiplier,
            author.columns() | {"register_id": register_id, "at": at, "multiplier": factor, "cause": cause},
        )
    except errors.ExclusionViolation as error:
        raise CorrectionRefused("another multiplier begins at that instant; undo it first") from error
    await note(conn, author, "register.multiplier", register, instant=at, multiplier=factor, cause=cause)
    return factor


async def set_modulus(
    conn: AsyncConnection, author: Author, register_id: RegisterId, *, modulus: Decimal | None
) -> None:
    """Say at which value the counter starts again at zero (such as 1000000); None: it never does.

    Holds for the register's whole life: a fall that a rollover explains is energy, not a doubt.
    """
    register = await register_of(conn, register_id)
    if modulus is not None:
        check_value("modulus", modulus)
        if modulus == 0:
            raise Invalid("modulus: must be above zero")
    if modulus == register["modulus"]:
        raise CorrectionRefused("that is the counter's range already")
    columns = {"register_id": register_id, "modulus": modulus, "previous": register["modulus"]}
    await conn.execute(queries.add_modulus, author.columns() | columns)
    await conn.execute(queries.set_modulus, columns)
    await note(conn, author, "register.modulus", register, modulus=modulus, previous=register["modulus"])


async def exclude_reading(
    conn: AsyncConnection,
    author: Author,
    register_id: RegisterId,
    *,
    taken_at: datetime,
    correct_value: Decimal | None = None,
) -> None:
    """Declare a reading wrong, and enter the right one where it is known. The wrong one is kept."""
    register = await register_of(conn, register_id)
    arguments = {"register_id": register_id, "taken_at": taken_at}
    if await one(conn, queries.has_reading, arguments) is None:
        raise CorrectionRefused("there is no reading of that instant")
    if await one(conn, queries.add_exclusion, author.columns() | arguments) is None:
        raise CorrectionRefused("that reading is already excluded")
    if correct_value is not None:
        check_value("correct_value", correct_value)
        now = author.clock.now()
        await store_reading(
            conn, register_id, taken_at, correct_value, source="correction", quality="corrected", now=now
        )
    await note(conn, author, "reading.exclude", register, taken_at=taken_at, correct_value=correct_value)


async def add_reading(
    conn: AsyncConnection, author: Author, register_id: RegisterId, *, taken_at: datetime, value: Decimal
) -> None:
    """Enter a reading taken by hand."""
    register = await register_of(conn, register_id)
    check_value("value", value)
    now = author.clock.now()
    if taken_at > now:
        raise CorrectionRefused("a reading cannot lie in the future")
    await store_reading(conn, register_id, taken_at, value, source="manual", quality="actual", now=now)
    await note(conn, author, "reading.add", register, taken_at=taken_at, value=value)


async def edit_interval(
    conn: AsyncConnection,
    author: Author,
    register_id: RegisterId,
    *,
    starts_at: datetime,
    quantity: Decimal,
    method: str = "edit",
    finding_id: int | None = None,
) -> None:
    """Decide an interval's quantity; it stands until it is undone, whatever readings come.

    With a `method` of the estimation cascade the interval counts as estimated, otherwise as edited.
    """
    register = await register_of(conn, register_id)
    if not quantity.is_finite() or abs(quantity) >= Decimal(10) ** 12:
        raise Invalid("quantity: must be a number below 10^12")
    key = {"register_id": register_id, "starts_at": starts_at}
    await conn.execute(queries.replace_edit, author.columns() | key)
    await conn.execute(
        queries.add_edit, author.columns() | key | {"quantity": quantity, "method": method, "finding_id": finding_id}
    )
    await note(conn, author, "interval.edit", register, starts_at=starts_at, quantity=quantity)


async def undo(
    conn: AsyncConnection, author: Author, register_id: RegisterId, *, kind: Undoable, decision_id: int
) -> None:
    """Take a decision back; the ledger returns to what the readings say."""
    register = await register_of(conn, register_id)
    cursor = await conn.execute(_UNDO[kind], {"id": decision_id, "register_id": register_id, "now": author.clock.now()})
    if cursor.rowcount == 0:
        raise CorrectionRefused("that decision does not exist, is undone already, or a later one stands on it")
    if kind == "multiplier":
        await conn.execute(queries.extend_multiplier, {"id": decision_id, "register_id": register_id})
    elif kind == "exclusion":
        await conn.execute(queries.remove_correction, {"id": decision_id, "register_id": register_id})
    await note(conn, author, f"{kind}.undo", register, decision=decision_id)


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


async def register_of(conn: AsyncConnection, register_id: RegisterId) -> dict[str, Any]:
    """Return a register that the viewer may see, held until the decision is stored. Raises RegisterNotFound."""
    register = await one(conn, queries.register_of_viewer, {"register_id": register_id})
    if register is None:
        raise RegisterNotFound
    return register


async def store_reading(
    conn: AsyncConnection,
    register_id: RegisterId,
    taken_at: datetime,
    value: Decimal,
    *,
    source: str,
    quality: str,
    now: datetime,
) -> None:
    """Store a reading that did not come by telemetry; the same instant and source only once."""
    columns = {"register_id": register_id, "taken_at": taken_at, "value": value, "source": source, "quality": quality}
    if await one(conn, queries.add_reading, columns | {"now": now}) is None:
        raise CorrectionRefused("a {source} reading of that instant is there already; exclude it first", source=source)


def check_value(name: str, value: Decimal) -> None:
    """Refuse what no register shows: a negative value, 10^15 or more, more than nine decimals."""
    if not value.is_finite() or value < 0 or value >= Decimal(10) ** 15:
        raise Invalid("{name}: must be a number from 0 to below 10^15", name=name)
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > SCALE:
        raise Invalid("{name}: has more than {scale} decimals", name=name, scale=SCALE)


async def note(
    conn: AsyncConnection, author: Author, action: str, register: Mapping[str, Any], **detail: object
) -> None:
    """Write the audit entry of a decision about a register."""
    await identity.audit(
        conn,
        viewer=author.viewer,
        at=author.clock.now(),
        action=action,
        subject=f"meter:{register['meter_code']}/register:{register['id']}",
        reason=author.reason.strip(),
        **{key: None if value is None else str(value) for key, value in detail.items()},
    )


async def one(conn: AsyncConnection, statement: Any, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the only row of a statement, or None."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, arguments)
        return await cursor.fetchone()
