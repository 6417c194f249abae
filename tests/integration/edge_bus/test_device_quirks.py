"""What real devices do that a register map alone does not tell: other tables, wide addresses, flags to be cleared."""

import asyncio
import struct
import time

import pytest

from device_profiles.catalog import load_modbus
from edge_agent.commissioning.probe import probe_device
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.mqtt.privacy import hash_credential
from edge_agent.model import Quality
from edge_agent.polled import ASK_AGAIN_S, ASK_AGAIN_SPREAD_S
from tests.integration.edge_bus.devices import METER, Collected, Registers, load, make_poller, tcp_bus
from tests.integration.edge_bus.servers import serving
from tests.integration.edge_bus.test_poller import running, until

EITHER = METER.replace("points:", "defaults: {function: holding, also: input}\npoints:")


class OneTable(Registers):
    """Answers one function only, as many firmwares do; the other is refused."""

    def __init__(self, function: int, code: int) -> None:
        super().__init__()
        self.function, self.code = function, code

    async def answer(self, request, server):
        if request.function != self.function:
            return request.mbap(request.exception(self.code))
        return await super().answer(request, server)


@pytest.mark.parametrize("code", [1, 2])
async def test_a_device_that_serves_only_the_other_table_is_read_there_also_after_a_restart(tmp_path, code):
    device = OneTable(function=4, code=code)
    device.meter(1)
    async with serving(device.answer) as server:
        options = {"profile_text": EITHER, "learned": tmp_path / "learned"}
        async with running(server, tmp_path, [1], **options) as (sink, _, _):
            await until(lambda: len(sink.frames) > 2)
        assert sink.values("m-1")["active_energy_import"] == 12_345
        assert sink.states("m-1") == ["online"]
        server.requests.clear()
        async with running(server, tmp_path, [1], **options) as (sink, _, _):
            await until(lambda: len(sink.frames) > 2)
        assert {request.function for request in server.requests} == {4}


async def test_a_device_that_refuses_both_tables_is_not_asked_back_and_forth(tmp_path):
    device = OneTable(function=99, code=1)
    device.meter(1)
    async with serving(device.answer) as server, running(server, tmp_path, [1], profile_text=EITHER):
        await until(lambda: len(server.requests) > 8)
    assert [request.function for request in server.requests][:3] == [3, 4, 4]
    assert {request.function for request in server.requests[1:]} == {4}


class Clock:
    def __init__(self) -> None:
        self.offset_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.offset_s

    def now_ms(self) -> int:
        return int(self.monotonic() * 1000)


async def test_what_a_device_refused_is_asked_for_again_after_a_day(tmp_path):
    registers, clock = Registers(), Clock()
    registers.meter(1)
    for address in (10, 11):  # The energy register is missing.
        del registers.units[1][address]
    async with serving(registers.answer) as server:
        options = {"learned": tmp_path / "learned", "clock": clock, "poll_s": 0.05}
        async with running(server, tmp_path, [1], **options) as (sink, poller, _):
            await until(lambda: poller.devices[0].unreadable() == ["active_energy_import"])
            registers.meter(1)  # Somebody has set the meter otherwise.
            clock.offset_s += ASK_AGAIN_S + ASK_AGAIN_SPREAD_S
            await until(lambda: "active_energy_import" in sink.values("m-1"))
            assert poller.devices[0].unreadable() == []


WIDE = """\
profile: wide_chiller
kind: modbus
category: hvac
label: {en: Chiller, zh: 冷水机组}
products: [{brand: None, model: Test}]
source: Made up for the tests of the poller.
confidence: documented
notes: Each address holds 32 bits.
limits: {words_per_address: 2}
points:
  - {name: supply_water_temperature, address: 59, type: float32}
  - {name: return_water_temperature, address: 60, type: float32}
  - {name: active_power_total, address: 61, type: float32}
"""


async def test_values_of_32_bits_at_each_address_are_read_by_their_own_count(tmp_path):
    values = {59: 7.0, 60: 12.0, 61: 88_000.0}

    async def answer(request, server):
        wanted = range(request.address, request.address + request.count)
        if not set(wanted) <= values.keys():
            return request.mbap(request.exception(2))
        data = b"".join(struct.pack(">f", values[address]) for address in wanted)
        return request.mbap(bytes([request.function, len(data)]) + data)

    profile = load(tmp_path, WIDE)
    async with serving(answer) as server:
        async with running(server, tmp_path, [1], profile_text=WIDE) as (sink, _, _):
            await until(lambda: len(sink.frames) > 1)
        assert sink.values("m-1") == {
            "supply_water_temperature": 7.0, "return_water_temperature": 12.0, "active_power_total": 88_000.0,
        }  # fmt: skip
        assert (server.requests[0].address, server.requests[0].count) == (59, 3)
        bus = tcp_bus(server.port, [1])
        line = Line(bus)
        probe = await probe_device(line, bus.devices[0], profile)
        await line.close()
    assert [reading.point.wire_address for reading in probe.fit.readings] == [59, 60, 61]


async def test_an_ordinary_device_that_answers_with_twice_the_bytes_is_still_not_believed(tmp_path):
    async def answer(request, server):
        return request.mbap(bytes([request.function, 4 * request.count]) + bytes(4 * request.count))

    async with serving(answer) as server, running(server, tmp_path, [1]) as (sink, poller, _):
        await until(lambda: poller.line.stats.bad_answers > 1)
    assert {quality for frame in sink.frames for quality in frame.qualities} <= {Quality.NO_ANSWER}


class BadgeReader:
    """A reader that keeps one card and a flag until the flag is cleared."""

    def __init__(self) -> None:
        self.flag, self.card = 0, 0
        self.clears = 0
        self.is_stubborn = False

    def show(self, card: int) -> None:
        self.flag, self.card = 1, card

    async def answer(self, request, server):
        if request.function == 5:
            self.clears += 1
            if self.is_stubborn:
                return request.mbap(request.exception(4))
            assert (request.address, request.count) == (1004, 0)
            self.flag = 0
            return request.mbap(struct.pack(">BHH", 5, request.address, request.count))
        if request.function == 1:
            return request.mbap(bytes([1, 1, self.flag]))
        return request.mbap(struct.pack(">BB3HI", 3, 10, 0, 0, 0, self.card))


async def test_a_reader_with_a_flag_is_cleared_after_each_badge_and_gives_each_once(tmp_path):
    reader = BadgeReader()
    reader.show(0x98F420)  # Shown before the agent came: the reader has kept it.
    async with serving(reader.answer) as server:
        bus = tcp_bus(server.port, [1], profile="inveo_rfid_ind", poll_s=0.05)
        sink = Collected()
        poller = make_poller(bus, load_modbus("inveo_rfid_ind"), sink)
        task = asyncio.create_task(poller.run())
        for card in (0x98F421, 0x98F422):
            await until(lambda: reader.flag == 0)
            reader.show(card)
        await until(lambda: reader.flag == 0)
        reader.is_stubborn = True
        reader.show(0x98F423)
        before = reader.clears
        await until(lambda: reader.clears > before + 3)
        task.cancel()
        await asyncio.wait({task})
    badges = [event.data for event in sink.events if event.kind == "door.access"]
    cards = ["98f420", "98f421", "98f422", "98f423"]
    assert [badge["credential"] for badge in badges] == [hash_credential(card, b"") for card in cards]
    assert {badge["sequence"] for badge in badges} == {None}
