"""What forms about a site begin with: the choice of a site, shown only where there are several, and its last cycle."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import service as billing
from cloud_api.billing.cycle import Days, cycle_around
from cloud_api.billing.inputs import find_site
from cloud_api.billing.service import list_sites
from cloud_api.kit.clock import Clock
from cloud_api.kit.i18n import in_language


async def site_options(conn: AsyncConnection) -> list[tuple[str, str]]:
    """Return (code, name) of every site that the viewer may see, by name."""
    return [(row["code"], in_language(row["name_zh"], row["name_en"])) for row in await list_sites(conn)]


async def last_full_cycle(conn: AsyncConnection, clock: Clock, zone: ZoneInfo) -> Days:
    """Return the newest billing cycle that is over, of the first site; without a site the last month of `zone`."""
    sites = await list_sites(conn)
    if sites:
        return await billing.last_full_cycle(conn, await find_site(conn, code=sites[0]["code"]), clock)
    today = clock.now().astimezone(zone).date()
    return cycle_around(today.replace(day=1) - timedelta(days=1), 1)
