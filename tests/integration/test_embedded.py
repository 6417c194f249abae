import os
import shutil
import signal
import subprocess
import sys

import psutil
import psycopg
import pytest

from cloud_api.db.embedded import EmbeddedError, EmbeddedServer


def test_what_was_committed_survives_kill_9_and_a_new_start(tmp_path):
    server = EmbeddedServer(tmp_path / "pg")
    server.start()
    url = server.addresses("postgres").superuser
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE kept (n int)")
        conn.execute("INSERT INTO kept VALUES (1)")
    os.kill(server.pid, signal.SIGKILL)
    psutil.Process(server.pid).wait(10)
    server.start()
    try:
        with psycopg.connect(url) as conn:
            assert conn.execute("SELECT n FROM kept").fetchall() == [(1,)]
    finally:
        server.stop()


def test_the_server_ends_when_its_starter_is_killed(tmp_path):
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is missing; apt-get install util-linux")
    code = (
        "import sys, time; from pathlib import Path; from cloud_api.db.embedded import EmbeddedServer;"
        "s = EmbeddedServer(Path(sys.argv[1])); s.start(); print(s.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "pg")], stdout=subprocess.PIPE, text=True)
    postmaster = psutil.Process(int(starter.stdout.readline()))
    starter.kill()
    starter.wait()
    starter.stdout.close()
    gone, _ = psutil.wait_procs([postmaster], timeout=20)
    assert gone


def test_passwords_are_readable_by_the_owner_only(tmp_path):
    server = EmbeddedServer(tmp_path / "pg")
    server.start()
    server.stop()
    assert (tmp_path / "pg" / "passwords").stat().st_mode & 0o077 == 0


def test_a_server_that_cannot_start_says_its_last_words(tmp_path):
    server = EmbeddedServer(tmp_path / "pg", settings={"shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedError, match="shared_buffers"):
        server.start()


def test_a_second_server_on_the_same_folder_is_refused(tmp_path):
    first = EmbeddedServer(tmp_path / "pg")
    first.start()
    try:
        with pytest.raises(EmbeddedError, match=r"postmaster\.pid"):
            EmbeddedServer(tmp_path / "pg").start()
    finally:
        first.stop()
