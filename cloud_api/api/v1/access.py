"""Doors and people: whose cards are whose, entries without right, people of a day by tenant."""

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from cloud_api.api.auth import LeasingCall, ServiceCall, StaffCall
from cloud_api.kit.ids import SiteId
from cloud_api.leasing import access, service
from cloud_api.leasing.access import CARDS_MAX, Card
from cloud_api.occupancy import service as occupancy
from cloud_api.occupancy.model import EntryWithoutRight

router = APIRouter(prefix="/access", tags=["access"])
SiteCode = Annotated[str | None, Query(max_length=40, description="Needed when there are several sites.")]


class CardIn(BaseModel):
    """A card as the keyed hash that doors send (`hmac-sha256:…`), never its number; no name."""

    credential: Annotated[str, Field(min_length=1, max_length=100)]
    tenant: Annotated[str, Field(min_length=1, max_length=40)]
    first_day: date
    last_day: date | None = None


class Cards(BaseModel):
    """Cards of tenants; a card that is known has its period replaced, those left out stay."""

    cards: Annotated[list[CardIn], Field(min_length=1, max_length=CARDS_MAX)]


@router.put("/cards")
async def record_cards(call: LeasingCall, wanted: Cards, site: SiteCode = None) -> dict[str, int]:
    """Record whose cards are whose; the same again changes nothing."""
    where = await service.find_site(call.conn, site)
    told = [
        Card(credential=c.credential, tenant=c.tenant, first=c.first_day, last_day=c.last_day) for c in wanted.cards
    ]
    changed = await access.record_cards(call.conn, where, told, actor=call.viewer.login, clock=call.clock)
    return {"changed": changed}


@router.get("/entries-without-right")
async def entries_without_right(call: ServiceCall, site: SiteCode = None) -> list[EntryWithoutRight]:
    """Return entries of the last 30 days by cards of a tenant through doors that none of its leases opened."""
    where = await service.find_site(call.conn, site)
    return await occupancy.entries_without_right(call.conn, SiteId(where.id), where.zone, call.clock.now())


@router.get("/people")
async def people(call: StaffCall, day: date | None = None, site: SiteCode = None) -> dict[str, Any]:
    """Return how many people each tenant had on a day (default today); numbers from 1 to 4 are null, not shown."""
    where = await service.find_site(call.conn, site)
    wanted = day or call.clock.now().astimezone(where.zone).date()
    found = await occupancy.tenants_day(call.conn, SiteId(where.id), where.zone, wanted)
    return {"day": wanted, "tenants": [asdict(row) for row in found]}
