"""What a tenant uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from cloud_api.kit.ids import TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedInterval:
    """Energy of all the tenant's meters in `[starts_at, ends_at)`; known only when every meter is."""

    starts_at: datetime
    ends_at: datetime
    energy_kwh: Decimal
    is_known: bool
    is_estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedDay:
    """A local day: energy in all and by time-of-use period; `is_complete` when no interval is missing."""

    day: date
    energy_kwh: Decimal
    by_period: Mapping[str, Decimal] = field(default_factory=dict)
    is_complete: bool
    is_estimated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFacts:
    """The tenant as its own people see it."""

    id: TenantId
    name_zh: str
    name_en: str
    spaces_zh: str
    spaces_en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month so far: its days, what the last month had used by the same day, and where it is heading."""

    first: date
    days: Sequence[UsedDay]
    energy_kwh: Decimal
    until_yesterday_kwh: Decimal
    before_kwh: Decimal | None  # As many days of the month before.
    low_kwh: Decimal | None
    high_kwh: Decimal | None
    weekday_mean_kwh: Decimal | None
    day_off_mean_kwh: Decimal | None
    cost: Decimal | None = None  # Of the own meters so far, by billing's rules; the bill adds shared parts.
    period_names: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # By code: Chinese, English.

    @property
    def cost_low(self) -> Decimal | None:
        """Return the cost that the month is heading for at least, at the average price so far."""
        return self._cost_at(self.low_kwh)

    @property
    def cost_high(self) -> Decimal | None:
        """Return the same at most."""
        return self._cost_at(self.high_kwh)

    def _cost_at(self, energy_kwh: Decimal | None) -> Decimal | None:
        if self.cost is None or energy_kwh is None or not self.energy_kwh:
            return None
        return self.cost * energy_kwh / self.energy_kwh
