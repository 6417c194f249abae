"""Another length of a meter's intervals from an instant on, and its undo; the ledger before that instant stays.

Bills are not known here: whoever decides for people calls `operations.interval_length`, which asks them first.
"""

from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.identity import service as identity
from cloud_api.kit.errors import Invalid
from cloud_api.kit.ids import MeterId
from cloud_api.metering.corrections import Author, CorrectionRefused, one
from cloud_api.metering.lengths import EDGE, MINUTES, floor
from cloud_api.metering.model import MeterNotFound

queries = load_queries(__file__, "length_changes.sql")

AHEAD_MAX = timedelta(days=400)
YEARS = (2000, 2200)  # As for observations: what lies outside is a wrong clock or a slip of the pen.


async def change(conn: AsyncConnection, author: Author, meter_id: MeterId, *, at: datetime, minutes: int) -> int:
    """Cut a meter's time into intervals of `minutes` from a full hour on, until the next change; return the decision.

    The instant may lie ahead, at the beginning of a month for example. Refused where people decided the quantity of an
    interval that would no longer be one.
    """
    check(at, minutes)
    found = await one(conn, queries.meter_of_viewer, {"meter_id": meter_id, "at": at})
    if found is None:
        raise MeterNotFound
    _check(author, found, at, minutes)
    where = {"meter_id": meter_id, "at": at, "until": found["until"]}
    await _refuse_edited(conn, where)
    await conn.execute(queries.end_length, where)
    added = await one(
        conn,
        queries.add_length,
        author.columns() | where | {"organisation_id": found["organisation_id"], "minutes": minutes},
    )
    assert added is not None, "an insert returns its row"
    await _note(conn, author, "meter.length", found["code"], instant=at, minutes=minutes, previous=found["minutes"])
    return added["id"]


def check(at: datetime, minutes: int) -> None:
    """Refuse a length that there is not, and an instant at which none begins."""
    if minutes not in MINUTES:
        raise Invalid("minutes: an interval lasts {lengths} minutes", lengths=MINUTES)
    if not YEARS[0] <= at.year < YEARS[1]:
        raise Invalid("at: the year must lie between {first} and {last}", first=YEARS[0], last=YEARS[1])
    if floor(at, EDGE) != at:
        raise Invalid("at: the length changes on a full hour (UTC), such as {edge}", edge=floor(at, EDGE).isoformat())


async def standing(conn: AsyncConnection, meter_id: MeterId, change_id: int) -> dict[str, Any]:
    """Return a change that stands: `at`, `until`, `minutes`. Raises CorrectionRefused."""
    found = await one(conn, queries.change, {"id": change_id, "meter_id": meter_id})
    if found is None:
        raise CorrectionRefused("that decision does not exist or is undone already")
    return found


async def undo(conn: AsyncConnection, author: Author, meter_id: MeterId, change_id: int) -> None:
    """Take a change back: the length before it holds on, to where this one would have held."""
    found = await standing(conn, meter_id, change_id)
    await _refuse_edited(conn, found)
    await conn.execute(queries.undo_length, {"id": change_id, "now": author.clock.now()})
    await conn.execute(queries.extend_length, found)
    await _note(conn, author, "length.undo", found["code"], instant=found["at"], minutes=found["minutes"])


def _check(author: Author, found: dict[str, Any], at: datetime, minutes: int) -> None:
    if found["is_virtual"]:
        raise CorrectionRefused("a meter without counters has the intervals of the meters it is computed from")
    if at - author.clock.now() > AHEAD_MAX:
        raise CorrectionRefused("the instant lies more than {days} days ahead", days=AHEAD_MAX.days)
    if found["closed_before"] is not None and at < found["closed_before"]:
        raise CorrectionRefused(
            "the readings before {closed:%Y-%m-%d} are no longer kept: that part of the ledger stays as it is",
            closed=found["closed_before"],
        )
    if found["is_changed_then"]:
        raise CorrectionRefused("the length changes at that instant already: undo that decision first")
    if found["minutes"] == minutes:
        raise CorrectionRefused("the intervals last {minutes} minutes then already", minutes=minutes)


async def _refuse_edited(conn: AsyncConnection, where: dict[str, Any]) -> None:
    row = await one(conn, queries.edits_within, where)
    if row and row["count"]:
        raise CorrectionRefused(
            "{count} intervals from then on have a quantity that a person decided: undo those decisions first",
            count=row["count"],
        )


async def _note(conn: AsyncConnection, author: Author, action: str, code: str, **detail: object) -> None:
    await identity.audit(
        conn, viewer=author.viewer, at=author.clock.now(), action=action, subject=f"meter:{code}",
        reason=author.reason.strip(), **{name: str(value) for name, value in detail.items()},
    )  # fmt: skip
