"""What holds for every type, order, scale and profile."""

import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pymodbus.client.mixin import ModbusClientMixin

from device_profiles.catalog import load_modbus, load_profile, profile_files
from device_profiles.model import DataType, ModbusPoint, ModbusProfile, Order
from edge_agent.drivers.modbus.codec import MANTISSA_MAX, CodecError, compile_decoder, decode_point, encode_point
from edge_agent.model import Quality

BASE = replace(load_modbus("xy_md02").point("room_temperature"), low=None, high=None, multiplier=Fraction(1))
NUMBERS = [t for t in DataType if not t.is_text and t not in {DataType.MBUS_UNIT, DataType.MANTISSA_EXPONENT}]
MODBUS = [p for p in map(load_profile, profile_files()) if isinstance(p, ModbusProfile)]

orders = st.sampled_from(list(Order))
words = st.integers(0, 0xFFFF)


def point_of(type_: DataType, **changes: object) -> ModbusPoint:
    return replace(BASE, type=type_, count=changes.pop("count", None) or type_.word_count, **changes)


@given(st.sampled_from(NUMBERS), orders, orders, st.data())
def test_decoding_then_encoding_gives_the_same_words(type_, word_order, byte_order, data):
    point = point_of(type_, word_order=word_order, byte_order=byte_order)
    sent = data.draw(st.lists(words, min_size=point.count, max_size=point.count))
    value, quality = decode_point(point, sent)
    assume(quality is Quality.GOOD)
    assume(type_ is not DataType.BOOL or value == sent[0])  # Any number that is not 0 means true.
    assume(type_ is not DataType.INTEGER_FRACTION)  # An integer of 32 bits and a fraction exceed a double.
    assume(type_ is not DataType.CLOCK)  # A year may be written with two digits or four.
    assume(not (value == 0 and type_ in {DataType.SIGN_MAGNITUDE16, DataType.SIGN_MAGNITUDE32}))  # It has two zeros.
    assume(not (value == 0 and type_.is_float and math.copysign(1, value) < 0))
    assert encode_point(point, value, sent) == sent


@given(st.sampled_from([DataType.UINT16, DataType.INT16, DataType.UINT32, DataType.INT32, DataType.INT64, DataType.BCD32]),
       orders, orders, st.integers(-4, 4), st.integers(-1000, 1000), st.data())  # fmt: skip
def test_an_exact_point_carries_every_digit_both_ways(type_, word_order, byte_order, power, offset, data):
    scale = max(0, -power)
    point = point_of(
        type_, word_order=word_order, byte_order=byte_order, exact=True, scale=scale,
        multiplier=Fraction(10) ** power, offset=Fraction(offset),
    )  # fmt: skip
    low, high = {"uint16": (0, 2**16 - 1), "int16": (-(2**15), 2**15 - 1), "uint32": (0, 2**32 - 1),
                 "int32": (-(2**31), 2**31 - 1), "int64": (-(2**40), 2**40), "bcd32": (0, 99_999_999)}[type_]  # fmt: skip
    raw = data.draw(st.integers(low, high))
    wanted = raw * Fraction(10) ** power + offset
    mantissa, quality = decode_point(point, encode_point(point, wanted))
    assert quality is Quality.GOOD
    assert Fraction(mantissa, 10**scale) == wanted
    assert decode_point(point, encode_point(point, mantissa))[0] == mantissa


@given(st.integers(0, 0xFFFF), st.integers(0, 15), st.integers(1, 16), st.integers(0, 0xFFFF), orders)
def test_writing_some_bits_leaves_the_others_alone(before, shift, width, value, byte_order):
    mask = ((1 << width) - 1) << shift & 0xFFFF
    point = point_of(DataType.UINT16, mask=mask, shift=shift, byte_order=byte_order)
    value &= mask >> shift
    after = encode_point(point, value, [before])[0]
    swapped = mask if byte_order is Order.BIG else (mask & 0xFF) << 8 | mask >> 8
    assert after & ~swapped == before & ~swapped
    assert decode_point(point, [after]) == (value, Quality.GOOD)


@given(st.sampled_from(["uint8_high", "uint8_low"]), st.integers(0, 255), words, orders)
def test_the_two_halves_of_a_register_do_not_disturb_each_other(type_, value, before, byte_order):
    point = point_of(DataType(type_), byte_order=byte_order)
    after = encode_point(point, value, [before])
    other = point_of(DataType("uint8_low" if type_ == "uint8_high" else "uint8_high"), byte_order=byte_order)
    assert decode_point(point, after)[0] == value
    assert decode_point(other, after) == decode_point(other, [before])


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8),
    st.sampled_from(["string", "string_low"]),
    orders,
)
def test_a_text_survives_the_registers(text, type_, byte_order):
    point = point_of(DataType(type_), count=8, byte_order=byte_order)
    assert decode_point(point, encode_point(point, text)) == (text, Quality.GOOD)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-6, 2))
def test_mantissa_and_exponent_survive_the_registers(mantissa, exponent):
    point = point_of(DataType.MANTISSA_EXPONENT, count=3, exact=True, scale=6)
    wanted = Decimal(mantissa).scaleb(exponent)
    assert decode_point(point, encode_point(point, wanted)) == (int(wanted.scaleb(6)), Quality.GOOD)


@pytest.mark.parametrize("profile", MODBUS, ids=lambda profile: profile.name)
@settings(max_examples=10)
@given(seed=st.randoms(use_true_random=False))
def test_a_block_decodes_as_its_points_do_one_by_one(profile, seed):
    function = seed.choice(sorted({point.function for point in profile.points}))
    points = [p for p in profile.points if p.function is function and not p.factor_names]
    first = seed.choice(points).address
    inside = [p for p in points if first <= p.address and p.end <= first + 125]
    sent = [seed.choice([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0xFFC0, seed.randrange(65536)]) for _ in range(125)]
    values, qualities = compile_decoder(inside, first, 125)(sent)
    for point, value, quality in zip(inside, values, qualities, strict=True):
        assert (value, quality) == decode_point(point, sent[point.address - first : point.end - first]), point.name
        assert (value is None) == (quality is Quality.INVALID), point.name
        assert not (isinstance(value, float) and not math.isfinite(value)), point.name
        assert not (point.exact and value is not None and not isinstance(value, int)), point.name


def test_a_mantissa_that_no_counter_reaches_is_no_value():
    point = load_modbus("schneider_iem3155").point("active_energy_import")
    assert decode_point(point, [0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF])[0] == MANTISSA_MAX
    unsigned = load_modbus("abb_b23").point("active_energy_import")
    assert decode_point(unsigned, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]) == (None, Quality.INVALID)
    floating = load_modbus("eastron_sdm630").point("active_energy_import")
    assert decode_point(floating, [0x7F7F, 0xFFFF]) == (None, Quality.INVALID)


def test_a_value_that_does_not_fit_is_refused_with_its_name():
    point = load_modbus("xy_md02").point("humidity")
    with pytest.raises(CodecError, match="humidity"):
        encode_point(point, 7000.0)
    with pytest.raises(CodecError, match="declares no sentinel"):
        encode_point(point, None)
    with pytest.raises(CodecError, match="exact"):
        encode_point(load_modbus("abb_b23").point("active_energy_import"), 1.5)
    with pytest.raises(CodecError, match="no state 9"):
        encode_point(load_modbus("intesis_inmbs").point("hvac_mode"), 9)


def test_no_value_is_the_first_sentinel_or_not_a_number():
    assert encode_point(load_modbus("generic_ahu").point("room_temperature"), None) == [0x8000]
    point = load_modbus("vaisala_gmw80").point("co2")
    assert decode_point(point, encode_point(point, None)) == (None, Quality.INVALID)


def test_an_exponent_in_the_same_answer_or_from_another_one_scales_the_value():
    profile = load_modbus("sunspec_meter_203")
    power, exponent = profile.point("active_power_total"), profile.point("exponent_active_power")
    both = compile_decoder([power, exponent], power.address, 5)
    assert both([350, 0, 0, 0, 1])[0] == (3500.0, 1.0)
    assert both([350, 0, 0, 0, 0x8000]) == ((None, None), (Quality.INVALID, Quality.INVALID))
    alone = compile_decoder([power], power.address, 1)
    assert alone([350], {"exponent_active_power": Fraction(-1)})[0] == (35.0,)
    assert alone([350], {"exponent_active_power": Fraction(500)}) == ((None,), (Quality.INVALID,))


def test_an_m_bus_unit_code_says_what_one_count_is_worth():
    energy = point_of(DataType.UINT32, name="heat_energy", unit="kWh", exact=True, scale=3, unit_code="unit_code")
    unit = point_of(DataType.MBUS_UNIT, name="unit_code", address=BASE.address + 2)
    decoder = compile_decoder([energy, unit], BASE.address, 3)
    assert decoder([0, 1234, 0x06])[0][0] == 1_234_000  # 06h: 1 kWh
    assert decoder([0, 1234, 0x03])[0][0] == 1_234  # 03h: 1 Wh
    assert decoder([0, 36, 0x0E])[0][0] == 10_000  # 0Eh: 1 MJ; 36 MJ = 10 kWh
    assert decoder([0, 1234, 0x13]) == ((None, 0x13), (Quality.INVALID, Quality.GOOD))  # 13h: litres, no energy


PEER = {
    DataType.UINT16: "UINT16", DataType.INT16: "INT16", DataType.UINT32: "UINT32", DataType.INT32: "INT32",
    DataType.UINT64: "UINT64", DataType.INT64: "INT64", DataType.FLOAT32: "FLOAT32", DataType.FLOAT64: "FLOAT64",
}  # fmt: skip


@given(st.sampled_from(list(PEER)), orders, st.data())
def test_numbers_agree_with_another_implementation(type_, word_order, data):
    point = point_of(type_, word_order=word_order)
    sent = data.draw(st.lists(words, min_size=point.count, max_size=point.count))
    kind = ModbusClientMixin.DATATYPE[PEER[type_]]
    theirs = ModbusClientMixin.convert_from_registers(sent, kind, word_order=word_order.value)
    ours, quality = decode_point(point, sent)
    assert (ours, quality) == ((theirs, Quality.GOOD) if math.isfinite(theirs) else (None, Quality.INVALID))
    if ours is not None and not (ours == 0 and type_.is_float):  # Minus zero has words of its own.
        assert ModbusClientMixin.convert_to_registers(ours, kind, word_order=word_order.value) == encode_point(
            point, ours
        )
