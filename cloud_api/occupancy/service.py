"""How many people are in."""

from datetime import datetime
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.kit.ids import SiteId
from cloud_api.occupancy import counting, repository
from cloud_api.occupancy.model import PeopleNow


async def people_now(conn: AsyncConnection, site_id: SiteId, zone: ZoneInfo, now: datetime) -> PeopleNow:
    """Return the people in a site since the last reset."""
    since = counting.last_reset(now, zone)
    return counting.people_now(await repository.counted_since(conn, site_id, since, now))
