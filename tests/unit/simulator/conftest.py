from datetime import datetime
from pathlib import Path

import pytest

from edge_agent.settings import Site, load_site
from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import Plan, load_plan
from edge_agent.simulator.world import World

DEMO = Path(__file__).parents[3] / "deploy" / "demo"


@pytest.fixture(scope="session")
def plan() -> Plan:
    return load_plan(DEMO / "building.yaml", DEMO / "leases.csv")


@pytest.fixture(scope="session")
def site() -> Site:
    return load_site(DEMO / "site.yaml")


class Hands:
    """A world whose clock only the test moves."""

    def __init__(self, plan: Plan, at: str) -> None:
        self.start = datetime.fromisoformat(at).replace(tzinfo=plan.zone)
        self.now_ms = round(self.start.timestamp() * 1000)
        self.journal = FaultJournal()
        self.building = Building(plan, self.start, self.journal.at_minute)
        self.world = World(self.building, self.journal, now_ms=lambda: self.now_ms)
        self.world.instant()

    def after(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)
        self.world.instant()


@pytest.fixture
def hands(plan: Plan) -> Hands:
    """Monday morning, everybody at work."""
    return Hands(plan, "2026-10-19T10:30")
