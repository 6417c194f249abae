"""The agent's cost, side by side with a peer and with physical limits, each as a ratio in one run.

    python -m tests.bench.edge cpu      50 devices × 20 float32 at 1 s: CPU per point against thingsboard-gateway
    python -m tests.bench.edge many     1,000 devices × 20 float32 at 10 s in one agent
    python -m tests.bench.edge serial   a 9600 baud line: share of what the wire allows

`cpu` measures the peer when WATTLEASE_TBGW names its environment (python3 -m venv DIR; DIR/bin/pip install
thingsboard-gateway==3.8.5 pymodbus==3.9.2) and WATTLEASE_SHARED the folder with peers/tbgw_*.py.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench.edge_serial import measure_line
from tests.support.broker import Broker, free_port

HERE = Path(__file__).parent
POINTS = 20
PROFILE = """\
profile: bench_meter
kind: modbus
category: meter
label: {en: Bench meter, zh: 基准电表}
products: [{brand: None, model: Bench}]
source: Made up for measurements.
confidence: documented
notes: No real device.
points:
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("cpu", "many", "serial"))
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    {"cpu": cpu, "many": many, "serial": serial}[arguments.what](arguments.seconds)


def cpu(seconds: float) -> None:
    ours = measure_agent(devices=50, buses=1, poll_s=1, seconds=seconds)
    print(f"edge-agent            {describe(ours)}   (register → accepted receipt)")
    peer = measure_peer(seconds)
    if peer is None:
        print("thingsboard-gateway   not measured: set WATTLEASE_TBGW and WATTLEASE_SHARED")
        return
    print(f"thingsboard-gateway   {describe(peer)}   (register → broker)")
    print(f"ratio                 {peer['us_cpu_per_point'] / ours['us_cpu_per_point']:.1f} × less CPU per point")


def many(seconds: float) -> None:
    found = measure_agent(devices=1000, buses=100, poll_s=10, seconds=max(seconds, 30))
    print(f"1,000 devices × {POINTS} points at 10 s on 100 buses: {describe(found)}")
    print(f"  {found['cpu_cores'] / 0.5:.2f} of the half core allowed; missed cycles {found['missed']}")
    print(f"  lateness p99 {found['late_p99_ms']} ms, {found['late_p99_ms'] / 500:.2f} of the 500 ms allowed")


def serial(seconds: float) -> None:
    share = measure_line(seconds)
    print(f"9600 baud 8N1: {share:.1%} of the cycles that the wire allows for the planned frames (target 95 %)")


def describe(found: dict[str, float]) -> str:
    return (
        f"{found['points_per_s']:7.0f} points/s  {found['cpu_cores']:.3f} core  "
        f"{found['us_cpu_per_point']:6.1f} µs CPU/point  {found['rss_mb']:.0f} MB"
    )


def measure_agent(*, devices: int, buses: int, poll_s: float, seconds: float) -> dict[str, float]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ports = [stack.enter_context(modbus_server(folder)) for _ in range(min(buses, 4))]
        cloud = stack.enter_context(receiving_cloud())
        status = free_port()
        site = write_site(folder, ports, cloud, devices=devices, buses=buses, poll_s=poll_s)
        environment = {**os.environ, "EDGE_STATUS_PORT": str(status), "EDGE_CREDENTIAL": "secret"}
        command = [
            sys.executable,
            "-m",
            "edge_agent.cli",
            "run",
            "--site",
            str(site),
            "--data-dir",
            str(folder / "data"),
        ]
        agent = subprocess.Popen(command, env=environment, stderr=(folder / "log").open("w"))
        stack.callback(end, agent)
        wait_for(status)
        time.sleep(poll_s + 8)
        before, used, started = report(status), cpu_seconds(agent.pid), time.monotonic()
        time.sleep(seconds)
        after, spent, elapsed = report(status), cpu_seconds(agent.pid) - used, time.monotonic() - started
        points = after["link"]["observations"] - before["link"]["observations"]
        assert after["outbox"]["rejected"] == 0
        assert points > 0.9 * devices * POINTS / poll_s * elapsed, "the agent does not keep up"
        return {
            "points_per_s": points / elapsed,
            "cpu_cores": spent / elapsed,
            "us_cpu_per_point": 1e6 * spent / points,
            "rss_mb": psutil.Process(agent.pid).memory_info().rss / 1e6,
            "missed": sum(bus["missed_cycles"] for bus in after["buses"]),
            "late_p99_ms": after["lateness_p99_ms"],
        }


def write_site(folder: Path, ports: list[int], cloud: str, *, devices: int, buses: int, poll_s: float) -> Path:
    lines = [
        f"  - {{name: voltage_h{i}, quantity: voltage, address: {2 * i}, type: float32}}\n"
        for i in range(1, POINTS + 1)
    ]
    (folder / "bench_meter.yaml").write_text(PROFILE + "".join(lines), encoding="utf-8")
    text = f"gateway: gw-bench\nprofiles: {folder}\ncloud: {{url: '{cloud}'}}\nbuses:\n"
    for bus in range(buses):
        # One server process serves several buses; each bus has its own connection, told apart by the loopback address.
        text += f"  - name: bus-{bus}\n    transport: tcp\n    host: {loopback(bus, len(ports))}\n"
        text += f"    port: {ports[bus % len(ports)]}\n    devices:\n"
        for number in range(bus, devices, buses):
            unit = number // buses + 1
            text += f"      - {{name: d{number}, profile: bench_meter, unit: {unit}, poll_s: {poll_s}}}\n"
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def loopback(bus: int, servers: int) -> str:
    """Another loopback address for each bus of a server: a site file names an endpoint only once."""
    return f"127.0.0.{1 + bus // servers}"


@contextlib.contextmanager
def modbus_server(folder: Path) -> Iterator[int]:
    binary = folder / "modbus_server"
    if not binary.exists():
        flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "libmodbus"], text=True).split()
        subprocess.run(["cc", "-O2", str(HERE / "modbus_server.c"), "-o", str(binary), *flags], check=True)
    port = free_port()
    process = subprocess.Popen([str(binary), str(port)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield port
    finally:
        end(process)


@contextlib.contextmanager
def receiving_cloud() -> Iterator[str]:
    """A process that answers as section 9 says, so that only the agent's own CPU counts."""
    code = (
        "import asyncio\nfrom tests.support.contract_cloud import ContractCloud\n"
        "async def main():\n    print(await ContractCloud().start(), flush=True)\n    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        end(process)


def measure_peer(seconds: float) -> dict[str, float] | None:
    home, shared = os.environ.get("WATTLEASE_TBGW"), os.environ.get("WATTLEASE_SHARED")
    if not home or not shared:
        return None
    peers = Path(shared) / "peers"
    python = str(Path(home) / "bin" / "python")
    (config,) = Path(home).glob("lib/python3.*/site-packages/thingsboard_gateway/config")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(modbus_server(folder))
        broker = Broker(folder)
        broker.start()
        stack.callback(broker.stop)
        out = folder / "config"
        arguments = [str(config), str(out), str(port), str(broker.port), "50", str(POINTS)]
        subprocess.run([python, str(peers / "tbgw_config.py"), *arguments], check=True)
        gateway = str(Path(home) / "bin" / "thingsboard-gateway")
        measure = [python, str(peers / "tbgw_measure.py"), gateway, str(out), str(broker.port), str(seconds)]
        answer = subprocess.run(measure, check=True, capture_output=True, text=True, cwd=folder)
        return json.loads(answer.stdout.strip().splitlines()[-1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            report(port)
            return
        time.sleep(0.2)
    raise SystemExit("the agent does not start")


def report(port: int) -> dict:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status.json", timeout=10) as answer:
        return json.load(answer)


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
