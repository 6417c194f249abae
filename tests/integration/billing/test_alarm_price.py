"""The waste of a fault is priced by the tariff in force."""

from datetime import UTC, datetime
from decimal import Decimal

from cloud_api.alarms.price import price_per_unit
from cloud_api.billing import service as billing
from cloud_api.billing.inputs import find_site
from cloud_api.billing.tariff_file import parse_tariff

from .small_site import TARIFF

SURCHARGE = Decimal("0.0292")  # The tariff's second energy component.


async def test_a_kilowatt_hour_costs_what_the_tariff_asks_on_such_a_day(conn, demo, clock):
    site = await find_site(conn)
    assert await price_per_unit(conn, site.id, clock.now()) is None
    await billing.import_tariff(conn, site, parse_tariff(TARIFF).tariff, actor="test", clock=clock)
    tuesday, sunday = datetime(2026, 11, 10, 4, tzinfo=UTC), datetime(2026, 11, 15, 4, tzinfo=UTC)
    assert await price_per_unit(conn, site.id, tuesday) == Decimal("1.07") + SURCHARGE
    assert await price_per_unit(conn, site.id, sunday) == Decimal("0.31") + SURCHARGE
    assert await price_per_unit(conn, site.id, sunday, "water") is None  # Another utility has its own tariff.
