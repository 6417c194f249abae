"""What the demo keeps between two starts: ports, secrets, and which steps are done."""

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO

from deploy.demo.ports import PortClaims

HOME = Path(".run/demo")  # In the checkout, unless another folder is named.
MODBUS_PORT_COUNT = 16  # The buses of deploy/demo/site.yaml, with some to spare.
SERVICES = ("database", "broker", "control", "status")


class DemoError(RuntimeError):
    """The demo cannot go on; the text says why and what to do."""


@dataclass(kw_only=True)
class State:
    """Saved as JSON, readable by its owner only, because it holds the demo's passwords."""

    web_port: int
    ports: dict[str, int] = field(default_factory=dict)
    logins: dict[str, str] = field(default_factory=dict)  # Login name to password.
    done: list[str] = field(default_factory=list)


class Home:
    """The demo's folder: one demo at a time, and never half a file in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lock: IO[str] | None = None
        self._claims = PortClaims()

    def open(self, web_port: int) -> State:
        """Take the lock and read the state, or begin anew."""
        self.open_lock()
        (self.folder / "log").mkdir(exist_ok=True)
        state = self._read() or State(web_port=web_port)
        state.web_port = web_port
        if not self._claims.claim(web_port):
            raise DemoError(
                f"port {web_port} for the web page is taken by another program or another demo. "
                f"Choose another one: make demo PORT={web_port + 1}"
            )
        self._choose_ports(state)
        self.save(state)
        return state

    def _choose_ports(self, state: State) -> None:
        """Keep the ports of the last start as long as nobody else has them; the simulated buses lie in a row."""
        for name, count in {"modbus": MODBUS_PORT_COUNT, **dict.fromkeys(SERVICES, 1)}.items():
            if self._claims.claim(state.ports.get(name, 0), count):
                continue
            found = self._claims.claim_somewhere(count)
            if found is None:
                raise DemoError(f"no {count} free ports in a row for {name}: stop other demos, or what listens there")
            state.ports[name] = found

    def save(self, state: State) -> None:
        """Write the state in one step."""
        new = self.folder / "state.json.new"
        new.touch(mode=0o600)
        new.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")
        new.replace(self.folder / "state.json")

    def mark(self, state: State, step: str) -> None:
        """Remember that a step is done."""
        if step not in state.done:
            state.done.append(step)
            self.save(state)

    def peek(self) -> State:
        """Read the state without the lock, while a demo runs."""
        return self._read() or State(web_port=0)

    def reset(self) -> None:
        """Delete everything the demo has kept."""
        if not self.folder.exists():
            return
        self.open_lock()
        shutil.rmtree(self.folder)
        self.close()

    def open_lock(self) -> None:
        """Hold the folder until this process ends; refuse while another demo holds it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("a+")
        except OSError as error:
            raise DemoError(
                f"cannot write to {self.folder}: {error.strerror}. Clone the project into a folder of your own"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise DemoError("the demo runs already in this folder; press Ctrl-C in its window first") from error

    def close(self) -> None:
        """Let another demo have the folder and the ports."""
        self._claims.release()
        if self._lock:
            self._lock.close()
            self._lock = None

    def _read(self) -> State | None:
        file = self.folder / "state.json"
        if not file.exists():
            return None
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            # What an earlier version kept and this one does not know is left out.
            return State(**{f.name: kept[f.name] for f in fields(State) if f.name in kept})
        except (ValueError, TypeError) as error:
            raise DemoError(f"{file} cannot be read ({error}); start over with `make demo-reset`") from error


def write_private(path: Path, text: str) -> None:
    """Write a secret that only its owner may read."""
    path.touch(mode=0o600)
    os.chmod(path, 0o600)  # noqa: PTH101  # The file may have existed with other rights.
    path.write_text(text, encoding="utf-8")
