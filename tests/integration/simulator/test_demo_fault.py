"""`make demo-fault` speaks with a real control channel of the simulated building."""

import asyncio
import json
import threading
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.demo.fault import run_fault
from deploy.demo.state import DemoError
from edge_agent.simulator.control import Control
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import load_plan
from edge_agent.simulator.world import World

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
AT_MS = 1_792_377_000_000


@pytest.fixture
def home():
    """A demo's home whose control channel is served by a world in another thread."""
    plan, journal = load_plan(DEMO / "building.yaml", DEMO / "leases.csv"), FaultJournal()
    building = Building(plan, datetime.fromtimestamp(AT_MS / 1000, plan.zone), journal.at_minute)
    world = World(building, journal, now_ms=lambda: AT_MS)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    control = Control(world, ["water-main", "meter-t201", "iaq-301"])
    server = asyncio.run_coroutine_threadsafe(control.serve("127.0.0.1", 0), loop).result(10)
    port = server.sockets[0].getsockname()[1]
    yield SimpleNamespace(peek=lambda: SimpleNamespace(ports={"control": port}))

    async def end() -> None:
        server.close()
        await server.wait_closed()

    asyncio.run_coroutine_threadsafe(end(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_a_fault_begins_is_listed_and_ends(home, capsys):
    run_fault(home, ["water-main", "leak", "0.5"])
    run_fault(home, ["iaq-301", "stuck", "450", "co2"])
    run_fault(home, ["meter-t201"])
    capsys.readouterr()
    run_fault(home, [])
    listed = {(f["target"], f["kind"], f["size"], f["point"]) for f in json.loads(capsys.readouterr().out)}
    assert listed == {
        ("water-main", "leak", 0.5, None),
        ("iaq-301", "stuck", 450.0, "co2"),
        ("meter-t201", "silent", 1, None),
    }
    run_fault(home, ["clear", "water-main", "leak"])
    assert json.loads(capsys.readouterr().out)["ended"] == 1
    run_fault(home, ["kinds"])
    assert {"leak", "clock_off", "register_stuck"} <= {kind["name"] for kind in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["water-main", "leak", "much"], "SIZE=much is not a number"),
        (["water-main", "leak", "99"], "outside 0.02…20"),
        (["meter-t201", "leak"], r"leak is for water-\*"),
        (["ahu-99", "after_hours"], "no device or equipment"),
        (["clear"], "say which device"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(home, arguments, message):
    with pytest.raises(DemoError, match=message):
        run_fault(home, arguments)
