"""The cloud takes the catalogue of a gateway that has one device of every profile."""

import orjson
import pytest

from cloud_api.devices.model import Catalogue
from device_profiles.catalog import load_profile, profile_files
from device_profiles.model import ModbusProfile
from edge_agent.commissioned import Commissioned
from edge_agent.settings import Site
from edge_agent.uplink.wire import encode_catalogue


@pytest.mark.parametrize("name", sorted(profile_files()))
def test_the_cloud_reads_what_the_agent_says_of(name):
    profile = load_profile(name)
    common = {"name": "device-1", "profile": name, "label": "三层"}
    if isinstance(profile, ModbusProfile):
        bus = {"name": "b", "transport": "tcp", "host": "127.0.0.1", "devices": [{**common, "unit": 1}]}
        site = Site.model_validate({"gateway": "gw-1", "buses": [bus]})
    else:
        broker = {"name": "b", "host": "127.0.0.1", "devices": [{**common, "topic": "base"}]}
        site = Site.model_validate({"gateway": "gw-1", "mqtt": [broker]})
    commissioned = Commissioned(site=site, profiles={"device-1": profile})
    message, revision = encode_catalogue(commissioned.catalogue({}), agent_version="0.1.0", started_at_ms=1)
    read = Catalogue.model_validate(orjson.loads(message))
    assert read.revision == revision
    scales = {point.name: point.scale for point in read.devices[0].points}
    assert scales == {point.name: point.scale for point in profile.points if not point.is_text}
