from pathlib import Path

import pytest

from device_profiles.lined_yaml import ProfileError
from edge_agent.configuration import STARTS_MAX, Configuration

LOCAL = """\
gateway: gw-1
cloud: {url: "http://localhost", credential_file: secret}
buses:
  - {name: b, transport: tcp, host: 127.0.0.1, devices: [{name: m-1, profile: eastron_sdm630, unit: 1}]}
"""
NEWER = LOCAL.replace("m-1", "m-2")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(LOCAL, encoding="utf-8")
    return path


def configuration(site: Path) -> Configuration:
    return Configuration(site, site.parent / "data" / "configuration")


def device(commissioned) -> str:
    return commissioned.site.buses[0].devices[0].name


def test_a_sound_version_is_tried_confirmed_and_holds_after_a_restart(site):
    ours = configuration(site)
    assert device(ours.start()) == "m-1"
    offered = ours.offer(7, NEWER)
    assert offered is not None
    assert device(offered) == "m-2"
    assert ours.report()["state"] == "trying"
    ours.confirm()
    again = configuration(site)
    assert device(again.start()) == "m-2"
    assert again.report() == {"version": 7, "state": "confirmed", "problems": [], "refused": None}


def test_paths_stay_relative_to_the_file_the_agent_was_started_with(site):
    offered = configuration(site).offer(7, NEWER)
    assert offered is not None
    assert offered.site.cloud is not None
    assert offered.site.cloud.credential_file == site.parent / "secret"


def test_a_broken_version_is_refused_with_its_mistakes_and_changes_nothing(site):
    ours = configuration(site)
    assert ours.offer(7, NEWER.replace("unit: 1", "unit: 999")) is None
    report = ours.report()
    assert (report["version"], report["state"], report["refused"]) == (None, "refused", 7)
    assert "999" in str(report["problems"])
    assert device(configuration(site).start()) == "m-1"


def test_the_same_version_is_not_tried_again(site):
    ours = configuration(site)
    assert ours.offer(7, "gateway: [") is None
    assert ours.offer(7, NEWER) is None
    assert ours.offer(8, NEWER) is not None
    assert ours.offer(8, NEWER) is None


def test_a_version_that_keeps_killing_the_agent_is_rolled_back(site):
    configuration(site).offer(7, NEWER)
    for _ in range(STARTS_MAX):
        assert device(configuration(site).start()) == "m-2"
    last = configuration(site)
    assert device(last.start()) == "m-1"
    assert last.report()["state"] == "rolled_back"
    assert last.report()["refused"] == 7


def test_a_version_whose_file_was_damaged_is_rolled_back_at_the_start(site):
    ours = configuration(site)
    ours.offer(7, NEWER)
    ours.confirm()
    ours.path.write_text("gateway: [", encoding="utf-8")
    assert device(configuration(site).start()) == "m-1"


def test_a_broken_local_file_is_a_persons_to_mend(site):
    site.write_text("gateway: [", encoding="utf-8")
    with pytest.raises(ProfileError):
        configuration(site).start()
