"""`edge-agent decode`: words without a device. Expected values come from `struct` and from documents."""

import io
import json
import struct
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge_agent.cli import app
from edge_agent.commands.decode import LINE_BYTES_MAX, lines
from edge_agent.commands.decode_request import RequestError, answer, answer_line


def ask(**request) -> dict:
    return json.loads(answer(request), parse_float=Decimal)


def words(packed: bytes) -> list[int]:
    return list(struct.unpack(f">{len(packed) // 2}H", packed))


def arranged(big: list[int], word_order: str, byte_order: str) -> list[int]:
    """Words as a device with these orders would send them."""
    ordered = big if word_order == "big" else big[::-1]
    return ordered if byte_order == "big" else [(word & 0xFF) << 8 | word >> 8 for word in ordered]


ORDERS = [(word, byte) for word in ("big", "little") for byte in ("big", "little")]
NUMBERS = [
    ("uint16", ">H", 54321), ("int16", ">h", -12345), ("uint32", ">I", 4_000_000_001), ("int32", ">i", -2_000_000_001),
    ("uint64", ">Q", 18_446_744_073_709_551_615), ("uint64", ">Q", 9_007_199_254_740_993),
    ("int64", ">q", -9_007_199_254_740_993), ("float16", ">e", -2.5), ("float32", ">f", 400.0), ("float64", ">d", 1e-7),
    ("u32", ">I", 1), ("i32", ">i", -1), ("f32", ">f", 0.5), ("double", ">d", 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("word_order", "byte_order"), ORDERS)
@pytest.mark.parametrize(("type_", "code", "value"), NUMBERS)
def test_every_number_type_is_read_in_every_order(type_, code, value, word_order, byte_order):
    sent = arranged(words(struct.pack(code, value)), word_order, byte_order)
    got = json.loads(answer({"type": type_, "word-order": word_order, "byte_order": byte_order, "registers": sent}))
    assert (got["value"], got["quality"]) == (value, "good")


def test_the_four_orders_of_the_reference_table():
    for word_order, byte_order, sent in (
        ("big", "big", "0x1122,0x3344"), ("little", "big", "0x3344,0x1122"),
        ("big", "little", "0x2211,0x4433"), ("little", "little", "0x4433,0x2211"),
    ):  # fmt: skip
        got = ask(type="uint32", word_order=word_order, byte_order=byte_order, registers=sent)
        assert got["value"] == 0x11223344


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 10**9), st.integers(0, 9))
def test_scaling_an_integer_loses_no_digit(value, digits, decimals):
    scale = Fraction(digits, 10**decimals)
    text = answer({"type": "int64", "registers": words(struct.pack(">q", value)), "scale": str(scale)}).decode()
    printed = text.split('"value":')[1].split(",")[0]
    assert Fraction(printed) == value * scale


def test_an_exact_decimal_is_printed_with_all_digits():
    big = words(struct.pack(">Q", 9_007_199_254_740_993))
    assert b'"value":90071992547409.93,' in answer({"type": "uint64", "scale": "0.01", "registers": big})
    assert b'"value":9007199254740994.5,' in answer({"type": "uint64", "offset": "1.5", "registers": big})
    assert b'"value":0.001,' in answer({"type": "uint16", "scale": 0.001, "registers": [1]})
    assert b'"value":-0.5,' in answer({"type": "int16", "scale": "1/128", "registers": [0xFFC0]})


@pytest.mark.parametrize(
    ("request_", "value"),
    [
        ({"type": "uint8_high", "registers": [0x0C07]}, 12),
        ({"type": "uint8_low", "registers": [0x0C07]}, 7),
        ({"type": "int8_high", "registers": [0xFF07]}, -1),
        ({"type": "u8-hi", "registers": [0x0C07]}, 12),
        ({"type": "u8", "registers": [0x0C07]}, 7),
        ({"type": "sign_magnitude", "registers": [0x800A], "scale": 0.1}, -1),
        ({"type": "sign_magnitude", "registers": [0x8000, 0x0005]}, -5),
        ({"type": "bcd", "registers": [0x1234]}, 1234),
        ({"type": "bcd", "registers": [0x1234, 0x5678]}, 12345678),
        ({"type": "bcd", "registers": [0x1234, 0x5678], "word_order": "little"}, 56781234),
        ({"type": "string", "registers": [0x534F, 0x434F]}, "SOCO"),
        ({"type": "string", "registers": [0x4F53, 0x4F43], "byte_order": "little"}, "SOCO"),
        ({"type": "string", "registers": [0x4142, 0x2000, 0xFFFF]}, "AB"),
        ({"type": "string_low", "registers": [0x53, 0x4F, 0x43, 0x4F]}, "SOCO"),
        ({"type": "bool", "registers": [1]}, True),
        ({"type": "bool", "bit": 3, "registers": [0x0008]}, True),
        ({"type": "uint16", "bit": 3, "registers": [0xFFF7]}, 0),
        ({"type": "uint16", "mask": "0x0F00", "shift": 8, "registers": [0x1A34]}, 0xA),
        ({"type": "bitfield", "mask": 0x00FF0000, "shift": 16, "registers": [0x12AB, 0]}, 0xAB),
        ({"type": "mantissa_exponent", "registers": [0, 12345, 0xFFFE]}, Decimal("123.45")),
        ({"type": "mantissa_exponent", "registers": [0xFFFF, 3]}, -1000),
        ({"type": "integer_fraction", "registers": [0, 7, 0x3F00, 0]}, 7.5),
        ({"type": "integer_fraction", "registers": [7, 0, 0, 0x3F00], "word_order": "little"}, 7.5),
        ({"type": "clock", "registers": [26, 11, 23, 9, 30, 5]}, 1_795_426_205),
        ({"type": "clock", "registers": [2026, 11, 23, 9, 30, 5]}, 1_795_426_205),
        ({"type": "uint16", "scale": 0.1, "offset": -40, "registers": [655]}, Decimal("25.5")),
    ],
)  # fmt: skip
def test_the_types_that_real_devices_force(request_, value):
    got = ask(**request_)
    assert (got["value"], got["quality"]) == (value, "good")


def test_an_enumeration_gives_the_number_and_its_word():
    got = ask(type="enum", enum={"1": "heat", "2": "cool"}, registers=[2])
    assert (got["value"], got["text"], got["quality"]) == (2, "cool", "good")
    assert ask(type="uint16", enum="1=heat,2=cool", registers=[7])["quality"] == "invalid"


def test_an_m_bus_unit_code_is_explained():
    assert ask(type="mbus_unit", registers=[0x06])["text"] == "10^3 Wh"
    assert ask(type="mbus_unit", registers=[0x13])["text"] == "10^-3 m³"
    assert "text" not in ask(type="mbus_unit", registers=[0x7F])


@pytest.mark.parametrize(
    ("type_", "sentinel", "sent"),
    [
        ("float32", "FFC00000", [0xFFC0, 0]),
        ("float32", "0x80008000", [0x8000, 0x8000]),
        ("int64", "FFC0 0000 FFC0 0000", [0xFFC0, 0, 0xFFC0, 0]),
        ("uint16", ["7FFF", "FFFF"], [0xFFFF]),
        ("uint16", "7FFF,FFFF", [0x7FFF]),
        ("uint16", 65535, [0xFFFF]),
        ("uint16", "0", [0]),
    ],
)
def test_a_sentinel_is_no_value(type_, sentinel, sent):
    got = ask(type=type_, sentinel=sentinel, registers=sent)
    assert (got["value"], got["quality"]) == (None, "invalid")
    assert got["reason"].startswith("sentinel")


def test_sentinels_are_compared_with_the_words_in_the_order_they_arrived():
    request = {"type": "int32", "word_order": "little", "registers": [0xFFFF, 0x7FFF]}
    assert ask(**request, sentinel="FFFF7FFF")["quality"] == "invalid"
    assert ask(**request)["value"] == 0x7FFFFFFF


@pytest.mark.parametrize("pattern", [[0x7FC0, 0], [0xFFC0, 0], [0x7F80, 0], [0xFF80, 0], [0x7FFF, 0xFFFF]])
def test_not_a_number_and_infinity_are_null_never_nan_in_json(pattern):
    text = answer({"type": "float32", "registers": pattern})
    assert b"NaN" not in text
    assert b"Infinity" not in text
    got = json.loads(text)
    assert (got["value"], got["quality"]) == (None, "invalid")


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        ({"type": "float32", "registers": [1]}, "registers: float32 takes 2, 1 were given"),
        ({"type": "float32", "registers": [1, 2, 3]}, "registers: float32 takes 2, 3 were given"),
        ({"type": "uint16", "registers": [65536]}, "registers: 65536 is not between 0 and 65535"),
        ({"type": "uint16", "registers": [-1]}, "registers: -1 is not between 0 and 65535"),
        ({"type": "uint16", "registers": [1.5]}, "registers: 1.5 is not a whole number"),
        ({"type": "uint16", "registers": [True]}, "registers: True is not a whole number"),
        ({"type": "uint16", "registers": []}, "registers: must be a list"),
        ({"type": "uint16", "registers": [1] * 126}, "registers: 126 are more than"),
        ({"type": "uint16"}, "registers: is missing"),
        ({"registers": [1]}, "type: is missing"),
        ({"type": "float31", "registers": [1, 2]}, "did you mean float32"),
        ({"type": "uint16", "word_order": "middle", "registers": [1]}, "word_order: “middle”"),
        ({"type": "uint16", "scale": "a", "registers": [1]}, "scale: “a”"),
        ({"type": "uint16", "scale": "1e999999", "registers": [1]}, "scale:"),
        ({"type": "uint16", "sentinel": "FFFFFFFF", "registers": [1]}, "sentinel: “FFFFFFFF” is not 1 words"),
        ({"type": "uint16", "sentinel": "XYZW", "registers": [1]}, "sentinel: “XYZW”"),
        ({"type": "uint16", "regsters": [1], "registers": [1]}, "unknown key “regsters”; did you mean “registers”?"),
        ({"type": "int16", "bit": 1, "registers": [1]}, "type: int16 has no bits"),
        ({"type": "uint16", "bit": 16, "registers": [1]}, "bit: 16 is not between 0 and 15"),
        ({"profile": "eastron_sdm603", "point": "frequency", "registers": [1, 2]}, "did you mean eastron_sdm630"),
        ({"profile": "eastron_sdm630", "point": "frequenzy", "registers": [1, 2]}, "did you mean frequency"),
        ({"profile": "eastron_sdm630", "type": "uint16", "registers": [1]}, "type: comes from the profile"),
        ({"profile": "eastron_sdm630", "registers": [1]}, "point: is missing"),
        ({"profile": "eastron_sdm630", "point": "frequency", "registers": [1]}, "frequency takes 2, 1 were given"),
        ({"type": "bcd", "registers": [1, 2, 3]}, "bcd takes 1 or 2 or 4 registers"),
    ],
)  # fmt: skip
def test_a_wrong_request_says_which_key_and_what_to_write(request_, names):
    with pytest.raises(RequestError) as refused:
        answer(request_)
    assert names in str(refused.value)


def test_a_digit_above_nine_is_no_decimal_number():
    assert ask(type="bcd", registers=[0x12A4])["quality"] == "invalid"


def test_a_profile_gives_unit_exact_value_and_state():
    got = ask(profile="eastron_sdm630", point="active_energy_import", registers=[0x4640, 0xE6CC])
    assert (got["value"], got["unit"]) == (Decimal("12345.699"), "kWh")
    got = ask(profile="acrel_adl3000e", point="active_energy_import", registers=[0, 12345])
    assert (got["value"], got["reason"]) == (None, "needs factors: pt_ratio, ct_ratio")
    got = ask(
        profile="acrel_adl3000e", point="active_energy_import", registers=[0, 12345], factors="ct_ratio=40,pt_ratio=1"
    )
    assert got["value"] == 4938


def test_a_whole_answer_is_decoded_by_address():
    got = ask(profile="eastron_sdm630", address=0x34, registers=[0x44BB, 0x8000])
    assert got["readings"]["active_power_total"]["value"] == 1500


def test_lines_are_answered_one_by_one_and_a_bad_line_stops_nothing():
    asked = b'{"type":"uint16","registers":[1],"id":"a"}\n{broken\n\n[1]\n\xff\xfe\n{"type":"uint16","registers":[NaN]}\n{"type":"uint16","registers":[2]}\n'
    result = CliRunner().invoke(app, ["decode", "--jsonl"], input=asked)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert [("value" if "value" in line else "error") for line in answers] == ["value", *["error"] * 5, "value"]
    assert answers[0]["id"] == "a"


def test_a_giant_line_is_refused_and_the_next_one_answered():
    stream = io.BytesIO(b"[" * (3 * LINE_BYTES_MAX) + b'\n{"type":"uint16","registers":[1]}')
    answers = [json.loads(answer_line(line)) for line in lines(stream)]
    assert ["error" in line for line in answers] == [True, False]


def test_the_command_line_has_the_same_names():
    result = CliRunner().invoke(
        app,
        ["decode", "--type", "float32", "--word-order", "little", "--byte-order", "big", "--scale", "0.01", "--offset", "0",
         "--sentinel", "FFC00000", "--registers", "0,17352"],
    )  # fmt: skip
    assert json.loads(result.stdout)["value"] == 4.0
    refused = CliRunner().invoke(app, ["decode", "--type", "float32", "--registers", "1"])
    assert refused.exit_code == 1
    assert "float32 takes 2" in json.loads(refused.stdout)["error"]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["float32", "bcd", "0x"]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
KEYS = ["type", "registers", "word_order", "byte-order", "scale", "offset", "sentinel", "bit", "mask", "shift", "enum",
        "unit", "id", "profile", "point", "address", "function", "factors", "count"]  # fmt: skip


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING), st.lists(st.integers(0, 65535), min_size=1, max_size=5))
def test_whatever_is_asked_the_answer_is_one_line_of_json(request_, registers):
    for asked in (
        request_,
        {**request_, "registers": registers},
        {"type": "uint16", **request_, "registers": registers[:1]},
    ):
        line = answer_line(json.dumps(asked).encode())
        assert b"\n" not in line
        answered = json.loads(line, parse_constant=pytest.fail)
        assert ("error" in answered) != ("value" in answered or "readings" in answered)


@given(st.binary(max_size=200))
def test_whatever_bytes_arrive_the_answer_is_an_error_in_json(line):
    assert "error" in json.loads(answer_line(line)) or line.strip().startswith(b"{")
