"""What the agent is told: EDGE_ variables of its process, and the commissioned site file (YAML)."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from device_profiles.lined_yaml import LinedFile, Location, Problem, ProfileError, dotted, read_yaml

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]
PointName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=1, le=65_535)]
UnitId = Annotated[int, Field(ge=0, le=255)]  # 0 and 255 are ordinary unit ids on TCP.

OFFLINE_PERIODS = 3  # A device that states no `timeout_s` is lost after so many of its fastest periods…
OFFLINE_S_MIN = 10.0  # …but not earlier than this.


def default_timeout_s(poll_s: float) -> float:
    """Return how long a polled device that states no `timeout_s` may be silent before it is offline, in seconds."""
    return max(OFFLINE_PERIODS * poll_s, OFFLINE_S_MIN)


class AgentSettings(BaseSettings):
    """The agent's own settings; the only place that reads the environment.

    `EDGE_CREDENTIAL` is the gateway's secret for the cloud; the site file may name a file that holds it instead.
    """

    model_config = SettingsConfigDict(env_prefix="EDGE_", frozen=True, extra="ignore")

    credential: SecretStr | None = None
    privacy_key: SecretStr | None = None  # Hashes card numbers; the same on all gateways of a site. Default: made once.
    data_dir: Path = Path("edge-data")  # Outbox, learned register gaps, commissioning records, pulled configuration.
    status_host: str = "127.0.0.1"
    status_port: Annotated[int, Field(ge=0, le=65_535)] = 8017  # 0 turns the status page off.
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class _Section(BaseModel):
    """A part of the site file: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sparkplug(_Section):
    """A broker that takes observations as Sparkplug B, for our cloud or another host application."""

    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Port = 1883
    group: Annotated[str, Field(pattern=r"^[^+/#\s]+$", max_length=100)]
    node: Annotated[str, Field(pattern=r"^[^+/#\s]+$", max_length=100)] | None = None  # Default: the gateway's name.
    primary_host: Annotated[str, Field(pattern=r"^[^+/#\s]+$", max_length=100)] | None = None
    # The specification wants 0; with 1 the broker keeps what a host application that was killed had not acknowledged.
    data_qos: Literal[0, 1] = 0
    host_silence_s: Seconds = 90  # 1.5 × the keep-alive of the primary host: so long its death goes unnoticed.
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None  # Relative to the site file.


class Cloud(_Section):
    """Where observations go. Without this section the agent keeps everything in its outbox."""

    uplink: Literal["https", "mqtt"] = "https"
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=500)] | None = None
    credential_file: Path | None = None  # Instead of EDGE_CREDENTIAL; relative to the site file.
    ca_file: Path | None = None  # A private certificate authority.
    sparkplug: Sparkplug | None = None

    @model_validator(mode="after")
    def _uplink_has_an_address(self) -> Self:
        if self.uplink == "https" and self.url is None:
            raise ValueError("uplink https needs the cloud's address; add url: https://…")
        if self.uplink == "mqtt" and self.sparkplug is None:
            raise ValueError("uplink mqtt needs a broker; add sparkplug: {host: …, group: …}")
        return self


class Outbox(_Section):
    """The durable queue on disk; `bytes_max_mb` is how long the site may be offline (see the sizing table)."""

    path: Path | None = None  # Default: outbox.sqlite3 in EDGE_DATA_DIR.
    bytes_max_mb: Annotated[int, Field(ge=8, le=100_000)] = 512
    age_max_days: Annotated[float, Field(gt=0, le=3650)] = 90


class PointOverride(_Section):
    """One point of one device, treated other than its profile says."""

    poll_s: Seconds | None = None
    enabled: bool = True


class _Device(_Section):
    """What every device has, whichever way it talks."""

    name: Name
    profile: Annotated[str, Field(min_length=1, max_length=100)]
    label: Annotated[str, Field(max_length=200)] = ""
    timeout_s: Seconds | None = None  # Without an answer for so long the device is offline.
    attributes: dict[str, str | int | float | bool] = Field(default_factory=dict)  # Serial number, place, …
    points: dict[PointName, PointOverride] = Field(default_factory=dict)


class ModbusDevice(_Device):
    """One unit id on a bus, read with a profile."""

    unit: UnitId
    poll_s: Seconds | None = None  # Fast and normal points; without it each rate of the profile has its own.
    writes: list[PointName] = Field(default_factory=list)  # Points that may be set; none by default.
    instances: dict[str, list[Annotated[int, Field(ge=0, le=255)]]] = Field(default_factory=dict)  # Repeated blocks.
    word_order: Literal["big", "little"] | None = None  # Only where the device was set other than its profile.
    byte_order: Literal["big", "little"] | None = None
    response_timeout_s: Annotated[float, Field(gt=0, le=60)] | None = None
    request_delay_ms: Annotated[float, Field(ge=0, le=10_000)] | None = None
    registers_max: Annotated[int, Field(ge=1, le=125)] | None = None
    gap_max: Annotated[int, Field(ge=0, le=124)] | None = None


class _Bus(_Section):
    """One line or one gateway: one connection, one request at a time, shared by all its devices."""

    name: Name
    response_timeout_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    request_delay_ms: Annotated[float, Field(ge=0, le=10_000)] | None = None  # Silence before each request.
    connect_delay_ms: Annotated[float, Field(ge=0, le=60_000)] = 0  # Silence after connecting.
    devices: Annotated[list[ModbusDevice], Field(min_length=1, max_length=2000)]


class _SocketBus(_Bus):
    host: Annotated[str, Field(min_length=1, max_length=253)]

    @property
    def endpoint(self) -> str:
        """Host and port, as people write them."""
        return f"{self.host}:{getattr(self, 'port')}"  # noqa: B009  # Each transport has its own default port.


class TcpBus(_SocketBus):
    """Modbus TCP."""

    transport: Literal["tcp"]
    port: Port = 502
    ignore_transaction_id: bool = False  # For gateways that answer with a constant transaction id.


class RtuOverTcpBus(_SocketBus):
    """RTU frames through a serial server in transparent mode."""

    transport: Literal["rtu_over_tcp"]
    port: Port
    baud: Annotated[int, Field(ge=300, le=1_000_000)] = 9600  # Of the line behind it, for the bus-time budget.


class TlsBus(_SocketBus):
    """Modbus/TCP Security: TLS, optionally with a client certificate."""

    transport: Literal["tls"]
    port: Port = 802
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None  # The name in the device's certificate where it is not `host`.

    @model_validator(mode="after")
    def _certificate_has_key(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self


class RtuBus(_Bus):
    """A serial line. All devices on it share its settings."""

    transport: Literal["rtu"]
    serial: Annotated[str, Field(min_length=1, max_length=500)]
    baud: Annotated[int, Field(ge=300, le=1_000_000)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    data_bits: Literal[7, 8] = 8
    stop_bits: Literal[1, 2] = 1

    @property
    def endpoint(self) -> str:
        """The serial device."""
        return self.serial


Bus = Annotated[TcpBus | RtuOverTcpBus | TlsBus | RtuBus, Field(discriminator="transport")]


class MqttDevice(_Device):
    """One thing behind a broker; its profile says which topics and payloads belong to it."""

    topic: Annotated[str, Field(min_length=1, max_length=500)]  # The device's own prefix, such as `shellies/em-3`.
    parameters: dict[str, str | int | float] = Field(default_factory=dict)

    @property
    def offline_after_s(self) -> float | None:
        """How long the device may be silent before it is offline; None where it only speaks on change."""
        return self.timeout_s


class MqttBroker(_Section):
    """One connection to a broker as a source of observations and events."""

    name: Name
    host: Annotated[str, Field(min_length=1, max_length=253)]
    port: Port = 1883
    tls: bool = False
    ca_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None  # Relative to the site file.
    client_id: str | None = None
    protocol: Literal["5", "3.1.1"] = "5"
    devices: Annotated[list[MqttDevice], Field(min_length=1, max_length=5000)]


class Site(_Section):
    """A commissioned site: which devices hang on which bus of this gateway."""

    gateway: Name
    zone: Annotated[str, Field(max_length=64)] = "Asia/Shanghai"  # For device clocks that name no time zone.
    version: int | None = None  # Set by the cloud when it hands the configuration out.
    cloud: Cloud | None = None
    outbox: Outbox = Outbox()
    profiles: Path | None = None  # A folder with profiles of one's own; relative to the site file.
    buses: Annotated[list[Bus], Field(max_length=2000)] = Field(default_factory=list)
    mqtt: Annotated[list[MqttBroker], Field(max_length=50)] = Field(default_factory=list)

    @field_validator("buses", "mqtt", mode="before")
    @classmethod
    def _empty_key_is_empty_list(cls, value: Any) -> Any:
        return [] if value is None else value

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("is no time zone; write one such as Asia/Shanghai")
        return value

    def modbus_devices(self) -> Iterator[tuple[Bus, ModbusDevice]]:
        """Every Modbus device with its bus."""
        for bus in self.buses:
            for device in bus.devices:
                yield bus, device


def outbox_path(site: Site, settings: AgentSettings) -> Path:
    """Return where the outbox of a site is kept."""
    return site.outbox.path or settings.data_dir / "outbox.sqlite3"


def load_site(path: Path) -> Site:
    """Read a site file; raises ProfileError with every mistake in it, each with line and remedy."""
    return parse_site(read_yaml(path))


def parse_site(file: LinedFile, *, folder: Path | None = None) -> Site:
    """Check what `read_yaml` read; raises ProfileError."""
    if not isinstance(file.data, dict):
        raise ProfileError([problem_at(file, (), "is not a site file", "begin with “gateway: NAME” and “buses:”")])
    try:
        site = Site.model_validate(file.data)
    except ValidationError as error:
        raise ProfileError([*file.problems, *(_translated(file, one) for one in error.errors())]) from error
    problems = [*file.problems, *_collisions(site, file)]
    if problems:
        raise ProfileError(problems)
    return _with_absolute_paths(site, folder or Path(file.path).resolve().parent)


def _collisions(site: Site, file: LinedFile) -> Iterator[Problem]:
    """Names and addresses that must stand only once."""
    seen: dict[tuple[str, str], int] = {}

    def again(kind: str, value: str, location: Location, remedy: str) -> Iterator[Problem]:
        first = seen.setdefault((kind, value), file.line(location))
        if first != file.line(location):
            yield problem_at(file, location, f"{kind} “{value}” is already used on line {first}", remedy)

    for b, bus in enumerate(site.buses):
        yield from again("bus", bus.name, ("buses", b, "name"), "give each bus a name of its own")
        key = "serial" if isinstance(bus, RtuBus) else "host"
        remedy = "put all devices of one gateway or line under one bus: they share one connection"
        yield from again("endpoint", bus.endpoint, ("buses", b, key), remedy)
        units: dict[tuple[int, str], int] = {}
        for d, device in enumerate(bus.devices):
            where = ("buses", b, "devices", d)
            yield from again("device", device.name, (*where, "name"), "device names are unique on a gateway")
            line = file.line((*where, "unit"))
            first = units.setdefault((device.unit, device.profile), line)
            if first != line:
                what = f"unit {device.unit} is already read with {device.profile} on line {first}"
                yield problem_at(file, (*where, "unit"), what, "give the device its own unit id")
    for b, broker in enumerate(site.mqtt):
        yield from again("bus", broker.name, ("mqtt", b, "name"), "give each broker a name of its own")
        for d, device in enumerate(broker.devices):
            where = ("mqtt", b, "devices", d, "name")
            yield from again("device", device.name, where, "device names are unique on a gateway")


def problem_at(file: LinedFile, location: Location, what: str, remedy: str) -> Problem:
    """Describe a mistake on the line of `location`."""
    return Problem(path=file.path, line=file.line(location), where=dotted(location), what=what, remedy=remedy)


def _translated(file: LinedFile, error: ErrorDetails) -> Problem:
    """Say what pydantic found in the words of the file."""
    location: Location = ()
    for index, part in enumerate(error["loc"]):
        # pydantic adds the tag of a union, which stands nowhere in the file.
        if (*location, part) in file.lines or index == len(error["loc"]) - 1:
            location = (*location, part)
    key = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        near = get_close_matches(key, SITE_KEYS, n=1)
        return problem_at(file, location, "is not a known key", f"did you mean “{near[0]}”?" if near else "remove it")
    if error["type"] == "missing":
        return problem_at(file, location, "is missing", f"add “{key}: …”")
    given = "" if isinstance(error["input"], (dict, list)) else f" (found {error['input']})"
    return problem_at(file, location, error["msg"].removeprefix("Value error, ") + given, "correct the value")


def _with_absolute_paths(model: Any, folder: Path) -> Any:
    """Paths in the file are relative to the file, not to where the agent was started."""
    changed: dict[str, Any] = {}
    for key in type(model).model_fields:
        value = getattr(model, key)
        if isinstance(value, Path):
            changed[key] = folder / value
        elif isinstance(value, BaseModel):
            changed[key] = _with_absolute_paths(value, folder)
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            changed[key] = [_with_absolute_paths(item, folder) for item in value]
    return model.model_copy(update=changed)


SITE_KEYS = sorted(
    {
        key
        for section in (Site, Cloud, Outbox, PointOverride, MqttBroker, MqttDevice, ModbusDevice)
        for key in section.model_fields
    }
    | {key for bus in (TcpBus, RtuOverTcpBus, TlsBus, RtuBus) for key in bus.model_fields}
)
