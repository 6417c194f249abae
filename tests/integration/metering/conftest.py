from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import service as metering
from tests.integration.ingest.conftest import NOW, client, edge, rows_of, site  # noqa: F401

ENERGY = "meter-1/active_energy_import"
EVER = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))


@dataclass
class Meters:
    """Makes meters of the site and reads their ledger."""

    pool: object
    organisation_id: int
    site_id: int

    async def meter(self, code="m1", **columns):
        columns = {"organisation_id": self.organisation_id, "site_id": self.site_id, "code": code, "name_zh": code,
                   "name_en": code, "use": "tenant"} | columns  # fmt: skip
        return await self.insert("meter", columns)

    async def register(self, meter_id, **columns):
        columns = {"organisation_id": self.organisation_id, "meter_id": meter_id, "unit": "kWh",
                   "quantity": "active_energy_import"} | columns  # fmt: skip
        return await self.insert("register", columns)

    async def insert(self, table, columns):
        names, places = ", ".join(columns), ", ".join(["%s"] * len(columns))
        async with transaction(self.pool, SYSTEM) as conn:
            cursor = await conn.execute(
                f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING *", list(columns.values())
            )
            return (await cursor.fetchone())[0]

    async def execute(self, statement, *arguments):
        async with transaction(self.pool, SYSTEM) as conn:
            cursor = await conn.execute(statement, arguments)
            return await cursor.fetchall() if cursor.description else None

    async def point(self, address=ENERGY):
        device, point = address.split("/")
        [[point_id]] = await self.execute(
            "SELECT p.id FROM point p JOIN device d ON d.id = p.device_id WHERE d.name = %s AND p.name = %s",
            device,
            point,
        )
        return point_id

    async def recompute(self):
        return await metering.recompute_all(self.pool, fixed_clock(NOW))

    async def ledger(self, *register_ids):
        async with transaction(self.pool, SYSTEM) as conn:
            return await metering.intervals(conn, register_ids, EVER)


@pytest.fixture
async def meters(pool, site):  # noqa: F811
    organisation_id, site_id = site
    return Meters(pool=pool, organisation_id=organisation_id, site_id=site_id)
