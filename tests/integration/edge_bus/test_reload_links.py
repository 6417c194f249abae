"""A site file that changes the way to the cloud, or how much is kept, while the agent is at work."""

import asyncio

import pytest

from edge_agent import agent as agents
from tests.integration.edge_bus.devices import METER, Registers
from tests.integration.edge_bus.servers import serving
from tests.integration.edge_bus.test_agent import agent_on, site_text, until
from tests.support.contract_cloud import ContractCloud


@pytest.fixture
def site(tmp_path):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "test_meter.yaml").write_text(METER, encoding="utf-8")
    (tmp_path / "secret").write_text("secret\n", encoding="utf-8")
    return tmp_path / "site.yaml"


@pytest.fixture
async def server():
    registers = Registers()
    registers.meter(1)
    async with serving(registers.answer) as server:
        yield server


@pytest.fixture
async def clouds():
    pair = ContractCloud(), ContractCloud()
    for cloud in pair:
        cloud.url = await cloud.start()
    yield pair
    for cloud in pair:
        await cloud.stop()


def text(server, url, more=""):
    return site_text(server.port, [1], 0.2) + f"cloud: {{url: '{url}', credential_file: secret}}\n{more}"


async def test_data_go_to_another_cloud_from_one_request_to_the_next_and_none_are_lost(site, server, clouds):
    first, second = clouds
    site.write_text(text(server, first.url), encoding="utf-8")
    async with agent_on(site, status_port=0):
        await until(lambda: len(first.stored) > 3)
        site.write_text(text(server, second.url), encoding="utf-8")
        await until(lambda: len(second.stored) > 3)
        assert second.catalogue is not None
        assert server.connections == 1
    numbers = {seq for cloud in clouds for _, seq in cloud.stored}
    assert numbers == set(range(1, max(numbers) + 1))


async def test_a_cloud_section_that_cannot_be_used_changes_nothing_and_is_shown(site, server, clouds):
    first, second = clouds
    site.write_text(text(server, first.url), encoding="utf-8")
    async with agent_on(site, status_port=0) as agent:
        await until(lambda: len(first.stored) > 3)
        site.write_text(text(server, second.url).replace("credential_file: secret", "credential_file: nowhere"))
        await until(lambda: bool(agent.site_problems))
        assert "nowhere: No such file or directory" in agent.site_problems[0]
        count = len(first.stored)
        await until(lambda: len(first.stored) > count + 3)
    assert second.stored == {}


async def test_the_size_of_the_outbox_holds_at_once_and_its_place_from_the_next_start(site, server, clouds):
    site.write_text(text(server, clouds[0].url), encoding="utf-8")
    async with agent_on(site, status_port=0) as agent:
        site.write_text(text(server, clouds[0].url, "outbox: {bytes_max_mb: 9, path: elsewhere.db}\n"))
        await until(lambda: agent.outbox.report()["bytes_max"] == 9 * 1024**2)
        assert "until it is started anew" in agent.site_notes[0]
        assert not (site.parent / "elsewhere.db").exists()
        beats = len(clouds[0].heartbeats)
        await until(lambda: len(clouds[0].heartbeats) > beats + 1, 30)
        assert "started anew" in clouds[0].heartbeats[-1]["configuration"]["problems"][0]
    async with agent_on(site, status_port=0) as agent:
        assert agent.site_notes == []
        assert (site.parent / "elsewhere.db").exists()


async def test_a_version_from_the_cloud_that_leads_away_from_it_is_rolled_back(site, server, clouds, monkeypatch):
    monkeypatch.setattr(agents, "LINK_CONFIRM_S", 3.0)
    monkeypatch.setattr(agents, "CONFIRM_AFTER_S", 1.0)
    first, second = clouds
    await second.stop()
    site.write_text(text(server, first.url), encoding="utf-8")
    first.heartbeat_answer = {"configuration": {"version": 8, "site": text(server, second.url)}}
    async with agent_on(site, status_port=0) as agent:
        await until(lambda: agent.configuration.report()["state"] == "trying", 30)
        await until(lambda: agent.configuration.report()["state"] == "rolled_back", 30)
        assert agent.configuration.report()["refused"] == 8
        beats = len(first.heartbeats)
        await until(lambda: len(first.heartbeats) > beats, 30)
        assert first.heartbeats[-1]["configuration"]["state"] == "rolled_back"
    await second.start()
    await asyncio.sleep(0)
