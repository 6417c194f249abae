"""What a newcomer sees, in the order in which it happens; the file runs on one worker, top to bottom."""

import signal
import subprocess
import time
import urllib.request
from collections import defaultdict

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


def test_last_months_bills_are_issued_and_every_one_verifies_from_raw_readings(demo):
    issued = _query(demo, "SELECT count(*) FROM bill WHERE state = 'issued' AND kind = 'bill'")[0][0]
    assert issued >= 10
    run_id = _query(demo, "SELECT max(id) FROM bill_run")[0][0]
    verified = demo.cloud_api("verify", "--run", str(run_id))
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert verified.stdout.count(" holds: ") == issued


def test_every_card_at_the_doors_is_a_companys_and_no_card_number_is_in_the_cloud(demo):
    seen, unknown, clear = _query(
        demo,
        "SELECT count(*), count(*) FILTER (WHERE c.id IS NULL),"
        " count(*) FILTER (WHERE data ->> 'credential' NOT LIKE 'hmac-sha256:%%')"
        " FROM event e LEFT JOIN access_card c ON c.credential = e.data ->> 'credential'"
        " AND c.valid @> (e.occurred_at AT TIME ZONE 'Asia/Shanghai')::date"
        " WHERE e.kind = 'door.access' AND data ->> 'credential' IS NOT NULL",
    )[0]
    assert seen > 0
    assert (unknown, clear) == (0, 0)


def test_the_demos_settings_let_a_person_give_every_command(demo):
    words = f". {demo.home}/settings.sh && cloud-api bill --help && cloud-api user list && edge-agent --help"
    said = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "tenant-a" in said.stdout


def test_a_tenants_bill_is_a_pdf_in_two_languages_and_the_same_bytes_each_time(demo, tmp_path):
    number = _query(demo, "SELECT min(number) FROM bill WHERE state = 'issued' AND kind = 'bill'")[0][0]
    for name in ("first.pdf", "second.pdf"):
        assert demo.cloud_api("bill", "pdf", number, "--out", str(tmp_path / name)).returncode == 0
    assert (tmp_path / "first.pdf").read_bytes() == (tmp_path / "second.pdf").read_bytes()
    text = subprocess.run(["pdftotext", tmp_path / "first.pdf", "-"], capture_output=True, text=True, check=True).stdout
    assert number in text
    assert "电" in text
    assert "kWh" in text


def test_a_silenced_device_becomes_one_alarm_and_clears_by_itself(demo):
    def open_alarms():
        return _query(
            demo,
            "SELECT count(*) FROM alarm a JOIN device d ON a.subject = 'device:' || d.id"
            " WHERE d.name = 'meter-t201' AND a.active",
        )[0][0]

    timeout_s, poll_s = _query(demo, "SELECT timeout_s, poll_s FROM device WHERE name = 'meter-t201'")[0]
    assert open_alarms() == 0
    silenced = time.monotonic()
    demo.fault("meter-t201")
    _wait(lambda: open_alarms() == 1, timeout_s + poll_s + 5, "the alarm of the silent device")
    print(f"alarm after {time.monotonic() - silenced:.1f} s; timeout {timeout_s} s, period {poll_s} s")
    demo.fault("clear", "meter-t201")
    _wait(lambda: open_alarms() == 0, poll_s + 20, "the alarm to clear")


@pytest.mark.parametrize("part", ["edge-agent run", "cloud-api serve", "bin/postgres -D"])
def test_a_killed_process_is_started_again_and_values_move_on(demo, part):
    killed = demo.part(part)
    killed.send_signal(signal.SIGKILL)
    at = time.time()
    demo.killed_ms.append(int(at * 1000))
    if part == "edge-agent run":
        demo.agent_killed_ms.append(int(at * 1000))
    _wait(lambda: not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE, 10, "the end of the process")

    def newer():
        try:
            return _query(demo, "SELECT max(received_at) > to_timestamp(%s) FROM latest_value", at + 1)[0][0]
        except psycopg.OperationalError:
            return False

    _wait(newer, 60, f"new values after {part} was killed")


def test_after_all_the_kills_the_cloud_holds_what_was_served_nothing_lost_and_nothing_twice(demo):
    # Up to now, which is after all the kills; then time for what was under way to arrive.
    until = int(time.time() * 1000)
    _wait(lambda: _stored_until(demo, until + 12_000), 60, "the outbox to catch up")
    served = demo.served
    assert demo.killed_ms
    assert served[0]["at_ms"] < min(demo.killed_ms)
    # What the agent had read but not yet made durable when it was killed is gone, as in a power cut; nothing else may be.
    grace_ms, travel_ms = 1_500, 900

    def _near_a_kill(at_ms):
        return any(abs(at_ms - killed) < grace_ms for killed in demo.agent_killed_ms)

    by_point = defaultdict(list)
    for answer in served:
        for point, value in answer["values"].items():
            # Exact registers are kept as [mantissa, scale]; messages of MQTT devices are plain values.
            if isinstance(value, list):
                by_point[answer["device"], point].append((answer["at_ms"], value[0]))
    assert len(by_point) >= 30
    checked = 0
    for (device, point), answers in by_point.items():
        rows = _query(
            demo,
            "SELECT (extract(epoch FROM o.observed_at) * 1000)::bigint, o.mantissa FROM observation o"
            " JOIN point p ON p.id = o.point_id JOIN device d ON d.id = p.device_id"
            " WHERE d.name = %s AND p.name = %s AND o.observed_at < to_timestamp(%s / 1000.0)"
            " AND o.observed_at > to_timestamp(%s / 1000.0) AND o.mantissa IS NOT NULL",
            device, point, until + travel_ms, answers[0][0] - travel_ms,
        )  # fmt: skip
        # Nothing lost: an answer is stored under the time of its arrival. (The answers by which the agent makes sure
        # that it talks to the right device are followed at once by one that is stored.)
        lost = [answer for answer in answers if answer[0] < until and not _is_near(answer, rows, travel_ms)]
        assert all(_near_a_kill(at_ms) for at_ms, _ in lost), (device, point, lost)
        # Nothing invented, nothing twice.
        assert all(_is_near(row, answers, travel_ms) for row in rows), (device, point)
        assert len({at_ms for at_ms, _ in rows}) == len(rows) <= len(answers), (device, point)
        checked += sum(at_ms < until for at_ms, _ in rows)
    assert checked > 2 * len(by_point)
    print(f"{checked} register readings served and stored, over {len(by_point)} registers")


def _is_near(reading, others, travel_ms):
    return any(mantissa == reading[1] and abs(at_ms - reading[0]) <= travel_ms for at_ms, mantissa in others)


def _stored_until(demo, at_ms):
    sql = "SELECT max(observed_at) > to_timestamp(%s / 1000.0) FROM latest_value"
    return _query(demo, sql, at_ms)[0][0]


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
