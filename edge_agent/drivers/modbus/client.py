"""One connection to a Modbus gateway or line; the only module that imports pymodbus.

pymodbus gives the serial transport, the checksum and the PDUs of writes. Framing is our own (framing.py): pymodbus's
client hands late answers to the next question, accepts answers of another length or function, and costs four times the
CPU of what is left of a poll. There are no retries here: whoever asks decides about the next question.
"""

import asyncio
import logging
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pymodbus.framer import FramerRTU
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import WriteSingleCoilRequest
from pymodbus.pdu.register_message import WriteMultipleRegistersRequest, WriteSingleRegisterRequest
from pymodbus.transport.serialtransport import create_serial_connection

from edge_agent.drivers.modbus import framing
from edge_agent.drivers.modbus.errors import BadAnswer, LinkDown, ModbusError, NoAnswer, Refused, exception_of
from edge_agent.drivers.modbus.framing import EXCEPTION, Frame, Framing
from edge_agent.drivers.modbus.read_plan import Span
from edge_agent.settings import Bus, RtuBus, RtuOverTcpBus, TcpBus, TlsBus
from edge_agent.tls import client_context

CONNECT_TIMEOUT_S = 3.0
CONNECT_RETRY_S = (0.5, 10.0)  # First and longest pause between attempts to connect.
SILENT_REQUESTS_MAX = 3  # After so many in a row the connection itself is doubted and made anew.
SILENCE_CHARACTERS = 3.5  # Between two frames on a serial line (Modbus over Serial Line 1.02, section 2.5.1.1).
RTU_OVERHEAD = 8 + 5  # Bytes of a question, and around the data of its answer.
LATE_ANSWER_S = 1.0  # A device that did not answer in time may still do so for this long.
TRANSACTIONS = 0x10000

# The serial transport's own words are repeated by the status of the bus.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class _Wire(asyncio.Protocol):
    """One connection: cuts what arrives into answers and hands the one that fits to whoever waits."""

    def __init__(self, framing: Framing, now: Callable[[], float]) -> None:
        self._framing = framing
        self._now = now
        self.transport: asyncio.Transport | None = None
        self.opened = asyncio.get_running_loop().create_future()
        self.buffer = bytearray()
        self.received = 0
        self.last_byte_at = 0.0
        self._expected: tuple[int | None, int] = (None, 0)
        self._waiter: asyncio.Future[Frame] | None = None

    def ask(self, transaction: int, unit: int, pdu: bytes, timeout_s: float) -> asyncio.Future[Frame]:
        """Send a question; the future gets its answer, TimeoutError, or the reason why the connection ended."""
        assert self.transport is not None
        if not self._framing.is_numbered:
            self.buffer.clear()
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Frame] = loop.create_future()
        self._expected = (transaction if self._framing.is_numbered else None, unit)
        self._waiter = waiter
        timer = loop.call_later(timeout_s, self._fail, waiter, TimeoutError())
        waiter.add_done_callback(lambda _: timer.cancel())
        self.transport.write(self._framing.pack(transaction, unit, pdu))
        self.last_byte_at = self._now()
        return waiter

    def close(self) -> None:
        """End the connection."""
        if self.transport is not None:
            transport, self.transport = self.transport, None
            transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if not self.opened.done():
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._waiter is not None:
            self._fail(self._waiter, exc or ConnectionResetError("closed by the other side"))

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.last_byte_at = self._now()
        buffer = self.buffer
        buffer += data
        while (frame := self._framing.cut(buffer, self._expected[1])) is not None:
            # Answers to other questions are dropped: late ones, and those of other units.
            if self._waiter is not None and (frame.transaction, frame.unit) == self._expected:
                waiter, self._waiter = self._waiter, None
                if not waiter.done():
                    waiter.set_result(frame)
        if len(buffer) > framing.BUFFER_BYTES_MAX:
            buffer.clear()

    @staticmethod
    def _fail(waiter: asyncio.Future[Frame], error: BaseException) -> None:
        if not waiter.done():
            waiter.set_exception(error)


@dataclass(slots=True)
class LineStats:
    """Counters since the start; `busy_s` over the elapsed time is the utilisation of the bus."""

    requests: int = 0
    answers: int = 0
    timeouts: int = 0
    bad_answers: int = 0
    exceptions: int = 0
    connects: int = 0
    failed_connects: int = 0
    busy_s: float = 0.0
    last_error: str = ""


class Line:
    """One connection, one request at a time. Not for concurrent use: the bus's task owns it."""

    late_answer_s = LATE_ANSWER_S

    def __init__(self, bus: Bus, *, now: Callable[[], float] = time.monotonic) -> None:
        self.bus = bus
        self.stats = LineStats()
        self._now = now
        self._framing = _framing(bus)
        self._wire: _Wire | None = None
        self._transaction = 0
        # Without a transaction id nothing tells a late answer from the one we wait for.
        self.is_unnumbered = not self._framing.is_numbered
        self._outstanding: dict[int, set[int]] = {}  # Unit → sizes of the answers that may still come.
        self._settled_at: dict[int, float] = {}
        self._connect_after = 0.0
        self._connect_pause_s = CONNECT_RETRY_S[0]
        self._silent_requests = 0
        self._character_s = _character_s(bus)

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands as far as the operating system knows."""
        return self._wire is not None and self._wire.transport is not None

    def reconnect_in_s(self) -> float:
        """How long to wait before the connection is tried again."""
        return max(0.0, self._connect_after - self._now())

    async def read(
        self,
        unit: int,
        span: Span,
        *,
        timeout_s: float,
        delay_s: float = 0.0,
        prefixes: Sequence[int] = (),
        words_per_address: int = 1,
    ) -> Sequence[int]:
        """Read one span: 16-bit words, or 0 and 1 for the bit tables; exactly `len(span)` of them.

        `timeout_s` counts from the last byte of the question to the last of the answer, beyond the time they take on
        a serial line. `prefixes` are shorter lengths that the device can also answer at this address; they serve to
        find the place in the stream again after a timeout. A device with two words at each address is asked for half
        as many addresses, from half the number. Raises a ModbusError.
        """
        if unit in self._outstanding:
            await self._resynchronise(
                unit, span, timeout_s=timeout_s, delay_s=delay_s, prefixes=prefixes, width=words_per_address
            )
        return await self._read(unit, span, timeout_s=timeout_s, delay_s=delay_s, width=words_per_address)

    async def write_register(self, unit: int, address: int, words: Sequence[int], *, timeout_s: float) -> None:
        """Write holding registers: one with function 06, more with function 16."""
        if len(words) == 1:
            await self._write(
                WriteSingleRegisterRequest(address=address, registers=list(words), dev_id=unit), timeout_s
            )
        else:
            request = WriteMultipleRegistersRequest(address=address, registers=list(words), dev_id=unit)
            await self._write(request, timeout_s)

    async def write_coil(self, unit: int, address: int, *, on: bool, timeout_s: float) -> None:
        """Switch one coil."""
        await self._write(WriteSingleCoilRequest(address=address, bits=[on], dev_id=unit), timeout_s)

    async def close(self) -> None:
        """Close the connection; a later read opens it again."""
        self._drop()
        await asyncio.sleep(0)  # Lets the event loop release the socket.

    async def _read(self, unit: int, span: Span, *, timeout_s: float, delay_s: float, width: int) -> Sequence[int]:
        count, data_bytes = len(span), _data_bytes(span, len(span))
        question = framing.read_question(span.function.read_code, span.start // width, count // width)
        pdu = await self._ask(unit, question, timeout_s, delay_s, data_bytes)
        if span.function.is_bits:
            bits = framing.bits_of(pdu, count)
            if bits is None:
                raise self._doubt(unit, data_bytes, f"{max(0, len(pdu) - 2)} bytes instead of {data_bytes}")
            return bits
        words = framing.words_of(pdu)
        if words is None or len(words) != count:
            raise self._doubt(unit, data_bytes, f"{len(words or ())} registers instead of {count}")
        return words

    async def _write(self, request: ModbusPDU, timeout_s: float) -> None:
        question = bytes((request.function_code,)) + request.encode()
        answer = await self._ask(request.dev_id, question, timeout_s, 0.0, 0)
        if answer[:5] != question[:5]:
            raise self._doubt(request.dev_id, 0, "the device confirms another write than it was told")

    async def _ask(self, unit: int, question: bytes, timeout_s: float, delay_s: float, data_bytes: int) -> bytes:
        wire = self._wire
        if wire is None or wire.transport is None:
            wire = await self._connect()
        pause = wire.last_byte_at + max(delay_s, SILENCE_CHARACTERS * self._character_s) - self._now()
        if pause > 0:
            await asyncio.sleep(pause)
            if wire.transport is None:
                raise self._noted(LinkDown("connection lost"))
        self._transaction = (self._transaction + 1) % TRANSACTIONS
        received, started = wire.received, self._now()
        wire_s = self._character_s * (RTU_OVERHEAD + data_bytes)
        self.stats.requests += 1
        try:
            frame = await wire.ask(self._transaction, unit, question, timeout_s + wire_s)
        except TimeoutError:
            raise self._unanswered(wire, unit, data_bytes, timeout_s, wire.received - received) from None
        except OSError as error:
            self._drop()
            raise self._noted(LinkDown(f"connection lost: {error}")) from error
        finally:
            self.stats.busy_s += self._now() - started
        self._silent_requests = 0
        return self._checked(unit, question[0], frame.pdu, data_bytes)

    def _checked(self, unit: int, function: int, pdu: bytes, data_bytes: int) -> bytes:
        if pdu[0] & ~EXCEPTION != function:
            raise self._doubt(unit, data_bytes, f"function {pdu[0]} instead of {function}")
        self.stats.answers += 1
        if pdu[0] & EXCEPTION:
            self.stats.exceptions += 1
            raise self._noted(exception_of(pdu[1]))
        return pdu

    def _unanswered(self, wire: _Wire, unit: int, data_bytes: int, timeout_s: float, received: int) -> ModbusError:
        """Say why there is no answer, and decide whether the connection can still be trusted."""
        self.stats.timeouts += 1
        self._expect_late(unit, data_bytes)
        self._silent_requests += 1
        half_a_frame = bool(wire.buffer)
        if isinstance(self.bus, RtuOverTcpBus) or half_a_frame or self._silent_requests >= SILENT_REQUESTS_MAX:
            self._drop()
            self._silent_requests = 0
        what = f", {received} bytes came that do not fit (unit id, transaction id or CRC)" if received else ""
        return self._noted(NoAnswer(f"no matching reply in {timeout_s:g} s{what}"))

    def _doubt(self, unit: int, data_bytes: int, what: str) -> ModbusError:
        """Note an answer that does not fit: on an unnumbered link the stream may be one answer behind."""
        self.stats.bad_answers += 1
        self._expect_late(unit, data_bytes)
        if isinstance(self.bus, RtuOverTcpBus):
            self._drop()
        return self._noted(BadAnswer(what))

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _noted(self, error: ModbusError) -> ModbusError:
        self.stats.last_error = str(error)
        return error

    def _expect_late(self, unit: int, data_bytes: int) -> None:
        if self.is_unnumbered:
            self._outstanding.setdefault(unit, set()).add(data_bytes)
            self._settled_at[unit] = self._now() + LATE_ANSWER_S

    async def _resynchronise(
        self, unit: int, span: Span, *, timeout_s: float, delay_s: float, prefixes: Sequence[int], width: int
    ) -> None:
        """Make sure that the next answer belongs to the next question.

        First wait until a late answer would have come (the bus's task asks others meanwhile, so this is rarely a
        wait), then ask for a length that no outstanding answer has: only its own answer fits. Devices answer in
        order, so nothing older can follow.
        """
        pause = self._settled_at.get(unit, 0.0) - self._now()
        if pause > 0:
            await asyncio.sleep(pause)
        outstanding = self._outstanding[unit]
        lengths = [n for n in prefixes if n < len(span) and _data_bytes(span, n) not in outstanding]
        if lengths:
            probe = Span(span.function, span.start, span.start + lengths[0])
            with suppress(Refused):  # Some devices answer whole blocks only; a refusal has a shape of its own.
                await self._read(unit, probe, timeout_s=timeout_s, delay_s=delay_s, width=width)
        del self._outstanding[unit]

    async def _connect(self) -> _Wire:
        if self._now() < self._connect_after:
            raise LinkDown(self.stats.last_error or "not connected")
        self._drop()
        wire = _Wire(self._framing, self._now)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await _open(self.bus, wire)
                await wire.opened
        except (OSError, TimeoutError, termios.error) as error:  # termios: settings the port cannot have.
            wire.close()
            self.stats.failed_connects += 1
            self._connect_after = self._now() + self._connect_pause_s
            self._connect_pause_s = min(2 * self._connect_pause_s, CONNECT_RETRY_S[1])
            reason = str(error) or f"no answer in {CONNECT_TIMEOUT_S:g} s"
            raise self._noted(LinkDown(f"cannot connect to {self.bus.endpoint}: {reason}")) from error
        self._wire = wire
        self.stats.connects += 1
        self._connect_pause_s = CONNECT_RETRY_S[0]
        self._silent_requests = 0
        await asyncio.sleep(self.bus.connect_delay_ms / 1000)
        return wire


async def _open(bus: Bus, wire: _Wire) -> None:
    loop = asyncio.get_running_loop()
    if isinstance(bus, RtuBus):
        parity = {"none": "N", "even": "E", "odd": "O"}[bus.parity]
        line: dict[str, Any] = {"baudrate": bus.baud, "bytesize": bus.data_bits, "stopbits": bus.stop_bits}
        await create_serial_connection(loop, lambda: wire, bus.serial, parity=parity, **line)
    elif isinstance(bus, TlsBus):
        context = client_context(bus.ca_file, certificate_file=bus.certificate_file, key_file=bus.key_file)
        name = bus.server_name or bus.host
        await loop.create_connection(lambda: wire, bus.host, bus.port, ssl=context, server_hostname=name)
    else:
        await loop.create_connection(lambda: wire, bus.host, bus.port)


def _framing(bus: Bus) -> Framing:
    if isinstance(bus, (RtuBus, RtuOverTcpBus)):
        return framing.Rtu(lambda frame: FramerRTU.compute_CRC(frame).to_bytes(2, "big"))
    return framing.UnnumberedMbap() if isinstance(bus, TcpBus) and bus.ignore_transaction_id else framing.Mbap()


def _character_s(bus: Bus) -> float:
    """How long one character takes on the line itself; 0 where there is no line, or another machine minds it."""
    if not isinstance(bus, RtuBus):
        return 0.0
    bits = 1 + bus.data_bits + (bus.parity != "none") + bus.stop_bits
    return bits / bus.baud


def _data_bytes(span: Span, count: int) -> int:
    return (count + 7) // 8 if span.function.is_bits else 2 * count
