"""How many people are in, by what doors and counters say; never a number that could point at somebody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.kit.ids import SiteId
from cloud_api.kit.period import Period, local_day
from cloud_api.occupancy import counting, repository
from cloud_api.occupancy.model import EntryWithoutRight, FloorPeople, HourEntries, PeopleNow, TenantPeople
from cloud_api.occupancy.privacy import hide_few

FINDING_DAYS = 30
"""How far back entries without right are looked for."""
FINDINGS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleDay:
    """One local day: different people in all and by floor, entries by hour; None is hidden, not zero."""

    day: date
    people: int | None
    floors: Sequence[FloorPeople]
    hours: Sequence[HourEntries]


async def people_day(conn: AsyncConnection, site_id: SiteId, zone: ZoneInfo, day: date) -> PeopleDay:
    """Return what may be shown of a day.

    A person who passes doors of two floors counts on both, so the floors do not sum to the building; a hidden floor is
    still protected as if they did.
    """
    period = local_day(day, zone)
    floors = await repository.people_by_floor(conn, site_id, period)
    hours = await repository.entries_by_hour(conn, site_id, period)
    shown_floors = hide_few([floor.people or 0 for floor in floors], sum_is_known=True)
    shown_hours = hide_few([hour.entries or 0 for hour in hours], sum_is_known=False)
    [people] = hide_few([await repository.people_in_building(conn, site_id, period)], sum_is_known=False)
    return PeopleDay(
        day=day,
        people=people,
        floors=[replace(floor, people=count) for floor, count in zip(floors, shown_floors, strict=True)],
        hours=[replace(hour, entries=count) for hour, count in zip(hours, shown_hours, strict=True)],
    )


async def people_now(conn: AsyncConnection, site_id: SiteId, zone: ZoneInfo, now: datetime) -> PeopleNow:
    """Return the people in a site since the last reset."""
    since = counting.last_reset(now, zone)
    return counting.people_now(await repository.counted_since(conn, site_id, since, now))


async def tenants_day(conn: AsyncConnection, site_id: SiteId, zone: ZoneInfo, day: date) -> list[TenantPeople]:
    """Return the people of each tenant on a day, as far as cards, doors and counters tell and may be shown.

    A card belongs to the tenant it was issued to; a card that nobody told of counts for the only tenant behind the door
    that it opened. The sum of all tenants is no number that is shown, so each is hidden by itself.
    """
    period = local_day(day, zone)
    found = await repository.people_by_tenant(conn, site_id, period, day)
    passages = await repository.passages_by_tenant(conn, site_id, period, day)
    shown = hide_few([row.people or 0 for row in found], sum_is_known=False)
    counted = {tenant: hide_few([round(count)], sum_is_known=False)[0] for tenant, count in passages.items()}
    return [
        replace(row, people=people, passages=counted.get(row.tenant_id))
        for row, people in zip(found, shown, strict=True)
    ]


async def entries_without_right(
    conn: AsyncConnection, site_id: SiteId, zone: ZoneInfo, now: datetime, *, tenant_id: int | None = None
) -> list[EntryWithoutRight]:
    """Return entries of the last 30 days by cards of a tenant through doors that none of its leases opened."""
    period = Period(now - timedelta(days=FINDING_DAYS), now)
    return await repository.entries_without_right(
        conn, site_id, period, zone=zone.key, tenant_id=tenant_id, limit=FINDINGS_MAX
    )
