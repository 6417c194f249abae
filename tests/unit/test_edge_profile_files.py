"""Mistakes in a profile file: file, line, what is wrong, how to mend it; all at once."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from device_profiles.catalog import load_file, load_modbus, load_profile, profile_files
from device_profiles.lined_yaml import ProfileError, read_yaml
from edge_agent.cli import app

HEAD = """profile: {name}
kind: modbus
category: meter
label: {{en: Test meter, zh: 测试}}
products: [{{brand: A, model: B}}]
source: made up for this test
confidence: documented
"""


def write(folder: Path, body: str, name: str = "test_meter", head: str = HEAD) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(head.format(name=name) + body, encoding="utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ProfileError) as refused:
        load_file(path)
    return [str(problem).removeprefix(f"{path}:") for problem in refused.value.problems]


def test_all_mistakes_are_told_at_once_with_line_and_remedy(tmp_path):
    path = write(
        tmp_path,
        """points:
  - {name: voltage_l1, adress: 0, type: float32}
  - {name: current_l1, address: 70000, type: float23}
  - {name: frequency, address: 5, type: uint16, scale: abc, sentinels: ['FFF']}
""",
    )
    found = problems(path)
    assert "9: voltage_l1.adress: unknown key “adress” → did you mean “address”?" in found
    assert "9: voltage_l1.address: is missing → add `address: …`" in found
    assert "10: current_l1.type: “float23” is not known → did you mean float32?" in found
    assert any(line.startswith("10: current_l1.address: ") for line in found)
    assert any(line.startswith("11: frequency.scale: must be a number") for line in found)
    assert any(line.startswith("11: frequency.sentinels.0: must be whole words") for line in found)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("points: []\n", "no points"),
        ("points:\n  - {name: volts, address: 0, type: uint16}\n", "“volts” is not a known quantity"),
        ("points:\n  - {name: voltage, address: 0, type: uint16, device_unit: kW}\n", "cannot convert kW to V"),
        ("points:\n  - {name: voltage, address: 65535, type: uint32}\n", "would end after address 65535"),
        ("points:\n  - {name: voltage, address: 0, type: uint32, sentinels: ['FFFF']}\n", "FFFF has 1 words, the value 2"),
        ("points:\n  - {name: voltage, address: 0, type: uint16, scale: 0}\n", "a scale of 0 would lose every value"),
        ("points:\n  - {name: model, address: 0, type: string}\n", "needs the number of registers"),
        ("points:\n  - {name: voltage, address: 0, type: uint16, count: 2}\n", "always takes 1"),
        ("points:\n  - {name: alarm, address: 0, type: uint16, bit: 16}\n", "outside the 16 bits"),
        ("points:\n  - {name: alarm, address: 0, type: int16, bit: 1}\n", "has no bits to pick"),
        ("points:\n  - {name: alarm, address: 0, type: uint16, bit: 1, mask: 3}\n", "exclude each other"),
        ("points:\n  - {name: on_off, function: coil, address: 0, type: uint16}\n", "a coil holds one bit"),
        ("points:\n  - {name: hvac_mode, address: 0, type: uint16, states: {1: warm}}\n", "“warm” is not a state of hvac_mode"),
        ("points:\n  - {name: co2_setpoint, address: 0, type: uint16, write: {}}\n", "range: is missing"),
        ("points:\n  - {name: co2_setpoint, address: 0, type: uint16, write: {range: [9, 1]}}\n", "lowest is above highest"),
        ("points:\n  - {name: co2_setpoint, function: input, address: 0, type: uint16, write: {range: [1, 9]}}\n", "cannot be written"),
        ("points:\n  - {name: voltage, address: 0, type: uint16, multiply_by: [pt_ratio]}\n", "refers to “pt_ratio”, which is no point"),
        ("points:\n  - {name: voltage_l1, address: 0, type: uint32}\n  - {name: voltage_l2, address: 1, type: uint32}\n", "shares holding 1 with voltage_l1"),
        ("points:\n  - {name: voltage, address: 0, type: uint16}\n  - {name: voltage, address: 1, type: uint16}\n", "is used twice"),
        ("identity: [{point: model, matches: x}]\npoints:\n  - {name: voltage, address: 0, type: uint16}\n", "there is no point “model”"),
        ("identity: [{point: voltage}]\npoints:\n  - {name: voltage, address: 0, type: uint16}\n", "says nothing to compare"),
        ("identity: [{point: voltage, matches: '('}]\npoints:\n  - {name: voltage, address: 0, type: uint16}\n", "not a regular"),
        ("points:\n  - {name: co2_setpoint, address: 0, type: uint16, write: {range: [1, 9], step: 0}}\n", "greater than 0"),
        ("points:\n  - {name: co2_setpoint, address: 0, type: uint16, write: {range: [1, 9], release_value: 10}}\n", "outside the range"),
        ("events: [{kind: door.access, sequence: badge_sequence, fields: {credential: credential}}]\npoints:\n  - {name: badge_sequence, address: 0, type: uint16}\n  - {name: credential, address: 1, type: hex, count: 4}\n", "read at different rates"),
        ("events: [{kind: door.access, sequence: number}]\npoints:\n  - {name: badge_sequence, address: 0, type: uint16}\n", "there is no point “number”"),
        ("extends: eastron_sdm999\n", "cannot extend “eastron_sdm999”"),
        ("points:\n  - {name: voltage, address: 0, address: 1, type: uint16}\n", "stands twice"),
        ("points: [\n", "not valid YAML"),
        ("kind: modbos\n", "stands twice"),
    ],
)  # fmt: skip
def test_what_a_schema_cannot_see_is_found_too(tmp_path, body, says):
    assert says in "\n".join(problems(write(tmp_path, body)))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("{topic: t, example: 'x'}", "is not JSON"),
        ("{topic: t, payload: text, example: 'x', points: [{name: co2}, {name: humidity}]}", "a text payload is one value"),
        ("{topic: t, example: '{}', points: [{name: co2}]}", "say where the value stands"),
        ("{topic: t, example: '{}', points: [{name: co2, path: $..co2}]}", "cannot read the path"),
        ("{topic: t, example: '{}', points: [{name: co2, path: co2}]}", "a path starts with $"),
        ("{topic: t, example: '{}', time: {path: $.t, zone: CEST}}", "is not a time zone"),
        ("{topic: t, example: '{}', events: [{kind: door.access, fields: {dor: $.d}}]}", "“dor” is not known"),
        ("{topic: t, example: '{}', events: [{kind: door.access, fields: {result: $.r}, values: {result: {a: ok}}}]}", "“ok” is not a result"),
        ("{topic: t, example: '{}', events: [{kind: door.access, fields: {}, values: {result: {a: granted}}}]}", "has no path"),
        ("{topic: t, example: '{}', events: [{kind: door.access, fields: {}, constants: {direction: inside}}]}", "“inside” is not a direction"),
    ],
)  # fmt: skip
def test_mistakes_in_messages_are_found(tmp_path, message, says):
    head = HEAD.replace("kind: modbus", "kind: mqtt")
    assert says in "\n".join(problems(write(tmp_path, f"messages:\n  - {message}\n", head=head)))


def test_the_same_point_changed_twice_in_a_variant_is_a_double_name(tmp_path):
    write(tmp_path, "points:\n  - {name: voltage, address: 0, type: uint16}\n")
    twice = (
        "extends: test_meter\npoints:\n  - {name: voltage, scale: 0.1}\n  - {name: voltage, address: 1, type: uint16}\n"
    )
    variant = write(tmp_path, twice, "variant_b")
    with pytest.raises(ProfileError, match="is used twice"):
        load_file(variant, extra=tmp_path)


JUNK = [
    None,
    True,
    -1,
    65536,
    10**30,
    1.5,
    "",
    "x",
    "0.1",
    "FFFF",
    "voltage",
    [],
    {},
    [1],
    {"a": 1},
    [[[]]],
    "$..a",
    "1/0",
]


def mutated(data: Any, chance: random.Random) -> Any:
    """A profile with one thing in it replaced, removed or added."""
    places = [place for place in all_places(data, ()) if place]
    place = chance.choice(places)
    parent = data
    for step in place[:-1]:
        parent = parent[step]
    how = chance.random()
    if how < 0.6:
        parent[place[-1]] = chance.choice(JUNK)
    elif how < 0.8:
        del parent[place[-1]]
    elif isinstance(parent, dict):
        parent[chance.choice(["extra", "extends", "omit", "points", "kind"])] = chance.choice(JUNK)
    return data


def all_places(data: Any, here: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield here
    if isinstance(data, (dict, list)):
        for step in data if isinstance(data, dict) else range(len(data)):
            yield from all_places(data[step], (*here, step))


@pytest.mark.parametrize("seed", range(150))
def test_whatever_is_wrong_in_a_file_it_is_told_as_a_problem(tmp_path, seed):
    chance = random.Random(seed)
    source = chance.choice(list(profile_files().values()))
    broken = mutated(read_yaml(source).data, chance)
    path = tmp_path / source.name
    path.write_text(json.dumps(broken, default=str, ensure_ascii=False), encoding="utf-8")  # JSON is YAML.
    told = []
    try:
        load_file(path)
    except ProfileError as error:
        told = error.problems or [None]
    assert all(problem and problem.line >= 1 and problem.what and problem.remedy for problem in told)


def test_a_file_that_is_no_profile_says_so(tmp_path):
    path = tmp_path / "x.yaml"
    for content, says in (
        (b"- a\n", "is not a mapping"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a: " + b"[" * 5000, "not valid YAML"),
    ):
        path.write_bytes(content)
        assert says in problems(path)[0]
    assert "No such file" in problems(tmp_path / "absent.yaml")[0]
    path.write_bytes(b"a: " + b"x" * 2_000_000)
    assert "larger than" in problems(path)[0]


def test_a_variant_states_only_its_differences_and_errors_point_to_its_own_lines(tmp_path):
    write(
        tmp_path,
        "points:\n  - {name: voltage, address: 0, type: uint16}\n  - {name: frequency, address: 1, type: uint16}\n",
    )
    variant = write(
        tmp_path, "extends: test_meter\nomit: [frequency]\npoints:\n  - {name: voltage, scale: 0.1}\n", "variant_b"
    )
    loaded = load_profile("variant_b", extra=tmp_path)
    assert [(point.name, point.multiplier * 10) for point in loaded.points] == [("voltage", 1)]
    variant.write_text(variant.read_text().replace("scale: 0.1", "scale: abc"))
    with pytest.raises(ProfileError) as refused:
        load_file(variant, extra=tmp_path)
    assert f"{variant}:11: voltage.scale" in str(refused.value)


def test_repeated_blocks_move_reads_by_one_stride_and_writes_by_another():
    profile = load_modbus("daikin_dta116a51", instances={"unit": [0, 5]})
    assert profile.point("unit_5_on_off").address == 2030
    write_ = profile.point("unit_5_on_off").write
    assert write_ is not None
    assert (write_.address, write_.read_back) == (2015, "unit_5_on_off")
    with pytest.raises(ProfileError, match="there is no unit 64"):
        load_modbus("daikin_dta116a51", instances={"unit": [64]})
    with pytest.raises(ProfileError, match="no repeated block “room”"):
        load_modbus("daikin_dta116a51", instances={"room": [1]})


def test_off_is_a_word_and_numbers_are_exact(tmp_path):
    path = write(tmp_path, "points:\n  - {name: hvac_mode, address: 0, type: uint16, states: {0: off, 1: heat}}\n"
                           "  - {name: active_energy_import, address: 1, type: uint32, scale: 0.01}\n")  # fmt: skip
    profile = load_file(path)
    assert profile.points[0].states == {0: "off", 1: "heat"}
    assert (profile.points[1].scale, profile.points[1].multiplier * 100) == (2, 1)


def test_the_revision_follows_the_content_not_the_comments(tmp_path):
    path = write(tmp_path, "points:\n  - {name: voltage, address: 0, type: uint16}\n")
    first = load_file(path).revision
    path.write_text("# a comment\n" + path.read_text())
    assert load_file(path).revision == first
    path.write_text(path.read_text().replace("address: 0", "address: 1"))
    assert load_file(path).revision != first


def test_a_new_file_can_be_checked_shown_and_used_before_it_is_merged(tmp_path):
    path = write(tmp_path, "points:\n  - {name: voltage, address: 0, type: uint16, scale: 0.1}\n")
    run = CliRunner().invoke
    assert "1 points: sound" in run(app, ["profiles", "check", str(path)]).stdout
    assert "voltage" in run(app, ["profiles", "show", str(path)]).stdout
    assert "test_meter" in run(app, ["profiles", "list", "test_meter", "--profiles", str(path)]).stdout
    decoded = run(
        app, ["decode", "--profile", "test_meter", "--point", "voltage", "--registers", "2301", "--profiles", str(path)]
    )
    assert '"value":230.1' in decoded.stdout
    path.write_text(path.read_text().replace("uint16", "uint17"))
    refused = run(app, ["profiles", "check", str(path)])
    assert refused.exit_code == 1
    assert "did you mean uint16?" in refused.stderr


def test_a_misspelt_name_suggests_the_right_one():
    with pytest.raises(ProfileError, match="did you mean eastron_sdm630"):
        load_profile("eastron_sdm360")
    assert "eastron_sdm630" in profile_files()


@pytest.mark.parametrize("name", profile_files())
def test_every_profile_can_be_shown_to_people_and_programs(name):
    shown = CliRunner().invoke(app, ["profiles", "show", name]).stdout
    profile = load_profile(name)
    assert all(point.name in shown for point in profile.points)
    assert profile.source.split()[0] in shown
    listed = json.loads(CliRunner().invoke(app, ["profiles", "show", name, "--json"]).stdout)["points"]
    assert [point["unit"] for point in listed] == [point.unit for point in profile.points]
