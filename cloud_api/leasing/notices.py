"""Notices of the park to its tenants, in both languages, for the days on which they are shown."""

from datetime import date, timedelta
from typing import Any

from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.leasing import repository
from cloud_api.leasing.repository import queries

SHOWN_MAX = 100


async def publish(
    conn: AsyncConnection,
    *,
    organisation_id: int,
    kind: str,
    title_zh: str,
    title_en: str,
    body_zh: str,
    body_en: str,
    first: date,
    last_day: date | None,
    actor: str,
    clock: Clock,
) -> int:
    """Publish a notice from a day to a last day. Raises Invalid unless it speaks both languages."""
    if not title_zh.strip() or not title_en.strip():
        raise Invalid("a notice needs a title in Chinese and in English")
    if last_day is not None and last_day < first:
        raise Invalid("the last day {last_day} is before the first {first}", last_day=last_day, first=first)
    values = {"organisation_id": organisation_id, "kind": kind, "title_zh": title_zh.strip(), "actor": actor}
    values |= {"title_en": title_en.strip(), "body_zh": body_zh.strip(), "body_en": body_en.strip(), "first": first}
    values |= {"after": None if last_day is None else last_day + timedelta(days=1), "at": clock.now()}
    return (await repository.rows(conn, queries.add_notice, values))[0]["id"]


async def withdraw(conn: AsyncConnection, notice_id: int, clock: Clock) -> None:
    """Stop showing a notice."""
    if not await repository.rows(conn, queries.withdraw_notice, {"id": notice_id, "at": clock.now()}):
        raise NotFound


async def shown_on(
    conn: AsyncConnection, organisation_id: int, day: date, *, limit: int, offset: int = 0
) -> list[dict[str, Any]]:
    """Return the notices shown on a day, newest first; each says how many there are in all (`total`)."""
    values = {"organisation_id": organisation_id, "day": day, "limit": limit, "offset": offset}
    return await repository.rows(conn, queries.notices_shown, values)


async def every(
    conn: AsyncConnection, organisation_id: int, *, limit: int = SHOWN_MAX, offset: int = 0
) -> list[dict[str, Any]]:
    """Return the newest notices, withdrawn ones included; each says how many there are in all (`total`)."""
    values = {"organisation_id": organisation_id, "limit": limit, "offset": offset}
    return await repository.rows(conn, queries.notices, values)
