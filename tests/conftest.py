"""Fixtures that every suite shares: a real PostgreSQL, a migrated template, one clone per test."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from cloud_api.db.embedded import Addresses, EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.db.pool import make_pool, transaction
from cloud_api.kit.scope import SYSTEM
from tests.support import timescale
from tests.support.timescale import TimescaleServer

TEMPLATE = "wattlease_template"
# Tests need speed, not durability; the fault-injection suite starts its own server with fsync on.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "60"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=("embedded", "timescale"), default="embedded", help="which server to test on"
    )


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer | TimescaleServer]:
    """One PostgreSQL server per test process: embedded, or a real TimescaleDB with `--database timescale`."""
    if request.config.getoption("--database") == "timescale":
        if reason := timescale.why_not():
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no TimescaleDB here: {reason}")
        server: EmbeddedServer | TimescaleServer = TimescaleServer(FAST)
    else:
        server = EmbeddedServer(tmp_path_factory.mktemp("postgres"), settings=FAST)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def template(server: EmbeddedServer) -> Addresses:
    """A migrated database that is cloned for each test and never written to."""
    addresses = server.addresses(TEMPLATE)
    bootstrap(server.addresses("postgres").superuser, TEMPLATE, server.passwords())
    migrate(addresses.owner)
    return addresses


@pytest.fixture
def database(server: EmbeddedServer, template: Addresses) -> Iterator[Addresses]:
    """A fresh, migrated database of one's own."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.addresses("postgres").superuser, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER wattlease_owner").format(
                sql.Identifier(name), sql.Identifier(TEMPLATE)
            )
        )
        yield server.addresses(name)
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def pool(database: Addresses) -> AsyncIterator[AsyncConnectionPool]:
    """A pool of the application's role (no BYPASSRLS) on the fresh database."""
    async with make_pool(database.app) as pool:
        yield pool


@pytest.fixture
async def conn(pool: AsyncConnectionPool) -> AsyncIterator[AsyncConnection]:
    """One transaction with the system's scope."""
    async with transaction(pool, SYSTEM) as conn:
        yield conn


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with measured data, beside the checkout; in CI it must be there."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("WATTLEASE_SHARED", beside)) / "data"
    if not folder.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} is missing; set WATTLEASE_SHARED to the folder that holds data/")
        pytest.skip(f"{folder} is missing; set WATTLEASE_SHARED to the folder that holds data/")
    return folder


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On TimescaleDB run what asks the database; the rest would only be run a second time."""
    if config.getoption("--database") != "timescale":
        return
    asking = [item for item in items if "server" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(asking)])
    items[:] = asking


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failure: something that should be proved was not."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("Tests were skipped, which CI does not accept.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
