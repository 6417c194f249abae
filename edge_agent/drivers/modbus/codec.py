"""Words of a Modbus answer to values and back, exactly.

A block is compiled once: the words are gathered into most-significant-first order, unpacked by one `struct` call, and
each point finishes its own number. Sentinels are compared on the words as they arrived, before any of that.
"""

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from device_profiles.model import DataType, ModbusPoint, Order
from edge_agent.drivers.modbus import raw as raws
from edge_agent.model import Quality

Value = float | int | str | None
Factors = Mapping[str, Fraction]
Decoded = tuple[tuple[Value, ...], tuple[Quality, ...]]

NO_FACTORS: Factors = MappingProxyType({})
FLOAT_MAX = 1.7976931348623157e308
MANTISSA_MAX = 2**63 - 1  # What the outbox, the wire and the cloud can hold; no counter of a building comes near.

_GOOD, _UNCERTAIN, _INVALID = Quality.GOOD, Quality.UNCERTAIN, Quality.INVALID
_NOTHING = (None, Quality.INVALID)


class CodecError(ValueError):
    """Words or a value that do not fit the point; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDecoder:
    """Decodes the answers to one read. Call it with the words of an answer."""

    base_address: int
    count: int
    names: tuple[str, ...]
    needs: tuple[str, ...]  # Factor points outside this block: give their values as `factors`.
    decode: Callable[[Sequence[int], Factors], Decoded]

    def __call__(self, words: Sequence[int], factors: Factors = NO_FACTORS) -> Decoded:
        """Values and qualities in the order of `names`; raises CodecError when the answer has another length."""
        if len(words) != self.count:
            raise CodecError(f"{self.count} registers were asked for, {len(words)} came")
        return self.decode(words, factors)


def compile_decoder(points: Sequence[ModbusPoint], base_address: int, count: int) -> BlockDecoder:
    """Return a decoder for the answer to a read of `count` registers (or bits) from `base_address`.

    All points must lie inside the block. A point that needs factors takes them from the same answer when they are in
    it, else from the `factors` given with each answer; it is invalid while one is missing.
    """
    for point in points:
        if point.address < base_address or point.end > base_address + count:
            raise CodecError(f"{point.name} is not inside {base_address}..{base_address + count - 1}")
    names = tuple(point.name for point in points)
    index = {name: position for position, name in enumerate(names)}
    if not points:
        return BlockDecoder(
            base_address=base_address, count=count, names=(), needs=(), decode=lambda _words, _factors: ((), ())
        )
    unpack = _unpacker(points, base_address)
    finishers = [_finisher(point) for point in points]
    sentinels = [
        (position, frozenset(point.sentinels), slice(point.address - base_address, point.end - base_address))
        for position, point in enumerate(points)
        if point.sentinels
    ]
    dependent = [(position, point) for position, point in enumerate(points) if point.factor_names]

    def decode(words: Sequence[int], factors: Factors) -> Decoded:
        raw = unpack(words)
        done = [finish(value) for finish, value in zip(finishers, raw, strict=True)]
        for position, patterns, span in sentinels:
            if tuple(words[span]) in patterns:
                done[position] = _NOTHING
        for position, point in dependent:
            if done[position] is not _NOTHING:
                done[position] = _with_factors(point, raw[position], points, index, done, factors)
        values, qualities = zip(*done, strict=True)
        return values, qualities

    outside = {name for point in points for name in point.factor_names if name not in index}
    return BlockDecoder(
        base_address=base_address, count=count, names=names, needs=tuple(sorted(outside)), decode=decode
    )


def decode_point(point: ModbusPoint, words: Sequence[int], factors: Factors = NO_FACTORS) -> tuple[Value, Quality]:
    """Decode one value from exactly its own words."""
    values, qualities = compile_decoder((point,), point.address, point.count)(words, factors)
    return values[0], qualities[0]


def factor_of(point: ModbusPoint, value: Value) -> Fraction | None:
    """Return what a decoded factor point contributes: pass it as `factors[point.name]` to other blocks."""
    if value is None or isinstance(value, str):
        return None
    # The shortest text of a double gives back the decimal it was rounded from: 10.3, not 10.300000000000000710….
    return Fraction(repr(value)) if point.scale is None else Fraction(int(value), 10**point.scale)


def physical(point: ModbusPoint, raw: float) -> Fraction:
    """Return the exact value of a raw number in the point's unit, before any factor points."""
    return Fraction(raw) * point.multiplier + point.offset


def read_raw(point: ModbusPoint, words: Sequence[int]) -> Any:
    """Return the raw number or text of one value: no scale, no states; raises ValueError when there is none."""
    return raws.interpret(point, _unpacker((point,), point.address)(words)[0])


def encode_point(
    point: ModbusPoint, value: float | Fraction | Decimal | str | None, current: Sequence[int] | None = None
) -> list[int]:
    """Return the words that decode to `value`.

    An `int` for an exact point is its mantissa, as in a frame; a Decimal or Fraction is the value in the point's unit.
    None gives the first sentinel, or NaN. Points that use some bits of a register keep the others of `current`. Factor
    points are not applied: divide by them first. Raises CodecError when the value does not fit.
    """
    if value is None:
        return _encode_nothing(point)
    if isinstance(value, str):
        if not point.type.is_text:
            raise CodecError(f"{point.name} is a number, not {value!r}")
        return _place(point, raws.pack_text(point, value), current)
    raw = _raw_of(point, value)
    if point.mask is not None:
        raw = _merge_bits(point, int(raw), current)
    try:
        return _place(point, raws.pack_number(point, raw), current)
    except (struct.error, OverflowError, ValueError) as error:
        raise CodecError(f"{point.name} = {value} does not fit {point.type}: raw {raw}") from error


def _unpacker(points: Sequence[ModbusPoint], base_address: int) -> Callable[[Sequence[int]], tuple[Any, ...]]:
    """One raw item per point, in the order of `points`."""
    big = [point for point in points if point.byte_order is Order.BIG]
    if len(big) == len(points):
        return _unpacker_of_one_order(big, base_address, ">")
    little = [point for point in points if point.byte_order is Order.LITTLE]
    if not big:
        return _unpacker_of_one_order(little, base_address, "<")
    first, second = _unpacker_of_one_order(big, base_address, ">"), _unpacker_of_one_order(little, base_address, "<")
    places = {point.name: place for place, point in enumerate([*big, *little])}
    pick = itemgetter(*(places[point.name] for point in points))
    return lambda words: pick(first(words) + second(words))


def _unpacker_of_one_order(
    points: Sequence[ModbusPoint], base_address: int, order: str
) -> Callable[[Sequence[int]], tuple[Any, ...]]:
    indices = [point.address - base_address + offset for point in points for offset in raws.gather_order(point)]
    pack = struct.Struct(f"{order}{len(indices)}H").pack
    unpack = struct.Struct(">" + "".join(raws.code(point) for point in points)).unpack
    if indices == list(range(len(indices))):
        stop = len(indices)
        return lambda words: unpack(pack(*words[:stop]))
    if len(indices) == 1:
        only = indices[0]
        return lambda words: unpack(pack(words[only]))
    gather = itemgetter(*indices)
    return lambda words: unpack(pack(*gather(words)))


def _finisher(point: ModbusPoint) -> Callable[[Any], tuple[Value, Quality]]:
    """From the raw item to a value and its quality."""
    if point.factor_names:
        return lambda _raw: (None, _GOOD)  # Finished when its factors are known.
    if point.type.is_text:
        return lambda raw: _text(point, raw)
    if point.codes:
        return _state_finisher(point)
    low = -FLOAT_MAX if point.low is None else point.low
    high = FLOAT_MAX if point.high is None else point.high
    if point.exact:
        ten = 10 ** (point.scale or 0)
        low, high = _scaled_bound(low, ten), _scaled_bound(high, ten)
    convert = _converter(point)
    return _judge(low, high) if convert is None else _convert_and_judge(convert, low, high)


def _judge(low: float, high: float) -> Callable[[Any], tuple[Value, Quality]]:
    """For raw numbers that are the value already, which is the common case: one comparison also refuses NaN."""

    def finish(raw: float) -> tuple[Value, Quality]:
        if low <= raw <= high:
            return raw, _GOOD
        return (raw, _UNCERTAIN) if math.isfinite(raw) else _NOTHING

    return finish


def _convert_and_judge(
    convert: Callable[[Any], float], low: float, high: float
) -> Callable[[Any], tuple[Value, Quality]]:
    def finish(raw: Any) -> tuple[Value, Quality]:
        try:
            value = convert(raw)
        except (ValueError, OverflowError):  # Not a digit, or not finite: no number in these words.
            return _NOTHING
        if low <= value <= high:
            return value, _GOOD
        return (value, _UNCERTAIN) if math.isfinite(value) else _NOTHING

    return finish


def _state_finisher(point: ModbusPoint) -> Callable[[Any], tuple[Value, Quality]]:
    answers = {raw: (code, _GOOD) for raw, code in point.codes.items()}
    if raws.needs_interpreting(point):
        return lambda raw: answers.get(raws.interpret(point, raw), _NOTHING)
    return lambda raw: answers.get(raw, _NOTHING)


def _scaled_bound(bound: float, ten: int) -> float:
    return bound if abs(bound) >= FLOAT_MAX / ten else bound * ten


def _converter(point: ModbusPoint) -> Callable[[Any], float | int] | None:
    """Raw item → published number; None when they are the same."""
    steps: list[Callable[[Any], Any]] = []
    if raws.needs_interpreting(point):
        steps.append(lambda item: raws.interpret(point, item))
    scale = _scaler(point)
    if scale is not None:
        steps.append(scale)
    if point.exact and (point.type.is_float or point.count > 2):
        steps.append(_bounded)
    if point.type in raws.EXACT_TYPES and not point.exact:
        steps.append(float)
    if point.transform is not None:
        steps.append(_quadrant_power_factor)
    if len(steps) < 2:
        return steps[0] if steps else None
    return lambda item: reduce(lambda number, step: step(number), steps, item)


def _quadrant_power_factor(code: float) -> float:
    """Read Schneider's code: the sign is the direction of power, and |x| > 1 means leading with |PF| = 2 - |x|."""
    return code if abs(code) <= 1 else math.copysign(2 - abs(code), code)


def _bounded(mantissa: int) -> int:
    if abs(mantissa) > MANTISSA_MAX:
        raise OverflowError
    return mantissa


def _scaler(point: ModbusPoint) -> Callable[[Any], float | int] | None:
    if point.exact:
        return _exact_scaler(point)
    if point.multiplier == 1 and not point.offset:
        return None
    # Integers until the last step: int / int and float / int round once, 2301 * 0.1 would not.
    denominator = math.lcm(point.multiplier.denominator, point.offset.denominator)
    times = int(point.multiplier * denominator)
    plus = int(point.offset * denominator)
    if not plus:
        return lambda raw: raw * times / denominator
    return lambda raw: (raw * times + plus) / denominator


def _exact_scaler(point: ModbusPoint) -> Callable[[Any], int]:
    times = point.multiplier * 10 ** (point.scale or 0)
    plus = point.offset * 10 ** (point.scale or 0)
    if times.denominator == 1 and plus.denominator == 1:
        whole, shift = int(times), int(plus)
        if not point.type.is_float and point.type not in raws.EXACT_TYPES:
            return lambda raw: raw * whole + shift
        if point.type is DataType.FLOAT32 and abs(whole) < 2**29 and not shift:
            # 24 bits × 29 bits fit the 53 of a double: the product is exact, round() is half to even.
            return lambda raw: round(raw * whole)
    return lambda raw: round(Fraction(raw) * times + plus)


def _publish(point: ModbusPoint, value: Fraction) -> tuple[Value, Quality]:
    """Return an exact value as it travels, judged against what is plausible."""
    number: float | int
    if point.exact:
        number = round(value * 10 ** (point.scale or 0))
        if abs(number) > MANTISSA_MAX:
            return _NOTHING
    else:
        try:
            number = float(value)
        except OverflowError:
            return _NOTHING
    plausible = (point.low is None or value >= point.low) and (point.high is None or value <= point.high)
    return number, _GOOD if plausible else _UNCERTAIN


def _with_factors(
    point: ModbusPoint,
    raw: Any,
    points: Sequence[ModbusPoint],
    index: Mapping[str, int],
    done: Sequence[tuple[Value, Quality]],
    factors: Factors,
) -> tuple[Value, Quality]:
    try:
        value = physical(point, raws.interpret(point, raw))
    except (ValueError, OverflowError):
        return _NOTHING
    for name in point.factor_names:
        factor = factor_of(points[index[name]], done[index[name]][0]) if name in index else factors.get(name)
        if factor is None:
            return _NOTHING
        if name == point.exponent:
            if abs(factor) > raws.EXPONENT_MAX:
                return _NOTHING
            factor = Fraction(10) ** int(factor)
        elif name == point.unit_code:
            factor = raws.mbus_worth(int(factor), point.unit)
            if factor is None:
                return _NOTHING
        value *= factor
    return _publish(point, value)


def _text(point: ModbusPoint, raw: bytes) -> tuple[Value, Quality]:
    text = raws.text_of(point, raw)
    return (text, _GOOD) if text else _NOTHING


def _raw_of(point: ModbusPoint, value: float | Fraction | Decimal) -> float | Fraction:
    if point.codes:
        for raw, code in point.codes.items():
            if code == value:
                return raw
        raise CodecError(f"{point.name} has no state {value}; it has {sorted(set(point.codes.values()))}")
    if isinstance(value, float) and not math.isfinite(value):
        raise CodecError(f"{point.name} cannot be {value}; use None for no value")
    if point.exact and isinstance(value, float):
        raise CodecError(f"{point.name} is exact: give a Decimal, or its integer mantissa")
    exact = Fraction(value)
    if point.exact and isinstance(value, int):
        exact /= 10 ** (point.scale or 0)
    raw = (exact - point.offset) / point.multiplier
    if point.type in raws.EXACT_TYPES:
        return raw
    return float(raw) if point.type.is_float else round(raw)


def _merge_bits(point: ModbusPoint, bits: int, current: Sequence[int] | None) -> int:
    mask = point.mask or 0
    shifted = bits << point.shift
    if shifted & ~mask:
        raise CodecError(f"{point.name}: {bits} does not fit its bits")
    before = 0 if current is None else _number_in(point, current)
    return before & ~mask | shifted


def _number_in(point: ModbusPoint, words: Sequence[int]) -> int:
    """All bits of the point's words as one number."""
    number = 0
    for offset in raws.gather_order(point):
        word = words[offset]
        number = number << 16 | (word if point.byte_order is Order.BIG else (word & 0xFF) << 8 | word >> 8)
    return number


def _encode_nothing(point: ModbusPoint) -> list[int]:
    if point.sentinels:
        return list(point.sentinels[0])
    if point.type in {DataType.FLOAT16, DataType.FLOAT32, DataType.FLOAT64}:
        return _place(point, raws.pack_number(point, math.nan), None)
    raise CodecError(f"{point.name} has no way to say “no value”: its profile declares no sentinel")


def _place(point: ModbusPoint, packed: bytes, current: Sequence[int] | None) -> list[int]:
    """Bytes, most significant first, into words in the device's order."""
    words = [0] * point.count
    for offset, (word,) in zip(raws.gather_order(point), struct.iter_unpack(">H", packed), strict=True):
        words[offset] = word
    half = raws.half_mask(point)
    if half is not None and current is not None:
        words = [word & half | before & ~half for word, before in zip(words, _swapped(point, current), strict=True)]
    return _swapped(point, words)


def _swapped(point: ModbusPoint, words: Sequence[int]) -> list[int]:
    if point.byte_order is Order.BIG:
        return list(words)
    return [(word & 0xFF) << 8 | word >> 8 for word in words]
