from collections.abc import Sequence

import pytest

from edge_agent.simulator.crc import crc16
from edge_agent.simulator.modbus import Refused, RtuLine, answer


class Counting:
    is_silent = False

    def read(self, function: int, address: int, count: int) -> Sequence[int]:
        if address >= 100:
            raise Refused(2)
        return [(address + i) & 1 if function < 3 else address + i for i in range(count)]

    def write(self, function: int, address: int, words: Sequence[int]) -> None:
        if address >= 100:
            raise Refused(2)


UNITS = {1: Counting(), 2: Counting()}


def line() -> tuple[RtuLine, list[bytes]]:
    sent: list[bytes] = []
    return RtuLine(UNITS, sent.append), sent


def request(body: bytes) -> bytes:
    return body + crc16(body)


def test_the_checksum_is_that_of_the_specification() -> None:
    assert crc16(bytes.fromhex("01 03 00 00 00 0A")) == bytes.fromhex("C5 CD")  # TUF-2000 manual.


def test_a_frame_that_arrives_byte_by_byte_is_answered_once() -> None:
    rtu, sent = line()
    for byte in request(bytes.fromhex("01 03 00 05 00 02")):
        rtu.receive(bytes((byte,)))
    assert sent == [request(bytes.fromhex("01 03 04 00 05 00 06"))]


def test_noise_before_a_frame_is_dropped() -> None:
    rtu, sent = line()
    rtu.receive(b"\x00\xff\x17" + request(bytes.fromhex("02 04 00 01 00 01")))
    assert sent == [request(bytes.fromhex("02 04 02 00 01"))]


def test_a_frame_with_a_bad_checksum_gets_no_answer() -> None:
    rtu, sent = line()
    rtu.receive(bytes.fromhex("01 03 00 05 00 02 00 00"))
    assert sent == []


def test_an_unknown_unit_is_silent_on_a_line_and_refused_by_a_gateway() -> None:
    read = bytes.fromhex("03 00 05 00 02")
    assert answer(UNITS, 9, read, is_gateway=False) is None
    assert answer(UNITS, 9, read, is_gateway=True) == bytes.fromhex("83 0B")


@pytest.mark.parametrize(
    ("pdu", "reply"),
    [
        ("03 00 64 00 01", "83 02"),  # Address outside the map.
        ("03 00 00 00 00", "83 03"),  # Nothing asked for.
        ("03 00 00 00 7E", "83 03"),  # 126 registers.
        ("03 FF FF 00 02", "83 02"),  # Beyond the last address.
        ("06 00 00 00 01", "06 00 00 00 01"),
        ("05 00 01 FF 00", "05 00 01 FF 00"),
        ("05 00 01 12 34", "85 03"),  # Neither on nor off.
        ("10 00 01 00 02 04 00 0A 00 0B", "10 00 01 00 02"),
        ("10 00 01 00 02 03 00 0A 00", "90 03"),  # The byte count does not fit.
        ("10 00 64 00 01 02 00 0A", "90 02"),  # Address outside the map.
        ("06 00", "86 03"),  # Cut off.
        ("17 00 00 00 01", "97 01"),
        ("01 00 00 00 09", "01 02 AA 00"),  # Coils, lowest bit first.
    ],
)
def test_requests_are_answered_by_the_book(pdu: str, reply: str) -> None:
    assert answer(UNITS, 1, bytes.fromhex(pdu), is_gateway=False) == bytes.fromhex(reply)
