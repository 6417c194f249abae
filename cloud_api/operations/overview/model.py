"""What the first page shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from cloud_api.kit.ids import MeterId, PointId, RegisterId, SiteId, TenantId
from device_profiles.vocabulary import QUANTITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The place that a page is about."""

    id: SiteId
    code: str
    name_zh: str
    name_en: str
    time_zone: str
    currency: str
    contract_demand_kw: Decimal | None

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.time_zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointNow:
    """A point's latest usable observation; `value` is None when there is none."""

    point_id: PointId
    value: float | None
    observed_at: datetime | None
    stale_after_s: float  # Three polls, or the silence that the device's profile allows; at least a minute.


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePoint:
    """A point of a device with its latest observation, whatever its quality (code as on the wire)."""

    point_id: PointId
    name: str
    kind: str
    quantity: str
    unit: str
    is_cumulative: bool
    value: float | None
    observed_at: datetime | None
    quality: int | None
    stale_after_s: float

    @property
    def name_zh(self) -> str:
        """Its quantity in Chinese, or the point's own name."""
        known = QUANTITIES.get(self.quantity)
        return known.zh if known else self.name

    @property
    def name_en(self) -> str:
        """Its quantity in English, or the point's own name."""
        known = QUANTITIES.get(self.quantity)
        return known.en if known else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterNow:
    """An electricity meter with its power (W) now; `power` is None when its device has no power point."""

    id: MeterId
    code: str
    name_zh: str
    name_en: str
    use: str
    parent_meter_id: MeterId | None
    register_id: RegisterId | None
    level_number: int | None
    power: PointNow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantNow:
    """A tenant with the power of its own meters."""

    tenant_id: TenantId
    code: str
    name_zh: str
    name_en: str
    spaces: str
    power: Sequence[PointNow]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomNow:
    """A space with what its sensors say, by role: zone_temp, co2, humidity."""

    space_code: str
    name_zh: str
    name_en: str
    level_number: int | None
    points: Mapping[str, PointNow]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything on the first page that lives on latest values."""

    site: Site
    at: datetime
    meters: Sequence[MeterNow]
    tenants: Sequence[TenantNow]
    rooms: Sequence[RoomNow]
    outdoor_temperature: PointNow | None

    def meters_of(self, use: str) -> list[MeterNow]:
        """Return the meters of one use: main, floor, tenant, common, plant, check."""
        return [meter for meter in self.meters if meter.use == use]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One interval of the day's curve: average power and the range on similar days, in kW; None where unknown."""

    starts_at: datetime
    power_kw: float | None
    low_kw: float | None
    high_kw: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """Today's curve over the band of similar days, and the energy so far with its comparison."""

    slots: Sequence[Slot]
    energy_kwh: float | None  # None until the ledger has an interval of today.
    similar_energy_kwh: float | None  # Of similar days up to the same time of day, on average.
    similar_days: int
    is_working_day: bool
    peak_kw: float | None
