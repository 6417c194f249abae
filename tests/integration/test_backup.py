import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from cloud_api.db.embedded import binaries

POSTGRES = Path(__file__).resolve().parents[2] / "deploy" / "postgres"


def _run(script, *arguments):
    env = os.environ | {"PATH": f"{binaries()}:{os.environ['PATH']}"}
    return subprocess.run([POSTGRES / script, *arguments], env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def filled(database):
    with psycopg.connect(database.superuser, autocommit=True) as conn:
        conn.execute("INSERT INTO app.organisation (code, name_zh, name_en) VALUES ('park', '园区', 'Park')")
    return database


def test_a_backup_restores_into_an_empty_database_with_rows_and_row_level_security(filled, server, tmp_path):
    backup = _run("backup.sh", filled.superuser, str(tmp_path))
    assert backup.returncode == 0, backup.stderr
    with psycopg.connect(filled.superuser, autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS restored")
        conn.execute("CREATE DATABASE restored OWNER wattlease_owner")
    url = server.addresses("restored").superuser
    restore = _run("restore.sh", backup.stdout.strip(), url)
    assert restore.returncode == 0, restore.stderr
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT name_zh FROM app.organisation").fetchall() == [("园区",)]
    with psycopg.connect(server.addresses("restored").app) as conn:
        assert conn.execute("SELECT count(*) FROM app.site").fetchone() == (0,)


def test_a_backup_that_fails_says_so_and_leaves_nothing_behind(tmp_path):
    backup = _run("backup.sh", "postgresql://nobody@127.0.0.1:1/wattlease", str(tmp_path))
    assert backup.returncode != 0
    assert "127.0.0.1" in backup.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_restore_never_touches_a_database_in_use(filled, tmp_path):
    backup = _run("backup.sh", filled.superuser, str(tmp_path))
    again = _run("restore.sh", backup.stdout.strip(), filled.superuser)
    assert again.returncode == 1
    assert "empty database" in again.stderr


def test_old_backups_beyond_the_limit_are_removed(filled, tmp_path):
    for day in range(1, 5):
        (tmp_path / f"wattlease-202601{day:02}T000000Z.dump").touch()
    env = {"KEEP": "2"}
    os.environ.update(env)
    try:
        assert _run("backup.sh", filled.superuser, str(tmp_path)).returncode == 0
    finally:
        del os.environ["KEEP"]
    assert min(p.name for p in tmp_path.iterdir()) == "wattlease-20260104T000000Z.dump"
