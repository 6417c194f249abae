"""What stands where today: spaces with who holds them, what they used, and which alarms stand there."""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cloud_api.db.queries import load_queries
from cloud_api.kit.ids import MeterId
from cloud_api.kit.period import local_day
from cloud_api.leasing.service import Site
from cloud_api.metering import service as metering

queries = load_queries(__file__)


async def spaces(conn: AsyncConnection, site: Site, now: datetime) -> list[dict[str, Any]]:
    """Return every space of a site with lease, alarms and yesterday's energy (None where no meter measures it)."""
    today = now.astimezone(site.zone).date()
    values = {"site_id": site.id, "day": today, "now": now}
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(queries.plan, values)
        found = await cursor.fetchall()
        await cursor.execute(queries.meters_of_spaces, values)
        shares = await cursor.fetchall()
    yesterday = local_day(today - timedelta(days=1), site.zone)
    energy = await metering.energy_by_meter(conn, sorted({MeterId(s["meter_id"]) for s in shares}), yesterday)
    used: defaultdict[int, Decimal] = defaultdict(Decimal)
    for share in shares:
        counted = energy.get(MeterId(share["meter_id"]))
        if counted is not None and counted.interval_count:
            used[share["space_id"]] += counted.quantity * share["share"]
    return [row | {"energy_kwh": used.get(row["space_id"])} for row in found]
