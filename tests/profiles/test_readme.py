"""The README promises ten minutes and every key: both are tried."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from device_profiles import schema
from device_profiles.catalog import ROOT, load_file
from device_profiles.lined_yaml import parse_yaml
from device_profiles.model import DataType, ModbusProfile
from edge_agent.drivers.modbus.codec import decode_point, factor_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = [
    model
    for model in vars(schema).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == schema.__name__
]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_of_a_profile_is_explained(section):
    missing = [key for key in section.model_fields if not re.search(rf"`(?:{key}|[^`]*\b{key}\b[^`]*)`", README)]
    assert missing == []


def test_every_type_is_named():
    assert [type_ for type_ in DataType if f"`{type_}`" not in README] == []


def test_the_example_of_the_readme_is_a_sound_profile_and_its_case_holds(tmp_path: Path):
    profile_text, case_text = (
        re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    )
    path = tmp_path / "maker_model.yaml"
    path.write_text(profile_text, encoding="utf-8")
    profile = load_file(path)
    case = parse_yaml(case_text, "README").data
    assert isinstance(profile, ModbusProfile)
    assert case["profile"] == profile.name
    for name, expected in case["readings"].items():
        point = profile.point(name)
        value, _ = decode_point(point, case["registers"][point.function][point.address])
        assert float(factor_of(point, value)) == float(expected)
