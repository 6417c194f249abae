"""What a kilowatt-hour (or a cubic metre) of waste costs: the charges of the tariff in force, over a working day."""

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from psycopg import AsyncConnection

from cloud_api.billing import inputs, rating, timetable, usage
from cloud_api.billing.charge import Cycle
from cloud_api.billing.load_csv import LoadInterval
from cloud_api.billing.tariff_file import load_dumped
from cloud_api.kit.errors import DomainError
from cloud_api.kit.period import local_days

# Equipment runs from 8 to 20 o'clock; its waste is priced by the periods of the tariff in these hours.
FIRST_HOUR, LAST_HOUR = 8, 20


async def price_per_unit(
    conn: AsyncConnection, site_id: int, now: datetime, utility: str = "electricity"
) -> Decimal | None:
    """Return today's mean price of a kWh (electricity) or m³ (water); the landlord's tariff before the tenants'.

    None without a tariff.
    """
    try:
        site = await inputs.find_site(conn, site_id=site_id)
        stored = await inputs.find_tariff(conn, site, utility, "landlord") or await inputs.find_tariff(
            conn, site, utility
        )
        if stored is None:
            return None
        tariff = load_dumped(stored["content"])
        calendar = await inputs.find_calendar(conn, tariff.holiday_calendar)
        day = now.astimezone(tariff.zone).date()
        after = day + timedelta(days=1)
        period = local_days(day, after, tariff.zone)
        hours = [
            LoadInterval(
                start=period.start + timedelta(hours=h), end=period.start + timedelta(hours=h + 1), quantity=Decimal(1)
            )
            for h in range(FIRST_HOUR, LAST_HOUR)
        ]
        used = usage.measure(hours, timetable.cut_by_day(tariff, calendar, period), tariff.zone).usage
        cycle = Cycle(starts_on=day, ends_on=after, billed_from=day, billed_to=after)
        lines, _issues = rating.charges(tariff, cycle, used, kinds=frozenset({"energy"}))
    except DomainError:
        return None
    total = sum((line.amount_exact for line in lines), Fraction(0))
    return round(Decimal(total.numerator) / Decimal(total.denominator) / len(hours), 4) if total > 0 else None
