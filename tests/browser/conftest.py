"""The real product in real processes, and a real browser: simulated building, edge agent, API, worker, Chromium."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
import pytest
from playwright.sync_api import sync_playwright
from psycopg import sql

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "deploy/demo"
BIN = Path(sys.executable).parent
CHROMIUM = "/usr/bin/chromium"
# The sandbox needs rights that a container lacks; without the others Chromium looks for hosts that are out of reach.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "a password for tests"
PEOPLE = {
    "admin": ["--role", "admin"],
    "facilities": ["--role", "facilities"],
    "finance": ["--role", "finance"],
    "north": ["--tenant", "t-03"],
    "south": ["--tenant", "t-04"],
}
HISTORY_DAYS = 3
READY_SECONDS_MAX = 60


@dataclass
class Stack:
    """Every process of the product, each with its log."""

    folder: Path
    database_url: str
    ports: dict[str, int]
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def environment(self):
        return os.environ | {
            "CLOUD_DATABASE_URL": self.database_url,
            "CLOUD_PORT": str(self.ports["web"]),
            "CLOUD_PUBLIC_URL": self.url,
            "CLOUD_DATA_DIR": str(self.folder / "cloud"),
            "CLOUD_DEMO_CONTROL_URL": f"http://127.0.0.1:{self.ports['control']}",
            "EDGE_DATA_DIR": str(self.folder / "edge"),
            "EDGE_STATUS_PORT": str(self.ports["status"]),
        }

    def command(self, *arguments, words=None):
        done = subprocess.run(
            [BIN / arguments[0], *arguments[1:]],
            check=False,
            cwd=ROOT,
            env=self.environment,
            input=words,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{arguments}: {done.stderr or done.stdout}"
        return done.stdout

    def start(self, name, *command):
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        log.close()

    def stop(self):
        for process in reversed(self.processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes.values()):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def wait_until(self, what, condition, seconds=READY_SECONDS_MAX):
        deadline = time.monotonic() + seconds
        while not condition():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            logs = "".join(
                f"\n--- {n}\n{(self.folder / f'{n}.log').read_text()[-1500:]}" for n in dead or self.processes
            )
            assert not dead, f"ended while waiting for {what}: {dead}{logs}"
            assert time.monotonic() < deadline, f"no {what} after {seconds} s{logs}"
            time.sleep(0.2)

    def override(self, device, point, value):
        """Put a value into a simulated register, behind the agent's back."""
        url = f"http://127.0.0.1:{self.ports['control']}/overrides/{device}/{point}"
        httpx.put(url, json={"value": value}, timeout=5, trust_env=False).raise_for_status()

    def silence(self, device):
        url = f"http://127.0.0.1:{self.ports['control']}/faults/{device}"
        httpx.put(url, json={"kind": "silent"}, timeout=5, trust_env=False).raise_for_status()

    def mend(self, device):
        url = f"http://127.0.0.1:{self.ports['control']}/faults/{device}"
        httpx.delete(url, timeout=5, trust_env=False).raise_for_status()


@pytest.fixture(scope="session")
def stack(server, template, tmp_path_factory):
    """Import the demo site, send a few days of history, start everything."""
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is missing: make services")
    name = "browser"
    with psycopg.connect(server.addresses("postgres").superuser, autocommit=True) as conn:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE wattlease_template OWNER wattlease_owner")
        conn.execute(statement.format(sql.Identifier(name)))
    base = _free_ports(40)
    ports = {"web": base, "control": base + 1, "status": base + 2, "broker": base + 3, "modbus": base + 5}
    stack = Stack(folder=tmp_path_factory.mktemp("stack"), database_url=server.addresses(name).app, ports=ports)
    try:
        _set_up(stack)
        yield stack
    finally:
        stack.stop()


def _set_up(stack):
    stack.command("cloud-api", "import-estate", str(DEMO / "building.yaml"))
    stack.command("cloud-api", "import-leases", str(DEMO / "leases.csv"), "--tenants", str(DEMO / "tenants.csv"))
    for login, arguments in PEOPLE.items():
        stack.command(
            "cloud-api", "user", "add", login, *arguments, "--language", "en", "--password-stdin", words=PASSWORD + "\n"
        )
    credential = stack.folder / "gateway.credential"
    credential.touch(mode=0o600)
    credential.write_text(
        stack.command("cloud-api", "gateway", "add", "hz-park", "gw-demo").strip().splitlines()[-1] + "\n"
    )
    site = stack.folder / "site.yaml"
    stack.command(
        "edge-agent", "simulate", "site", str(DEMO / "site.yaml"), "--out", str(site),
        "--base-port", str(stack.ports["modbus"]), "--broker-port", str(stack.ports["broker"]),
        "--serial-folder", str(stack.folder / "tty"), "--cloud-url", stack.url, "--credential-file", str(credential),
    )  # fmt: skip
    stack.start("broker", sys.executable, "-m", "deploy.demo.broker", str(stack.ports["broker"]))
    stack.start("api", BIN / "cloud-api", "serve")
    stack.start("worker", BIN / "cloud-api", "worker")
    stack.wait_until("API", lambda: _answers(f"{stack.url}/readyz"))
    building = ["--site", str(site), "--leases", str(DEMO / "leases.csv"), "--state", str(stack.folder / "simulator")]
    stack.command(
        "edge-agent", "simulate", "history", str(DEMO / "building.yaml"), *building,
        "--days", str(HISTORY_DAYS), "--url", stack.url, "--credential-file", str(credential),
    )  # fmt: skip
    stack.start(
        "building", BIN / "edge-agent", "simulate", "run", str(DEMO / "building.yaml"), *building,
        "--control-port", str(stack.ports["control"]),
    )  # fmt: skip
    stack.wait_until("building", lambda: _answers(f"http://127.0.0.1:{stack.ports['control']}/state"))
    stack.start("agent", BIN / "edge-agent", "run", "--site", str(site))


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def browse(stack, chromium):
    """Open a browser as somebody: `browse("facilities", width=390)` returns a page that is signed in."""
    contexts = []

    def open_as(login=None, *, width=1440, height=900, scheme="light"):
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, locale="en-GB")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        if login:
            page.goto(f"{stack.url}/login")
            page.get_by_label("User name").fill(login)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(re.compile(r"/(console|portal)$"))
        return page

    yield open_as
    for context in contexts:
        context.close()


def _answers(url):
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _free_ports(count):
    """Return the first of `count` ports that are free now."""
    for _ in range(50):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first = probe.getsockname()[1]
        if first + count < 60_000 and all(_is_free(first + i) for i in range(count)):
            return first
    raise AssertionError("no free ports")


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
