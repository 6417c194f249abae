"""Meter exchange: one register closes, its successor opens, with the readings and photographs of both; and its undo."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.ids import PointId, RegisterId
from cloud_api.metering import repository
from cloud_api.metering.corrections import (
    Author,
    CorrectionRefused,
    check_value,
    note,
    one,
    register_of,
    store_reading,
)

queries = load_queries(__file__, "exchanges.sql")

PHOTO_BYTES_MAX = 5_000_000
PHOTOS_MAX = 6  # Per exchange.
_SIGNATURES = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n", "image/webp": b"RIFF"}
Side = Literal["old", "new"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A photograph of a display, as evidence of an exchange's reading."""

    side: Side
    media_type: str
    content: bytes

    def __post_init__(self) -> None:
        if not self.content or len(self.content) > PHOTO_BYTES_MAX:
            raise Invalid("a photo must be JPEG, PNG or WebP and not larger than 5 MB")
        # The bytes decide, not what the sender calls them.
        if not self.content.startswith(_SIGNATURES.get(self.media_type, b"\0none")):
            raise Invalid("a photo must be JPEG, PNG or WebP and not larger than 5 MB")


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
    photos: tuple[Photo, ...] = (),
) -> RegisterId:
    """Close a register and open its successor at one instant, with the readings of both; return the successor.

    What was used until `at` is the old register's, what is used from then on the new one's; nothing is lost between.
    The successor keeps the factor that held at the exchange unless `multiplier` gives another one.
    """
    register = await register_of(conn, register_id)
    for name, value in (("closing", closing), ("opening", opening)):
        check_value(name, value)
    await _check_instant(conn, author, register, at, closing)
    await conn.execute(queries.close_register, {"register_id": register_id, "at": at})
    successor = await one(
        conn,
        queries.open_successor,
        {"register_id": register_id, "at": at, "until": register["closed_at"], "point_id": point_id,
         "multiplier": multiplier, "modulus": modulus},
    )  # fmt: skip
    assert successor is not None, "the register was just read"
    now = author.clock.now()
    for target, value in ((register_id, closing), (successor["id"], opening)):
        await store_reading(conn, RegisterId(target), at, value, source="exchange", quality="actual", now=now)
    columns = {"register_id": register_id, "successor_id": successor["id"], "at": at}
    added = await one(conn, queries.add_exchange, author.columns() | columns | {"closing": closing, "opening": opening})
    assert added is not None, "an insert returns its row"
    await note(
        conn, author, "meter.exchange", register, instant=at, closing=closing, opening=opening, photos=len(photos)
    )
    for photo in photos:
        await add_photo(conn, author, added["id"], photo)
    return RegisterId(successor["id"])


async def undo(conn: AsyncConnection, author: Author, exchange_id: int) -> None:
    """Take an exchange back: the old register counts on, the successor never was.

    Refused while something stands on the successor (a later exchange, a reading by hand, a decision): undo that first.
    """
    found = await one(conn, queries.exchange, {"id": exchange_id})
    if found is None:
        raise CorrectionRefused("that decision does not exist or is undone already")
    register = await register_of(conn, RegisterId(found["register_id"]))
    if found["stands_on_it"]:
        raise CorrectionRefused(
            "the new meter has readings by hand, decisions or an exchange of its own; undo them first"
        )
    now = author.clock.now()
    pair = {"register_id": found["register_id"], "successor_id": found["successor_id"]}
    # The readings leave first: both registers are computed anew from what is left.
    await conn.execute(queries.remove_exchange_readings, pair | {"at": found["at"]})
    await conn.execute(queries.empty_register, pair)
    await conn.execute(queries.forget_findings_of_register, pair | {"now": now})
    await conn.execute(queries.reopen_register, pair | {"until": found["until"]})
    await conn.execute(queries.undo_exchange, {"id": exchange_id, "now": now})
    await note(conn, author, "meter.undo_exchange", register, instant=found["at"], exchange=exchange_id)


async def add_photo(conn: AsyncConnection, author: Author, exchange_id: int, photo: Photo) -> None:
    """Add a photograph to an exchange; at most PHOTOS_MAX of them."""
    added = await one(
        conn,
        queries.add_photo,
        author.columns() | {"exchange_id": exchange_id, "side": photo.side, "media_type": photo.media_type,
                            "content": photo.content, "most": PHOTOS_MAX},
    )  # fmt: skip
    if added is None:
        raise CorrectionRefused("an exchange keeps at most {most} photos", most=PHOTOS_MAX)


async def photo(conn: AsyncConnection, photo_id: int) -> tuple[bytes, str]:
    """Return a photograph and its media type. Raises NotFound."""
    found = await one(conn, queries.photo, {"id": photo_id})
    if found is None:
        raise NotFound
    return bytes(found["content"]), found["media_type"]


async def _check_instant(
    conn: AsyncConnection, author: Author, register: dict[str, object], at: datetime, closing: Decimal
) -> None:
    opened, closed = register["opened_at"], register["closed_at"]
    if at > author.clock.now():
        raise CorrectionRefused("an exchange cannot lie in the future: enter it when it has happened")
    if (isinstance(opened, datetime) and at <= opened) or (isinstance(closed, datetime) and at > closed):
        raise CorrectionRefused("the register was not open at that instant: choose the one that was")
    around = await repository.readings_around(conn, RegisterId(int(str(register["id"]))), at)
    before = [reading for reading in around if reading.taken_at <= at]
    if before and closing < before[0].value and register["modulus"] is None:
        raise CorrectionRefused(
            "closing: {closing} is less than {earlier}, read at {taken_at:%Y-%m-%d %H:%M} UTC;"
            " exclude that reading first if it is wrong",
            closing=closing,
            earlier=before[0].value,
            taken_at=before[0].taken_at,
        )
