import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from edge_agent.model import Quality
from tests.integration.edge_bus.devices import METER, Collected, Registers, load, make_poller, tcp_bus
from tests.integration.edge_bus.servers import serving


async def until(condition, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(server, tmp_path, units, *, profile_text=METER, learned=None, clock=None, **options):
    sink = Collected()
    bus, profile = tcp_bus(server.port, units, **options), load(tmp_path, profile_text)
    poller = make_poller(bus, profile, sink, learned=learned, clock=clock)
    task = asyncio.create_task(poller.run())
    try:
        yield sink, poller, server
    finally:
        while not task.done():  # wait_for of Python 3.11 can swallow a cancellation.
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)


@asynccontextmanager
async def polling(registers: Registers, tmp_path, units, **options):
    async with serving(registers.answer) as server, running(server, tmp_path, units, **options) as parts:
        yield parts


@pytest.fixture
def registers() -> Registers:
    registers = Registers()
    for unit in (1, 2, 3):
        registers.meter(unit, energy=100 * unit)
    return registers


async def test_values_arrive_decoded_with_the_time_of_the_answer(registers, tmp_path):
    async with polling(registers, tmp_path, [1]) as (sink, _, _):
        before = time.time() * 1000
        await until(lambda: len(sink.frames) > 2)
    assert sink.values("m-1") == {"voltage_l1": 230.0, "active_power_total": 1500.0, "active_energy_import": 100}
    assert before - 5_000 < sink.frames[0].observed_at_ms <= time.time() * 1000
    assert sink.states("m-1") == ["online"]


async def test_one_request_per_cycle_reads_across_the_gap(registers, tmp_path):
    async with polling(registers, tmp_path, [1]) as (sink, _, server):
        await until(lambda: len(sink.frames) > 2)
    assert {(request.address, request.count) for request in server.requests} == {(0, 12)}


async def test_a_silent_device_goes_offline_once_with_one_frame_without_values(registers, tmp_path):
    async with polling(registers, tmp_path, [1, 2]) as (sink, _, _):
        await until(lambda: sink.states("m-2") == ["online"])
        registers.silent.add(2)
        await until(lambda: sink.states("m-2") == ["online", "offline"])
        await asyncio.sleep(0.5)
        lost = [frame for frame in sink.frames if frame.device == "m-2" and frame.qualities[0] is Quality.NO_ANSWER]
        assert len(lost) == 1
        assert set(lost[0].values) == {None}
        registers.silent.clear()
        await until(lambda: sink.states("m-2") == ["online", "offline", "online"])
    assert sink.states("m-1") == ["online"]


async def test_a_dead_device_costs_the_others_one_timeout_per_probe(registers, tmp_path):
    registers.silent.add(2)
    async with polling(registers, tmp_path, [1, 2, 3], poll_s=0.05) as (sink, _, server):
        await asyncio.sleep(2)
        healthy = [frame for frame in sink.frames if frame.device == "m-1" and frame.values[0] is not None]
        probes = [request for request in server.requests if request.unit == 2]
    # Two questions at once, then after 1 s: at most 3 timeouts of 0.1 s in 2 s.
    assert len(probes) <= 3
    assert len(healthy) > 25


@asynccontextmanager
async def with_a_hole(registers: Registers):
    for address in range(4, 10):
        del registers.units[1][address]
    async with serving(registers.answer) as server:
        yield server


async def test_an_illegal_gap_is_learnt_once_and_remembered_over_a_restart(registers, tmp_path):
    async with with_a_hole(registers) as server:
        async with running(server, tmp_path, [1], learned=tmp_path / "learned") as (sink, _, _):
            await until(lambda: len(sink.frames) > 6)
        spans = [(request.address, request.count) for request in server.requests]
        assert spans.count((0, 12)) == 1
        server.requests.clear()
        async with running(server, tmp_path, [1], learned=tmp_path / "learned") as (sink, _, _):
            await until(lambda: len(sink.frames) > 2)
        assert {(request.address, request.count) for request in server.requests} == {(0, 4), (10, 2)}


async def test_learnt_gaps_are_forgotten_when_the_profile_changes(registers, tmp_path):
    async with with_a_hole(registers) as server:
        async with running(server, tmp_path, [1], learned=tmp_path / "learned") as (sink, _, _):
            await until(lambda: len(sink.frames) > 2)
        server.requests.clear()
        changed = METER.replace("voltage_l1, address: 0", "voltage_l2, address: 0")
        async with running(server, tmp_path, [1], profile_text=changed, learned=tmp_path / "learned") as (sink, _, _):
            await until(lambda: len(sink.frames) > 2)
        assert (server.requests[0].address, server.requests[0].count) == (0, 12)


async def test_a_busy_device_is_asked_again_and_never_read_as_a_value(registers, tmp_path):
    registers.exceptions[1] = 6
    async with polling(registers, tmp_path, [1]) as (sink, _, _):
        await asyncio.sleep(0.3)
        assert sink.frames == []
        del registers.exceptions[1]
        await until(lambda: sink.states("m-1") == ["online"])
        await until(lambda: sink.values("m-1").get("voltage_l1") == 230.0)


async def test_a_unit_behind_a_gateway_that_reports_it_missing_goes_offline_alone(registers, tmp_path):
    registers.exceptions[2] = 11
    async with polling(registers, tmp_path, [1, 2]) as (sink, _, server):
        await until(lambda: sink.states("m-2") == ["offline"])
        assert server.connections == 1
        assert sink.states("m-1") == ["online"]


async def test_a_gateway_that_restarts_is_read_again_by_itself(registers, tmp_path):
    async with polling(registers, tmp_path, [1, 2]) as (sink, _, server):
        await until(lambda: len(sink.frames) > 4)
        for writer in list(server.writers):
            writer.transport.abort()
        count = len(sink.frames)
        await until(lambda: len(sink.frames) > count + 4)
        assert server.connections == 2


async def test_a_command_goes_before_all_reads(registers, tmp_path):
    async with polling(registers, tmp_path, [1, 2, 3]) as (sink, poller, _):
        await until(lambda: len(sink.frames) > 2)

        async def ask(line):
            return await line.read(
                3, poller.devices[2].requests(poller.devices[2].groups[0])[0].block.span, timeout_s=1
            )

        assert (await poller.submit(ask))[11] == 300


async def test_a_stopped_poller_is_gone_at_once_and_has_closed_its_connection(registers, tmp_path):
    registers.silent.add(1)
    async with polling(registers, tmp_path, [1], response_timeout_s=30) as (_, poller, server):
        await until(lambda: server.connections == 1)
        started = time.monotonic()
    assert time.monotonic() - started < 0.5
    assert not poller.line.is_connected


IDENTIFIED = (
    METER
    + """\
  - {name: model, address: 20, type: string, count: 4, kind: attribute}
identity:
  - {point: model, matches: "SDM.*"}
"""
)


def set_text(registers: Registers, unit: int, text: str) -> None:
    raw = text.encode().ljust(8, b"\0")
    registers.units[unit].update({20 + i: int.from_bytes(raw[2 * i : 2 * i + 2], "big") for i in range(4)})


async def test_data_of_another_device_than_expected_are_not_published(registers, tmp_path):
    set_text(registers, 1, "SDM630")
    set_text(registers, 2, "EM24")
    async with polling(registers, tmp_path, [1, 2], profile_text=IDENTIFIED) as (sink, poller, _):
        await until(lambda: len(sink.frames) > 3)
        await until(lambda: sink.states("m-2") == ["offline"])
        assert {frame.device for frame in sink.frames} == {"m-1"}
        assert "EM24" in sink.events[-1].data["error"] or "EM24" in poller.devices[1].identity_error
        assert poller.devices[0].texts == {"model": "SDM630"}


class FastQuarter:
    """A wall clock that stands one second before a quarter hour when the test begins."""

    def __init__(self) -> None:
        self.offset_ms = 900_000 - 1_000 - int(time.monotonic() * 1000) % 900_000

    def monotonic(self) -> float:
        return time.monotonic()

    def now_ms(self) -> int:
        return int(time.monotonic() * 1000) + self.offset_ms


async def test_billing_registers_of_all_meters_are_read_at_the_quarter_hour_alone(registers, tmp_path):
    clock = FastQuarter()
    async with polling(registers, tmp_path, [1, 2, 3], clock=clock, poll_s=60) as (sink, _, _):
        await until(lambda: sum(frame.is_billing for frame in sink.frames) == 3)
        billing = [frame for frame in sink.frames if frame.is_billing]
        assert {frame.device for frame in billing} == {"m-1", "m-2", "m-3"}
        assert {frame.points for frame in billing} == {("active_energy_import",)}
        assert all(0 <= frame.observed_at_ms % 900_000 < 1_000 for frame in billing)
        await asyncio.sleep(0.3)
        assert sum(frame.is_billing for frame in sink.frames) == 3


async def test_a_meter_that_misses_the_quarter_hour_is_read_as_soon_as_it_answers(registers, tmp_path):
    registers.silent.add(1)
    async with polling(registers, tmp_path, [1], clock=FastQuarter(), poll_s=60) as (sink, _, _):
        await asyncio.sleep(1.3)
        registers.silent.clear()
        await until(lambda: [frame.is_billing for frame in sink.frames].count(True) == 1)
