"""A year of a known load under Zhejiang's tariffs, against a calculation written down again hour by hour.

The year holds Spring Festival, the change of the whole scheme on 1 July, National Day and leap-free February. The second
computation shares nothing with ours but the published hours: it walks quarters with plain arithmetic.
"""

from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

from cloud_api.billing import what_if
from cloud_api.billing.charge import Facts
from cloud_api.billing.load_csv import Load, LoadInterval
from cloud_api.billing.tariff_file import load_tariff
from tests.unit.billing.conftest import SHANGHAI
from tests.unit.billing.test_tariff_file import TEMPLATES

UTC = ZoneInfo("UTC")
CENT = Decimal("0.01")
# State Council's arrangement for 2026: the days of each festival.
SPRING = {date(2026, 2, 15) + timedelta(days=n) for n in range(9)}
LABOUR = {date(2026, 5, 1) + timedelta(days=n) for n in range(5)}
NATIONAL = {date(2026, 10, 1) + timedelta(days=n) for n in range(7)}
PRICES = {"purchase": "0.4520", "line_loss": "0.0185", "system_operation": "0.0412"}
UNFLOATED = {"transmission": "0.2255", "funds": "0.0292"}


def kwh(wall):
    return Decimal((wall.toordinal() * 31 + wall.hour * 17 + wall.minute) % 89 + 1) / 100


def ratio_2024(wall):
    h = wall.hour
    if wall.date() in SPRING | LABOUR and 10 <= h < 14:
        return Decimal("0.2")
    if h < 8 or 11 <= h < 13:
        return Decimal("0.38")
    if wall.month == 1:
        if h in {9, 10, 15, 16}:
            return Decimal("1.98")
        return Decimal(1) if h in {13, 14, 23} else Decimal("1.65")
    return Decimal(1) if h >= 17 else Decimal("1.65")


def ratio_2026(wall):
    h = wall.hour
    if wall.date() in {date(2026, 10, 1), date(2026, 10, 2), date(2026, 10, 3)} and h < 15:
        return Decimal("0.4") if h < 9 else Decimal("0.2")
    if 18 <= h < 22 and wall.month in {7, 8, 12}:
        return Decimal("2.05")
    if 16 <= h < 23:
        return Decimal("1.85")
    return Decimal("0.4") if h < 7 or (11 <= h < 14 and not (wall.date() in NATIONAL and wall.day <= 3)) else Decimal(1)


def brute_force():
    """Month → total: energy per ratio, each component and ratio rounded once, un-floated components once a month."""
    at = datetime(2026, 1, 1, tzinfo=SHANGHAI)
    energy = {}
    while at.year == 2026:
        ratio = ratio_2024(at) if at.month < 7 else ratio_2026(at)
        month = energy.setdefault(at.month, {})
        month[ratio] = month.get(ratio, Decimal(0)) + kwh(at)
        at += timedelta(minutes=15)
    totals = {}
    for month, by_ratio in energy.items():
        lines = [q * ratio * Decimal(p) for ratio, q in by_ratio.items() for p in PRICES.values()]
        lines += [sum(by_ratio.values()) * Decimal(p) for p in UNFLOATED.values()]
        totals[f"2026-{month:02d}"] = sum((x.quantize(CENT, ROUND_HALF_UP) for x in lines), Decimal(0))
    return totals


def test_every_month_of_the_year_equals_the_brute_force_calculation_to_the_cent(china):
    tariff = load_tariff(next(p for p in TEMPLATES if p.stem == "zhejiang-2026-demo")).tariff
    at = datetime(2026, 1, 1, tzinfo=SHANGHAI)
    intervals = []
    while at.year == 2026:
        start = at.astimezone(UTC)
        intervals.append(LoadInterval(start, start + timedelta(minutes=15), kwh(at)))
        at += timedelta(minutes=15)
    months = what_if.rate_months(tariff, china, Load(intervals=tuple(intervals), minutes=15, gaps=()), Facts())
    assert {m.month: m.rated.total for m in months} == brute_force()
    assert sum(m.quantity for m in months) == sum(i.quantity for i in intervals)
    assert not any(m.issues for m in months)
