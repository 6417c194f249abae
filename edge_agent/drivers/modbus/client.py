"""One connection to a Modbus gateway or line; the only module that imports pymodbus.

pymodbus frames, sends and parses; everything that decides whether an answer may be believed is here. Its own retries
and reconnects are off: they can hand the late answer of one question to the next one without an error.
"""

import asyncio
import logging
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.client.base import ModbusBaseClient
from pymodbus.exceptions import ModbusException, ModbusIOException
from pymodbus.framer import FramerRTU, FramerSocket, FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest, WriteSingleCoilRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from device_profiles.model import Function
from edge_agent.drivers.modbus.errors import BadAnswer, LinkDown, ModbusError, NoAnswer, Refused, exception_of
from edge_agent.drivers.modbus.read_plan import Span
from edge_agent.settings import Bus, RtuBus, RtuOverTcpBus, TcpBus, TlsBus

CONNECT_TIMEOUT_S = 3.0
CONNECT_RETRY_S = (0.5, 10.0)  # First and longest pause between attempts to connect.
SILENT_REQUESTS_MAX = 3  # After so many in a row the connection itself is doubted and made anew.
SILENCE_CHARACTERS = 3.5  # Between two frames on a serial line (Modbus over Serial Line 1.02, section 2.5.1.1).
RTU_OVERHEAD = {"request": 8, "answer": 5}  # Bytes around the data.
LATE_ANSWER_S = 1.0  # A device that did not answer in time may still do so for this long.

# Silent timeouts are our business to report, once per change of state.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class _WordsAnswer(ModbusPDU):
    """The answer to a register read, parsed in one step; a wrong byte count leaves no registers."""

    rtu_byte_count_pos = 2

    def decode(self, data: bytes) -> None:
        size = data[0]
        sound = size == len(data) - 1 and size % 2 == 0
        self.registers = struct.unpack(f">{size // 2}H", data[1:]) if sound else ()


class _HoldingAnswer(_WordsAnswer):
    function_code = 3


class _InputAnswer(_WordsAnswer):
    function_code = 4


class _BitsAnswer(ModbusPDU):
    """The answer to a bit read; `count` is the number of bytes that came."""

    rtu_byte_count_pos = 2

    def decode(self, data: bytes) -> None:
        self.count = data[0] if data[0] == len(data) - 1 else 0
        self.bits = [bool(byte >> bit & 1) for byte in data[1:] for bit in range(8)]


class _CoilsAnswer(_BitsAnswer):
    function_code = 1


class _DiscreteAnswer(_BitsAnswer):
    function_code = 2


class _Forgiving:
    """Drops what cannot be parsed; pymodbus would raise inside the event loop and kill the connection."""

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802
        try:
            return super().handleFrame(data, exp_devid, exp_tid)  # pyright: ignore[reportAttributeAccessIssue]
        except (ModbusException, IndexError, struct.error):
            return len(data), None


class _Mbap(_Forgiving, FramerSocket):
    pass


class _MbapAnyTransaction(_Mbap):
    """For gateways that answer with a constant transaction id: 0 tells pymodbus not to compare."""

    def decode(self, data: bytes) -> tuple[int, int, int, bytes]:
        used, unit, _, frame = super().decode(data)
        return used, unit, 0, frame


class _Rtu(_Forgiving, FramerRTU):
    pass


READS: dict[Function, Callable[..., ModbusPDU]] = {
    Function.COIL: ReadCoilsRequest,
    Function.DISCRETE: ReadDiscreteInputsRequest,
    Function.HOLDING: ReadHoldingRegistersRequest,
    Function.INPUT: ReadInputRegistersRequest,
}


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
        self._client = _client(bus, self._on_packet, self._on_connection)
        self._connect_error: OSError | None = None
        self._create = self._client.ctx.call_create
        self._client.ctx.call_create = self._create_and_remember
        # Without a transaction id nothing tells a late answer from the one we wait for.
        self.is_unnumbered = isinstance(bus, (RtuBus, RtuOverTcpBus)) or (
            isinstance(bus, TcpBus) and bus.ignore_transaction_id
        )
        self._outstanding: dict[int, set[int]] = {}  # Unit → sizes of the answers that may still come.
        self._settled_at: dict[int, float] = {}
        self._connect_after = 0.0
        self._connect_pause_s = CONNECT_RETRY_S[0]
        self._last_byte_at = 0.0
        self._received = 0
        self._silent_requests = 0
        self._is_waiting = False
        self._character_s = _character_s(bus)

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands as far as the operating system knows."""
        return self._client.connected

    def reconnect_in_s(self) -> float:
        """How long to wait before the connection is tried again."""
        return max(0.0, self._connect_after - self._now())

    async def read(
        self, unit: int, span: Span, *, timeout_s: float, delay_s: float = 0.0, prefixes: Sequence[int] = ()
    ) -> Sequence[int]:
        """Read one span: 16-bit words, or 0 and 1 for the bit tables; exactly `len(span)` of them.

        `timeout_s` counts from the last byte of the question to the last of the answer, beyond the time they take on
        a serial line. `prefixes` are shorter lengths that the device can also answer at this address; they serve to
        find the place in the stream again after a timeout. Raises a ModbusError.
        """
        if unit in self._outstanding:
            await self._resynchronise(unit, span, timeout_s=timeout_s, delay_s=delay_s, prefixes=prefixes)
        return await self._read(unit, span, timeout_s=timeout_s, delay_s=delay_s)

    async def write_register(self, unit: int, address: int, words: Sequence[int], *, timeout_s: float) -> None:
        """Write holding registers: one with function 06, more with function 16."""
        request: ModbusPDU
        if len(words) == 1:
            request = WriteSingleRegisterRequest(address=address, registers=list(words), dev_id=unit)
        else:
            request = WriteMultipleRegistersRequest(address=address, registers=list(words), dev_id=unit)
        await self._write(request, timeout_s)

    async def write_coil(self, unit: int, address: int, *, on: bool, timeout_s: float) -> None:
        """Switch one coil."""
        await self._write(WriteSingleCoilRequest(address=address, bits=[on], dev_id=unit), timeout_s)

    async def close(self) -> None:
        """Close the connection; a later read opens it again."""
        self._client.close()
        await asyncio.sleep(0)  # Lets the event loop release the socket.

    async def _read(self, unit: int, span: Span, *, timeout_s: float, delay_s: float) -> Sequence[int]:
        count = len(span)
        request = READS[span.function](address=span.start, count=count, dev_id=unit)
        data_bytes = (count + 7) // 8 if span.function.is_bits else 2 * count
        answer = await self._ask(request, timeout_s, delay_s, data_bytes)
        if span.function.is_bits:
            if answer.count != data_bytes:
                raise self._doubt(unit, data_bytes, f"{answer.count} bytes instead of {data_bytes}")
            return answer.bits[:count]
        if len(answer.registers) != count:
            raise self._doubt(unit, data_bytes, f"{len(answer.registers)} registers instead of {count}")
        return answer.registers

    async def _write(self, request: ModbusPDU, timeout_s: float) -> None:
        await self._ask(request, timeout_s, 0.0, 0)

    async def _ask(self, request: ModbusPDU, timeout_s: float, delay_s: float, data_bytes: int) -> ModbusPDU:
        if not self._client.connected:
            await self._connect()
        await self._keep_silence(delay_s)
        ctx = self._client.ctx
        wire_s = self._character_s * (RTU_OVERHEAD["request"] + RTU_OVERHEAD["answer"] + data_bytes)
        ctx.comm_params.timeout_connect = timeout_s + wire_s
        self.stats.requests += 1
        received, started = self._received, self._now()
        self._is_waiting = True
        try:
            answer = await ctx.execute(False, request)
        except (ModbusIOException, OSError) as error:
            raise self._unanswered(request.dev_id, data_bytes, timeout_s, self._received - received, error) from error
        finally:
            self._is_waiting = False
            self.stats.busy_s += self._now() - started
        self._silent_requests = 0
        return self._checked(request, answer, data_bytes)

    def _checked(self, request: ModbusPDU, answer: ModbusPDU, data_bytes: int) -> ModbusPDU:
        unit = request.dev_id
        if not self.is_unnumbered and answer.transaction_id != request.transaction_id:
            text = f"transaction id {answer.transaction_id} instead of {request.transaction_id}"
            raise self._doubt(unit, data_bytes, f"{text} (a gateway that always does so needs ignore_transaction_id)")
        if answer.dev_id != unit:
            raise self._doubt(unit, data_bytes, f"unit {answer.dev_id} answered instead of {unit}")
        if answer.function_code & 0x7F != request.function_code:
            raise self._doubt(unit, data_bytes, f"function {answer.function_code} instead of {request.function_code}")
        self.stats.answers += 1
        if answer.isError():
            self.stats.exceptions += 1
            raise self._noted(exception_of(answer.exception_code))
        return answer

    def _unanswered(self, unit: int, data_bytes: int, timeout_s: float, received: int, error: Exception) -> ModbusError:
        """Say why there is no answer, and decide whether the connection can still be trusted."""
        if not self._client.connected:
            return self._noted(LinkDown(f"connection lost: {error}"))
        self.stats.timeouts += 1
        self._expect_late(unit, data_bytes)
        self._silent_requests += 1
        half_a_frame = bool(self._client.ctx.recv_buffer)
        if isinstance(self.bus, RtuOverTcpBus) or half_a_frame or self._silent_requests >= SILENT_REQUESTS_MAX:
            self._client.close()
            self._silent_requests = 0
        what = f", {received} bytes came that do not fit (unit id, transaction id or CRC)" if received else ""
        return self._noted(NoAnswer(f"no matching reply in {timeout_s:g} s{what}"))

    def _doubt(self, unit: int, data_bytes: int, what: str) -> ModbusError:
        """Note an answer that does not fit: on an unnumbered link the stream may be one answer behind."""
        self.stats.bad_answers += 1
        self._expect_late(unit, data_bytes)
        if isinstance(self.bus, RtuOverTcpBus):
            self._client.close()
        return self._noted(BadAnswer(what))

    def _noted(self, error: ModbusError) -> ModbusError:
        self.stats.last_error = str(error)
        return error

    def _expect_late(self, unit: int, data_bytes: int) -> None:
        if self.is_unnumbered:
            self._outstanding.setdefault(unit, set()).add(data_bytes)
            self._settled_at[unit] = self._now() + LATE_ANSWER_S

    async def _resynchronise(
        self, unit: int, span: Span, *, timeout_s: float, delay_s: float, prefixes: Sequence[int]
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
                await self._read(unit, probe, timeout_s=timeout_s, delay_s=delay_s)
        del self._outstanding[unit]

    async def _keep_silence(self, delay_s: float) -> None:
        pause = self._last_byte_at + max(delay_s, SILENCE_CHARACTERS * self._character_s) - self._now()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _connect(self) -> None:
        if self._now() < self._connect_after:
            raise LinkDown(self.stats.last_error or "not connected")
        self._client.ctx.comm_params.timeout_connect = CONNECT_TIMEOUT_S
        self._connect_error = None
        if not await self._client.connect():
            self.stats.failed_connects += 1
            self._connect_after = self._now() + self._connect_pause_s
            self._connect_pause_s = min(2 * self._connect_pause_s, CONNECT_RETRY_S[1])
            reason = self._connect_error or f"no answer in {CONNECT_TIMEOUT_S:g} s"
            raise self._noted(LinkDown(f"cannot connect to {self.bus.endpoint}: {reason}"))
        self.stats.connects += 1
        self._connect_pause_s = CONNECT_RETRY_S[0]
        self._silent_requests = 0
        await asyncio.sleep(self.bus.connect_delay_ms / 1000)

    async def _create_and_remember(self) -> Any:
        # pymodbus logs the reason of a failed connection and forgets it.
        try:
            return await self._create()
        except OSError as error:
            self._connect_error = error
            raise

    def _on_packet(self, sending: bool, data: bytes) -> bytes:  # noqa: FBT001  # pymodbus calls it by position.
        if not sending:
            self._received += 1
        self._last_byte_at = self._now()
        return data

    def _on_connection(self, connected: bool) -> None:  # noqa: FBT001  # pymodbus calls it by position.
        pending = self._client.ctx.response_future
        if not connected and self._is_waiting and not pending.done():
            # Without this, a question on a connection that the gateway closed waits for its whole timeout.
            pending.set_exception(ConnectionResetError("closed by the other side"))


def _client(
    bus: Bus, on_packet: Callable[[bool, bytes], bytes], on_connection: Callable[[bool], None]
) -> ModbusBaseClient:
    common: dict[str, Any] = {
        "retries": 0,
        "reconnect_delay": 0,
        "timeout": CONNECT_TIMEOUT_S,
        "trace_packet": on_packet,
        "trace_connect": on_connection,
    }
    client: ModbusBaseClient
    if isinstance(bus, RtuBus):
        parity = {"none": "N", "even": "E", "odd": "O"}[bus.parity]
        serial: dict[str, Any] = {"baudrate": bus.baud, "bytesize": bus.data_bits, "parity": parity}
        client = AsyncModbusSerialClient(bus.serial, stopbits=bus.stop_bits, **serial, **common)
    else:
        framer = FramerType.RTU if isinstance(bus, RtuOverTcpBus) else FramerType.SOCKET
        client = AsyncModbusTcpClient(bus.host, port=bus.port, framer=framer, **common)
    ctx = client.ctx
    ctx.max_until_disconnect = ctx.count_until_disconnect = 1 << 62  # Closing is our decision: others share the line.
    numbered = _MbapAnyTransaction if isinstance(bus, TcpBus) and bus.ignore_transaction_id else _Mbap
    ctx.framer = (_Rtu if isinstance(bus, (RtuBus, RtuOverTcpBus)) else numbered)(ctx.framer.decoder)
    for answer in (_HoldingAnswer, _InputAnswer, _CoilsAnswer, _DiscreteAnswer):
        client.register(answer)
    if isinstance(bus, TlsBus):
        _use_tls(client, bus)
    return client


def _use_tls(client: ModbusBaseClient, bus: TlsBus) -> None:
    """Wrap the connection: Modbus/TCP Security keeps the MBAP header, which pymodbus's TLS framer does not check."""
    context = ssl.create_default_context(cafile=str(bus.ca_file) if bus.ca_file else None)
    if bus.certificate_file:
        context.load_cert_chain(bus.certificate_file, bus.key_file)
    ctx = client.ctx

    async def create() -> Any:
        loop = asyncio.get_running_loop()
        name = bus.server_name or bus.host
        return await loop.create_connection(
            ctx.handle_new_connection, bus.host, bus.port, ssl=context, server_hostname=name
        )

    ctx.call_create = create


def _character_s(bus: Bus) -> float:
    """How long one character takes on the line itself; 0 where there is no line, or another machine minds it."""
    if not isinstance(bus, RtuBus):
        return 0.0
    bits = 1 + bus.data_bits + (bus.parity != "none") + bus.stop_bits
    return bits / bus.baud


def _data_bytes(span: Span, count: int) -> int:
    return (count + 7) // 8 if span.function.is_bits else 2 * count
