"""Gateways, and the catalogue of devices and points that an agent announces."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_api.kit.errors import DomainError
from cloud_api.kit.ids import GatewayId, OrganisationId

DEVICES_MAX = 2_000
POINTS_MAX = 20_000
SCALE_MAX = 9  # The ledger keeps nine decimals; no meter displays more.

Text = Annotated[str, Field(max_length=400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Who speaks: the gateway behind a credential."""

    id: GatewayId
    organisation_id: OrganisationId
    name: str


class CatalogueModel(BaseModel):
    """Border values of the catalogue; unknown keys come from newer agents and are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class WriteLimits(CatalogueModel):
    """The guard rails of a point that its site file allows to be set; limits are in the point's unit."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    step: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    release_after_s: int | None = Field(default=None, ge=0, le=86_400 * 31)


class CataloguePoint(CatalogueModel):
    """A named signal of a device."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)
    kind: Literal["sensor", "setpoint", "command", "status", "alarm", "parameter", "attribute"] = "sensor"
    quantity: Text = ""
    unit: Text = ""
    brick: Text | None = ""
    scale: int | None = Field(default=None, ge=0, le=SCALE_MAX)
    cumulative: bool = False
    labels: dict[str, Any] = {}
    write: WriteLimits | None = None


class CatalogueDevice(CatalogueModel):
    """One addressable thing on a bus or topic."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)
    label: Text = ""
    profile: Text = ""
    profile_revision: Text = ""
    bus: Text = ""
    address: Text = ""
    poll_s: float | None = Field(default=None, ge=0, le=86_400 * 31)
    timeout_s: float | None = Field(default=None, ge=0, le=86_400 * 31)
    attributes: dict[str, Any] = {}
    points: list[CataloguePoint] = Field(default=[], max_length=POINTS_MAX)


class Catalogue(CatalogueModel):
    """Everything a gateway reads; it replaces what the cloud knew (ARCHITECTURE.md, section 9)."""

    v: Literal[1]
    agent: dict[str, Any] = {}
    revision: str = Field(max_length=200)
    devices: list[CatalogueDevice] = Field(max_length=DEVICES_MAX)


class ConfigurationReport(CatalogueModel):
    """Which site file the agent runs with (None: its own), and what became of the last one offered."""

    version: int | None = Field(default=None, ge=0, lt=2**31)
    state: Literal["local", "trying", "confirmed", "refused", "rolled_back"] = "local"
    problems: list[Annotated[str, Field(max_length=2_000)]] = Field(default=[], max_length=50)
    refused: int | None = Field(default=None, ge=0, lt=2**31)


class HeartbeatDevice(CatalogueModel):
    """What the agent thinks of one device now."""

    name: str = Field(max_length=100)
    state: Literal["unknown", "online", "offline"]
    since_ms: int | None = Field(default=None, ge=0, le=4_102_444_800_000)
    last_error: str | None = Field(default="", max_length=2_000)


class Heartbeat(CatalogueModel):
    """Sent every ten seconds; everything but the devices is kept as it is, for the health page."""

    model_config = ConfigDict(frozen=True, extra="allow")

    v: Literal[1] = 1
    clock_offset_ms: int | None = Field(default=None, ge=-(2**31), lt=2**31)
    configuration: ConfigurationReport | None = None
    devices: list[HeartbeatDevice] = Field(default=[], max_length=DEVICES_MAX)


class CredentialRefused(DomainError):
    """The gateway credential is unknown or revoked: `cloud-api gateway credential NAME` makes a new one."""

    code = "credential_refused"
    status = 401


class GatewayDisabled(DomainError):
    """This gateway was disabled by an administrator."""

    code = "gateway_disabled"
    status = 403


class GatewayRefused(DomainError):
    """The gateway cannot be added or found as asked."""

    code = "gateway_refused"
    status = 409


class CatalogueRefused(DomainError):
    """The catalogue contradicts itself."""

    code = "catalogue_refused"
    status = 422


class ConfigurationRefused(DomainError):
    """The site file cannot be offered to this gateway."""

    code = "configuration_refused"
    status = 422


class CommandRefused(DomainError):
    """The point cannot be set as asked."""

    code = "command_refused"
    status = 422
