"""What a fault costs: by the tariff in force, in the unit of what is wasted; nothing is claimed where nothing is known."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from cloud_api.alarms import service
from cloud_api.alarms.equipment import evaluate_faults
from cloud_api.billing import service as billing
from cloud_api.billing import tariff_file
from cloud_api.billing.inputs import find_site
from cloud_api.faults import pricing
from cloud_api.kit.clock import Clock

WATER = Path(tariff_file.__file__).parent / "tariffs" / "water.yaml"
T0 = datetime(2026, 3, 2, 16, 30, tzinfo=UTC)  # Half past midnight in Shanghai.


async def one(conn, query, *values):
    return (await (await conn.execute(query, values)).fetchone())[0]


@pytest.fixture
async def water_main(conn):
    """A water meter that never stands still at night: half a cubic metre an hour."""
    organisation = await one(
        conn, "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
    )
    site = await one(
        conn,
        "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'Site') RETURNING id",
        organisation,
    )
    await conn.execute(
        "INSERT INTO tenant (organisation_id, code, name_zh, name_en, is_owner) VALUES (%s, 'o', '业主', 'Owner', true)",
        (organisation,),
    )
    gateway = await one(
        conn,
        "INSERT INTO gateway (organisation_id, site_id, name) VALUES (%s, %s, 'g') RETURNING id",
        organisation,
        site,
    )
    device = await one(
        conn,
        "INSERT INTO device (organisation_id, gateway_id, name) VALUES (%s, %s, 'water-main') RETURNING id",
        organisation,
        gateway,
    )
    equipment = await one(
        conn,
        "INSERT INTO equipment (organisation_id, site_id, code, name_zh, name_en, brick_class)"
        " VALUES (%s, %s, 'water-main', '总水表', 'Main water meter', 'Building_Water_Meter') RETURNING id",
        organisation,
        site,
    )
    point = await one(
        conn,
        "INSERT INTO point (organisation_id, device_id, name, unit) VALUES (%s, %s, 'water_flow', 'm³/h') RETURNING id",
        organisation,
        device,
    )
    await conn.execute("INSERT INTO equipment_point VALUES (%s, 'water_flow', %s)", (equipment, point))
    await conn.execute("SELECT app.ensure_observation_partitions(%s, %s)", (T0, T0 + timedelta(days=1)))
    for minute in range(240):
        at = T0 + timedelta(minutes=minute)
        await conn.execute("INSERT INTO observation VALUES (%s, %s, 0.5, NULL, 0, NULL)", (point, at))
    await conn.execute(
        "INSERT INTO latest_value (point_id, observed_at, value, quality, received_at) VALUES (%s, %s, 0.5, 0, %s)",
        (point, at, at),
    )


async def test_a_leak_costs_cubic_metres_at_the_price_of_water(conn, water_main):
    site = await find_site(conn)
    await billing.import_tariff(conn, site, tariff_file.load_tariff(WATER).tariff, actor="test", clock=Clock())
    await evaluate_faults(conn, T0 + timedelta(hours=4))
    [alarm] = await service.open_alarms(conn)
    assert (alarm.rule, alarm.params["m3_per_day"]) == ("WTR-01", 12.0)
    per_m3 = Decimal("2.85") + Decimal("1.80") + Decimal("0.40")
    assert alarm.params["money_per_day"] == pytest.approx(12 * float(per_m3))
    assert alarm.params["price_per_m3"] == str(per_m3.quantize(Decimal("0.0001")))
    assert "kwh_per_day" not in alarm.params
    assert "约 61 元/天" in alarm.sentence("zh")
    assert "about CNY 61 a day" in alarm.sentence("en")


async def test_without_a_tariff_the_quantity_is_said_and_no_money(conn, water_main):
    await evaluate_faults(conn, T0 + timedelta(hours=4))
    [alarm] = await service.open_alarms(conn)
    assert "money_per_day" not in alarm.params
    assert "约 12 m³/天" in alarm.sentence("zh")


def test_the_dearest_comes_first_by_money_then_by_energy_and_what_has_no_price_last():
    found = [
        {},
        {"kwh_per_day": 5.0},
        {"kwh_per_day": 90.0, "money_per_day": 0},
        {"m3_per_day": 12, "money_per_day": 60.6},
    ]
    assert sorted(found, key=pricing.dearest) == [found[3], found[2], found[1], found[0]]
