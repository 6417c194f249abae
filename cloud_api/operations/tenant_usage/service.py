"""What the viewer's own tenant uses. There is no function here that takes another tenant."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.identity.model import TenantViewer
from cloud_api.kit.errors import NotFound
from cloud_api.kit.period import Period, local_day, local_days
from cloud_api.operations.overview.model import PointNow
from cloud_api.operations.tenant_usage import repository
from cloud_api.operations.tenant_usage.model import Month, TenantFacts, UsedInterval
from cloud_api.operations.tenant_usage.month import days_of, month_so_far
from cloud_api.operations.tenant_usage.pricing import PERIODS, load_pricing
from cloud_api.operations.tenant_usage.reasons import Reason, reasons

ONE_PERIOD = "all"


async def access_tenant(conn: AsyncConnection, viewer: TenantViewer, today: date) -> TenantFacts:
    """Return the viewer's tenant."""
    found = await repository.tenant(conn, viewer.tenant_id, today)
    if found is None:
        raise NotFound
    return found


async def access_power(conn: AsyncConnection, viewer: TenantViewer, now: datetime, zone: ZoneInfo) -> list[PointNow]:
    """Return the power of the viewer's meters now."""
    return await repository.power_points(conn, viewer.tenant_id, now, now.astimezone(zone).date())


async def access_month(conn: AsyncConnection, viewer: TenantViewer, now: datetime, zone: ZoneInfo) -> Month:
    """Return the month so far, by time-of-use period and with its cost where the site has a tariff."""
    today = now.astimezone(zone).date()
    first = today.replace(day=1)
    first_before = (first - timedelta(days=1)).replace(day=1)
    period = Period(local_days(first_before, today, zone).start, now)
    rows = await repository.intervals(conn, viewer.tenant_id, period, zone)
    pricing = await load_pricing(conn, period)
    month = month_so_far(days_of(rows, zone, now, pricing.period_of if pricing else _one_period), today)
    if pricing is None:
        return month
    cost = pricing.cost_of([row for row in rows if row.starts_at.astimezone(zone).date() >= first])
    return replace(month, cost=cost, period_names={p: pricing.names.get(p, (p, p)) for p in PERIODS})


async def access_reasons(conn: AsyncConnection, viewer: TenantViewer, now: datetime, zone: ZoneInfo) -> list[Reason]:
    """Return why the month differs from the one before, up to yesterday."""
    today = now.astimezone(zone).date()
    first_before = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    rows = await repository.intervals(conn, viewer.tenant_id, local_days(first_before, today, zone), zone)
    return reasons(rows, zone, today)


async def access_day(conn: AsyncConnection, viewer: TenantViewer, day: date, zone: ZoneInfo) -> Sequence[UsedInterval]:
    """Return one local day, interval by interval."""
    return await repository.intervals(conn, viewer.tenant_id, local_day(day, zone), zone)


def _one_period(_: datetime) -> str:
    return ONE_PERIOD
