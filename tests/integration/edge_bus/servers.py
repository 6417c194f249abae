"""Small Modbus servers for tests, written without any Modbus library, that misbehave as told."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


def crc16(data: bytes) -> bytes:
    """The checksum of an RTU frame, low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


@dataclass
class Request:
    """One question as the server sees it."""

    unit: int
    function: int
    address: int
    count: int
    transaction: int = 0

    def words(self, base: int = 0) -> bytes:
        """The honest answer: each register holds its own address plus `base`."""
        data = b"".join(
            struct.pack(">H", (address + base) & 0xFFFF) for address in range(self.address, self.address + self.count)
        )
        return bytes([self.function, len(data)]) + data

    def bits(self) -> bytes:
        """The honest answer to a bit read: odd addresses are set."""
        size = (self.count + 7) // 8
        packed = sum(1 << i for i in range(self.count) if (self.address + i) % 2)
        return bytes([self.function, size]) + packed.to_bytes(size, "little")

    def honest(self) -> bytes:
        return self.bits() if self.function <= 2 else self.words()

    def exception(self, code: int) -> bytes:
        return bytes([self.function | 0x80, code])

    def mbap(self, pdu: bytes, *, transaction: int | None = None, unit: int | None = None) -> bytes:
        transaction = self.transaction if transaction is None else transaction
        return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, self.unit if unit is None else unit) + pdu

    def rtu(self, pdu: bytes) -> bytes:
        frame = bytes([self.unit]) + pdu
        return frame + crc16(frame)


Answer = Callable[[Request, "Server"], Awaitable[bytes | None]]


@dataclass
class Server:
    """A listening server; `answer` returns the bytes to send, or None to keep silent."""

    answer: Answer
    framing: str = "mbap"
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                request = await self._read(reader)
                self.requests.append(request)
                if (data := await self.answer(request, self)) is not None:
                    writer.write(data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        if self.framing == "mbap":
            transaction, _, size, unit = struct.unpack(">HHHB", await reader.readexactly(7))
            function, address, count = struct.unpack(">BHH", (await reader.readexactly(size - 1))[:5])
            return Request(unit, function, address, count, transaction)
        frame = await reader.readexactly(8)
        assert crc16(frame[:6]) == frame[6:]
        return Request(*struct.unpack(">BBHH", frame[:6]))

    def later(self, delay_s: float, data: bytes) -> None:
        """Send on the newest connection after a while."""
        writer = self.writers[-1]
        asyncio.get_running_loop().call_later(delay_s, lambda: None if writer.is_closing() else writer.write(data))


@asynccontextmanager
async def serving(answer: Answer, *, framing: str = "mbap", ssl=None) -> AsyncIterator[Server]:
    """Run a server on a free port."""
    server = Server(answer=answer, framing=framing)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=ssl)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in server.writers:
            writer.transport.abort()
        await asyncio.sleep(0)
