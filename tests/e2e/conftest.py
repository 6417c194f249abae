"""The demo as a newcomer starts it: one run for the whole suite, with real processes and real sockets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.support.broker import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 420


def _command_line(process: psutil.Process) -> str:
    """What started a process; nothing when it has ended since it was listed, as the database's own do all the time."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@dataclass(kw_only=True)
class RunningDemo:
    process: subprocess.Popen
    home: Path
    url: str
    output: Path
    seconds_to_start: float
    killed_ms: list[int] = field(default_factory=list)
    agent_killed_ms: list[int] = field(default_factory=list)

    @property
    def served(self) -> list[dict]:
        """What the simulated devices answered: device, time and the exact registers of each answer."""
        lines = (self.home.parent / "served.jsonl").read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    @property
    def state(self) -> dict:
        return json.loads((self.home / "state.json").read_text())

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def part(self, needle: str) -> psutil.Process:
        """The process of the demo whose command line contains the words."""
        found = [p for p in self.descendants() if needle in _command_line(p)]
        assert found, f"no process matches {needle!r}"
        return found[0]

    def database_url(self, role: str = "postgres") -> str:
        passwords = dict(line.split(" ", 1) for line in (self.home / "postgres/passwords").read_text().splitlines())
        return f"postgresql://{role}:{passwords[role]}@127.0.0.1:{self.state['ports']['database']}/wattlease"

    def cloud_api(self, *arguments: str) -> subprocess.CompletedProcess:
        environment = {"CLOUD_DATABASE_URL": self.database_url("wattlease_app")}
        command = [str(Path(sys.executable).with_name("cloud-api")), *arguments]
        return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)

    def fault(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "deploy.demo", "--home", str(self.home), "fault", *arguments]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def start_demo(home: Path, *, days: int = 45) -> RunningDemo:
    port = free_port()
    output = home.parent / f"{home.name}.out"
    command = [sys.executable, "-m", "deploy.demo", "--home", str(home), "up", "--port", str(port), "--days", str(days)]
    command += ["--served", str(home.parent / "served.jsonl")]
    began = time.monotonic()
    with output.open("ab") as file:
        mark = file.tell()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"COLUMNS": "160"},
        )
    deadline = began + START_SECONDS_MAX
    while True:
        text = output.read_text(errors="replace")[mark:]
        if "The building is alive" in text:
            break
        if process.poll() is not None or time.monotonic() > deadline:
            stop_demo_process(process)
            raise AssertionError(f"the demo did not come up:\n{re.sub(chr(27) + r'[^m]*m', '', text)[-4000:]}")
        time.sleep(0.2)
    return RunningDemo(
        process=process,
        home=home,
        url=f"http://127.0.0.1:{port}",
        output=output,
        seconds_to_start=time.monotonic() - began,
    )


def stop_demo_process(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    demo = start_demo(tmp_path_factory.mktemp("demo") / "home")
    yield demo
    stop_demo_process(demo.process)
