"""The roads to the cloud and to a broker over TLS with a private authority, on real sockets."""

import asyncio
import contextlib
import os
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from device_profiles.catalog import load_mqtt
from edge_agent.drivers.mqtt.subscriber import BrokerSubscriber
from edge_agent.outbox import Outbox
from edge_agent.settings import MqttBroker, MqttDevice
from edge_agent.tls import TlsFileError
from edge_agent.uplink.backoff import Backoff
from edge_agent.uplink.https import Destination, HttpsUplink
from edge_agent.uplink.mqtt import SparkplugDestination, SparkplugUplink
from tests.integration.edge.test_https_uplink import catalogue_of, frame
from tests.support.authority import Authority
from tests.support.broker import MOSQUITTO, Broker
from tests.support.contract_cloud import ContractCloud


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def outbox(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    yield box
    box.close()


@contextlib.asynccontextmanager
async def at_work(*works):
    tasks = [asyncio.create_task(work()) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110  # A socket decides.
            await asyncio.sleep(0.02)


def uplink_to(url, outbox, ca_file):
    return HttpsUplink(
        Destination(url=url, credential="secret", ca_file=ca_file, timeout_s=5),
        outbox,
        catalogue=lambda: catalogue_of("p0", "p1"),
        health=dict,
        backoff=Backoff(first_s=0.02, max_s=0.1),
    )


async def test_a_cloud_of_a_private_authority_gets_the_data(authority, outbox):
    cloud = ContractCloud()
    url = await cloud.start(tls=authority.server())
    uplink = uplink_to(url, outbox, authority.certificate)
    async with at_work(uplink.run, outbox.run):
        outbox.append([frame(1000, 2.5)])
        await until(lambda: len(cloud.stored) == 2)
    assert uplink.status.state == "connected"
    await cloud.stop()


async def test_a_cloud_that_nobody_signed_for_never_sees_the_credential_and_the_data_wait(authority, outbox, tmp_path):
    cloud = ContractCloud()
    url = await cloud.start(tls=Authority(tmp_path, "stranger").server())
    uplink = uplink_to(url, outbox, authority.certificate)
    async with at_work(uplink.run, outbox.run):
        outbox.append([frame(1000, 2.5)])
        await until(lambda: uplink.status.failures >= 3)
    assert "CERTIFICATE_VERIFY_FAILED" in uplink.status.last_error
    assert (cloud.stored, cloud.heartbeats, cloud.catalogues) == ({}, [], 0)
    assert sum(outbox.waiting().values()) == 2
    await cloud.stop()


def test_a_file_of_the_site_file_that_is_no_certificate_is_named(outbox, tmp_path):
    with pytest.raises(TlsFileError, match=r"nowhere\.pem: .*must hold an authority's certificate"):
        uplink_to("https://127.0.0.1:1", outbox, tmp_path / "nowhere.pem")


@pytest.mark.skipif(not Path(MOSQUITTO).exists() and not os.environ.get("CI"), reason="needs mosquitto")
class TestBroker:
    @pytest.fixture
    def broker(self, authority, tmp_path):
        broker = Broker(tmp_path, tls=authority.sign("broker")).start()
        yield broker
        broker.stop()

    def subscriber(self, broker, outbox, ca_file):
        device = MqttDevice(name="door-1", profile="json_door_reader", topic="doors", parameters={"door": "lobby"})
        settings = MqttBroker(
            name="broker", host="127.0.0.1", port=broker.port, tls=True, ca_file=ca_file, devices=[device]
        )
        sources = [(device, load_mqtt(device.profile))]
        return BrokerSubscriber(settings, sources, outbox, gateway="g", zone=ZoneInfo("UTC"), key=b"k" * 32)

    async def test_a_source_behind_a_private_authority_is_heard(self, authority, broker, outbox):
        subscriber = self.subscriber(broker, outbox, authority.certificate)
        async with at_work(subscriber.run):
            await until(lambda: subscriber.is_connected)

    # paho leaves the socket of a handshake that failed to the garbage collector.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_a_broker_that_nobody_signed_for_is_not_talked_to_and_the_reason_is_told(
        self, broker, outbox, tmp_path
    ):
        stranger = Authority(tmp_path, "stranger")
        subscriber = self.subscriber(broker, outbox, stranger.certificate)
        async with at_work(subscriber.run):
            await until(lambda: subscriber.last_error)
            assert "CERTIFICATE_VERIFY_FAILED" in subscriber.last_error
            assert not subscriber.is_connected

    async def test_sparkplug_reaches_a_broker_of_a_private_authority(self, authority, broker, outbox):
        uplink = SparkplugUplink(
            SparkplugDestination(
                host="127.0.0.1", port=broker.port, group="g", node="n", tls=True, ca_file=authority.certificate
            ),
            outbox,
            catalogue=lambda: catalogue_of("p0", "p1"),
        )
        async with at_work(uplink.run, outbox.run):
            outbox.append([frame(1000, 2.5)])
            await until(lambda: uplink.status.observations == 2)
