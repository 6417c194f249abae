import sys
import time

import psutil
import pytest

from deploy.demo.state import DemoError, Home
from deploy.demo.supervisor import Part, PartFailed, Supervisor

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]
FAILING = [sys.executable, "-c", "print('no such meter'); raise SystemExit(3)"]


def _part(tmp_path, command):
    return Part(name="part", command=command, log=tmp_path / "part.log")


def test_a_killed_part_is_started_again_and_the_supervisor_says_so(tmp_path):
    said = []
    supervisor = Supervisor(say=said.append)
    part = supervisor.start(_part(tmp_path, SLEEP))
    first = part.process.pid
    part.process.kill()
    part.process.wait()
    supervisor.look_after()
    assert part.is_running
    assert part.process.pid != first
    assert said == ["part was ended by SIGKILL; started again"]
    supervisor.stop()


def test_a_part_that_keeps_failing_stops_the_demo_with_its_last_words(tmp_path):
    supervisor = Supervisor(say=lambda _: None)
    part = supervisor.start(_part(tmp_path, FAILING))
    with pytest.raises(PartFailed, match="no such meter"):
        for _ in range(20):
            part.process.wait()
            supervisor.look_after()


def test_stopping_leaves_no_process_behind_even_when_one_ignores_the_signal(tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.demo.supervisor.STOP_SECONDS_MAX", 0.3)
    supervisor = Supervisor(say=lambda _: None)
    parts = [supervisor.start(_part(tmp_path, SLEEP)), supervisor.start(_part(tmp_path, STUBBORN))]
    while "up" not in (tmp_path / "part.log").read_text():
        time.sleep(0.01)
    processes = [psutil.Process(part.process.pid) for part in parts]
    supervisor.stop()
    assert not any(process.is_running() for process in processes)


def test_two_demos_in_one_folder_are_refused(tmp_path):
    first = Home(tmp_path / "home")
    first.open_lock()
    with pytest.raises(DemoError, match="runs already"):
        Home(tmp_path / "home").open_lock()
    first.close()


def test_a_damaged_state_file_is_named_with_the_remedy(tmp_path):
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(DemoError, match="make demo-reset"):
        Home(tmp_path).peek()


def test_a_reset_deletes_everything_and_may_be_repeated(tmp_path):
    home = Home(tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "state.json").write_text('{"web_port": 1}')
    home.reset()
    home.reset()
    assert not (tmp_path / "home").exists()
