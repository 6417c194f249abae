import threading
import uuid
from pathlib import Path

import psycopg
import pytest

from cloud_api.db.dump import SNAPSHOT, dump
from cloud_api.db.migrate import MIGRATIONS, bootstrap, migrate, pending


@pytest.fixture
def empty(server):
    """The address of a database that does not exist yet."""
    name = f"empty_{uuid.uuid4().hex}"
    yield name, server.addresses(name)
    with psycopg.connect(server.addresses("postgres").superuser, autocommit=True) as conn:
        conn.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def test_a_number_is_used_once_and_the_name_says_the_package():
    files = sorted(path.name for path in MIGRATIONS.iterdir() if path.suffix in {".sql", ".py"})
    numbers = [name.split(".")[0] for name in files]
    assert len(set(numbers)) == len(numbers)
    assert all(len(number) == 4 and number.isdigit() for number in numbers)


def test_migrating_again_does_nothing(server, empty):
    name, addresses = empty
    bootstrap(server.addresses("postgres").superuser, name, server.passwords())
    assert migrate(addresses.owner)
    assert migrate(addresses.owner) == []
    assert pending(addresses.owner) == []


def test_four_processes_may_start_at_once(server, empty):
    name, addresses = empty
    applied, errors = [], []

    def start():
        try:
            bootstrap(server.addresses("postgres").superuser, name, server.passwords())
            applied.append(migrate(addresses.owner))
        except Exception as error:  # noqa: BLE001  # Shown by the assertion.
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(map(bool, applied)) == [False, False, False, True]


def test_the_snapshot_equals_the_sum_of_the_migrations(template):
    assert dump(template.owner) == SNAPSHOT.read_text(encoding="utf-8"), "run `make schema` and commit the file"


def test_observations_are_a_hypertable_on_timescale_and_monthly_partitions_elsewhere(request, template):
    with psycopg.connect(template.owner) as conn:
        [(kind,)] = conn.execute("SELECT relkind FROM pg_class WHERE oid = 'app.observation'::regclass").fetchall()
        if request.config.getoption("--database") == "timescale":
            found = conn.execute("SELECT hypertable_name FROM timescaledb_information.hypertables").fetchall()
            assert sorted(found) == [("observation",), ("observation_kept",), ("observation_series",)]
        else:
            assert kind == "p"


def test_the_application_cannot_pass_row_level_security(server, template):
    with psycopg.connect(template.owner) as conn:
        rows = conn.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'wattlease%' AND (rolbypassrls OR rolsuper)"
        ).fetchall()
    assert rows == []


def test_every_file_is_readable_text():
    assert all(Path(path).read_text(encoding="utf-8").strip() for path in MIGRATIONS.glob("*.sql"))
