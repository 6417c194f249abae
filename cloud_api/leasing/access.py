"""Which doors a lease opens, and whose a card is. Doors are not switched here: an access system asks, or is told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import Text
from cloud_api.leasing import repository
from cloud_api.leasing.repository import as_json, queries
from cloud_api.leasing.service import RowsRefused, Site, audit

CARDS_MAX = 20_000
"""Cards in one import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card of a tenant's people, as the keyed hash that doors send, for `[first, last_day]`; no name."""

    credential: str
    tenant: str
    first: date
    last_day: date | None = None


async def align_access(conn: AsyncConnection, lease_id: int, day: date) -> None:
    """Make the doors of a running or ended lease follow the spaces that it holds from a day on."""
    await repository.align_access(conn, [lease_id], day)


async def lease_doors(conn: AsyncConnection, lease_id: int, day: date) -> list[dict[str, Any]]:
    """Return the doors that a lease opens, by period; `is_current` on the day."""
    return await repository.rows(conn, queries.lease_doors, {"lease_id": lease_id, "day": day})


async def record_cards(conn: AsyncConnection, site: Site, cards: Sequence[Card], *, actor: str, clock: Clock) -> int:
    """Record whose cards are whose; the same again changes nothing. Returns how many were new or changed.

    A card that is known has its period replaced. Raises RowsRefused with every row that names no tenant, is no keyed
    hash or overlaps another tenant's period of the same card; then nothing is stored.
    """
    if len(cards) > CARDS_MAX:
        raise Invalid("more than {cards_max:,} cards; send them in parts", cards_max=CARDS_MAX)
    ids = {"organisation_id": site.organisation_id}
    tenants = {r["code"]: r["id"] for r in await repository.rows(conn, queries.tenant_codes, ids)}
    refused = [fault for row, card in enumerate(cards, 1) if (fault := _fault(row, card, tenants))]
    if refused:
        raise RowsRefused(refused)
    rows = [
        {"tenant_id": tenants[card.tenant], "credential": card.credential, "first": card.first}
        | {"after": None if card.last_day is None else card.last_day + timedelta(days=1)}
        for card in cards
    ]
    values = ids | {"rows": as_json(rows), "at": clock.now(), "actor": actor}
    try:
        async with conn.transaction():
            changed = await repository.rows(conn, queries.save_cards, values)
    except psycopg.errors.ExclusionViolation as error:
        raise Invalid("a card belongs to two tenants on one day; end the earlier period first") from error
    detail = {"cards": len(cards), "changed": len(changed)}
    await audit(conn, site, clock, actor=actor, action="access.cards", subject=f"site/{site.code}", detail=detail)
    return len(changed)


def _fault(row: int, card: Card, tenants: dict[str, int]) -> Text | None:
    if card.tenant not in tenants:
        return Text("row {row}: there is no tenant {tenant}", row=row, tenant=card.tenant)
    if not card.credential.startswith("hmac-sha256:"):
        return Text("row {row}: a card is sent as the keyed hash that its doors send, never as its number", row=row)
    if card.last_day is not None and card.last_day < card.first:
        last, starts_on = card.last_day, card.first
        return Text(
            "row {row}: last_day {last} is before first_day {starts_on}", row=row, last=last, starts_on=starts_on
        )
    return None


async def end_cards(conn: AsyncConnection, tenant_id: int, after: date) -> None:
    """End every card of a tenant before a day."""
    for statement in (queries.drop_cards, queries.end_cards):
        await repository.store(conn, statement, {"tenant_id": tenant_id, "after": after})


async def card_count(conn: AsyncConnection, tenant_id: int, day: date) -> int:
    """Return how many cards of a tenant are valid on a day."""
    return (await repository.rows(conn, queries.card_count, {"tenant_id": tenant_id, "day": day}))[0]["count"]
