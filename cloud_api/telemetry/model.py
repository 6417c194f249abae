"""Values of telemetry: the newest value of a point, a step of a chart, an event."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from cloud_api.kit.ids import DeviceId, GatewayId, OrganisationId, PointId


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestValue:
    """The newest observation of a point; `exact` only for points with a scale; quality codes as on the wire."""

    point_id: PointId
    observed_at: datetime
    value: float | None
    exact: Decimal | None
    quality: int
    received_at: datetime
    device_id: DeviceId
    device: str
    point: str
    quantity: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesStep:
    """What a point did in one step of a chart; only good and uncertain observations count."""

    starts_at: datetime
    mean: float | None
    low: float | None
    high: float | None
    count: int
    invalid_count: int = 0
    unanswered_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened once; `id` is None until it is stored."""

    id: int | None = None
    organisation_id: OrganisationId
    gateway_id: GatewayId
    device_id: DeviceId | None
    kind: str
    occurred_at: datetime
    received_at: datetime
    data: Mapping[str, Any]
