from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.operations.overview.daytype import is_working_day
from cloud_api.operations.tenant_usage.model import UsedInterval
from cloud_api.operations.tenant_usage.reasons import reasons

ZONE = ZoneInfo("Asia/Shanghai")


def hours(first, days, kwh):
    start = datetime.combine(first, datetime.min.time(), ZONE).astimezone(UTC)
    for n in range(days * 24):
        at = start + timedelta(hours=n)
        yield UsedInterval(
            starts_at=at, ends_at=at + timedelta(hours=1), energy_kwh=Decimal(kwh(at.astimezone(ZONE))), is_known=True,
            is_estimated=False,
        )  # fmt: skip


def test_the_parts_of_a_months_difference_add_up_and_come_largest_first():
    october = list(hours(date(2026, 10, 1), 31, lambda at: 2 if 8 <= at.hour < 20 else 1))
    november = list(hours(date(2026, 11, 1), 14, lambda at: 5 if 8 <= at.hour < 20 else "1.5"))
    found = reasons([*october, *november], ZONE, date(2026, 11, 15))
    difference = sum(i.energy_kwh for i in november) - sum(i.energy_kwh for i in october[: 14 * 24])
    assert sum(r.energy_kwh for r in found) == difference
    assert [abs(r.energy_kwh) for r in found] == sorted((abs(r.energy_kwh) for r in found), reverse=True)
    working = sum(is_working_day(date(2026, 11, d)) for d in range(1, 15))
    assert next(r.energy_kwh for r in found if r.code == "office_hours") == working * 12 * 3


def test_a_month_with_an_unknown_day_has_no_reasons():
    some = list(hours(date(2026, 10, 1), 31, lambda at: 1))
    assert reasons(some, ZONE, date(2026, 11, 15)) == []
