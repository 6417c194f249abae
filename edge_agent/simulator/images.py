"""Devices as their registers: a profile, the signals of the building behind it, and the words they become."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor, isfinite

from device_profiles.model import Function, ModbusPoint, ModbusProfile
from edge_agent.drivers.modbus.codec import CodecError, decode_point, encode_point, factor_of
from edge_agent.model import Quality
from edge_agent.simulator.modbus import ILLEGAL_ADDRESS, ILLEGAL_VALUE, WRITE_COIL, Refused
from edge_agent.simulator.signals import Instant, Signal, Value, signal_of
from edge_agent.simulator.world import World

IMAGE_MS = 250  # Reads within so short a time see one state, as behind a device's own measuring cycle.

_FUNCTIONS = {1: Function.COIL, 2: Function.DISCRETE, 3: Function.HOLDING, 4: Function.INPUT}


@dataclass(frozen=True, slots=True)
class _Wired:
    """A point with its signal; `texts` and points without a signal are constant."""

    point: ModbusPoint
    signal: Signal | None


class DeviceImage:
    """One simulated Modbus device. Implements `modbus.Unit`."""

    def __init__(self, world: World, name: str, profile: ModbusProfile) -> None:
        """Wire every point of the profile to the building."""
        self.world, self.name, self.profile = world, name, profile
        wired = [_Wired(point, signal_of(world.building, name, point)) for point in profile.points]
        identities = {identity.point for identity in profile.identity}
        self._wired = [w for w in wired if not (w.point.overlaps and w.point.name in identities)]
        # An identification code in the middle of a voltage answers only when it is read alone.
        self._alone = {(w.point.function, w.point.address, w.point.count): w for w in wired if w not in self._wired}
        self._legal = {function: _legal_spans(profile, function) for function in Function}
        self._made: tuple[int, int] = (-1, -1)
        self._words: dict[Function, dict[int, int]] = {}

    @property
    def is_silent(self) -> bool:
        """Whether the device has been silenced."""
        return self.world.is_silent(self.name)

    def read(self, function: int, address: int, count: int) -> Sequence[int]:
        """Return the words or bits asked for; raises Refused as the real device would."""
        table = _FUNCTIONS[function]
        limits = self.profile.limits
        address, count = address * limits.words_per_address, count * limits.words_per_address
        if count > (limits.bits_per_read if table.is_bits else limits.registers_per_read):
            raise Refused(ILLEGAL_VALUE)
        alone = self._alone.get((table, address, count))
        if alone is not None:
            return encode(alone.point, self.value(self.world.instant(), alone), [0] * count)
        if not any(first <= address and address + count <= end for first, end in self._legal[table]):
            raise Refused(ILLEGAL_ADDRESS)
        words = self._image()[table]
        if self.world.served.is_open:
            self._note(table, address, count, words)
        return [words.get(place, 0) for place in range(address, address + count)]

    def write(self, function: int, address: int, words: Sequence[int]) -> None:
        """Show what was written from now on, as a device does that keeps its settings; raises Refused.

        Only points with a `write` section can be set, whole, and within the range that the section gives.
        """
        table = Function.COIL if function == WRITE_COIL else Function.HOLDING
        stop = address + len(words)
        written = [
            point
            for point in self.profile.points
            if point.write and point.write.function is table and address <= point.write.address
            and point.write.address + point.count <= stop
        ]  # fmt: skip
        if not written or {p for point in written for p in _written(point)} != set(range(address, stop)):
            raise Refused(ILLEGAL_ADDRESS)
        for point in written:
            start = point.write.address - address if point.write else 0
            value, _ = decode_point(point, words[start : start + point.count])
            number = factor_of(point, value)
            if point.write is None or number is None or not point.write.low <= number <= point.write.high:
                raise Refused(ILLEGAL_VALUE)
            for name in {point.name, point.write.read_back}:
                self.world.override(self.name, name, number if point.exact else value)

    def value(self, now: Instant, wired: _Wired) -> Value:
        """Return what one point shows, in its unit."""
        point = wired.point
        override = self.world.overrides.get((self.name, point.name))
        if override is not None:
            return override
        if point.is_text:
            return _text_of(self.profile, point)
        for identity in self.profile.identity:
            if identity.point == point.name and identity.one_of:
                return identity.one_of[0]
        return None if wired.signal is None else wired.signal(now)

    def _image(self) -> dict[Function, dict[int, int]]:
        """All words of the device, made anew at most every `IMAGE_MS`."""
        now = self.world.instant()
        key = ((now.building.at_ms + now.ms) // IMAGE_MS, self.world.revision)
        if key == self._made:
            return self._words
        tables: dict[Function, dict[int, int]] = {function: {} for function in Function}
        for wired in self._wired:
            point = wired.point
            words = tables[point.function]
            current = [words.get(place, 0) for place in range(point.address, point.end)]
            encoded = encode(point, self.value(now, wired), current)
            for table in (point.function, *((point.also,) if point.also else ())):
                tables[table].update(zip(range(point.address, point.end), encoded, strict=False))
        self._made, self._words = key, tables
        return tables

    def _note(self, table: Function, address: int, count: int, words: dict[int, int]) -> None:
        """Keep what was served of the exact points that lie inside this answer."""
        values: dict[str, object] = {}
        for wired in self._wired:
            point = wired.point
            inside = address <= point.address and point.end <= address + count
            if point.exact and inside and table in {point.function, point.also} and not point.factor_names:
                value, quality = decode_point(point, [words.get(a, 0) for a in range(point.address, point.end)])
                if quality is Quality.GOOD:
                    values[point.name] = [value, point.scale]
        if values:
            self.world.served.add(self.name, self.world.now_ms(), values)


def encode(point: ModbusPoint, value: Value, current: Sequence[int]) -> list[int]:
    """Words for a value as a device would show it: counters cut off, others rounded, never beyond the register."""
    if value is None and not point.sentinels and not point.type.is_float:
        return [0] * point.count  # Makers without a pattern for "no value" show zero.
    try:
        return encode_point(point, _fitted(point, value), current)
    except CodecError:
        # The register cannot hold it: show the end of the range, as a real device does.
        return encode_point(point, _clamped(point, value), current)


def _fitted(point: ModbusPoint, value: Value) -> Value:
    if isinstance(value, str) or value is None:
        return value
    if point.is_cumulative and not point.type.is_float:
        return floor((Fraction(value) - point.offset) / point.multiplier) * point.multiplier + point.offset
    if isinstance(value, int) and point.exact:
        return Fraction(value)  # An int would be taken for a mantissa.
    return value if isfinite(value) else None


def _clamped(point: ModbusPoint, value: Value) -> Value:
    if isinstance(value, str) or value is None:
        return None
    low, high = (0, 0xFFFF) if point.count == 1 else (-(2 ** (16 * point.count - 1)), 2 ** (16 * point.count - 1) - 1)
    raw = min(high, max(low, floor((Fraction(value) - point.offset) / point.multiplier)))
    return raw * point.multiplier + point.offset


def _written(point: ModbusPoint) -> range:
    start = point.write.address if point.write else point.address
    return range(start, start + point.count)


def _text_of(profile: ModbusProfile, point: ModbusPoint) -> str:
    """Model and serial numbers; where the profile checks an identity, a text that passes the check."""
    room = point.count if point.type.value.endswith("low") else 2 * point.count
    wanted = next((item.matches for item in profile.identity if item.point == point.name), None)
    words = [word for product in profile.products for word in (product, *product.split())]
    if wanted is not None:
        return next((word for word in words if re.fullmatch(wanted, word) and len(word) <= room), "")
    return words[-1][:room] if "model" in point.name else f"SIM{profile.revision[:8]}"[:room]


def _legal_spans(profile: ModbusProfile, function: Function) -> list[tuple[int, int]]:
    """Address ranges [first, end) that answer: the points and the small gaps between them, but no holes."""
    spans = sorted((p.address, p.end) for p in profile.points if function in {p.function, p.also})
    holes = [(first, last + 1) for table, first, last in profile.limits.holes if table is function]
    joined: list[tuple[int, int]] = []
    for first, end in spans:
        if joined and first - joined[-1][1] <= profile.limits.gap_max and not _crosses(holes, joined[-1][1], first):
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined


def _crosses(holes: list[tuple[int, int]], start: int, end: int) -> bool:
    return any(first < end and start < last for first, last in holes)
