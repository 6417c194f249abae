"""Starts the demo's processes, keeps them running, and stops every one of them."""

import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

RESTARTS_MAX = 5  # Within RESTART_WINDOW_S; then something is wrong that a restart does not mend.
RESTART_WINDOW_S = 300.0
STOP_SECONDS_MAX = 12.0


class PartFailed(RuntimeError):
    """A process cannot be kept running; the text says which, and ends with its last words."""


@dataclass(kw_only=True)
class Part:
    """One process of the demo; its output goes to `log`."""

    name: str
    command: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _starts: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        ends_with_parent = ["setpriv", "--pdeathsig=TERM"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*ends_with_parent, *self.command],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._starts.append(time.monotonic())

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def restart_after_failure(self) -> str:
        """Start the process again and return a sentence about it; raise PartFailed when it keeps ending."""
        assert self.process is not None
        now = time.monotonic()
        while self._starts and now - self._starts[0] > RESTART_WINDOW_S:
            self._starts.popleft()
        how = describe_exit(self.process.returncode)
        if len(self._starts) > RESTARTS_MAX:
            raise PartFailed(f"{self.name} {how} {len(self._starts)} times in a row.\n{self.last_words()}")
        self.start()
        return f"{self.name} {how}; started again"

    def ask_to_stop(self) -> None:
        """Send SIGTERM; the process ends its work in order."""
        if self.is_running and self.process:
            self.process.terminate()

    def wait_stopped(self, deadline: float) -> None:
        """Wait for the end, and force it at the deadline."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def last_words(self, lines: int = 12) -> str:
        """Return the end of the log."""
        text = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return f"Last lines of {self.log}:\n" + "\n".join(f"  {line}" for line in text)


def describe_exit(code: int) -> str:
    """Say how a process ended."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


@dataclass(kw_only=True)
class Supervisor:
    """Keeps parts alive until it is told to stop; parts are stopped in the reverse order of their start."""

    say: Callable[[str], None]
    parts: list[Part] = field(default_factory=list)

    def start(self, part: Part) -> Part:
        """Start a part and keep it."""
        part.start()
        self.parts.append(part)
        return part

    def look_after(self) -> None:
        """Start again whatever has ended since the last look."""
        for part in self.parts:
            if not part.is_running:
                self.say(part.restart_after_failure())

    def stop(self) -> None:
        """Stop everything, last started first; whatever does not end in time is killed."""
        for part in reversed(self.parts):
            part.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for part in reversed(self.parts):
            part.wait_stopped(deadline)
        self.parts.clear()
