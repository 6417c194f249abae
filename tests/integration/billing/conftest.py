"""A small site with tenants and meters, and the demo's own files."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cloud_api.kit.clock import fixed_clock
from cloud_api.leasing import service as leasing
from cloud_api.leasing.import_file import Parsed, parse_leases, parse_tenants, read_rows
from cloud_api.operations.site_import import service as site_import

DEMO = Path(__file__).resolve().parents[3] / "deploy" / "demo"
NOW = datetime(2026, 11, 10, 2, 0, tzinfo=UTC)


@pytest.fixture
def clock():
    return fixed_clock(NOW)


@pytest.fixture
async def demo(conn, clock):
    """The demo's estate and leases, imported."""
    await site_import.import_estate(conn, site_import.read_estate(DEMO / "building.yaml"), actor="test", clock=clock)
    site = await leasing.find_site(conn)
    parsed = Parsed()
    parse_tenants(read_rows(DEMO / "tenants.csv"), parsed)
    parse_leases(read_rows(DEMO / "leases.csv"), parsed)
    await leasing.import_leases(conn, site, parsed, source="file", actor="test", clock=clock)
    return site
