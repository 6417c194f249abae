"""The steps of `make demo`, in order: database, site, processes, history, ledger, bills, live building."""

import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
from rich.console import Console

from cloud_api.db.embedded import EmbeddedError, EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.kit.period import previous_month
from deploy.demo.state import HOME, DemoError, Home, State, write_private
from deploy.demo.supervisor import Part, PartFailed, Supervisor

DATABASE = "wattlease"
SITE = "hz-park"
GATEWAY = "gw-demo"
SHANGHAI = ZoneInfo("Asia/Shanghai")
READY_SECONDS_MAX = 60.0
LEDGER_SECONDS_MAX = 180.0


class Demo:
    """One run of the demo; `run` returns when it was told to stop and everything has ended."""

    def __init__(self, root: Path, home: Home, *, web_port: int, history_days: int, served: Path | None = None) -> None:
        self.root = root
        self.home = home
        self.files = root / "deploy" / "demo"
        self.state: State = home.open(web_port)
        self.url = f"http://127.0.0.1:{web_port}"
        self.history_days = max(history_days, _days_since_previous_month_began())
        self.served = served
        self.console = Console(highlight=False)
        self.supervisor = Supervisor(say=lambda text: self.console.print(f"  [yellow]![/] {text}"))
        self.server = EmbeddedServer(home.folder / "postgres", port=self.state.ports["database"])
        self._stopping = False
        self._step = 0

    def run(self) -> None:
        """Set everything up, keep it alive until Ctrl-C, and stop it."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        started = time.monotonic()
        try:
            self._set_up()
            self._welcome(time.monotonic() - started)
            self._look_after()
        except KeyboardInterrupt:
            pass
        except EmbeddedError as error:
            raise DemoError(str(error)) from error
        except PartFailed as error:
            hint = "If the data were made by an earlier version, `make demo-reset` begins anew."
            raise DemoError(f"{error}\n{hint}") from error
        finally:
            self._stop()

    # Set-up -----------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        with self.step("Database"):
            self.server.start()
            bootstrap(self.server.addresses("postgres").superuser, DATABASE, self.server.passwords())
            migrate(self.server.addresses(DATABASE).owner)
        with self.step("Site, leases, tariff, people"):
            self._import_site()
        with self.step("Cloud: API and worker"):
            self._start_cloud()
        self._write_site_file()
        self._write_settings()
        # Before the building runs: the living building goes on where its past ends.
        with self.step(f"History: {self.history_days} days through the ingest API", shows_progress=True):
            self._send_history()
            self._import_cards()
        with self.step("Broker and simulated building"):
            self._start_building()
        with self.step("Interval ledger and last month's bills"):
            self._settle_ledger_and_bills()
        with self.step("Edge agent"):
            self._start_agent()

    def _import_site(self) -> None:
        if "site" not in self.state.done:
            self._cloud("import-estate", str(self.files / "building.yaml"))
            self._cloud("import-leases", str(self.files / "leases.csv"), "--tenants", str(self.files / "tenants.csv"))
            self._cloud("tariff", "import", "zhejiang-2026-demo", "--site", SITE, "--landlord")
            self._cloud("tariff", "import", "water", "--site", SITE, "--landlord")
            self._cloud("tariff", "import", "after-hours-hvac", "--site", SITE)
            self._cloud("bill", "policy", "approval=automatic", "--site", SITE)
            self.home.mark(self.state, "site")
        if "people" not in self.state.done:
            for login, arguments in {
                "admin": ["--role", "admin"],
                "tenant-a": ["--tenant", "t-03"],
                "tenant-b": ["--tenant", "t-06", "--language", "en"],
            }.items():
                self.state.logins[login] = self._cloud("user", "add", login, *arguments).strip().splitlines()[-1]
            self.home.mark(self.state, "people")
        if "gateway" not in self.state.done:
            credential = self._cloud("gateway", "add", SITE, GATEWAY).strip().splitlines()[-1]
            write_private(self.credential_file, credential + "\n")
            self.home.mark(self.state, "gateway")

    def _start_building(self) -> None:
        broker = [sys.executable, "-m", "deploy.demo.broker", str(self.state.ports["broker"])]
        self.supervisor.start(Part(name="broker", command=broker, log=self._log("broker")))
        simulate = [self._bin("edge-agent"), "simulate", "run", str(self.files / "building.yaml")]
        simulate += ["--site", str(self.site_file), "--control-port", str(self.state.ports["control"])]
        simulate += ["--leases", str(self.files / "leases.csv"), "--state", str(self.building_state)]
        if self.served:
            simulate += ["--served", str(self.served)]
        self.supervisor.start(Part(name="building", command=simulate, log=self._log("building")))

    def _write_site_file(self) -> None:
        """Copy the commissioned site file with this machine's free ports."""
        self._edge(
            "simulate", "site", str(self.files / "site.yaml"),
            "--out", str(self.site_file),
            "--base-port", str(self.state.ports["modbus"]),
            "--broker-port", str(self.state.ports["broker"]),
            "--serial-folder", str(self.home.folder / "serial"),
            "--cloud-url", self.url,
            "--credential-file", str(self.credential_file),
        )  # fmt: skip

    def _write_settings(self) -> None:
        """Write what a shell needs to give the product's own commands to this demo: `. settings.sh`."""
        settings = self._cloud_environment() | self._edge_environment()
        lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
        lines.append(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
        write_private(self.settings_file, "\n".join(lines) + "\n")

    def _start_cloud(self) -> None:
        for name, command in {"api": "serve", "worker": "worker"}.items():
            part = Part(
                name=name,
                command=[self._bin("cloud-api"), command],
                log=self._log(name),
                environment=self._cloud_environment(),
            )
            self.supervisor.start(part)
        self._wait_for(f"{self.url}/readyz")

    def _send_history(self) -> None:
        self._edge(
            "simulate", "history", str(self.files / "building.yaml"),
            "--site", str(self.site_file),
            "--state", str(self.building_state),
            "--days", str(self.history_days),
            "--url", self.url,
            "--credential-file", str(self.credential_file),
            shows_progress=True,
        )  # fmt: skip

    def _import_cards(self) -> None:
        """Tell the cloud whose the cards are, by the hashes that doors send; the numbers stay in the demo's folder."""
        if "cards" in self.state.done:
            return
        numbers, hashes = (self.home.folder / name for name in ("cards.csv", "cards-hashed.csv"))
        self._edge("simulate", "cards", str(self.files / "building.yaml"), "--out", str(numbers))
        write_private(hashes, self._edge("cards", str(numbers)))
        self._cloud("import-cards", str(hashes), "--site", SITE)
        self.home.mark(self.state, "cards")

    def _settle_ledger_and_bills(self) -> None:
        self._wait_for_ledger()
        month = previous_month(datetime.now(UTC), SHANGHAI).start.astimezone(SHANGHAI).strftime("%Y-%m")
        if f"bills {month}" in self.state.done:
            return
        self._cloud("bill", "run", "--site", SITE, "--month", month, "--issue")
        self.home.mark(self.state, f"bills {month}")

    def _wait_for_ledger(self) -> None:
        """Wait until the worker has computed the intervals; the quarter hour that still runs has none yet."""
        deadline = time.monotonic() + LEDGER_SECONDS_MAX
        with psycopg.connect(self.server.addresses(DATABASE).superuser, autocommit=True) as conn:
            while conn.execute(
                "SELECT EXISTS (SELECT FROM app.dirty_range WHERE starts_at < now() - interval '1 hour')"
            ).fetchone() != (False,):
                self.supervisor.look_after()
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"the interval ledger is not done after {LEDGER_SECONDS_MAX:.0f} s; see log/worker.log"
                    )
                time.sleep(0.5)

    def _start_agent(self) -> None:
        part = Part(
            name="agent",
            command=[self._bin("edge-agent"), "run", "--site", str(self.site_file)],
            log=self._log("agent"),
            environment=self._edge_environment(),
        )
        self.supervisor.start(part)
        self._wait_for(f"http://127.0.0.1:{self.state.ports['status']}/")

    # Running ----------------------------------------------------------------------------------------------------

    def _welcome(self, seconds: float) -> None:
        lines = [f"\n[bold green]The building is alive[/] after {seconds:.0f} s.", "", f"  Open   [bold]{self.url}[/]"]
        lines += [f"  {login:<9}{password}" for login, password in self.state.logins.items()]
        home = "" if self.home.folder == self.root / HOME else f" DEMO_HOME={self.home.folder}"
        lines += ["", f"  Silence a device:  make demo-fault{home} DEVICE=meter-t201   (mend: CLEAR=1; break: FAULT=…)"]
        lines += [f"  Its commands:      . {self.settings_file}; cloud-api --help"]
        lines += [f"  Logs:              {self.home.folder / 'log'}", "  Stop:              Ctrl-C", ""]
        self.console.print("\n".join(lines))

    def _look_after(self) -> None:
        while not self._stopping:
            time.sleep(1)
            if not self.server.is_running():
                self.console.print("  [yellow]![/] database ended; started again")
                self.server.start()
            self.supervisor.look_after()

    def _on_signal(self, *_: object) -> None:
        self._stopping = True
        raise KeyboardInterrupt

    def _stop(self) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)  # A second Ctrl-C must not leave processes behind.
        self.console.print("\nStopping …")
        self.supervisor.stop()
        self.server.stop()
        self.home.close()
        self.console.print("Everything has ended. The data are kept; `make demo` continues, `make demo-reset` deletes.")

    # Helpers ----------------------------------------------------------------------------------------------------

    @property
    def credential_file(self) -> Path:
        """Where the agent and the history find the gateway's credential."""
        return self.home.folder / "gateway.credential"

    @property
    def building_state(self) -> Path:
        """Where the simulated building keeps its state, its past included."""
        return self.home.folder / "building"

    @property
    def settings_file(self) -> Path:
        """The environment of the product's commands, for a person's shell; it holds the database's passwords."""
        return self.home.folder / "settings.sh"

    @property
    def site_file(self) -> Path:
        """The commissioned site file of the demo building, with this machine's ports."""
        return self.home.folder / "site.yaml"

    def _log(self, name: str) -> Path:
        return self.home.folder / "log" / f"{name}.log"

    def _bin(self, name: str) -> str:
        return str(Path(sys.executable).with_name(name))

    def _cloud_environment(self) -> dict[str, str]:
        addresses = self.server.addresses(DATABASE)
        return {
            "CLOUD_DATABASE_URL": addresses.app,
            "CLOUD_OWNER_DATABASE_URL": addresses.owner,
            "CLOUD_PORT": str(self.state.web_port),
            "CLOUD_PUBLIC_URL": self.url,
            "CLOUD_DATA_DIR": str(self.home.folder / "cloud"),
            "CLOUD_DEMO_CONTROL_URL": f"http://127.0.0.1:{self.state.ports['control']}",
        }

    def _cloud(self, *arguments: str) -> str:
        return self._command("cloud-api", arguments, self._cloud_environment())

    def _edge_environment(self) -> dict[str, str]:
        return {
            "EDGE_DATA_DIR": str(self.home.folder / "edge"),
            "EDGE_STATUS_PORT": str(self.state.ports["status"]),
        }

    def _edge(self, *arguments: str, shows_progress: bool = False) -> str:
        return self._command("edge-agent", arguments, self._edge_environment(), shows_progress=shows_progress)

    def _command(
        self, name: str, arguments: tuple[str, ...], environment: dict[str, str], *, shows_progress: bool = False
    ) -> str:
        done = subprocess.run(
            [self._bin(name), *arguments],
            env=os.environ | environment,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=None if shows_progress else subprocess.PIPE,
            stderr=None if shows_progress else subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            words = (done.stderr or done.stdout or "").strip()
            raise DemoError(f"`{name} {' '.join(arguments)}` failed:\n{words}")
        return done.stdout or ""

    def _wait_for(self, url: str) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            self.supervisor.look_after()
            try:
                with urllib.request.urlopen(url, timeout=2):  # noqa: S310  # Our own address.
                    return
            except (urllib.error.URLError, OSError) as error:
                if time.monotonic() > deadline:
                    logs = "\n".join(part.last_words(6) for part in self.supervisor.parts)
                    raise DemoError(
                        f"{url} does not answer after {READY_SECONDS_MAX:.0f} s: {error}\n{logs}"
                    ) from error
                time.sleep(0.2)

    @contextmanager
    def step(self, title: str, *, shows_progress: bool = False) -> Iterator[None]:
        """Say what happens, and how long it took."""
        self._step += 1
        started = time.monotonic()
        label = f"[dim]{self._step}/7[/] {title}"
        if shows_progress:
            self.console.print(label)
            yield
        else:
            with self.console.status(label):
                yield
        self.console.print(f"[green]✓[/] {label}  [dim]{time.monotonic() - started:.1f} s[/]")


def _days_since_previous_month_began() -> int:
    """Return how far back the history must reach so that the last full month can be billed."""
    now = datetime.now(UTC)
    return (now - previous_month(now, SHANGHAI).start).days + 2
