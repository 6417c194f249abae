"""How many people are in, by what doors and counters say; never a number that could point at somebody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.kit.ids import SiteId
from cloud_api.kit.period import local_day
from cloud_api.occupancy import counting, repository
from cloud_api.occupancy.model import FloorPeople, HourEntries, PeopleNow
from cloud_api.occupancy.privacy import hide_few


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
