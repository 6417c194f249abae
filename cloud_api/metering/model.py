"""Values of metering: the ledger's words, meters, registers, intervals."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from cloud_api.kit.errors import DomainError
from cloud_api.kit.ids import MeterId, OrganisationId, PointId, RegisterId, SiteId
from cloud_api.metering.lengths import Lengths


class Quality(StrEnum):
    """How far an interval may be trusted."""

    ACTUAL = "actual"  # Between readings close to both boundaries.
    ESTIMATED = "estimated"  # A known difference, spread over a silence.
    EDITED = "edited"  # A person decided.
    MISSING = "missing"  # Part of the energy is not known; a bill must not use it.


class Method(StrEnum):
    """How an interval's quantity was found."""

    NONE = ""
    DIFFERENCE = "difference"
    INTERPOLATED = "interpolated"
    LINEAR = "linear"
    CHECK_METER = "check_meter"
    PROFILE = "profile"  # After the mean of like days.
    SIMILAR_TEMPERATURE = "similar_temperature"
    PREVIOUS_YEAR = "previous_year"
    CLASS_PROFILE = "class_profile"
    ZERO = "zero"  # With evidence that nothing was used.
    EDIT = "edit"


class Reason(StrEnum):
    """Why an interval is not an ordinary one."""

    NONE = ""
    GAP = "gap"
    PARTIAL = "partial"  # The register's life begins or ends inside.
    ROLLOVER = "rollover"
    UNEXPLAINED_FALL = "unexplained_fall"
    UNKNOWN_STOP = "unknown_stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """One counter of a meter, with the meter's settings that the ledger needs."""

    id: RegisterId
    organisation_id: OrganisationId
    meter_id: MeterId
    quantity: str
    unit: str
    point_id: PointId | None
    multiplier: Decimal
    modulus: Decimal | None
    is_delta: bool
    interval_minutes: int  # Before the first change of its meter's length.
    gap_minutes: int | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The quantity one register counted in `[starts_at, ends_at)`; `source_…` are the readings it lies between."""

    register_id: RegisterId
    starts_at: datetime
    ends_at: datetime
    quantity: Decimal
    quality: str
    method: str
    reason: str
    revision: int
    computed_at: datetime
    source_from: datetime | None
    source_to: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterInterval:
    """The quantity a meter counted in `[starts_at, ends_at)`, over all its registers; the worst quality of them."""

    meter_id: MeterId
    starts_at: datetime
    ends_at: datetime
    quantity: Decimal
    quality: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """What a meter used in a period, and how complete that is."""

    meter_id: MeterId
    quantity: Decimal
    estimated: Decimal
    edited: Decimal
    interval_count: int
    missing_count: int
    expected_count: int

    @property
    def is_complete(self) -> bool:
        """Tell whether every interval of the period is there and known."""
        return self.missing_count == 0 and self.interval_count == self.expected_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A billing-relevant instrument and its place in the meter tree."""

    id: MeterId
    site_id: SiteId
    parent_meter_id: MeterId | None
    code: str
    name_zh: str
    name_en: str
    utility: str
    use: str
    lengths: Lengths
    zone: ZoneInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A register's cumulative value at one instant, as the meter displayed it."""

    register_id: RegisterId
    taken_at: datetime
    value: Decimal
    source: str
    quality: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingLine:
    """A reading as the evidence of an interval shows it."""

    register_id: RegisterId
    taken_at: datetime
    value: Decimal
    source: str
    quality: str
    is_excluded: bool


class MeterNotFound(DomainError):
    """There is no such meter, or it is not yours to see."""

    code = "meter_not_found"
    status = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerChange:
    """A stretch of a register's ledger in which a known value became another one."""

    id: int
    register_id: RegisterId
    starts_at: datetime
    ends_at: datetime
    changed_at: datetime
