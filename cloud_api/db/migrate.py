"""Bring a database to the current schema: roles, database, extension, numbered migrations."""

import io
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from yoyo import get_backend, read_migrations

MIGRATIONS = Path(__file__).with_name("migrations")
ROLES = ("wattlease_owner", "wattlease_app", "wattlease_grafana")
_LOCK_KEY = 7_206_144_017
_LOCK_SECONDS_MAX = 300.0


class MigrationError(RuntimeError):
    """The schema could not be brought up to date; the text names the migration."""


def bootstrap(superuser_url: str, database: str, passwords: dict[str, str]) -> None:
    """Create the roles and the database where they are missing; may run many times and at the same time.

    `superuser_url` points to any database of the server. None of the roles may bypass row-level security.
    """
    with psycopg.connect(superuser_url, autocommit=True) as conn:
        for role in ROLES:
            _ensure_role(conn, role, passwords[role])
        exists = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if not exists:
            statement = sql.SQL("CREATE DATABASE {} OWNER wattlease_owner").format(sql.Identifier(database))
            # Another process was faster, or is at it in this moment.
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                conn.execute(statement)
    _add_timescale(superuser_url, database)


def migrate(owner_url: str) -> list[str]:
    """Apply what is missing and return the names of the migrations applied.

    Several processes may start at once: one works, the others poll. Waiting inside `pg_advisory_lock` would deadlock
    with CREATE INDEX CONCURRENTLY, which waits for every older transaction.
    """
    with psycopg.connect(owner_url, autocommit=True) as guard:
        _lock_by_polling(guard)
        backend = get_backend(owner_url.replace("postgresql://", "postgresql+psycopg://", 1))
        try:
            backend.execute("SET lock_timeout = '10s'")
            missing = backend.to_apply(read_migrations(str(MIGRATIONS)))
            names = [migration.id for migration in missing]
            for migration in missing:
                try:
                    with redirect_stdout(io.StringIO()):  # yoyo prints what a SELECT in a migration returns.
                        backend.apply_one(migration)
                except psycopg.Error as error:
                    raise MigrationError(f"migration {migration.id} failed: {error}") from error
            return names
        finally:
            backend.connection.close()


def pending(owner_url: str) -> list[str]:
    """Return the names of the migrations that are not applied yet."""
    backend = get_backend(owner_url.replace("postgresql://", "postgresql+psycopg://", 1))
    try:
        return [migration.id for migration in backend.to_apply(read_migrations(str(MIGRATIONS)))]
    finally:
        backend.connection.close()


def _ensure_role(conn: psycopg.Connection, role: str, password: str) -> None:
    name = sql.Identifier(role)
    # It exists, or another process creates it at this moment.
    with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS").format(name))
    for _ in range(10):
        try:
            conn.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(password)))
        except psycopg.errors.InternalError:  # "tuple concurrently updated" by another process.
            time.sleep(0.05)
        else:
            return
    raise MigrationError(f"the role {role} could not be given its password")


def _add_timescale(superuser_url: str, database: str) -> None:
    target = urlsplit(superuser_url)._replace(path=f"/{database}").geturl()
    with psycopg.connect(target, autocommit=True) as conn:
        offered = conn.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'").fetchone()
        if offered:
            with suppress(psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):  # As above.
                conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb CASCADE")


def _lock_by_polling(conn: psycopg.Connection) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS_MAX
    while True:
        row = conn.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,)).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > deadline:
            raise MigrationError(f"another process has held the migration lock for {_LOCK_SECONDS_MAX:.0f} s")
        time.sleep(0.2)
