"""The data types of Modbus devices: how the bytes of one value, most significant first, become a raw number."""

import math
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from device_profiles.model import DataType, ModbusPoint, Order
from device_profiles.vocabulary import conversion

EXPONENT_MAX = 30

# One item per value. Types that `struct` does not know are read as unsigned integers and interpreted.
_CODES: Mapping[DataType, str] = {
    DataType.BOOL: "H",
    DataType.UINT8_HIGH: "Bx",
    DataType.UINT8_LOW: "xB",
    DataType.INT8_HIGH: "bx",
    DataType.INT8_LOW: "xb",
    DataType.UINT16: "H",
    DataType.INT16: "h",
    DataType.UINT32: "I",
    DataType.INT32: "i",
    DataType.UINT64: "Q",
    DataType.INT64: "q",
    DataType.FLOAT16: "e",
    DataType.FLOAT32: "f",
    DataType.FLOAT64: "d",
    DataType.SIGN_MAGNITUDE16: "H",
    DataType.SIGN_MAGNITUDE32: "I",
    DataType.BCD16: "H",
    DataType.BCD32: "I",
    DataType.BCD64: "Q",
    DataType.MBUS_UNIT: "H",
}
# Types whose raw number is a Fraction.
EXACT_TYPES = frozenset({DataType.MANTISSA_EXPONENT, DataType.INTEGER_FRACTION})
_HALVES = {
    DataType.UINT8_HIGH: 0xFF00,
    DataType.INT8_HIGH: 0xFF00,
    DataType.UINT8_LOW: 0x00FF,
    DataType.INT8_LOW: 0x00FF,
}
_SIGN_BITS = {DataType.SIGN_MAGNITUDE16: 1 << 15, DataType.SIGN_MAGNITUDE32: 1 << 31}
_BCD_DIGITS = {DataType.BCD16: 4, DataType.BCD32: 8, DataType.BCD64: 16}

# EN 13757-3, primary value information field: (first code, codes, unit, exponent of the first code).
_MBUS_UNITS = (
    (0x00, 8, "Wh", -3),
    (0x08, 8, "J", 0),
    (0x10, 8, "m³", -6),
    (0x28, 8, "W", -3),
    (0x30, 8, "J/h", 0),
    (0x38, 8, "m³/h", -6),
    (0x58, 4, "°C", -3),
    (0x5C, 4, "°C", -3),
    (0x60, 4, "K", -3),
    (0x64, 4, "°C", -3),
)
_JOULES = {("J", "kWh"): Fraction(1, 3_600_000), ("J/h", "W"): Fraction(1, 3600)}


def code(point: ModbusPoint) -> str:
    """Return the `struct` code that yields one item for this point."""
    return _CODES.get(point.type) or f"{2 * point.count}s"


def gather_order(point: ModbusPoint) -> list[int]:
    """Offsets of the point's words, most significant first. Strings keep the order of the registers."""
    offsets = list(range(point.count))
    if point.word_order is Order.BIG or point.type in {DataType.STRING, DataType.STRING_LOW, DataType.CLOCK}:
        return offsets
    if point.type is DataType.MANTISSA_EXPONENT:
        return [*reversed(offsets[:-1]), offsets[-1]]
    if point.type is DataType.INTEGER_FRACTION:
        return [1, 0, 3, 2]
    return offsets[::-1]


def half_mask(point: ModbusPoint) -> int | None:
    """Return the bits that an 8-bit type uses of its register; None for all others."""
    return _HALVES.get(point.type)


def needs_interpreting(point: ModbusPoint) -> bool:
    """Whether the unpacked item is not yet the raw number."""
    return point.mask is not None or point.type not in _CODES or point.type in _SPECIAL


def interpret(point: ModbusPoint, item: Any) -> Any:
    """Return the raw number (or text) in an unpacked item; raises ValueError when the words hold none."""
    if point.type.is_text:
        return text_of(point, item)
    if point.mask is not None:
        return (item & point.mask) >> point.shift
    special = _SPECIAL.get(point.type)
    return item if special is None else special(point, item)


def _bool(_point: ModbusPoint, item: int) -> int:
    return 1 if item else 0


def _sign_magnitude(point: ModbusPoint, item: int) -> int:
    sign = _SIGN_BITS[point.type]
    return -(item & ~sign) if item & sign else item


def _bcd(_point: ModbusPoint, item: int) -> int:
    return int(f"{item:x}")  # A digit above nine is a letter here, and int() refuses it.


def _mantissa_exponent(_point: ModbusPoint, item: bytes) -> Fraction:
    exponent = int.from_bytes(item[-2:], "big", signed=True)
    if abs(exponent) > EXPONENT_MAX:
        raise ValueError(f"an exponent of {exponent} is no measurement")
    return int.from_bytes(item[:-2], "big", signed=True) * Fraction(10) ** exponent


def _integer_fraction(_point: ModbusPoint, item: bytes) -> Fraction:
    whole, part = struct.unpack(">if", item)
    if not math.isfinite(part):
        raise ValueError(f"a fraction of {part} is no measurement")
    return whole + Fraction(part)


def _clock(_point: ModbusPoint, item: bytes) -> int:
    """Read the wall clock as seconds since 1970, as if it stood in Greenwich: who knows the site knows its zone."""
    year, *rest = struct.unpack(">6H", item)
    return int(datetime(year + 2000 if year < 100 else year, *rest, tzinfo=UTC).timestamp())


_SPECIAL = {
    DataType.BOOL: _bool,
    DataType.SIGN_MAGNITUDE16: _sign_magnitude,
    DataType.SIGN_MAGNITUDE32: _sign_magnitude,
    DataType.BCD16: _bcd,
    DataType.BCD32: _bcd,
    DataType.BCD64: _bcd,
    DataType.MANTISSA_EXPONENT: _mantissa_exponent,
    DataType.INTEGER_FRACTION: _integer_fraction,
    DataType.CLOCK: _clock,
}


def text_of(point: ModbusPoint, item: bytes) -> str:
    """Return the text in a string point: it ends at the first NUL or FF, bytes that are no text become U+FFFD."""
    if point.type is DataType.HEX:
        return item.hex().lstrip("0")
    characters = item[1::2] if point.type is DataType.STRING_LOW else item
    for end, byte in enumerate(characters):
        if byte in {0x00, 0xFF}:
            characters = characters[:end]
            break
    return characters.decode("utf-8", errors="replace").strip()


def pack_text(point: ModbusPoint, text: str) -> bytes:
    """Return the bytes of a string point, padded with NUL; raises ValueError when the text is too long."""
    if point.type is DataType.HEX:
        return int(text or "0", 16).to_bytes(2 * point.count, "big")
    encoded = text.encode()
    room = point.count if point.type is DataType.STRING_LOW else 2 * point.count
    if len(encoded) > room:
        raise ValueError(f"{point.name} has room for {room} characters, “{text}” has {len(encoded)}")
    padded = encoded.ljust(room, b"\0")
    return b"".join(bytes((0, byte)) for byte in padded) if point.type is DataType.STRING_LOW else padded


def pack_number(point: ModbusPoint, raw: float | Fraction) -> bytes:
    """Return the bytes of a raw number; raises struct.error, OverflowError or ValueError when it does not fit."""
    if point.type in _SIGN_BITS:
        magnitude = abs(int(raw))
        if magnitude >= _SIGN_BITS[point.type]:
            raise ValueError("too large")
        raw = magnitude | (_SIGN_BITS[point.type] if raw < 0 else 0)
    elif point.type in _BCD_DIGITS:
        digits = str(int(raw))
        if not digits.isdecimal() or len(digits) > _BCD_DIGITS[point.type]:
            raise ValueError("too large or negative")
        raw = int(digits, 16)
    elif point.type is DataType.MANTISSA_EXPONENT:
        return _pack_mantissa(point, Fraction(raw))
    elif point.type is DataType.INTEGER_FRACTION:
        return struct.pack(">if", math.floor(raw), float(raw - math.floor(raw)))
    elif point.type is DataType.CLOCK:
        at = datetime.fromtimestamp(int(raw), UTC)
        return struct.pack(">6H", at.year % 100, at.month, at.day, at.hour, at.minute, at.second)
    elif point.type is DataType.BOOL and point.mask is None:
        raw = 1 if raw else 0
    return struct.pack(">" + _CODES[point.type], raw)


def _pack_mantissa(point: ModbusPoint, raw: Fraction) -> bytes:
    """Use the largest exponent that keeps the mantissa whole."""
    exponent = 0
    while raw.denominator != 1 and exponent > -EXPONENT_MAX:
        raw, exponent = raw * 10, exponent - 1
    while raw and raw % 10 == 0 and exponent < EXPONENT_MAX:
        raw, exponent = raw / 10, exponent + 1
    return round(raw).to_bytes(2 * (point.count - 1), "big", signed=True) + exponent.to_bytes(2, "big", signed=True)


def mbus_text(vif: int) -> str | None:
    """Return what one count of an M-Bus unit code is worth, for people: `10^3 Wh`; None for an unknown code."""
    for first, codes, source, exponent in _MBUS_UNITS:
        if first <= vif & 0x7F < first + codes:
            return f"10^{exponent + (vif & 0x7F) - first} {source}"
    return None


def mbus_worth(vif: int, unit: str) -> Fraction | None:
    """Return what one count is worth in `unit` by an M-Bus unit code (EN 13757-3); None for another quantity."""
    for first, codes, source, exponent in _MBUS_UNITS:
        if first <= vif & 0x7F < first + codes:
            factor = conversion(source, unit) or _JOULES.get((source, unit))
            return None if factor is None else factor * Fraction(10) ** (exponent + (vif & 0x7F) - first)
    return None
