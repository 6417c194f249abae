"""Each row of what pymodbus must be defended against, as a server that does it."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from device_profiles.model import Function
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.errors import BadAnswer, Busy, LinkDown, NoAnswer, Refused
from edge_agent.drivers.modbus.read_plan import Span
from edge_agent.settings import RtuOverTcpBus, TcpBus
from tests.integration.edge_bus.servers import Request, Server, serving

DEVICE = {"name": "d", "profile": "p", "unit": 1}
TIMEOUT_S = 0.15


def holding(start: int, count: int) -> Span:
    return Span(Function.HOLDING, start, start + count)


@asynccontextmanager
async def connected(answer, *, framing="mbap", **options):
    async with serving(answer, framing=framing) as server:
        common = {"name": "b", "host": "127.0.0.1", "port": server.port, "devices": [DEVICE]}
        if framing == "rtu":
            bus = RtuOverTcpBus(transport="rtu_over_tcp", **common, **options)
        else:
            bus = TcpBus(transport="tcp", **common, **options)
        line = Line(bus)
        try:
            yield line, server
        finally:
            await line.close()


def answering(framing: str, make):
    async def answer(request: Request, server: Server) -> bytes:
        return getattr(request, framing)(make(request))

    return answer


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
@pytest.mark.parametrize("unit", [0, 1, 247, 255])
async def test_every_unit_id_is_asked_and_believed(framing, unit):
    async with connected(answering(framing, Request.honest), framing=framing) as (line, server):
        assert tuple(await line.read(unit, holding(10, 3), timeout_s=1)) == (10, 11, 12)
        assert server.requests[0].unit == unit


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
async def test_bits_are_cut_to_the_number_asked_for(framing):
    async with connected(answering(framing, Request.honest), framing=framing) as (line, _):
        bits = await line.read(1, Span(Function.COIL, 3, 14), timeout_s=1)
        assert [int(bit) for bit in bits] == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]


async def test_a_late_answer_over_rtu_is_never_taken_for_the_next_question():
    """Row 1: the stream is one answer behind, with the same unit, function and length, and without any error."""
    backlog: list[bytes] = []

    async def answer(request: Request, server: Server) -> bytes | None:
        backlog.append(request.rtu(request.words()))
        return backlog.pop(0) if len(server.requests) > 1 else None  # One behind for ever.

    async with connected(answer, framing="rtu") as (line, server):
        with pytest.raises(NoAnswer):
            await line.read(1, holding(0, 4), timeout_s=TIMEOUT_S)
        for start in (100, 200, 300):
            with pytest.raises(BadAnswer):
                await line.read(1, holding(start, 4), timeout_s=TIMEOUT_S, prefixes=[1, 2, 3])
        assert server.connections > 1


async def test_after_a_late_answer_the_line_finds_its_place_again():
    async def answer(request: Request, server: Server) -> bytes | None:
        frame = request.rtu(request.words())
        if len(server.requests) == 1:
            server.later(2 * TIMEOUT_S, frame)
            return None
        return frame

    async with connected(answer, framing="rtu") as (line, server):
        with pytest.raises(NoAnswer):
            await line.read(1, holding(0, 4), timeout_s=TIMEOUT_S)
        assert tuple(await line.read(1, holding(40, 4), timeout_s=1, prefixes=[2])) == (40, 41, 42, 43)
        assert [request.count for request in server.requests] == [4, 2, 4]
        assert tuple(await line.read(1, holding(50, 4), timeout_s=1)) == (50, 51, 52, 53)


async def test_a_late_answer_of_one_unit_does_not_disturb_another():
    async def answer(request: Request, server: Server) -> bytes | None:
        frame = request.rtu(request.words())
        if request.unit == 1:
            server.later(2 * TIMEOUT_S, frame)
            return None
        return frame

    async with connected(answer, framing="rtu") as (line, _):
        with pytest.raises(NoAnswer):
            await line.read(1, holding(0, 4), timeout_s=TIMEOUT_S)
        started = time.monotonic()
        assert tuple(await line.read(2, holding(40, 4), timeout_s=1)) == (40, 41, 42, 43)
        assert time.monotonic() - started < TIMEOUT_S


async def test_a_late_answer_over_mbap_is_dropped_by_its_transaction_id():
    async def answer(request: Request, server: Server) -> bytes | None:
        frame = request.mbap(request.words())
        if len(server.requests) == 1:
            server.later(1.5 * TIMEOUT_S, frame)
            return None
        await asyncio.sleep(TIMEOUT_S)
        return frame

    async with connected(answer) as (line, server):
        with pytest.raises(NoAnswer):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)
        assert tuple(await line.read(1, holding(70, 2), timeout_s=1)) == (70, 71)
        assert server.connections == 1


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
@pytest.mark.parametrize("count", [0, 1, 3])
async def test_an_answer_shorter_or_longer_than_asked_is_an_error(framing, count):
    """Rows 4 and 5."""

    async def answer(request: Request, server: Server) -> bytes:
        request.count = count
        return getattr(request, framing)(request.words())

    async with connected(answer, framing=framing) as (line, _):
        with pytest.raises((BadAnswer, NoAnswer)):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)


async def test_a_byte_count_that_contradicts_the_frame_is_an_error():
    async with connected(answering("mbap", lambda r: bytes([3, 4, 0, 1]))) as (line, _):
        with pytest.raises(BadAnswer, match="0 registers instead of 2"):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)


async def test_too_few_bits_are_an_error():
    """Row 13."""
    async with connected(answering("mbap", lambda r: bytes([1, 1, 0xFF]))) as (line, _):
        with pytest.raises(BadAnswer, match="1 bytes instead of 2"):
            await line.read(1, Span(Function.COIL, 0, 9), timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
async def test_an_answer_with_another_function_code_is_an_error(framing):
    """Row 6."""
    async with connected(answering(framing, lambda r: bytes([4, 4, 0, 1, 0, 2])), framing=framing) as (line, _):
        with pytest.raises(BadAnswer, match="function 4 instead of 3"):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)


async def test_an_answer_from_another_unit_is_no_answer_and_says_so():
    """Row 7."""

    async def answer(request: Request, server: Server) -> bytes:
        return request.mbap(request.words(), unit=255)

    async with connected(answer) as (line, _):
        with pytest.raises(NoAnswer, match=r"no matching reply.*do not fit"):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("wrong", [0, 2, 0xFFFF])
async def test_a_constant_transaction_id_is_refused_unless_allowed(wrong):
    """Row 8."""

    async def answer(request: Request, server: Server) -> bytes:
        return request.mbap(request.words(), transaction=wrong)

    async with connected(answer) as (line, _):
        with pytest.raises((BadAnswer, NoAnswer)):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)
    async with connected(answer, ignore_transaction_id=True) as (line, _):
        for start in range(5):
            assert tuple(await line.read(1, holding(start, 2), timeout_s=1)) == (start, start + 1)


async def test_a_bad_checksum_is_no_answer():
    """Row 9."""

    async def answer(request: Request, server: Server) -> bytes:
        frame = request.rtu(request.words())
        return frame[:-1] + bytes([frame[-1] ^ 1])

    async with connected(answer, framing="rtu") as (line, _):
        with pytest.raises(NoAnswer):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)
        assert line.stats.timeouts == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [(1, Refused), (2, Refused), (3, Refused), (4, Refused), (5, Busy), (6, Busy), (10, NoAnswer), (11, NoAnswer)],
)
async def test_an_exception_is_never_a_value_and_keeps_the_connection(code, error):
    """Row 10."""
    async with connected(answering("mbap", lambda r: r.exception(code))) as (line, server):
        for _ in range(6):
            with pytest.raises(error):
                await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)
        assert server.connections == 1


async def test_a_dead_unit_does_not_close_the_line_for_the_others():
    """Row 11: pymodbus would close after retries + 3 silent requests."""

    async def answer(request: Request, server: Server) -> bytes | None:
        return request.mbap(request.words()) if request.unit == 2 else None

    async with connected(answer) as (line, server):
        for _ in range(8):
            with pytest.raises(NoAnswer):
                await line.read(1, holding(0, 2), timeout_s=0.02)
            assert tuple(await line.read(2, holding(5, 2), timeout_s=1)) == (5, 6)
        assert server.connections == 1


async def test_a_silent_device_costs_one_timeout_not_twelve_seconds():
    """Row 12."""

    async def answer(request: Request, server: Server) -> None:
        return None

    async with connected(answer) as (line, server):
        started = time.monotonic()
        with pytest.raises(NoAnswer):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)
        assert time.monotonic() - started < 2 * TIMEOUT_S
        assert len(server.requests) == 1


@pytest.mark.parametrize("framing", ["mbap", "rtu"])
async def test_an_answer_byte_by_byte_works(framing):
    """Row 20."""

    async def answer(request: Request, server: Server) -> None:
        frame = getattr(request, framing)(request.words())
        for index, byte in enumerate(frame):
            server.later(0.002 * index, bytes([byte]))

    async with connected(answer, framing=framing) as (line, _):
        assert tuple(await line.read(1, holding(7, 2), timeout_s=1)) == (7, 8)


async def test_noise_after_a_frame_does_not_disturb_the_next():
    async def answer(request: Request, server: Server) -> bytes:
        return request.rtu(request.words()) + b"\xff\x00"

    async with connected(answer, framing="rtu") as (line, _):
        for start in range(3):
            assert tuple(await line.read(1, holding(start, 2), timeout_s=1)) == (start, start + 1)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 300,
        b"\xff" * 300,
        b"HTTP/1.0 400 Bad Request\r\n\r\n",
        bytes(range(256)),
        b"\x00\x01\x00\x00\x00\x02\x01\x43",
    ],
)
@pytest.mark.parametrize("framing", ["mbap", "rtu"])
async def test_garbage_is_an_error_and_the_line_recovers(framing, garbage):
    async def answer(request: Request, server: Server) -> bytes:
        return garbage if len(server.requests) == 1 else getattr(request, framing)(request.words())

    async with connected(answer, framing=framing) as (line, _):
        with pytest.raises((NoAnswer, BadAnswer)):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)
        for _ in range(3):
            try:
                assert tuple(await line.read(1, holding(3, 2), timeout_s=1)) == (3, 4)
                break
            except (NoAnswer, BadAnswer, LinkDown):
                continue
        else:
            pytest.fail("never recovers")


async def test_half_a_late_frame_is_not_completed_by_the_next_answer():
    async def answer(request: Request, server: Server) -> bytes | None:
        frame = request.mbap(request.words())
        if len(server.requests) == 1:
            server.later(2 * TIMEOUT_S, frame[6:])
            return frame[:6]
        return frame

    async with connected(answer) as (line, _):
        with pytest.raises(NoAnswer):
            await line.read(1, holding(0, 2), timeout_s=TIMEOUT_S)
        assert tuple(await line.read(1, holding(9, 2), timeout_s=1)) == (9, 10)


async def test_a_connection_closed_by_the_gateway_is_noticed_at_once_and_made_anew():
    async def answer(request: Request, server: Server) -> bytes | None:
        if len(server.requests) == 1:
            server.writers[-1].close()
            return None
        return request.mbap(request.words())

    async with connected(answer) as (line, server):
        started = time.monotonic()
        with pytest.raises(LinkDown):
            await line.read(1, holding(0, 2), timeout_s=5)
        assert time.monotonic() - started < 1
        assert tuple(await line.read(1, holding(1, 2), timeout_s=1)) == (1, 2)
        assert server.connections == 2


async def test_nobody_listening_is_said_once_and_then_costs_nothing():
    async with serving(answering("mbap", Request.honest)) as server:
        port = server.port
    line = Line(TcpBus(transport="tcp", name="b", host="127.0.0.1", port=port, devices=[DEVICE]))
    with pytest.raises(LinkDown, match=r"cannot connect to 127\.0\.0\.1"):
        await line.read(1, holding(0, 2), timeout_s=1)
    started = time.monotonic()
    with pytest.raises(LinkDown):
        await line.read(1, holding(0, 2), timeout_s=1)
    assert time.monotonic() - started < 0.05
    assert line.stats.failed_connects == 1


async def test_a_serial_device_that_is_not_there_is_a_lost_link(tmp_path):
    from edge_agent.settings import RtuBus

    line = Line(RtuBus(transport="rtu", name="b", serial=str(tmp_path / "ttyUSB9"), devices=[DEVICE]))
    with pytest.raises(LinkDown, match="ttyUSB9"):
        await line.read(1, holding(0, 2), timeout_s=1)
