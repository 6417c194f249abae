"""Orders from the cloud and from a technician's shell: each carried out once, by the bus's own task, and answered.

A running agent listens on a socket beside its outbox, so that `edge-agent write` never speaks on a bus at the same time
as the agent. Only the user the agent runs as can open it.
"""

import asyncio
import os
import socket
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import orjson
import structlog

from edge_agent.clock import Clock
from edge_agent.drivers.modbus.errors import ModbusError
from edge_agent.model import Event, Frame
from edge_agent.polled import PolledDevice
from edge_agent.poller import BusPoller, QueueFull
from edge_agent.writes import Order, WriteFailed, Writer, WriteRefused, order_of, result_of

log = structlog.get_logger()

COMMANDS_PER_ANSWER_MAX = 50
ORDERS_KEPT = 1_000
ORDER_BYTES_MAX = 16_384
CONVERSATIONS_MAX = 8
ASK_TIMEOUT_S = 5.0
FINISH_S = 5.0  # Of a stop; service managers wait longer before they kill.
ANSWER_TIMEOUT_S = 120.0  # An order may wait for a slow bus and for a slow thermostat.

Find = Callable[[str], tuple[BusPoller, PolledDevice] | None]


class Sink(Protocol):
    """Where results go; the outbox."""

    def append(self, frames: Sequence[Frame], events: Sequence[Event] = ()) -> None:
        """Take them; never blocks, never fails."""
        ...


class OrderDesk:
    """Takes orders, and knows which it has seen. `find` gives the bus and the device of a name."""

    def __init__(self, writer: Writer, sink: Sink, clock: Clock, find: Find) -> None:
        self._writer = writer
        self._sink = sink
        self._clock = clock
        self._find = find
        self._seen: dict[str, None] = {}
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()

    def take(self, commands: Any) -> None:
        """Start the commands of a cloud's answer in the background; it repeats each until it has seen the result."""
        for command in list(commands)[:COMMANDS_PER_ANSWER_MAX] if isinstance(commands, list) else []:
            try:
                order = order_of(command)
            except WriteRefused as error:
                log.warning("command_refused", code=error.code, reason=str(error))
                continue
            if order.id in self._seen:
                continue
            self._seen[order.id] = None
            while len(self._seen) > ORDERS_KEPT:
                self._seen.pop(next(iter(self._seen)))
            # Not supervised: a command that died of a mistake of ours must not be given a second time.
            self._begin(order)

    async def carry_out(self, order: Order, *, is_release: bool = False) -> dict[str, Any]:
        """Do it, tell the log and the cloud, and return what came of it: the data of `command.result`.

        Whoever waits may give up; the order itself goes on to its result, so that a device is never set unrecorded.
        """
        return await asyncio.shield(self._begin(order, is_release=is_release))

    def _begin(self, order: Order, *, is_release: bool = False) -> asyncio.Task[dict[str, Any]]:
        task = asyncio.create_task(self._carry_out(order, is_release=is_release), name=f"command {order.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _carry_out(self, order: Order, *, is_release: bool) -> dict[str, Any]:
        now_ms = self._clock.now_ms()
        try:
            shown = await self._write(order, is_release=is_release)
            data = result_of(order, "done", shown=shown)
        except WriteRefused as error:
            data = result_of(order, "refused", reason=f"{error.code}: {error}")
        except (WriteFailed, ModbusError, QueueFull) as error:
            data = result_of(order, "failed", reason=str(error))
        log.info("command_result", **data)
        self._sink.append((), (result_event(order.device, data, now_ms, self._clock.now_ms()),))
        return data

    async def _write(self, order: Order, *, is_release: bool) -> Fraction:
        found = self._find(order.device)
        if found is None:
            raise WriteRefused("unknown_device", f"no Modbus device {order.device} on this gateway")
        poller, device = found
        return await poller.submit(
            lambda line: self._writer.write(line, device.config, device.profile, order, is_release=is_release)
        )

    async def release_due(self) -> None:
        """End the overrides whose deadline has passed."""
        for order in self._writer.due_releases():
            await self.carry_out(order, is_release=True)

    async def stop(self) -> None:
        """Let what is under way end with its result, for a moment; an override is on record before it is sent."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=FINISH_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def serve(self, path: Path) -> None:
        """Take orders of the machine's own user at `path` until cancelled."""
        gate = asyncio.Semaphore(CONVERSATIONS_MAX)

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with gate:
                with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
                    async with asyncio.timeout(ASK_TIMEOUT_S):
                        line = await reader.readuntil(b"\n")
                    writer.write(orjson.dumps(await self._answer(line)) + b"\n")
                    await writer.drain()
                writer.close()

        with _listening(path) as listener:
            server = await asyncio.start_unix_server(converse, sock=listener, limit=ORDER_BYTES_MAX)
            async with server:
                await server.serve_forever()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            order = order_of({**orjson.loads(line), "id": f"local-{uuid.uuid4()}"})
        except (orjson.JSONDecodeError, TypeError, WriteRefused) as error:
            return {"outcome": "refused", "reason": str(error)}
        return await self.carry_out(order)


def result_event(device: str, data: dict[str, Any], ordered_at_ms: int, now_ms: int) -> Event:
    """Say what came of an order."""
    return Event(kind="command.result", device=device, at_ms=now_ms, received_at_ms=ordered_at_ms, data=data)


def orders_socket(outbox: Path) -> Path:
    """Where the agent that owns this outbox takes orders."""
    return outbox.with_name(outbox.name + ".orders")


async def ask_running_agent(path: Path, order: Order) -> dict[str, Any] | None:
    """Hand an order to the agent at `path`; None when there is none. Raises TimeoutError and OSError."""
    try:
        with socket_address(path) as address:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(address, limit=ORDER_BYTES_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        return None  # Refused: left behind by an agent that was killed.
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            writer.write(orjson.dumps(asdict(order)) + b"\n")
            await writer.drain()
            line = await reader.readline()
    finally:
        writer.close()
    if not line:
        raise ConnectionResetError("the agent stopped before it answered; look into its log")
    return orjson.loads(line)


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Open the socket for this user alone, in place of one that a killed agent left; nothing is left at the end."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_address(path) as address:
            listener.bind(address)
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give a name of the socket that fits into the 108 bytes that sockets allow, however deep its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
