"""Modbus questions and answers as bytes, on MBAP (TCP, TLS) and RTU (serial) links. Pure.

Sources: Modbus Application Protocol 1.1b3, Modbus Messaging on TCP/IP 1.0b, Modbus over Serial Line 1.02.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

PDU_BYTES_MAX = 253
BUFFER_BYTES_MAX = 4 * 260  # More unread bytes than a few frames are noise.
READS = frozenset({1, 2, 3, 4})
WRITES = frozenset({5, 6, 15, 16})
EXCEPTION = 0x80

Checksum = Callable[[bytes], bytes]


class Frame(NamedTuple):
    """One answer: who says what, and for which question where the link numbers them."""

    transaction: int | None
    unit: int
    pdu: bytes


class Framing(Protocol):
    """How a link packs PDUs."""

    is_numbered: bool

    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        """Make the bytes of a question."""
        ...

    def cut(self, buffer: bytearray, unit: int) -> Frame | None:
        """Take the next answer out of what has arrived, and drop what can be none; None while it is incomplete."""
        ...


class Mbap:
    """Length and transaction id before each PDU: frames are cut by length, whoever they are for."""

    is_numbered = True

    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        """Put the header before the PDU."""
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu

    def cut(self, buffer: bytearray, unit: int) -> Frame | None:
        """Take the next frame of any unit; what is not MBAP empties the buffer."""
        del unit
        if len(buffer) < 9:
            return None
        transaction, protocol, size, sender = struct.unpack_from(">HHHB", buffer)
        if protocol or not 3 <= size <= PDU_BYTES_MAX + 1:
            buffer.clear()
            return None
        if len(buffer) < 6 + size:
            return None
        pdu = bytes(buffer[7 : 6 + size])
        del buffer[: 6 + size]
        return Frame(transaction, sender, pdu)


class UnnumberedMbap(Mbap):
    """For gateways that answer with a constant transaction id."""

    is_numbered = False

    def cut(self, buffer: bytearray, unit: int) -> Frame | None:
        """Take the next frame and forget its number."""
        frame = super().cut(buffer, unit)
        return frame and frame._replace(transaction=None)


class Rtu:
    """Unit, PDU, checksum. Nothing marks the beginning: an answer is where the checksum says so."""

    is_numbered = False

    def __init__(self, checksum: Checksum) -> None:
        self._checksum = checksum

    def pack(self, transaction: int, unit: int, pdu: bytes) -> bytes:
        """Put unit and checksum around the PDU."""
        del transaction
        frame = bytes((unit,)) + pdu
        return frame + self._checksum(frame)

    def cut(self, buffer: bytearray, unit: int) -> Frame | None:
        """Find a whole frame of this unit, wherever noise or the late answer of another unit puts it."""
        for start in range(len(buffer) - 4):
            if buffer[start] != unit:
                continue
            size = _rtu_size(buffer, start)
            if size is None or start + size > len(buffer):
                continue
            frame = bytes(buffer[start : start + size])
            if self._checksum(frame[:-2]) == frame[-2:]:
                buffer.clear()  # A question brings one answer: what follows it is noise.
                return Frame(None, unit, frame[1:-2])
        return None


def _rtu_size(buffer: bytearray, start: int) -> int | None:
    """Tell the length of the frame that would begin here; None when no answer begins like this."""
    function = buffer[start + 1]
    if function & EXCEPTION:
        return 5
    if function in READS:
        return 5 + buffer[start + 2]
    return 8 if function in WRITES else None


def read_question(function: int, address: int, count: int) -> bytes:
    """Make the PDU of a read, functions 1 to 4."""
    return struct.pack(">BHH", function, address, count)


def words_of(pdu: bytes) -> tuple[int, ...] | None:
    """Return the registers in the answer to function 3 or 4; None when its byte count contradicts its length."""
    size = pdu[1] if len(pdu) > 1 else -1
    if size != len(pdu) - 2 or size % 2:
        return None
    return struct.unpack_from(f">{size // 2}H", pdu, 2)


def bits_of(pdu: bytes, count: int) -> tuple[int, ...] | None:
    """Return `count` bits of the answer to function 1 or 2; None when it does not hold exactly as many bytes."""
    size = (count + 7) // 8
    if len(pdu) != 2 + size or pdu[1] != size:
        return None
    packed = int.from_bytes(pdu[2:], "little")
    return tuple(packed >> bit & 1 for bit in range(count))
