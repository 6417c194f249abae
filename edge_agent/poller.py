"""One task per bus: when to read, when to back off, when to call a device lost."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from device_profiles.model import ModbusPoint
from edge_agent.clock import Clock
from edge_agent.drivers.modbus.badges import BadgeReader
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.device import Request
from edge_agent.drivers.modbus.errors import Busy, LinkDown, ModbusError, Refused
from edge_agent.model import DeviceState, Event, Frame, Quality
from edge_agent.polled import DeviceCycle, PolledDevice
from edge_agent.schedule import Schedule, ms_to_quarter, phases
from edge_agent.settings import Bus
from edge_agent.writes import set_to_zero

log = structlog.get_logger()

BUSY_RETRIES_MAX = 3
BUSY_PAUSE_S = 0.2
IDENTITY_RETRY_S = 30.0  # A device that is not the expected one is looked at again so often.
FIRST_READ_S_MAX = 10.0  # After a start every device is read within this time, whatever its period.
QUARTER_MARGIN_MS = 2_000
LATENESS_KEPT = 2_000
COMMANDS_MAX = 100

T = TypeVar("T")


class Sink(Protocol):
    """Where frames and events go; the outbox."""

    def append(self, frames: Sequence[Frame], events: Sequence[Event] = ()) -> None:
        """Take them; never blocks, never fails."""
        ...

    def flush(self) -> int:
        """Make everything appended durable; raises sqlite3.Error."""
        ...


class QueueFull(Exception):
    """More commands wait for a bus than it can carry out."""


class BusPoller:
    """Reads the devices of one bus for ever, one request at a time."""

    def __init__(self, line: Line, devices: Sequence[PolledDevice], sink: Sink, clock: Clock) -> None:
        self.line = line
        self.devices = list(devices)
        self.lateness_s: deque[float] = deque(maxlen=LATENESS_KEPT)
        self.started_at = clock.monotonic()
        self._sink = sink
        self._clock = clock
        self._commands: deque[tuple[Callable[[Line], Awaitable[Any]], asyncio.Future[Any]]] = deque()
        self._silent: set[PolledDevice] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._next: tuple[Bus, Sequence[PolledDevice]] | None = None
        self._plan(dict[tuple[str, str], DeviceCycle]())

    @property
    def missed_cycles(self) -> int:
        """Periods that passed unread since the start."""
        return sum(cycle.missed for cycle in self._cycles)

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                if self._next is not None:
                    await self._take_over(*self._next)
                if self._commands:
                    await self._carry_out(*self._commands.popleft())
                    continue
                now = self._clock.monotonic()
                if self._silent:
                    self._report_lost(now)
                cycle = self._schedule.pop(now)
                if cycle is None:
                    await self._sleep(now)
                else:
                    assert isinstance(cycle, DeviceCycle)
                    await self._work(cycle, now)
        finally:
            for _, future in self._commands:
                future.cancel()
            await self.line.close()

    async def submit(self, action: Callable[[Line], Awaitable[T]]) -> T:
        """Run `action` with the line to itself, before the next read."""
        if len(self._commands) >= COMMANDS_MAX:
            raise QueueFull(f"{COMMANDS_MAX} commands already wait for bus {self.line.bus.name}")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._commands.append((action, future))
        self.wake()
        return await future

    def reconfigure(self, bus: Bus, devices: Sequence[PolledDevice]) -> None:
        """Go on with these devices after the current request. Devices that stay keep their state and their turn."""
        self._next = (bus, devices)
        self.wake()

    def realign(self) -> None:
        """Call after the wall clock jumped: the quarter hours are elsewhere now."""
        self._schedule.realign(self._next_quarter())
        self.wake()

    def wake(self) -> None:
        """Look at the work again now."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _plan(self, before: Mapping[tuple[str, str], DeviceCycle]) -> None:
        """Plan the first reads; a cycle that was planned `before` with the same period keeps its time."""
        now, boundary = self._clock.monotonic(), self._next_quarter()
        slowest = max((device.poll_s for device in self.devices), default=0.0)
        starts = phases(len(self.devices), min(FIRST_READ_S_MAX, slowest), now)
        self._schedule = Schedule()
        self._cycles = [
            cycle
            for device, start in zip(self.devices, starts, strict=True)
            for cycle in device.cycles(start, boundary)
        ]
        for cycle in self._cycles:
            old = before.get((cycle.device.config.name, cycle.group.name))
            if old is not None and old.period_s == cycle.period_s:
                cycle.due, cycle.missed, cycle.has_run = old.due, old.missed, True
            self._schedule.add(cycle, cycle.due)

    async def _take_over(self, bus: Bus, devices: Sequence[PolledDevice]) -> None:
        self._next = None
        known = {device.config.name: device for device in self.devices}
        for device in devices:
            if (old := known.get(device.config.name)) is not None:
                device.inherit(old)
        if bus.model_copy(update={"devices": []}) != self.line.bus.model_copy(update={"devices": []}):
            await self.line.close()
            self.line = Line(bus)
        self.line.bus = bus
        before = {(cycle.device.config.name, cycle.group.name): cycle for cycle in self._cycles}
        self.devices = list(devices)
        self._silent = {device for device in self.devices if device.patience.failures}
        self._plan(before)

    async def _work(self, cycle: DeviceCycle, now: float) -> None:
        """Ask one question of the cycle, and plan what follows from its answer."""
        device = cycle.device
        if not device.is_identified and not cycle.identifies:
            self._schedule.resume(cycle, now + min(1.0, cycle.period_s))
            return
        if not cycle.pending:
            if cycle.has_run:  # The first reads after a start wait for connections; that is no lateness.
                self.lateness_s.append(now - cycle.due)
            cycle.has_run = True
            cycle.pending.extend(device.requests(cycle.group))
            if not cycle.pending:
                self._finish(cycle)
                return
        request = cycle.pending[0]
        try:
            words = await self.line.read(
                device.config.unit,
                request.block.span,
                timeout_s=device.response_timeout_s,
                delay_s=device.request_delay_s,
                prefixes=request.prefixes,
                words_per_address=device.limits.words_per_address,
            )
        except Busy as error:
            self._busy(cycle, error)
        except Refused as error:
            self._refused(cycle, request, error)
        except ModbusError as error:
            self._failed(cycle, error)
        else:
            self._answered(cycle, request, words)
            for badge, point in device.to_clear():
                await self._clear(device, badge, point)

    async def _clear(self, device: PolledDevice, badge: BadgeReader, point: ModbusPoint) -> None:
        """Tell a reader that its badge was taken, once it is on the disk; while that fails, at each read again."""
        try:
            await asyncio.to_thread(self._sink.flush)
            await set_to_zero(self.line, device.config.unit, point, timeout_s=device.response_timeout_s)
        except (sqlite3.Error, ModbusError) as error:
            device.error = f"{point.name} could not be cleared: {error}"
        else:
            badge.cleared()

    def _answered(self, cycle: DeviceCycle, request: Request, words: Sequence[int]) -> None:
        device = cycle.device
        at_ms = self._clock.now_ms()
        decoded = device.decode(request, words)
        device.bisection.answered(request.block)
        device.stats.answers += 1
        self._present(device, at_ms)
        events = device.take_events(at_ms)
        if events:
            self._sink.append((), events)
        if decoded is not None and request.names:
            values, qualities = decoded
            if any(qualities):
                device.stats.invalid_values += sum(quality >= Quality.INVALID for quality in qualities)
            frame = Frame(
                device=device.config.name,
                observed_at_ms=at_ms,
                points=request.names,
                values=values,  # pyright: ignore[reportArgumentType]  # Texts were taken out by `decode`.
                qualities=qualities,
                is_billing=cycle.is_billing,
            )
            self._sink.append((frame,))
        self._advance(cycle)

    def _advance(self, cycle: DeviceCycle, instead: Sequence[Request] = ()) -> None:
        cycle.pending.popleft()
        cycle.pending.extendleft(reversed(instead))
        cycle.busy_count = 0
        if cycle.pending:
            self._schedule.resume(cycle)
        else:
            self._finish(cycle)

    def _finish(self, cycle: DeviceCycle) -> None:
        device = cycle.device
        if device.learn():
            log.info("ranges_learned", device=device.config.name, barriers=len(device.barriers))
        now = self._clock.monotonic()
        if device.ask_again(now):
            log.info("refused_ranges_asked_again", device=device.config.name)
        if cycle.identifies:
            device.is_identified = device.identity_error is None
            if not device.is_identified:
                self._schedule.resume(cycle, now + IDENTITY_RETRY_S)
                return
        # A clock that runs a little behind must not bring the same quarter hour twice.
        self._schedule.finish(cycle, now, self._next_quarter(after_ms=QUARTER_MARGIN_MS))

    def _busy(self, cycle: DeviceCycle, error: ModbusError) -> None:
        cycle.device.error = str(error)
        cycle.busy_count += 1
        if cycle.busy_count <= BUSY_RETRIES_MAX:
            pause = BUSY_PAUSE_S * 2 ** (cycle.busy_count - 1)
            self._schedule.resume(cycle, self._clock.monotonic() + pause)
        else:
            self._failed(cycle, error)

    def _refused(self, cycle: DeviceCycle, request: Request, error: Refused) -> None:
        """Look for the part that the device does serve: it is there, but refused this."""
        device = cycle.device
        device.error = f"{request.block.span.function} {request.block.span.start}: {error}"
        self._present(device, self._clock.now_ms())
        if error.blames_function and device.use_other_table(request.block.span.function):
            log.info("other_table_used", device=device.config.name, instead_of=request.block.span.function.value)
            self._start_anew(device, cycle)
            return
        instead = device.refused(cycle.group, request.block) if error.blames_address else ()
        self._advance(cycle, instead)

    def _start_anew(self, device: PolledDevice, cycle: DeviceCycle) -> None:
        """Drop what was planned for a device before its plan changed; `cycle` is the one at work."""
        for other in self._cycles:
            if other.device is device:
                other.pending.clear()
        self._schedule.resume(cycle)

    def _failed(self, cycle: DeviceCycle, error: ModbusError) -> None:
        device = cycle.device
        device.error = str(error)
        device.stats.failures += 1
        now = self._clock.monotonic()
        self._silent.add(device)
        if isinstance(error, LinkDown):
            # Not the device's fault: all of them go on as soon as the connection is back.
            device.patience.retry_at = now + self.line.reconnect_in_s()
            self._schedule.resume(cycle, device.patience.retry_at)
            return
        pause_s = self.line.late_answer_s if self.line.is_unnumbered else 0.0
        if device.patience.failed(now, pause_s=pause_s) or cycle.is_billing:
            # A quarter hour is worth waiting for: the sample is late, and says so, but it is there.
            self._schedule.resume(cycle, max(now, device.patience.retry_at))
            return
        device.bisection.abandon()
        cycle.pending.clear()
        self._schedule.finish(cycle, now, self._next_quarter())  # Never a billing cycle.

    def _present(self, device: PolledDevice, at_ms: int) -> None:
        device.patience.answered(self._clock.monotonic())
        self._silent.discard(device)
        if device.identity_error:
            self._change_state(device, DeviceState.OFFLINE, at_ms, f"another device: {device.identity_error}")
        elif device.state is not DeviceState.ONLINE:
            was_lost = device.state is DeviceState.OFFLINE
            self._change_state(device, DeviceState.ONLINE, at_ms, "")
            if was_lost:
                self._look_again(device)

    def _look_again(self, device: PolledDevice) -> None:
        """Read the setup before the data: a device that came back may be another one, or set otherwise."""
        device.must_identify()
        for cycle in self._cycles:
            if cycle.device is device and cycle.identifies and not cycle.pending:
                self._schedule.hasten(cycle, self._clock.monotonic())

    def _report_lost(self, now: float) -> None:
        for device in [device for device in self._silent if device.patience.lost_at() <= now]:
            self._silent.discard(device)
            if device.state is not DeviceState.OFFLINE:
                self._change_state(device, DeviceState.OFFLINE, self._clock.now_ms(), device.error)
                self._sink.append((_no_answer(device, self._clock.now_ms()),))

    def _change_state(self, device: PolledDevice, state: DeviceState, at_ms: int, error: str) -> None:
        if device.state is state:
            return
        device.state, device.state_since_ms = state, at_ms
        data = {"state": state.value, "error": error}
        event = Event(kind="device.state", device=device.config.name, at_ms=at_ms, received_at_ms=at_ms, data=data)
        self._sink.append((), (event,))
        log.info("device_state", device=device.config.name, bus=self.line.bus.name, **data)

    async def _carry_out(self, action: Callable[[Line], Awaitable[Any]], future: asyncio.Future[Any]) -> None:
        try:
            result = await action(self.line)
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:  # noqa: BLE001  # Handed to whoever gave the command.
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)

    async def _sleep(self, now: float) -> None:
        times = [device.patience.lost_at() for device in self._silent]
        if (due := self._schedule.wake_at()) is not None:
            times.append(due)
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        delay = max(0.0, min(times) - now) if times else 3600.0
        timer = loop.call_later(delay, self.wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _next_quarter(self, *, after_ms: int = 0) -> float:
        return self._clock.monotonic() + (after_ms + ms_to_quarter(self._clock.now_ms() + after_ms)) / 1000


def _no_answer(device: PolledDevice, at_ms: int) -> Frame:
    """Say once that every point of a device is without a value."""
    names = tuple(point.name for point in device.points if not point.is_text)
    return Frame(
        device=device.config.name,
        observed_at_ms=at_ms,
        points=names,
        values=(None,) * len(names),
        qualities=(Quality.NO_ANSWER,) * len(names),
    )
