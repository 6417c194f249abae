"""Makes the link to the cloud that the site file names; nothing here sends."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from edge_agent.clock import ConfirmedClock
from edge_agent.outbox import Outbox
from edge_agent.settings import AgentSettings, Cloud, Site, Sparkplug
from edge_agent.tls import TlsFileError
from edge_agent.uplink.https import Destination, HttpsUplink
from edge_agent.uplink.mqtt import SparkplugDestination, SparkplugUplink
from edge_agent.uplink.wire import Catalogue

VERSION = "0.1.0"

Uplink = HttpsUplink | SparkplugUplink


class StartError(Exception):
    """The agent cannot work with what it was told; the message says what a person must mend."""


def make_uplink(
    site: Site,
    settings: AgentSettings,
    outbox: Outbox,
    *,
    clock: ConfirmedClock,
    catalogue: Callable[[], Catalogue],
    health: Callable[[], Mapping[str, Any]],
    on_answer: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> Uplink | None:
    """Return the uplink of a site, None when it names no cloud. Raises StartError."""
    cloud = site.cloud
    if cloud is None:
        return None
    try:
        if cloud.uplink == "mqtt":
            assert cloud.sparkplug is not None
            return SparkplugUplink(
                _sparkplug_destination(cloud.sparkplug, site.gateway), outbox, catalogue=catalogue, now_ms=clock.now_ms
            )
        return HttpsUplink(
            _destination(cloud, settings),
            outbox,
            catalogue=catalogue,
            health=health,
            on_answer=on_answer,
            agent_version=VERSION,
            now_ms=clock.now_ms,
            set_clock=clock.confirm,
        )
    except (TlsFileError, ValueError) as error:
        raise StartError(f"cloud: {error}") from error


def _destination(cloud: Cloud, settings: AgentSettings) -> Destination:
    assert cloud.url is not None
    return Destination(url=cloud.url, credential=_credential(cloud.credential_file, settings), ca_file=cloud.ca_file)


def _credential(file: Path | None, settings: AgentSettings) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise StartError(f"{file}: {error.strerror}: cloud.credential_file must hold the credential") from error
    if settings.credential is None:
        raise StartError("no credential for the cloud: set EDGE_CREDENTIAL, or cloud.credential_file in the site file")
    return settings.credential.get_secret_value()


def _sparkplug_destination(broker: Sparkplug, gateway: str) -> SparkplugDestination:
    try:
        password = broker.password_file.read_text(encoding="utf-8").strip() if broker.password_file else None
    except OSError as error:
        raise StartError(f"{broker.password_file}: {error.strerror}: it must hold the broker's password") from error
    return SparkplugDestination(
        host=broker.host,
        port=broker.port,
        group=broker.group,
        node=broker.node or gateway,
        primary_host=broker.primary_host,
        data_qos=broker.data_qos,
        host_silence_s=broker.host_silence_s,
        username=broker.username,
        password=password,
        tls=broker.tls,
        ca_file=broker.ca_file,
    )
