"""Words to values and back."""

import struct
from fractions import Fraction

import pytest

from device_profiles.catalog import load_modbus, load_profile, profile_files
from device_profiles.model import ModbusProfile
from edge_agent.drivers.modbus.codec import CodecError, compile_decoder, decode_point, encode_point
from edge_agent.model import Quality


def test_a_float_meter_register_is_read_as_the_vendor_example_says():
    point = load_modbus("eastron_sdm630").point("active_power_total")
    assert decode_point(point, [0x44BB, 0x8000]) == (1500.0, Quality.GOOD)


def test_a_billing_register_is_an_integer_mantissa():
    point = load_modbus("schneider_iem3155").point("active_energy_import")
    words = list(struct.unpack(">4H", (9_007_199_254_740_993).to_bytes(8, "big")))
    assert (point.scale, decode_point(point, words)) == (3, (9_007_199_254_740_993, Quality.GOOD))


def test_a_sentinel_is_compared_on_the_words_as_they_arrive():
    point = load_modbus("schneider_iem3155").point("active_energy_import")
    assert decode_point(point, [0xFFC0, 0, 0xFFC0, 0]) == (None, Quality.INVALID)


def test_low_word_first_is_read_low_word_first():
    point = load_modbus("carlo_gavazzi_em330").point("voltage_l1")
    assert decode_point(point, [2301, 0]) == (230.1, Quality.GOOD)
    assert decode_point(point, [0xFFFF, 0x7FFF]) == (None, Quality.INVALID)


def test_ct_and_pt_ratio_of_another_block_multiply_the_energy_exactly():
    profile = load_modbus("acrel_adl3000e")
    decoder = compile_decoder([profile.point("active_energy_import")], 0x0A, 2)
    assert decoder.needs == ("ct_ratio", "pt_ratio")
    assert decoder([0, 12345]) == ((None,), (Quality.INVALID,))
    factors = {"ct_ratio": Fraction(40), "pt_ratio": Fraction(1)}
    assert decoder([0, 12345], factors) == ((493800,), (Quality.GOOD,))


def test_an_answer_of_another_length_is_an_error_not_a_value():
    point = load_modbus("eastron_sdm630").point("frequency")
    with pytest.raises(CodecError, match="2 registers were asked for, 1 came"):
        compile_decoder([point], point.address, 2)([1])


def test_not_a_number_and_infinity_never_become_values():
    point = load_modbus("eastron_sdm630").point("frequency")
    for words in ([0x7FC0, 0], [0x7F80, 0], [0xFF80, 0]):
        assert decode_point(point, words) == (None, Quality.INVALID)


def test_an_implausible_value_is_uncertain_and_kept():
    point = load_modbus("eastron_sdm630").point("frequency")
    assert decode_point(point, encode_point(point, 400.0)) == (400.0, Quality.UNCERTAIN)


MODBUS = [p for p in map(load_profile, profile_files()) if isinstance(p, ModbusProfile)]


@pytest.mark.parametrize("profile", MODBUS, ids=lambda p: p.name)
def test_what_the_simulator_encodes_the_agent_decodes(profile):
    for point in profile.points:
        if point.is_text or point.factor_names:
            continue
        for raw in (0, 1):
            value = point.codes.get(raw, raw) if point.codes else raw
            if point.codes and value not in point.codes.values():
                continue
            words = encode_point(point, value)
            if tuple(words) in point.sentinels:
                continue
            decoded, quality = decode_point(point, words)
            assert quality is not Quality.INVALID, point.name
            assert encode_point(point, decoded) == words, point.name


@pytest.mark.parametrize(
    ("code", "power_factor"), [(0.95, 0.95), (1.05, 0.95), (-0.9, -0.9), (-1.1, -0.9), (1.0, 1.0), (2.0, 0.0)]
)
def test_a_power_factor_in_quadrant_code_is_read_as_the_vendor_defines_it(code, power_factor):
    point = load_modbus("schneider_pm5350").point("power_factor_total")
    words = list(struct.unpack(">2H", struct.pack(">f", code)))
    value, quality = decode_point(point, words)
    assert quality is Quality.GOOD
    assert value == pytest.approx(power_factor, abs=1e-6)


def test_the_power_factor_pattern_for_no_value_stays_no_value():
    point = load_modbus("schneider_pm5350").point("power_factor_total")
    assert decode_point(point, [0xFFC0, 0]) == (None, Quality.INVALID)
    assert decode_point(point, [0x7FC0, 0]) == (None, Quality.INVALID)
