"""A Modbus server of our own: MBAP and RTU frames over TCP and serial lines, answered from device images.

Written apart from pymodbus, so that the agent's client is tried against another implementation of the protocol.
"""

import asyncio
import os
import struct
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edge_agent.simulator.crc import crc16

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_SILENT = 1, 2, 3, 11
READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS = 5, 6, 16
COIL_STATES = {0x0000: 0, 0xFF00: 1}
REQUEST_BYTES_MAX = 260
BUFFER_BYTES_MAX = 4096
CONNECTIONS_MAX = 64


class Refused(Exception):  # It is an answer, not an error of ours.
    """The device answers with a Modbus exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code:02x}")
        self.code = code


class Unit(Protocol):
    """One device behind a unit id."""

    @property
    def is_silent(self) -> bool:
        """Whether it does not answer at all."""
        ...

    def read(self, function: int, address: int, count: int) -> Sequence[int]:
        """Return the words (function 3, 4) or bits (function 1, 2); raises Refused."""
        ...

    def write(self, function: int, address: int, words: Sequence[int]) -> None:
        """Take a coil (function 5: one 0 or 1) or registers (6, 16); raises Refused."""
        ...


Units = Mapping[int, Unit]


def answer(units: Units, unit_id: int, request: bytes, *, is_gateway: bool) -> bytes | None:
    """Return the PDU that answers a request PDU; None when the line stays silent."""
    unit = units.get(unit_id)
    if unit is None or unit.is_silent:
        return bytes((request[0] | 0x80, TARGET_SILENT)) if is_gateway and len(units) > 1 else None
    function = request[0]
    try:
        if function in {WRITE_COIL, WRITE_REGISTER, WRITE_REGISTERS}:
            return _write(unit, request)
        values = _read(unit, request)
        count = len(values)
    except Refused as refused:
        return bytes((function | 0x80, refused.code))
    if function >= READ_HOLDING:
        return struct.pack(f">BB{count}H", function, 2 * count, *values)
    packed = bytearray((count + 7) // 8)
    for index, bit in enumerate(values):
        packed[index >> 3] |= bool(bit) << (index & 7)
    return bytes((function, len(packed))) + bytes(packed)


def _read(unit: Unit, request: bytes) -> Sequence[int]:
    """Check a read request in the order the specification gives, and carry it out."""
    function = request[0]
    if function not in {READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT} or len(request) != 5:
        raise Refused(ILLEGAL_FUNCTION)
    address, count = struct.unpack(">HH", request[1:])
    if count == 0 or count > (125 if function >= READ_HOLDING else 2000):
        raise Refused(ILLEGAL_VALUE)
    if address + count > 0x10000:
        raise Refused(ILLEGAL_ADDRESS)
    return unit.read(function, address, count)


def _write(unit: Unit, request: bytes) -> bytes:
    """Check a write, carry it out, and return what confirms it: the beginning of the request."""
    function = request[0]
    if len(request) < 5:
        raise Refused(ILLEGAL_VALUE)
    address, word = struct.unpack_from(">HH", request, 1)
    if function == WRITE_REGISTERS:
        words = request[6:]
        if not 1 <= word <= 123 or len(request) < 6 or request[5] != 2 * word or len(words) != 2 * word:
            raise Refused(ILLEGAL_VALUE)
        unit.write(function, address, struct.unpack(f">{word}H", words))
    elif len(request) != 5 or (function == WRITE_COIL and word not in COIL_STATES):
        raise Refused(ILLEGAL_VALUE)
    else:
        unit.write(function, address, [COIL_STATES[word] if function == WRITE_COIL else word])
    return request[:5]


class _TcpUnit(asyncio.Protocol):
    """One connection that speaks MBAP (Modbus TCP)."""

    def __init__(self, units: Units, open_count: list[int]) -> None:
        self.units, self.open_count = units, open_count
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.open_count[0] += 1
        if self.open_count[0] > CONNECTIONS_MAX:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.open_count[0] -= 1

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.buffer += data
        while len(self.buffer) >= 8:
            transaction, protocol, length, unit_id = struct.unpack(">HHHB", self.buffer[:7])
            if protocol != 0 or not 2 <= length <= REQUEST_BYTES_MAX:
                self.transport.close()  # Not Modbus: a device cannot find its place in such a stream again.
                return
            if len(self.buffer) < 6 + length:
                return
            request, self.buffer = self.buffer[7 : 6 + length], self.buffer[6 + length :]
            reply = answer(self.units, unit_id, request, is_gateway=True)
            if reply is not None:
                self.transport.write(struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit_id) + reply)


class RtuLine:
    """The server side of an RTU line: bytes in, bytes out."""

    def __init__(self, units: Units, write: Callable[[bytes], object]) -> None:
        """Answer for `units` through `write`."""
        self.units, self.write = units, write
        self.buffer = b""

    def receive(self, data: bytes) -> None:
        """Take what arrived; answers every complete frame, drops noise byte by byte."""
        self.buffer = (self.buffer + data)[-BUFFER_BYTES_MAX:]
        while len(self.buffer) >= 4:
            size = self._frame_size()
            if size is None:
                self.buffer = self.buffer[1:]
                continue
            if len(self.buffer) < size:
                return
            frame = self.buffer[:size]
            if crc16(frame[:-2]) != frame[-2:]:
                self.buffer = self.buffer[1:]
                continue
            self.buffer = self.buffer[size:]
            reply = answer(self.units, frame[0], frame[1:-2], is_gateway=False)
            if reply is not None:
                body = frame[:1] + reply
                self.write(body + crc16(body))

    def _frame_size(self) -> int | None:
        """Length of the request at the start of the buffer, checksum included; None when it cannot be one."""
        function = self.buffer[1]
        if 1 <= function <= 6:
            return 8
        if function in {15, 16}:
            return 9 + self.buffer[6] if len(self.buffer) > 6 else REQUEST_BYTES_MAX
        return None


class _RtuOverTcp(asyncio.Protocol):
    """One connection to a serial server in transparent mode."""

    def __init__(self, units: Units) -> None:
        self.units = units
        self.line: RtuLine | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.line = RtuLine(self.units, transport.write)

    def data_received(self, data: bytes) -> None:
        assert self.line is not None
        self.line.receive(data)


async def serve_tcp(host: str, port: int, units: Units) -> asyncio.Server:
    """Serve `units` by Modbus TCP; raises OSError when the port is taken."""
    open_count = [0]
    return await asyncio.get_running_loop().create_server(lambda: _TcpUnit(units, open_count), host, port)


async def serve_rtu_over_tcp(host: str, port: int, units: Units) -> asyncio.Server:
    """Serve `units` as an RTU line behind a transparent serial server; raises OSError when the port is taken."""
    return await asyncio.get_running_loop().create_server(lambda: _RtuOverTcp(units), host, port)


class SerialLine:
    """An RTU line on a pseudo-terminal; clients open `link`, which points to its other end."""

    def __init__(self, link: Path, units: Units) -> None:
        """Open the terminal pair and put the link in place; raises OSError with a reason."""
        self.link = link
        self._server, self._client = os.openpty()
        # The client end stays open here too: otherwise reading fails whenever no client holds the line.
        for end in (self._server, self._client):
            tty.setraw(end)
        os.set_blocking(self._server, False)
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        link.symlink_to(os.ttyname(self._client))
        self._line = RtuLine(units, self._write)
        asyncio.get_running_loop().add_reader(self._server, self._read)

    def _read(self) -> None:
        try:
            self._line.receive(os.read(self._server, BUFFER_BYTES_MAX))
        except BlockingIOError:
            return

    def _write(self, data: bytes) -> None:
        try:
            os.write(self._server, data)
        except BlockingIOError:
            return  # Nobody reads: on a real line the bytes are gone too.

    def close(self) -> None:
        """Take the line down."""
        asyncio.get_running_loop().remove_reader(self._server)
        for end in (self._server, self._client):
            os.close(end)
        self.link.unlink(missing_ok=True)
