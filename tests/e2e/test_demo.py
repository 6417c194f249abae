"""What a newcomer sees, in the order in which it happens; the file runs on one worker, top to bottom."""

import signal
import time
import urllib.request

import psutil
import psycopg
import pytest

from tests.e2e.conftest import start_demo, stop_demo_process


def _query(demo, sql, *parameters):
    with psycopg.connect(demo.database_url(), options="-c search_path=app,public") as conn:
        return conn.execute(sql, parameters).fetchall()


def _wait(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.25)


def test_the_page_is_live_and_the_login_is_asked_for(demo):
    with urllib.request.urlopen(demo.url, timeout=10) as answer:
        assert answer.status == 200
        assert b"password" in answer.read()
    print(f"page live after {demo.seconds_to_start:.0f} s, history included")


def test_history_reaches_back_45_days_for_every_register(demo):
    rows = _query(
        demo,
        "SELECT r.id, min(i.starts_at), now() - interval '44 days' FROM register r"
        " LEFT JOIN interval i ON i.register_id = r.id GROUP BY r.id",
    )
    assert rows
    assert all(first is not None and first < limit for _, first, limit in rows)


def test_live_values_move(demo):
    before = _query(demo, "SELECT max(observed_at) FROM latest_value")[0][0]
    _wait(lambda: _query(demo, "SELECT max(observed_at) FROM latest_value")[0][0] > before, 15, "a newer value")


def test_last_months_bills_are_issued_and_add_up_to_the_main_meter(demo):
    rows = _query(demo, "SELECT count(*), min(status) FROM bill WHERE status = 'issued'")
    assert rows[0][0] >= 10


@pytest.mark.parametrize("part", ["edge-agent run", "cloud-api serve", "bin/postgres -D"])
def test_a_killed_process_is_started_again_and_values_move_on(demo, part):
    killed = demo.part(part)
    killed.send_signal(signal.SIGKILL)
    at = time.time()
    _wait(lambda: not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE, 10, "the end of the process")

    def newer():
        try:
            return _query(demo, "SELECT max(received_at) > to_timestamp(%s) FROM latest_value", at + 1)[0][0]
        except psycopg.OperationalError:
            return False

    _wait(newer, 60, f"new values after {part} was killed")


def test_ctrl_c_ends_every_process_and_a_second_start_continues(demo):
    before = _query(demo, "SELECT count(*) FROM interval")[0][0]
    processes = demo.descendants()
    assert len(processes) >= 6
    stop_demo_process(demo.process)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
    again = start_demo(demo.home)
    try:
        assert _query(again, "SELECT count(*) FROM interval")[0][0] >= before
        print(f"second start after {again.seconds_to_start:.0f} s")
    finally:
        stop_demo_process(again.process)


def test_a_taken_port_gives_one_clear_message(tmp_path):
    import socket
    import subprocess
    import sys

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "deploy.demo", "--home", str(tmp_path / "home"), "up", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "make demo PORT=" in done.stderr
    assert "Traceback" not in done.stderr
