"""One question of `edge-agent decode`: a mapping of names to what its words mean, as JSON text. Pure.

Integers stay integers and decimals stay decimals up to the printed text; no value passes through a float unless the
device itself sent one.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from device_profiles.model import DataType, Function, ModbusPoint, Order
from device_profiles.vocabulary import PointKind
from edge_agent.commands.decode_answer import described
from edge_agent.drivers.modbus.codec import BlockDecoder, CodecError, compile_decoder
from edge_agent.model import Quality

REGISTERS_MAX = 125

AD_HOC_KEYS = (
    "type", "count", "word_order", "byte_order", "scale", "offset", "sentinel", "bit", "mask", "shift", "enum", "unit",
)  # fmt: skip
PROFILE_KEYS = ("profile", "point", "address", "function", "factors")
KEYS = ("registers", "id", *AD_HOC_KEYS, *PROFILE_KEYS)

# Names people use. A tuple is chosen from by the number of registers.
_BY_COUNT: Mapping[str, Mapping[int, DataType]] = {
    "bcd": {1: DataType.BCD16, 2: DataType.BCD32, 4: DataType.BCD64},
    "sign_magnitude": {1: DataType.SIGN_MAGNITUDE16, 2: DataType.SIGN_MAGNITUDE32},
    "bitfield": {1: DataType.UINT16, 2: DataType.UINT32, 4: DataType.UINT64},
    "enum": {1: DataType.UINT16, 2: DataType.UINT32, 4: DataType.UINT64},
}
_ALIASES: Mapping[str, str] = {
    "bit": "bool",
    "boolean": "bool",
    "bits": "bitfield",
    "bitmap": "bitfield",
    **{f"u{bits}": f"uint{bits}" for bits in (16, 32, 64)},
    **{f"{letter}{bits}": f"int{bits}" for bits in (16, 32, 64) for letter in "is"},
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "sign_mag": "sign_magnitude",
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "signmagnitude": "sign_magnitude",
    "ascii": "string",
    "string_low_byte": "string_low",
}


class RequestError(ValueError):
    """A request that cannot be answered; the message names the key and says what to write."""


def answer_line(line: bytes, extra: Path | None = None) -> bytes:
    """Answer one JSON line with one JSON line; a mistake becomes `{"error": …}`."""
    try:
        request = json.loads(line, parse_float=Decimal, parse_constant=_refuse_constant)
        if not isinstance(request, dict):
            return _error("a request is a JSON object with keys such as type and registers")
        return answer(request, extra)
    except RequestError as error:
        return _error(str(error))
    except (ValueError, RecursionError) as error:
        return _error(f"not valid JSON: {error}" if line.strip() else "the line is empty")


def answer(request: Mapping[str, Any], extra: Path | None = None) -> bytes:
    """Answer one request; raises RequestError."""
    asked = {key.replace("-", "_"): value for key, value in request.items() if value is not None}
    if "sentinels" in asked:
        asked.setdefault("sentinel", asked.pop("sentinels"))
    for key in asked:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1)
            raise RequestError(f"unknown key “{key}”; {f'did you mean “{near[0]}”?' if near else 'see --help'}")
    words = _registers(asked.get("registers"))
    identifier = f'"id":{json.dumps(asked["id"], ensure_ascii=False, default=str)},' if "id" in asked else ""
    body = _by_profile(asked, words, extra) if "profile" in asked else _ad_hoc(asked, words)
    return f"{{{identifier}{body}}}".encode()


def _ad_hoc(asked: Mapping[str, Any], words: Sequence[int]) -> str:
    for key in PROFILE_KEYS:
        if key in asked:
            raise RequestError(f"{key}: is only used together with profile")
    given = asked.get("sentinel", ())
    sentinels = _listed(given)
    count = _integer(asked, "count")
    if count not in {None, len(words)}:
        raise RequestError(f"registers: count says {count}, {len(words)} were given")
    point, decoder = _compiled(
        str(asked.get("type", "")),
        len(words),
        str(asked.get("word_order", "big")),
        str(asked.get("byte_order", "big")),
        str(asked.get("scale", 1)),
        str(asked.get("offset", 0)),
        sentinels,
        _integer(asked, "bit"),
        _integer(asked, "mask"),
        _integer(asked, "shift"),
        _pairs(asked.get("enum")),
    )
    unit = f',"unit":{json.dumps(str(asked["unit"]), ensure_ascii=False)}' if "unit" in asked else ""
    return described(point, words, *_decode(decoder, words, {})) + unit


def _by_profile(asked: Mapping[str, Any], words: Sequence[int], extra: Path | None) -> str:
    for key in AD_HOC_KEYS:
        if key in asked:
            raise RequestError(f"{key}: comes from the profile; leave it out, or leave profile out")
    factors = _factors(asked.get("factors", {}))
    name = asked.get("point")
    if name is not None:
        point, decoder = _profile_point(str(asked["profile"]), str(name), extra)
        if len(words) != point.count:
            raise RequestError(f"registers: {point.name} takes {point.count}, {len(words)} were given")
        value, quality = _decode(decoder, words, factors)
        unit = json.dumps(point.unit, ensure_ascii=False)
        return f'{described(point, words, value, quality)},"unit":{unit}'
    address = _integer(asked, "address")
    if address is None:
        raise RequestError("point: is missing; name a point, or give address to decode a block from there")
    function = asked.get("function")
    if function is not None and function not in list(Function):
        raise RequestError(f"function: “{function}” is not one of {', '.join(Function)}")
    points, decoder = _profile_block(str(asked["profile"]), address, len(words), function, extra)
    values, qualities = decoder(words, factors)
    readings = ",".join(
        f'"{point.name}":{{{described(point, _own(point, words, decoder.base_address), value, quality)},'
        f'"unit":{json.dumps(point.unit, ensure_ascii=False)}}}'
        for point, value, quality in zip(points, values, qualities, strict=True)
    )
    return f'"readings":{{{readings}}}'


def _own(point: ModbusPoint, words: Sequence[int], base: int) -> Sequence[int]:
    return words[point.address - base : point.end - base]


def _decode(decoder: BlockDecoder, words: Sequence[int], factors: Mapping[str, Fraction]) -> tuple[Any, Quality]:
    try:
        values, qualities = decoder(words, factors)
    except CodecError as error:
        raise RequestError(f"registers: {error}") from error
    return values[0], qualities[0]


@lru_cache(maxsize=4096)
def _compiled(
    type_name: str,
    count: int,
    word_order: str,
    byte_order: str,
    scale: str,
    offset: str,
    sentinels: tuple[str, ...],
    bit: int | None,
    mask: int | None,
    shift: int | None,
    states: str | None,
) -> tuple[ModbusPoint, BlockDecoder]:
    """Compile one way of asking; thousands of lines usually ask in few ways."""
    data_type = _data_type(type_name, count)
    names = _states(states)
    point = ModbusPoint(
        name="value",
        quantity="",
        unit="",
        brick="",
        kind=PointKind.SENSOR,
        label_en="",
        label_zh="",
        rate="normal",
        is_cumulative=False,
        exact=False,
        scale=None,
        function=Function.HOLDING,
        address=0,
        count=count,
        type=data_type,
        word_order=_order("word_order", word_order),
        byte_order=_order("byte_order", byte_order),
        multiplier=_ratio("scale", scale),
        offset=_ratio("offset", offset),
        sentinels=tuple(_pattern(text, count) for text in sentinels),
        mask=_mask(data_type, count, bit, mask, shift),
        shift=bit if bit is not None else shift or 0,
        states=names,
        codes={code: code for code in names},
    )
    return point, compile_decoder([point], 0, count)


def _data_type(name: str, count: int) -> DataType:
    wanted = re.sub(r"[-\s]", "_", name.strip().lower())
    eight = re.fullmatch(r"(u|i|s|uint|int)8_?(h|hi|high|l|lo|low|)", wanted)
    if eight is not None:
        sign, half = eight.groups()
        wanted = f"{'u' if sign.startswith('u') else ''}int8_{'high' if half.startswith('h') else 'low'}"
    wanted = _ALIASES.get(wanted, wanted)
    if wanted in _BY_COUNT:
        fitting = _BY_COUNT[wanted]
        if count not in fitting:
            raise RequestError(f"registers: {name} takes {_or(fitting)} registers, {count} were given")
        return fitting[count]
    if not wanted or wanted not in list(DataType):
        known = [*DataType, *_BY_COUNT]
        near = get_close_matches(wanted, known, n=1)
        hint = f"did you mean {near[0]}?" if near and wanted else f"use one of: {', '.join(known)}"
        raise RequestError(f"type: {f'“{name}” is not known' if name else 'is missing'}; {hint}")
    data_type = DataType(wanted)
    if data_type.word_count not in {None, count}:
        raise RequestError(f"registers: {data_type} takes {data_type.word_count}, {count} were given")
    if data_type is DataType.MANTISSA_EXPONENT and count not in {2, 3, 5}:
        raise RequestError(f"registers: mantissa_exponent takes 2, 3 or 5, {count} were given")
    return data_type


def _or(counts: Mapping[int, DataType]) -> str:
    return " or ".join(str(count) for count in counts)


def _mask(data_type: DataType, count: int, bit: int | None, mask: int | None, shift: int | None) -> int | None:
    if bit is None and mask is None and shift is None:
        return None
    if not (data_type is DataType.BOOL or data_type.startswith("uint")):
        raise RequestError(f"type: {data_type} has no bits to pick; use an unsigned type")
    if bit is not None and (mask is not None or shift is not None):
        raise RequestError("bit: does not go together with mask or shift")
    width = 8 if data_type.endswith(("_high", "_low")) else 16 * count
    if bit is not None:
        if not 0 <= bit < width:
            raise RequestError(f"bit: {bit} is not between 0 and {width - 1}")
        return 1 << bit
    chosen = (1 << width) - 1 if mask is None else mask
    if not 0 < chosen < 1 << width:
        raise RequestError(f"mask: must have 1 to {width} bits")
    if shift is not None and not 0 <= shift < width:
        raise RequestError(f"shift: {shift} is not between 0 and {width - 1}")
    return chosen


def _order(key: str, text: str) -> Order:
    try:
        return Order(text.lower())
    except ValueError as error:
        raise RequestError(f"{key}: “{text}” is not big or little") from error


def _ratio(key: str, text: str) -> Fraction:
    # A huge exponent would be computed digit by digit.
    exponent = re.search(r"[eE][-+]?\d{4,}", text)
    try:
        return Fraction(text if exponent is None else "")
    except (ValueError, ZeroDivisionError) as error:
        raise RequestError(f"{key}: “{text}” is not a number such as 0.01 or 1/128") from error


def _pattern(text: str, count: int) -> tuple[int, ...]:
    digits = re.sub(r"[\s_]|^0[xX]", "", text)
    if count == 1 and 0 < len(digits) < 4:
        digits = digits.rjust(4, "0")
    if not re.fullmatch(r"[0-9A-Fa-f]+", digits) or len(digits) != 4 * count:
        raise RequestError(f"sentinel: “{text}” is not {count} words in hexadecimal ({4 * count} digits)")
    return tuple(int(digits[i : i + 4], 16) for i in range(0, len(digits), 4))


def _pairs(given: Any) -> str | None:
    """Write an enumeration as text, so that equal questions are compiled once."""
    if isinstance(given, dict):
        return ",".join(f"{code}={word}" for code, word in given.items())
    if given is None or isinstance(given, str):
        return given
    raise RequestError("enum: must be pairs such as 0=off,1=on")


def _states(given: str | None) -> dict[int, str]:
    if given is None:
        return {}
    pairs = [part.partition("=")[::2] for part in given.split(",")]
    try:
        return {int(code, 0): word.strip() for code, word in pairs}
    except ValueError as error:
        raise RequestError("enum: must be pairs such as 0=off,1=on") from error


def _listed(given: Any) -> tuple[str, ...]:
    parts: Sequence[Any] = given if isinstance(given, (list, tuple)) else (given,)
    texts = [f"{part:X}" if isinstance(part, int) else str(part) for part in parts]
    return tuple(item.strip() for text in texts for item in text.split(",") if item.strip())


def _registers(given: Any) -> tuple[int, ...]:
    if given is None:
        raise RequestError("registers: is missing; give the words, such as 17338,32768")
    parts: Sequence[Any] = re.split(r"[\s,]+", given.strip()) if isinstance(given, str) else given
    if isinstance(parts, int):
        parts = [parts]
    if not isinstance(parts, list) or not parts or parts == [""]:
        raise RequestError("registers: must be a list of whole numbers, such as [17338, 32768]")
    if len(parts) > REGISTERS_MAX:
        raise RequestError(f"registers: {len(parts)} are more than one Modbus answer can hold ({REGISTERS_MAX})")
    return tuple(_word(part) for part in parts)


def _word(part: Any) -> int:
    if type(part) is int:
        word = part
    elif isinstance(part, str) and re.fullmatch(r"[-+]?(0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,9})", part):
        word = int(part, 16 if "x" in part.lower() else 10)
    else:
        raise RequestError(f"registers: {part} is not a whole number; write hexadecimal as 0x43BA")
    if not 0 <= word <= 0xFFFF:
        raise RequestError(f"registers: {word} is not between 0 and 65535")
    return word


def _integer(asked: Mapping[str, Any], key: str) -> int | None:
    value = asked.get(key)
    if value is None or type(value) is int:
        return value
    if isinstance(value, str) and re.fullmatch(r"0[xX][0-9A-Fa-f]{1,16}|[0-9]{1,20}", value):
        return int(value, 16 if "x" in value.lower() else 10)
    raise RequestError(f"{key}: “{value}” is not a whole number")


def _factors(given: Any) -> dict[str, Fraction]:
    if isinstance(given, str):
        given = {name: value for name, _, value in (part.partition("=") for part in given.split(","))}
    if not isinstance(given, dict):
        raise RequestError("factors: must be pairs such as ct_ratio=40")
    return {str(name): _ratio("factors", str(value)) for name, value in given.items()}


@lru_cache(maxsize=4096)
def _profile_point(profile: str, name: str, extra: Path | None) -> tuple[ModbusPoint, BlockDecoder]:
    points = _profile_points(profile, extra)
    for point in points:
        if point.name == name:
            return point, compile_decoder([point], point.address, point.count)
    near = get_close_matches(name, [point.name for point in points], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"see: edge-agent profiles show {profile}"
    raise RequestError(f"point: {profile} has no “{name}”; {hint}")


@lru_cache(maxsize=1024)
def _profile_block(
    profile: str, address: int, count: int, function: str | None, extra: Path | None
) -> tuple[tuple[ModbusPoint, ...], BlockDecoder]:
    every = _profile_points(profile, extra)
    start = address * every[0].words_per_address
    inside = [point for point in every if start <= point.address and point.end <= start + count]
    tables = sorted({point.function for point in inside})
    if function is None and len(tables) > 1:
        raise RequestError(f"function: is missing; {profile} has points here in {' and '.join(tables)}")
    points = tuple(point for point in inside if function in {None, point.function, point.also})
    if not points:
        raise RequestError(f"address: {profile} has no point inside {address}..{address + count - 1}")
    return points, compile_decoder(points, start, count)


def _profile_points(name: str, extra: Path | None) -> tuple[ModbusPoint, ...]:
    from device_profiles.catalog import load_modbus
    from device_profiles.lined_yaml import ProfileError

    try:
        return load_modbus(name, extra=extra).points
    except ProfileError as error:
        raise RequestError(f"profile: {'; '.join(str(problem) for problem in error.problems)}") from error


def _refuse_constant(text: str) -> Callable[[], None]:
    raise ValueError(f"{text} is not a number")


def _error(message: str) -> bytes:
    return json.dumps({"error": message}, ensure_ascii=False).encode()
