"""What `edge-agent decode` prints of one value, as JSON text with all digits. Pure."""

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from device_profiles.model import DataType, ModbusPoint
from edge_agent.drivers.modbus.codec import factor_of, physical, read_raw
from edge_agent.drivers.modbus.raw import mbus_text
from edge_agent.model import Quality

DIGITS_MAX = 400


def described(point: ModbusPoint, words: Sequence[int], value: Any, quality: Quality) -> str:
    """Write the members of the answer: value, quality, the words as read, and why there is no value."""
    hexadecimal = "".join(f"{word:04X}" for word in words)
    text, state = "null", ""
    if value is not None:
        text = _value_text(point, words, value)
        if text == "null":
            quality = Quality.INVALID
        else:
            word = mbus_text(value) if point.type is DataType.MBUS_UNIT else point.states.get(value)
            state = f',"text":{json.dumps(word, ensure_ascii=False)}' if word else ""
    reason = f',"reason":{json.dumps(_reason(point, words), ensure_ascii=False)}' if text == "null" else ""
    return f'"value":{text},"quality":"{quality.name.lower()}"{state}{reason},"raw":"{hexadecimal}"'


def _value_text(point: ModbusPoint, words: Sequence[int], value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if point.exact:
        return fraction_text(factor_of(point, value) or Fraction(0))
    if point.codes or point.factor_names or point.transform:
        return _number_text(value)
    if point.type is DataType.BOOL and point.multiplier == 1 and not point.offset:
        return "true" if value else "false"
    raw = read_raw(point, words)
    if point.multiplier == 1 and not point.offset:
        return _number_text(raw)
    exact = physical(point, raw)
    return _float_text(exact) if point.type.is_float else fraction_text(exact)


def _number_text(number: Any) -> str:
    if isinstance(number, Fraction):
        return fraction_text(number)
    return repr(number)


def _float_text(exact: Fraction) -> str:
    try:
        return repr(float(exact))
    except OverflowError:
        return "null"


def fraction_text(value: Fraction) -> str:
    """Write a number exactly when it ends, otherwise to the nearest double."""
    if value.denominator == 1:
        return str(value.numerator)
    rest, decimals = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest //= prime
            power += 1
        decimals = max(decimals, power)
    if rest != 1 or decimals > DIGITS_MAX:
        return _float_text(value)
    digits = str(abs(value.numerator) * 10**decimals // value.denominator).rjust(decimals + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def _reason(point: ModbusPoint, words: Sequence[int]) -> str:
    if tuple(words) in point.sentinels:
        return "sentinel " + "".join(f"{word:04X}" for word in words)
    if point.factor_names:
        return f"needs factors: {', '.join(point.factor_names)}"
    if point.codes:
        return f"unknown state {''.join(f'{word:04X}' for word in words)}"
    if point.type.is_text:
        return "no text"
    return "not a finite number" if point.type.is_float else f"not a {point.type}"
