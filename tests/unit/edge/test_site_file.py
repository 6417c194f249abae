from pathlib import Path

import pytest

from device_profiles.lined_yaml import ProfileError
from edge_agent.settings import load_site

SITE = """\
gateway: gw-1
buses:
  - name: tcp-1
    transport: tcp
    host: 127.0.0.1
    devices:
      - {name: meter-1, profile: eastron_sdm630, unit: 1, poll_s: 5}
      - {name: meter-2, profile: eastron_sdm630, unit: 0}
  - name: rs485-1
    transport: rtu
    serial: /dev/ttyUSB0
    devices:
      - {name: meter-3, profile: eastron_sdm630, unit: 255}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "site.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path: Path) -> list[tuple[int, str, str, str]]:
    with pytest.raises(ProfileError) as caught:
        load_site(path)
    return [(problem.line, problem.where, problem.what, problem.remedy) for problem in caught.value.problems]


def test_a_sound_site_file_is_read_with_its_defaults(write):
    site = load_site(write(SITE))
    assert site.gateway == "gw-1"
    assert [device.name for _, device in site.modbus_devices()] == ["meter-1", "meter-2", "meter-3"]
    assert [device.unit for _, device in site.modbus_devices()] == [1, 0, 255]
    assert site.buses[0].devices[0].poll_s == 5
    assert site.buses[0].devices[1].poll_s is None


def test_paths_are_relative_to_the_site_file(write):
    path = write(SITE + "cloud: {url: 'http://localhost', credential_file: secret}\n")
    site = load_site(path)
    assert site.cloud is not None
    assert site.cloud.credential_file == path.parent / "secret"


def test_every_mistake_is_named_at_once_with_its_line(write):
    found = problems(
        write(
            SITE.replace("host: 127.0.0.1", "hots: 127.0.0.1").replace("unit: 255", "unit: 256").replace("gw-1", "Gw 1")
        )
    )
    assert [(line, where) for line, where, _, _ in found] == [
        (1, "gateway"),
        (3, "buses[0].host"),
        (5, "buses[0].hots"),
        (13, "buses[1].devices[0].unit"),
    ]
    assert found[2][3] == "did you mean “host”?"
    assert "256" in found[3][2]


def test_a_device_name_used_twice_names_the_first_line(write):
    (problem,) = problems(write(SITE.replace("meter-3", "meter-1")))
    assert problem[:3] == (13, "buses[1].devices[0].name", "device “meter-1” is already used on line 7")


def test_two_buses_may_not_share_one_gateway(write):
    text = SITE + "  - {name: other, transport: tcp, host: 127.0.0.1, devices: [{name: m-9, profile: x, unit: 1}]}\n"
    (problem,) = problems(write(text))
    assert problem[0] == 14
    assert "share one connection" in problem[3]


def test_the_same_unit_twice_on_one_bus_is_refused(write):
    (problem,) = problems(write(SITE.replace("unit: 0", "unit: 1")))
    assert problem[:2] == (8, "buses[0].devices[1].unit")


def test_a_key_written_twice_is_refused(write):
    (problem,) = problems(write(SITE + "gateway: gw-2\n"))
    assert problem[:3] == (14, "gateway", "stands twice (first on line 1)")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("gateway: [", "not valid YAML"),
        ("", "is not a site file"),
        ("- 1", "is not a site file"),
        ("gateway: gw\nbuses: &a [*a]\n", "nested deeper"),
        ("gateway: gw\nbuses: [{name: a, transport: can, devices: []}]", "transport"),
    ],
)
def test_a_file_that_is_no_site_file_gives_one_clear_message(write, text, what):
    (problem,) = problems(write(text))
    assert what in problem[1] + problem[2]


def test_a_missing_file_is_named(tmp_path):
    (problem,) = problems(tmp_path / "absent.yaml")
    assert problem[2] == "No such file or directory"
