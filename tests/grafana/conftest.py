"""A database that holds two days of the demo building, filled through the real import, ingest and ledger."""

from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from cloud_api.alarms import service as alarms
from cloud_api.alarms.model import Report
from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.faults.model import Verdict
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.leasing import service as leasing
from cloud_api.leasing.import_file import Parsed, parse_leases, parse_tenants, read_rows
from cloud_api.main import create_app
from cloud_api.metering import service as metering
from cloud_api.operations.site_import import service as site_import
from cloud_api.settings import Settings
from tests.support.demo_feed import DemoFeed

DEMO = Path(__file__).resolve().parents[2] / "deploy/demo"


@pytest.fixture
async def filled(pool, database):
    """Fill the database."""
    clock = Clock()
    async with transaction(pool, SYSTEM) as conn:
        await site_import.import_estate(
            conn, site_import.read_estate(DEMO / "building.yaml"), actor="test", clock=clock
        )
        parsed = Parsed()
        parse_tenants(read_rows(DEMO / "tenants.csv"), parsed)
        parse_leases(read_rows(DEMO / "leases.csv"), parsed)
        site = await leasing.find_site(conn, None)
        await leasing.import_leases(
            conn, site, parsed, source="test", actor="test", clock=clock, accept_good_rows=False
        )
        credential = await devices.add_gateway(conn, site_code="hz-park", name="gw-demo", actor="test", now=clock.now())
    settings = Settings(database_url=SecretStr(database.app))
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://cloud") as http,
    ):
        feed = DemoFeed(http, credential)
        await feed.announce()
        await feed.history(days=2)
        for minutes in (20, 10, 0):
            await feed.live(clock.now() - timedelta(minutes=minutes))
    await metering.recompute_all(pool, clock)
    async with transaction(pool, SYSTEM) as conn:
        await _alarm(conn, clock)


async def _alarm(conn, clock):
    """One alarm that is active and acknowledged."""
    row = await (await conn.execute("SELECT organisation_id, id FROM site")).fetchone()
    report = Report(
        organisation_id=row[0], site_id=row[1], subject="device:meter-t301", rule="test_rule", severity=2,
        verdict=Verdict.FAULT, at=clock.now() - timedelta(hours=1),
    )  # fmt: skip
    [alarm_id] = await alarms.report(conn, [report], clock.now() - timedelta(hours=1))
    await alarms.run_timers(conn, clock.now())
    await alarms.acknowledge(conn, clock, alarm_id, actor="facilities")


@pytest.fixture
def grafana(server, database):
    """A connection as Grafana's role."""
    address = psycopg.conninfo.make_conninfo(
        database.app, user="wattlease_grafana", password=server.passwords()["wattlease_grafana"]
    )
    with psycopg.connect(address, autocommit=True) as conn:
        yield conn
