"""What usage would cost, and which time-of-use period an instant lies in: billing's own rules, on half a month.

An estimate for the tenant's eyes: own meters only, without the shares of common areas and plant that the bill adds.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from psycopg import AsyncConnection

from cloud_api.billing import timetable
from cloud_api.billing.calendar import HolidayCalendar
from cloud_api.billing.charge import Facts
from cloud_api.billing.inputs import find_calendar
from cloud_api.billing.load_csv import Load, LoadInterval
from cloud_api.billing.tariff import Tariff, bucket_name
from cloud_api.billing.tariff_file import load_dumped
from cloud_api.billing.timetable import NoTariff
from cloud_api.billing.what_if import rate_months
from cloud_api.kit.period import Period
from cloud_api.operations.tenant_usage import repository
from cloud_api.operations.tenant_usage.model import UsedInterval

# From the dearest to the cheapest, as charts stack and tables list them.
PERIODS = ("sharp", "peak", "flat", "valley", "deep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """A tariff laid over a period of time."""

    tariff: Tariff
    calendar: HolidayCalendar
    starts: Sequence[datetime]
    periods: Sequence[str]
    names: Mapping[str, tuple[str, str]]

    def period_of(self, instant: datetime) -> str:
        """Return the code of the time-of-use period that an instant lies in."""
        return self.periods[max(0, bisect_right(self.starts, instant) - 1)]

    def cost_of(self, intervals: Sequence[UsedInterval]) -> Decimal | None:
        """Return what a month's intervals cost by this tariff, or None when a price is missing."""
        load = tuple(LoadInterval(start=i.starts_at, end=i.ends_at, quantity=i.energy_kwh) for i in intervals)
        if not load:
            return None
        minutes = int((load[0].end - load[0].start).total_seconds() / 60)
        months = rate_months(self.tariff, self.calendar, Load(intervals=load, minutes=minutes, gaps=()), Facts())
        return sum((month.rated.total for month in months), Decimal(0))


async def load_pricing(conn: AsyncConnection, period: Period) -> Pricing | None:
    """Return the site's electricity tariff over a period, or None when none is set or a day has no price."""
    content = await repository.electricity_tariff(conn)
    if content is None:
        return None
    tariff = load_dumped(content)
    calendar = await find_calendar(conn, tariff.holiday_calendar)
    try:
        runs = timetable.cut(tariff, calendar, period)
    except NoTariff:
        return None
    names = {}
    for version in tariff.versions:
        for bucket in version.buckets:
            label = bucket_name(version, bucket)
            names[bucket] = (label.zh, label.en)
    return Pricing(
        tariff=tariff,
        calendar=calendar,
        starts=[run.start for run in runs],
        periods=[run.bucket for run in runs],
        names=names,
    )
