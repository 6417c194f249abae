"""Turn a validated file into the frozen values of `model`, and find what a schema alone cannot see."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from device_profiles import model, schema
from device_profiles.build_common import Findings, check_names, common_values, head_values, states_of
from device_profiles.build_mqtt import build_mqtt
from device_profiles.lined_yaml import Location
from device_profiles.vocabulary import QUANTITIES, PointKind

Instances = Mapping[str, Sequence[int]]


def build(
    file: schema.ModbusFile | schema.MqttFile, revision: str, instances: Instances, to: Findings
) -> model.Profile:
    """Return the profile a file describes; mistakes go to `to`, and the result is then not to be used."""
    if isinstance(file, schema.ModbusFile):
        return _modbus(file, revision, instances, to)
    return build_mqtt(file, revision, to)


def _modbus(file: schema.ModbusFile, revision: str, instances: Instances, to: Findings) -> model.ModbusProfile:
    points = [_modbus_point(entry, file, ("points", index), to) for index, entry in enumerate(file.points)]
    for index, block in enumerate(file.blocks):
        points += _block_points(block, file, ("blocks", index), instances.get(block.name), to)
    if not points:
        to.add(("points",), "no points", "add at least one point")
    check_names(points, to)
    _check_references(points, to)
    _check_overlaps([point for point in points if point.name in {entry.name for entry in file.points}], to)
    names = {point.name for point in points}
    for index, identity in enumerate(file.identity):
        if identity.point not in names:
            to.add(("identity", index, "point"), f"there is no point “{identity.point}”", "name a point of this file")
        if identity.matches is None and not identity.one_of:
            to.add(("identity", index), "says nothing to compare with", "give matches: or one_of:")
    limits, width = file.limits, file.limits.words_per_address
    holes = tuple((function, first * width, (last + 1) * width - 1) for function, first, last in limits.holes)
    for index, point in enumerate(file.points):
        if points[index].count > limits.registers_per_read:
            to.add(("points", index), f"{point.name} is longer than one read", "raise limits.registers_per_read")
    return model.ModbusProfile(
        **head_values(file, revision),
        points=tuple(points),
        limits=model.Limits(**{**limits.model_dump(), "holes": holes}),
        serial=model.Serial(**file.serial.model_dump()),
        identity=tuple(
            model.Identity(point=entry.point, matches=entry.matches, one_of=tuple(entry.one_of))
            for entry in file.identity
        ),
        events=tuple(
            _modbus_event(entry, file, ("events", index), points, to) for index, entry in enumerate(file.events)
        ),
    )


def _modbus_event(
    entry: schema.ModbusEventFile,
    file: schema.ModbusFile,
    location: Location,
    points: Sequence[model.ModbusPoint],
    to: Findings,
) -> model.EventRule:
    names = {point.name for point in points}
    for key, name in {**entry.fields, "sequence": entry.sequence}.items():
        if name not in names:
            to.add((*location, "fields", key), f"there is no point “{name}”", "name a point of this file")
    rates = {point.rate for point in points if point.name in {entry.sequence, *entry.fields.values()}}
    if len(rates) > 1:
        to.add(location, "its points are read at different rates", "give all of them the same rate, such as rate: fast")
    return model.EventRule(
        kind=entry.kind,
        fields={str(key): name for key, name in entry.fields.items()},
        constants={str(key): word for key, word in entry.constants.items()},
        sequence=entry.sequence,
        clear=_modbus_point(entry.clear, file, (*location, "clear"), to) if entry.clear else None,
    )


def _block_points(
    block: schema.BlockFile, file: schema.ModbusFile, location: Location, wanted: Sequence[int] | None, to: Findings
) -> list[model.ModbusPoint]:
    last = block.first + block.count - 1
    numbers = range(block.first, block.first + block.default) if wanted is None else wanted
    local = {entry.name for entry in block.points}
    points: list[model.ModbusPoint] = []
    for number in numbers:
        if not block.first <= number <= last:
            to.add(location, f"there is no {block.name} {number}", f"use {block.first} to {last}")
            continue
        for index, entry in enumerate(block.points):
            moved = _moved(entry, block, number, file.defaults.function, local)
            points.append(_modbus_point(moved, file, (*location, "points", index), to, base_name=entry.name))
    return points


def _moved(
    entry: schema.ModbusPointFile, block: schema.BlockFile, number: int, default: model.Function, local: set[str]
) -> schema.ModbusPointFile:
    """Return the copy `number` of a point: read and write addresses move by the stride of their own table."""
    prefix = f"{block.name}_{number}_"
    function = entry.function or default

    def offset(table: model.Function) -> int:
        stride = block.stride if isinstance(block.stride, int) else block.stride.get(table, 0)
        return stride * (number - block.first)

    def renamed(name: str) -> str:
        return prefix + name if name in local else name

    write = entry.write
    if write is not None:
        address = None if write.address is None else write.address + offset(write.function or function)
        write = write.model_copy(update={"address": address, "read_back": write.read_back and renamed(write.read_back)})
    return entry.model_copy(
        update={
            "name": prefix + entry.name,
            "address": entry.address + offset(function),
            "multiply_by": [renamed(name) for name in entry.multiply_by],
            "exponent": entry.exponent and renamed(entry.exponent),
            "unit_code": entry.unit_code and renamed(entry.unit_code),
            "write": write,
        }
    )


def _modbus_point(
    entry: schema.ModbusPointFile, file: schema.ModbusFile, location: Location, to: Findings, base_name: str = ""
) -> model.ModbusPoint:
    defaults = file.defaults
    function = entry.function or defaults.function
    count = _count(entry, function, location, to)
    common = common_values(entry, location, to, base_name or entry.name, is_float=entry.type.is_float)
    if entry.type.is_text:
        common["kind"] = PointKind.ATTRIBUTE
    elif common["kind"] is PointKind.ATTRIBUTE:
        to.add((*location, "type"), "a text quantity needs a string type", "use string, or give another quantity")
    width = file.limits.words_per_address
    if entry.address + count / width > 65536:
        to.add((*location, "address"), "the value would end after address 65535", "correct address or count")
    _check_width(entry, function, count, width, location, to)
    if entry.transform is not None and (entry.multiply_by or entry.exponent or common["exact"]):
        to.add((*location, "transform"), "does not go together with factors or exact values", "remove one of them")
    mask, shift = _mask(entry, location, to)
    states, codes = states_of(entry.states, QUANTITIES[common["quantity"]], location, to)
    write = _write(entry, function, states, location, to) if entry.write else None
    return model.ModbusPoint(
        **common,
        states=states,
        write=write,
        function=function,
        address=entry.address * width,
        count=count,
        type=entry.type,
        doc_address=None if entry.doc_address is None else str(entry.doc_address),
        also=entry.also or (defaults.also if entry.function is None else None),
        word_order=entry.word_order or defaults.word_order,
        byte_order=entry.byte_order or defaults.byte_order,
        sentinels=_sentinels(entry, defaults, count, location, to),
        mask=mask,
        shift=shift,
        codes=codes,
        multiply_by=tuple(entry.multiply_by),
        exponent=entry.exponent,
        unit_code=entry.unit_code,
        overlaps=entry.overlaps,
        transform=entry.transform,
        words_per_address=width,
    )


def _check_width(
    entry: schema.ModbusPointFile, function: model.Function, count: int, width: int, location: Location, to: Findings
) -> None:
    if width == 1:
        return
    if count % width or function.is_bits:
        to.add((*location, "type"), f"an address of this device holds {16 * width} bits", f"use {width} registers")
    if entry.write is not None:
        to.add((*location, "write"), "values of such addresses cannot be set", "remove `write:`")


def _count(entry: schema.ModbusPointFile, function: model.Function, location: Location, to: Findings) -> int:
    fixed = entry.type.word_count
    if function.is_bits and entry.type is not model.DataType.BOOL:
        to.add((*location, "type"), f"a {function} holds one bit, not {entry.type}", "use type: bool")
    if fixed is None:
        if entry.count is None:
            to.add((*location, "count"), f"{entry.type} needs the number of registers", "add `count:`")
        elif entry.type is model.DataType.MANTISSA_EXPONENT and entry.count not in {2, 3, 5}:
            to.add((*location, "count"), "must be 2, 3 or 5 registers", "mantissa of 1, 2 or 4 and one exponent")
        return entry.count or 1
    if entry.count is not None and entry.count != fixed:
        to.add((*location, "count"), f"{entry.type} always takes {fixed}", "remove `count:`")
    return fixed


def _mask(entry: schema.ModbusPointFile, location: Location, to: Findings) -> tuple[int | None, int]:
    if entry.bit is not None and (entry.mask is not None or entry.shift is not None):
        to.add((*location, "bit"), "a bit and a mask exclude each other", "keep one of them")
    integers = {"bool", "uint8_high", "uint8_low", "uint16", "uint32", "uint64"}
    if (entry.bit is not None or entry.mask is not None) and entry.type not in integers:
        to.add((*location, "type"), f"{entry.type} has no bits to pick", "use an unsigned type or bool")
    width = 16 * (entry.type.word_count or 1)
    if (entry.bit or 0) >= width or (entry.mask or 0) >= 1 << width:
        to.add((*location, "bit" if entry.bit is not None else "mask"), f"outside the {width} bits", "correct it")
    if entry.bit is not None:
        return 1 << entry.bit, entry.bit
    return entry.mask, entry.shift or 0


def _sentinels(
    entry: schema.ModbusPointFile, defaults: schema.ModbusDefaults, count: int, location: Location, to: Findings
) -> tuple[tuple[int, ...], ...]:
    patterns = defaults.sentinels.get(entry.type, []) if entry.sentinels is None else entry.sentinels
    for index, pattern in enumerate(patterns):
        if len(pattern) != 4 * count:
            where = (*location, "sentinels", index)
            to.add(where, f"{pattern} has {len(pattern) // 4} words, the value {count}", "give all words of the value")
    return tuple(tuple(int(text[i : i + 4], 16) for i in range(0, len(text), 4)) for text in patterns)


def _write(
    entry: schema.ModbusPointFile, function: model.Function, states: Mapping[int, str], location: Location, to: Findings
) -> model.Write | None:
    given = entry.write
    if given is None:
        return None
    at = (*location, "write")
    if given.range is not None:
        low, high = given.range
    elif states:
        low, high = Fraction(min(states)), Fraction(max(states))
    elif entry.type is model.DataType.BOOL:
        low, high = Fraction(0), Fraction(1)
    else:
        to.add((*at, "range"), "is missing", "add the allowed range, such as range: [16, 30]")
        low = high = Fraction(0)
    if low > high:
        to.add((*at, "range"), "lowest is above highest", "swap them")
    if given.step is not None and given.step <= 0:
        to.add((*at, "step"), "must be greater than 0", "correct it")
    if given.release_value is not None and not low <= given.release_value <= high:
        to.add((*at, "release_value"), "is outside the range", "give a value that may be written")
    target = given.function or function
    if target not in {model.Function.COIL, model.Function.HOLDING}:
        to.add((*at, "function"), f"a {target} cannot be written", "give function: coil or holding, and the address")
    if target is not function and given.address is None:
        to.add((*at, "address"), "is missing", "say where to write, because another table is written than read")
    return model.Write(
        low=low,
        high=high,
        step=given.step,
        function=target,
        address=entry.address if given.address is None else given.address,
        read_back=given.read_back or entry.name,
        min_on_s=given.min_on_s,
        min_off_s=given.min_off_s,
        min_interval_s=given.min_interval_s,
        release_after_s=given.release_after_s,
        release_value=given.release_value,
    )


def _check_references(points: Sequence[model.ModbusPoint], to: Findings) -> None:
    types = {point.name: point for point in points}
    for index, point in enumerate(points):
        for name in point.factor_names:
            target = types.get(name)
            if target is None:
                to.add(("points", index), f"{point.name} refers to “{name}”, which is no point", "correct the name")
            elif target.factor_names:
                to.add(("points", index), f"{name} itself depends on other points", "refer to a plain point")
        if point.unit_code and point.unit_code in types:
            target = types[point.unit_code]
            if target.type is not model.DataType.MBUS_UNIT:
                to.add(("points", index, "unit_code"), f"{target.name} is not of type mbus_unit", "change its type")
        back = point.write.read_back if point.write else None
        if back and back not in types:
            to.add(("points", index, "write", "read_back"), f"there is no point “{back}”", "correct the name")


def _check_overlaps(points: Sequence[model.ModbusPoint], to: Findings) -> None:
    owners: dict[tuple[model.Function, int], model.ModbusPoint] = {}
    for index, point in enumerate(points):
        for address in range(point.address, point.end):
            other = owners.setdefault((point.function, address), point)
            if other is not point and not _may_share(point, other):
                what = f"{point.name} shares {point.function} {address} with {other.name}"
                to.add(("points", index, "address"), what, "correct an address, or say overlaps: true on both")
                break


def _may_share(one: model.ModbusPoint, other: model.ModbusPoint) -> bool:
    if one.overlaps and other.overlaps:
        return True
    if one.mask is not None and other.mask is not None:
        return one.address == other.address and one.mask & other.mask == 0
    halves = {one.type, other.type}
    return len(halves) == 2 and all(half.endswith(("_high", "_low")) for half in halves)
