"""A real TimescaleDB server in the Debian root that tests/services/timescale.sh builds."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg

from cloud_api.db.embedded import Addresses

SCRIPT = Path(__file__).resolve().parents[1] / "services" / "timescale.sh"
_BIN = "/usr/lib/postgresql/17/bin"
_ROLES = ("postgres", "wattlease_owner", "wattlease_app", "wattlease_grafana")


def why_not() -> str:
    """Return why no such server can run here, or an empty text."""
    return subprocess.run([SCRIPT, "why-not"], capture_output=True, text=True, check=True).stdout.strip()


class TimescaleServer:
    """PostgreSQL 17 with TimescaleDB in a chroot, as the user postgres of that root, on 127.0.0.1 and a free port.

    Offers what the fixtures use of `EmbeddedServer`. The data lie inside the root and are removed at the end.
    """

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings
        self.port = _free_port()
        self._root = Path(
            subprocess.run([SCRIPT, "root"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        )
        self._home = f"/var/lib/wattlease-tests/{secrets.token_hex(6)}"
        self._passwords = {role: secrets.token_hex(16) for role in _ROLES}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the postmaster while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        outside = Path(f"{self._root}{self._home}")
        outside.mkdir(parents=True)
        user = next(
            line.split(":")
            for line in (self._root / "etc/passwd").read_text().splitlines()
            if line.startswith("postgres:")
        )
        os.chown(outside, int(user[2]), int(user[3]))
        (outside / "password").write_text(self._passwords["postgres"] + "\n")
        self._inside("initdb", "-D", f"{self._home}/cluster", "-U", "postgres", "--auth=scram-sha-256",
                     f"--pwfile={self._home}/password", "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "dynamic_shared_memory_type": "mmap",
            "shared_preload_libraries": "timescaledb",
            "timescaledb.telemetry_level": "off",
            # Its schedulers would keep the template database busy, so that it could not be cloned.
            "timescaledb.max_background_workers": "0",
            "shared_buffers": "256MB",
            "timezone": "UTC",
        } | self.settings
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (outside / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._chroot(), f"{_BIN}/postgres", "-D", f"{self._home}/cluster", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.addresses("postgres").superuser, connect_timeout=5).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((outside / "server.log").read_text()[-2000:]) from None
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
        shutil.rmtree(f"{self._root}{self._home}", ignore_errors=True)

    def addresses(self, database: str) -> Addresses:
        superuser, owner, app = (
            f"postgresql://{role}:{self._passwords[role]}@127.0.0.1:{self.port}/{database}"
            for role in ("postgres", "wattlease_owner", "wattlease_app")
        )
        return Addresses(superuser=superuser, owner=owner, app=app)

    def passwords(self) -> dict[str, str]:
        return dict(self._passwords)

    def _chroot(self) -> list[str]:
        return ["chroot", "--userspec=postgres:postgres", str(self._root)]

    def _inside(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._chroot(), f"{_BIN}/{program}", *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr or done.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
