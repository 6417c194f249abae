"""What a bill run reads and what it makes. Values only."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing.apportionment import Apportioned, Holding
from cloud_api.billing.calendar import HolidayCalendar
from cloud_api.billing.charge import Issue, Usage
from cloud_api.billing.cycle import Days, full_cycle
from cloud_api.billing.demand import Peaks
from cloud_api.billing.policy import Policy
from cloud_api.billing.tariff import Tariff
from cloud_api.billing.timetable import Run
from cloud_api.kit.period import Period
from cloud_api.metering.lengths import Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """The site whose tenants are billed."""

    id: int
    organisation_id: int
    code: str
    name: Mapping[str, str]
    issuer: Mapping[str, str]
    time_zone: str
    currency: str
    owner_id: int
    contract_demand_kw: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterFacts:
    """A meter of the site's utility, its place in the tree and the length of its intervals."""

    id: int
    code: str
    name: Mapping[str, str]
    use: str
    parent_id: int | None
    lengths: Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterShare:
    """A dated share of a meter that measures a space."""

    meter_id: int
    space_id: int
    space: str
    share: Decimal
    valid_from: datetime | None
    valid_to: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """Who holds a space, in local days; `area_m2` as leased."""

    space_id: int
    space: str
    tenant_id: int
    lease_id: int
    lease: str
    lease_version: int
    starts_on: date
    ends_on: date | None
    area_m2: Decimal
    people: int | None
    contract_kw: Decimal | None = None
    capacity_kva: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceFacts:
    """A space that can be let and its area in `[starts_on, ends_on)`, for the owner's share of what is vacant."""

    id: int
    code: str
    area_m2: Decimal
    starts_on: date | None
    ends_on: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFacts:
    """What a space was called in `[starts_on, ends_on)`, on which floor of which building it stood."""

    space_id: int
    starts_on: date | None
    ends_on: date | None
    space: Mapping[str, str]
    floor: Mapping[str, str]
    building: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFacts:
    """Whom a bill is for."""

    id: int
    code: str
    name: Mapping[str, str]
    credit_code: str | None
    attributes: Mapping[str, Any]
    is_owner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of one meter whose energy is asked for; holdings are empty for the main and common meters."""

    index: int
    meter: MeterFacts
    period: Period
    holdings: tuple[Holding, ...] = ()
    subtract_from: int | None = None
    """The part of the parent meter that this energy is taken off, for meters that hang under a tenant's meter."""

    @property
    def expected_count(self) -> int:
        """Intervals in the part."""
        return self.meter.lengths.count(self.period)


@dataclass(slots=True, kw_only=True)
class PartEnergy:
    """Energy of a part in micro-kWh per run, and how far it can be trusted."""

    runs: dict[int, int] = field(default_factory=dict[int, int])
    estimated: int = 0
    count: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A register's value beside a boundary of a part."""

    register_id: int
    taken_at: datetime | None
    value: Decimal | None
    multiplier: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyDemand:
    """Highest averages in kW: per feed (meter), of all meters together, and at the main meter's highest window."""

    feeds: tuple[Peaks, ...] = ()
    coincident: Peaks = field(default_factory=dict[str, Sequence[Decimal]])
    at_site_maximum: Peaks = field(default_factory=dict[str, Sequence[Decimal]])


EarlierDemand = Mapping[date, Mapping[int | None, PartyDemand]]
"""Demand per party (None: the main meters) by the first day of the calendar month in which its cycle began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What a two-part tariff asks for beside energy: demand and kvarh per party (None: the main meters), contracts."""

    demand: Mapping[int | None, PartyDemand] = field(default_factory=dict[int | None, PartyDemand])
    reactive_kvarh: Mapping[int | None, Decimal] = field(default_factory=dict[int | None, Decimal])
    contract_kw: Mapping[int, Decimal] = field(default_factory=dict[int, Decimal])
    capacity_kva: Mapping[int, Decimal] = field(default_factory=dict[int, Decimal])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """Everything that decides the bills of one period; the same inputs give the same bytes."""

    site: SiteFacts
    utility: str
    starts_on: date
    ends_on: date
    period: Period
    tariff: Tariff
    tariff_revision: int
    tariff_sha256: str
    landlord_tariff: Tariff
    calendar: HolidayCalendar
    policy: Policy
    runs: Sequence[Run]
    parts: Sequence[Part]
    energy: Mapping[int, PartEnergy]
    readings: Mapping[tuple[int, str], Sequence[Reading]]
    tenants: Mapping[int, TenantFacts]
    tenancies: Sequence[Tenancy]
    spaces: Sequence[SpaceFacts]
    used_before: Mapping[int, Mapping[str, Decimal]]
    earlier: Mapping[tuple[int, str], Mapping[str, Any]]
    """(tenant, "last_month" or "last_year") → total and kWh of that bill."""
    places: Sequence[PlaceFacts] = ()
    earlier_demand: EarlierDemand = field(default_factory=dict[date, Mapping[int | None, PartyDemand]])
    utility_bill: Mapping[str, Any] | None = None
    """The utility's bill of exactly this period."""
    utility_bills_beside: Sequence[Days] = ()
    """Periods of the utility's bills that share some days with this one."""
    after_hours: Mapping[int, Usage] = field(default_factory=dict[int, Usage])
    """Hours of air conditioning after hours by tenant, priced by `after_hours_tariff` on the electricity bill."""
    after_hours_tariff: Tariff | None = None
    final_bills: frozenset[int] = frozenset()
    """Tenants who moved out and got their final bill: they count in the reconciliation and get no second bill."""
    supply: Supply = field(default_factory=Supply)
    recovered_before: Decimal = Decimal(0)
    paid_before: Decimal = Decimal(0)

    @property
    def cycle(self) -> Days:
        """The full billing cycle that the period is, or is a part of: what fixed amounts are shared over."""
        return full_cycle(self.starts_on, self.ends_on, self.policy.cycle_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillDraft:
    """One computed bill. Its snapshot is kept packed: a run holds thousands of them until the last one is rated."""

    tenant_id: int
    kind: str
    total: Decimal
    recovered: Decimal
    """What it charges for energy and its supply, VAT included."""
    exact: Fraction
    """The sum of its lines before rounding."""
    issues: tuple[Issue, ...]
    packed: bytes
    resale: Mapping[str, Any] | None = None

    @property
    def snapshot(self) -> dict[str, Any]:
        """What the bill prints and what proves it, unpacked anew at each call."""
        return unpacked(self.packed) | ({} if self.resale is None else {"resale": dict(self.resale)})


def packed(snapshot: Mapping[str, Any]) -> bytes:
    """Return JSON data in a fifth of its length, and a twentieth of its memory."""
    return zlib.compress(json.dumps(snapshot, ensure_ascii=False).encode(), level=1)


def unpacked(content: bytes) -> dict[str, Any]:
    """Return what `packed` took."""
    return json.loads(zlib.decompress(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """All bills of a run, the reconciliation and what forbids issuing."""

    bills: tuple[BillDraft, ...]
    apportioned: Apportioned
    summary: dict[str, Any]
