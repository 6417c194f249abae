"""Setting a point of a device, within guard rails; refused unless the site file allows it by name."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

import structlog

from device_profiles.model import Function, ModbusPoint, ModbusProfile, Write
from edge_agent.clock import Clock
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.codec import CodecError, decode_point, encode_point, factor_of
from edge_agent.drivers.modbus.errors import ModbusError
from edge_agent.drivers.modbus.read_plan import Span
from edge_agent.settings import ModbusDevice

log = structlog.get_logger()

READ_BACKS = 5  # Slow thermostats show a new value after a second or two.
READ_BACK_PAUSE_S = 0.4
RELEASES_MAX = 200
RELEASE_RETRY_S = 30


class WriteRefused(Exception):
    """The write was not even tried; `code` says which rail held it."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


class WriteFailed(Exception):
    """The device did not take the value, or does not show it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be set, by whom and why; both go into the log and into the result."""

    device: str
    point: str
    value: str | float
    by: str
    why: str
    release_after_s: int | None = None
    id: str = ""


@dataclass(slots=True, kw_only=True)
class _Past:
    """What was written to a point before, in wall-clock milliseconds so that it survives a restart."""

    written_at_ms: int = 0
    switched_at_ms: int = 0
    is_on: bool | None = None
    release_at_ms: int | None = None
    release_value: str | None = None


@dataclass(slots=True)
class Guard:
    """Remembers every write in a file, so that no restart and no second program gets around the rails."""

    path: Path
    past: dict[str, _Past] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Guard":
        """Read what was written before; a damaged file is as good as none, and is said so."""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, {key: _Past(**entry) for key, entry in kept.items()})
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, TypeError) as error:
            log.warning("write_history_lost", path=str(path), error=str(error))
            return cls(path)

    def check(self, order: Order, write: Write, value: Fraction, now_ms: int) -> None:
        """Raise WriteRefused when a rail holds."""
        past = self.past.get(_key(order), _Past())
        if not write.low <= value <= write.high:
            raise WriteRefused("out_of_range", f"{_text(value)} is outside {_text(write.low)}…{_text(write.high)}")
        if write.step and (value - write.low) % write.step:
            raise WriteRefused("off_step", f"{_text(value)} is not on a step of {_text(write.step)}")
        wait_ms = past.written_at_ms + 1000 * write.min_interval_s - now_ms
        if 0 < wait_ms <= 1000 * write.min_interval_s:
            raise WriteRefused("too_often", f"at most once in {write.min_interval_s} s; wait {wait_ms / 1000:.0f} s")
        if past.is_on is not None and past.is_on is not bool(value):
            stay_s = write.min_on_s if past.is_on else write.min_off_s
            wait_ms = past.switched_at_ms + 1000 * stay_s - now_ms
            if 0 < wait_ms <= 1000 * stay_s:
                state = "on" if past.is_on else "off"
                raise WriteRefused("min_time", f"stays {state} for at least {stay_s} s; wait {wait_ms / 1000:.0f} s")

    def note(self, order: Order, value: Fraction, now_ms: int, release: tuple[int, Fraction] | None) -> None:
        """Keep what was written, and when it must be released."""
        past = self.past.setdefault(_key(order), _Past())
        if past.is_on is not bool(value):
            past.is_on, past.switched_at_ms = bool(value), now_ms
        past.written_at_ms = now_ms
        past.release_at_ms = release[0] if release else None
        past.release_value = str(release[1]) if release else None
        self._save()

    def postpone(self, order: Order, release_at_ms: int) -> None:
        """Try a release again later: until the device confirms it, it stays due."""
        if (past := self.past.get(_key(order))) is not None and past.release_at_ms is not None:
            past.release_at_ms = release_at_ms
            self._save()

    def due(self, now_ms: int) -> list[tuple[str, str, Fraction]]:
        """List device, point and value of every release whose time has come."""
        return [
            (*key.split("/", 1), Fraction(past.release_value))  # pyright: ignore[reportReturnType]
            for key, past in self.past.items()
            if past.release_at_ms is not None and past.release_value is not None and past.release_at_ms <= now_ms
        ]

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps({key: asdict(past) for key, past in self.past.items()}), encoding="utf-8")
        draft.replace(self.path)


class Writer:
    """Carries out orders on the devices of one gateway."""

    def __init__(self, guard: Guard, clock: Clock) -> None:
        self._guard = guard
        self._clock = clock

    async def write(
        self, line: Line, config: ModbusDevice, profile: ModbusProfile, order: Order, *, is_release: bool = False
    ) -> Fraction:
        """Check the rails, write, and return what the device shows afterwards.

        Raises WriteRefused, WriteFailed or a ModbusError. A release goes around the rate and minimum times, not around
        the range.
        """
        point, write = _writable(config, profile, order.point)
        value = wanted_value(point, order.value)
        now_ms = self._clock.now_ms()
        if is_release:
            self._guard.postpone(order, now_ms + 1000 * RELEASE_RETRY_S)
        else:
            self._guard.check(order, write, value, now_ms)
            # Kept before it is sent: a crash in between must not leave an override without its release.
            self._guard.note(order, value, now_ms, self._release(order, write, now_ms))
        timeout_s = config.response_timeout_s or max(line.bus.response_timeout_s, profile.limits.timeout_ms / 1000)
        await _send(line, config.unit, point, write, value, timeout_s)
        shown = await _read_back(line, config.unit, profile, profile.point(write.read_back), value, timeout_s)
        if is_release:
            self._guard.note(order, value, now_ms, None)
        log.info("point_written", **asdict(order), shown=_text(shown), is_release=is_release)
        return shown

    def _release(self, order: Order, write: Write, now_ms: int) -> tuple[int, Fraction] | None:
        after_s = order.release_after_s if order.release_after_s is not None else write.release_after_s
        if after_s is None:
            return None
        if write.release_value is None:
            raise WriteRefused("no_release", "the profile names no release_value, so it cannot be released by itself")
        if sum(past.release_at_ms is not None for past in self._guard.past.values()) >= RELEASES_MAX:
            raise WriteRefused("too_many", f"{RELEASES_MAX} releases are already waiting")
        return now_ms + 1000 * after_s, write.release_value

    def due_releases(self) -> list[Order]:
        """List the releases whose time has come."""
        return self._releases(self._clock.now_ms(), "the deadline passed")

    def releases(self) -> list[Order]:
        """List all releases that wait, due or not."""
        return self._releases(2**62, "released early")

    def _releases(self, before_ms: int, why: str) -> list[Order]:
        return [
            Order(device=device, point=point, value=_text(value), by="edge-agent", why=why)
            for device, point, value in self._guard.due(before_ms)
        ]


def wanted_value(point: ModbusPoint, given: str | float) -> Fraction:
    """Turn a number, or the word of a state, into the value in the point's unit; raises WriteRefused."""
    words = {word: code for code, word in point.states.items()}
    if isinstance(given, str) and given in words:
        return Fraction(words[given])
    try:
        value = Decimal(str(given))
    except InvalidOperation as error:
        known = f"; it has the states {', '.join(words)}" if words else ""
        raise WriteRefused("not_a_value", f"{given!r} is no value of {point.name}{known}") from error
    if not value.is_finite():
        raise WriteRefused("not_a_value", f"{given!r} is no value of {point.name}")
    return Fraction(value)


def result_of(order: Order, outcome: str, *, shown: Fraction | None = None, reason: str = "") -> dict[str, Any]:
    """Return the data of a `command.result` event."""
    data = {**asdict(order), "outcome": outcome, "reason": reason}
    return data if shown is None else {**data, "shown": float(shown)}


def order_of(command: Mapping[str, Any]) -> Order:
    """Read a command of the cloud; raises WriteRefused when it is not complete."""
    try:
        release = command.get("release_after_s")
        return Order(
            id=str(command["id"]),
            device=str(command["device"]),
            point=str(command["point"]),
            value=command["value"] if isinstance(command["value"], (int, float)) else str(command["value"]),
            by=str(command["by"]),
            why=str(command["why"]),
            release_after_s=None if release is None else int(release),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WriteRefused("incomplete", f"a command needs id, device, point, value, by and why ({error})") from error


def _writable(config: ModbusDevice, profile: ModbusProfile, name: str) -> tuple[ModbusPoint, Write]:
    try:
        point = profile.point(name)
    except KeyError as error:
        raise WriteRefused("unknown_point", f"{profile.name} has no point {name}") from error
    if point.write is None:
        raise WriteRefused("read_only", f"{name} of {profile.name} cannot be set")
    if name not in config.writes:
        raise WriteRefused("not_allowed", f"the site file does not allow it: add “writes: [{name}]” to {config.name}")
    return point, point.write


async def _send(line: Line, unit: int, point: ModbusPoint, write: Write, value: Fraction, timeout_s: float) -> None:
    if write.function is Function.COIL:
        await line.write_coil(unit, write.address, on=bool(value), timeout_s=timeout_s)
        return
    current: Sequence[int] | None = None
    if point.mask is not None:
        current = await line.read(
            unit, Span(write.function, write.address, write.address + point.count), timeout_s=timeout_s
        )
    try:
        words = encode_point(point, int(value) if point.codes else value, current)
    except CodecError as error:
        raise WriteRefused("not_a_value", str(error)) from error
    await line.write_register(unit, write.address, words, timeout_s=timeout_s)


async def set_to_zero(line: Line, unit: int, point: ModbusPoint, *, timeout_s: float) -> None:
    """Reset a flag that a device holds until its reader has taken note; raises a ModbusError."""
    if point.function is Function.COIL:
        await line.write_coil(unit, point.address, on=False, timeout_s=timeout_s)
    else:
        await line.write_register(unit, point.address, [0] * point.count, timeout_s=timeout_s)


async def _read_back(
    line: Line, unit: int, profile: ModbusProfile, point: ModbusPoint, value: Fraction, timeout_s: float
) -> Fraction:
    """Wait until the device shows the value it was given, to the resolution of the register."""
    span = Span(point.function, point.address, point.end)
    shown: Fraction | None = None
    for attempt in range(READ_BACKS):
        if attempt:
            await asyncio.sleep(READ_BACK_PAUSE_S)
        try:
            decoded, _ = decode_point(point, await line.read(unit, span, timeout_s=timeout_s))
        except ModbusError as error:
            raise WriteFailed(f"written, but {point.name} could not be read back: {error}") from error
        shown = factor_of(point, decoded)
        if shown is not None and abs(shown - value) <= abs(point.multiplier) / 2:
            return shown
    told = "nothing" if shown is None else _text(shown)
    raise WriteFailed(f"{profile.name} shows {told} for {point.name} after {_text(value)} was written")


def _key(order: Order) -> str:
    return f"{order.device}/{order.point}"


def _text(value: Fraction) -> str:
    return f"{float(value):.10g}"
