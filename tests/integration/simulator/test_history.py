"""The past of the building through the ingest API: broken off, taken up again, complete, and joined to the present."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.simulator.faults import FaultJournal
from edge_agent.simulator.history import HistoryError, HistoryOptions, send_history
from edge_agent.simulator.keeping import Folder, open_building
from edge_agent.simulator.model import Building
from edge_agent.simulator.plan import load_plan
from edge_agent.simulator.signals import Instant, signal_of
from tests.support.real_cloud import RealCloud

DEMO = Path(__file__).parents[3] / "deploy" / "demo"
DAYS = 1


@pytest.fixture
async def cloud(database, pool):
    cloud = RealCloud(database.app, pool)
    await cloud.start()
    yield cloud
    await cloud.stop()


class BrokenOffError(Exception):
    """Stands for Ctrl-C."""


def break_off(progress) -> None:
    if progress.observations > 8000:
        raise BrokenOffError


async def test_a_history_that_broke_off_is_taken_up_and_stored_once(cloud: RealCloud, tmp_path: Path) -> None:
    plan = load_plan(DEMO / "building.yaml", DEMO / "leases.csv")
    start = datetime(2026, 10, 19, tzinfo=plan.zone)
    end = start + timedelta(days=DAYS, hours=2)
    options = HistoryOptions(
        plan=plan,
        site=DEMO / "site.yaml",
        state=tmp_path,
        url=cloud.url,
        credential=await cloud.add_gateway(),
        privacy_key=b"a key of sixteen bytes or more",
        from_day=start,
        until_ms=round(end.timestamp() * 1000),
        batch_observations=3000,
    )
    with pytest.raises(BrokenOffError):
        await asyncio.to_thread(send_history, options, break_off)
    after_break = len(await cloud.stored())
    done = await asyncio.to_thread(send_history, options)
    again = await asyncio.to_thread(send_history, options)
    rows = await cloud.stored()
    badges = await cloud.events()

    assert 8000 < after_break < len(rows)
    assert done.rejected == 0
    assert again.observations == 0
    assert len({row[:3] for row in rows}) == len(rows)
    register = [row for row in rows if row[:2] == ("meter-t501", "active_energy_import")]
    assert len(register) == (DAYS * 24 + 2) * 4 + 1
    assert [row[4] for row in register] == sorted(row[4] for row in register)
    assert len(badges) > 1000
    assert len({(data["door"], data["sequence"]) for _kind, data in badges}) == len(badges)

    # The living building goes on from the same numbers.
    building = open_building(plan, Folder(tmp_path), start, FaultJournal())
    building.run_to(options.until_ms // 60_000)
    point = _Point(name="active_energy_import", quantity="active_energy_import", unit="kWh")
    signal = signal_of(building, "meter-t501", point)
    assert int(signal(Instant(building=building, ms=0)) * 1000) == register[-1][4]


class _Point:
    def __init__(self, **parts: str) -> None:
        self.__dict__.update(parts)


async def test_a_building_that_runs_already_has_no_earlier_past(tmp_path: Path) -> None:
    plan = load_plan(DEMO / "building.yaml", DEMO / "leases.csv")
    start = datetime(2026, 10, 19, tzinfo=plan.zone)
    folder = Folder(tmp_path)
    folder.begin(start)
    folder.write("midnight", Building(plan, start).midnight)
    options = HistoryOptions(
        plan=plan,
        site=DEMO / "site.yaml",
        state=tmp_path,
        url="http://127.0.0.1:9",
        credential="none",
        privacy_key=b"a key of sixteen bytes or more",
        from_day=start - timedelta(days=45),
        until_ms=round(start.timestamp() * 1000),
    )
    with pytest.raises(HistoryError, match="began at 2026-10-19 and has no earlier past"):
        send_history(options)
