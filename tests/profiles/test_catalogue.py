"""Rules that hold for every profile of the package; a failure lists all offenders."""

import json
import re
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest

from device_profiles import json_schema
from device_profiles.catalog import FOLDERS, ROOT, load_profile, profile_files
from device_profiles.lined_yaml import read_yaml
from device_profiles.model import ModbusProfile, Profile
from device_profiles.vocabulary import QUANTITIES

PROFILES: list[Profile] = [load_profile(name) for name in profile_files()]
POINTS = [(profile, point) for profile in PROFILES for point in profile.points]


def test_names_of_profiles_and_points_are_snake_case_and_used_once():
    names = [profile.name for profile in PROFILES]
    assert sorted(set(names)) == sorted(names)
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*", name)] == []
    assert [(p.name, point.name) for p, point in POINTS if not re.fullmatch(r"[a-z][a-z0-9_]*", point.name)] == []
    for profile in PROFILES:
        points = [point.name for point in profile.points]
        assert sorted(set(points)) == sorted(points), profile.name


def test_every_point_has_a_brick_class_a_unit_of_the_dictionary_and_both_labels():
    wrong = [
        (profile.name, point.name)
        for profile, point in POINTS
        if not point.brick
        or point.unit != QUANTITIES[point.quantity].unit
        or not (point.label_en.strip() and point.label_zh.strip())
    ]
    assert wrong == []


def test_registers_that_bills_are_made_from_are_exact():
    wrong = [
        (profile.name, point.name)
        for profile, point in POINTS
        if QUANTITIES[point.quantity].is_billing and not (point.exact and point.scale is not None and point.is_billing)
    ]
    assert wrong == []


def test_every_writable_point_has_a_range_and_a_writable_table():
    wrong = [
        (profile.name, point.name)
        for profile, point in POINTS
        if point.write is not None
        and (point.write.low >= point.write.high or point.write.function not in {"coil", "holding"})
    ]
    assert wrong == []


@pytest.mark.parametrize("profile", [p for p in PROFILES if isinstance(p, ModbusProfile)], ids=lambda p: p.name)
def test_every_value_lies_inside_the_address_space_and_fits_one_read(profile):
    for point in profile.points:
        assert point.end <= 65536, point.name
        assert point.count <= profile.limits.registers_per_read, point.name


def test_every_profile_names_an_honest_source():
    assert [
        p.name for p in PROFILES if len(p.source) < 20 or p.confidence not in {"documented", "captured", "certified"}
    ] == []


def test_the_schema_for_editors_is_the_one_the_models_give():
    assert json_schema.TARGET.read_text(encoding="utf-8") == json_schema.rendered(), "run: make porcelain"


def plain(value: Any) -> Any:
    """YAML as an editor sees it."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return float(value) if isinstance(value, Decimal) else value


@pytest.mark.parametrize("path", profile_files().values(), ids=lambda path: path.stem)
def test_an_editor_with_the_schema_finds_nothing_wrong_in_a_sound_profile(path):
    validator = jsonschema_rs.validator_for(json.loads(json_schema.TARGET.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(plain(read_yaml(path).data))] == []


def test_an_editor_with_the_schema_marks_a_misspelt_key():
    document = plain(read_yaml(profile_files()["xy_md02"]).data)
    document["points"][0]["adress"] = 1
    validator = jsonschema_rs.validator_for(json.loads(json_schema.TARGET.read_text(encoding="utf-8")))
    assert not validator.is_valid(document)


def test_at_least_45_profiles_cover_every_kind_of_device():
    assert len(PROFILES) >= 45
    assert {profile.category for profile in PROFILES} >= {"meter", "heat", "hvac", "sensor", "counter", "access"}


def test_no_file_stands_outside_the_folders_that_the_catalogue_reads():
    stray = [path.name for path in ROOT.rglob("*.y*ml") if path.parent.name not in FOLDERS or path.suffix != ".yaml"]
    assert stray == []


def test_points_that_need_factors_find_them_in_the_same_table_or_in_a_slower_group():
    missing = [
        (profile.name, point.name, name)
        for profile, point in POINTS
        if isinstance(profile, ModbusProfile)
        for name in getattr(point, "factor_names", ())
        if name not in {other.name for other in profile.points}
    ]
    assert missing == []


def test_states_are_words_of_the_dictionary_and_writable_states_can_be_written():
    wrong = [
        (profile.name, point.name, word)
        for profile, point in POINTS
        for word in point.states.values()
        if QUANTITIES[point.quantity].states and word not in QUANTITIES[point.quantity].states.values()
    ]
    assert wrong == []


def test_every_quantity_has_both_labels_and_a_brick_class_written_like_one():
    wrong = [
        quantity.name
        for quantity in QUANTITIES.values()
        if not (quantity.en and quantity.zh) or not re.fullmatch(r"[A-Z][A-Za-z0-9._]*", quantity.brick)
    ]
    assert wrong == []
