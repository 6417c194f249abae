"""What the viewer's own tenant uses. There is no function here that takes another tenant."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.identity.model import TenantViewer
from cloud_api.kit.errors import NotFound
from cloud_api.kit.period import Period, local_day, local_days
from cloud_api.operations.overview.model import PointNow
from cloud_api.operations.tenant_usage import repository
from cloud_api.operations.tenant_usage.model import Month, TenantFacts, UsedInterval
from cloud_api.operations.tenant_usage.month import PeriodOf, days_of, month_so_far

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


async def access_month(
    conn: AsyncConnection, viewer: TenantViewer, now: datetime, zone: ZoneInfo, period_of: PeriodOf | None = None
) -> Month:
    """Return the month so far; `period_of` names the time-of-use period of an instant."""
    today = now.astimezone(zone).date()
    first_before = (today.replace(day=1) - timedelta(days=1)).replace(day=1)
    period = Period(local_days(first_before, today, zone).start, now)
    rows = await repository.intervals(conn, viewer.tenant_id, period, zone)
    return month_so_far(days_of(rows, zone, now, period_of or _one_period), today)


async def access_day(conn: AsyncConnection, viewer: TenantViewer, day: date, zone: ZoneInfo) -> Sequence[UsedInterval]:
    """Return one local day, interval by interval."""
    return await repository.intervals(conn, viewer.tenant_id, local_day(day, zone), zone)


def _one_period(_: datetime) -> str:
    return ONE_PERIOD
