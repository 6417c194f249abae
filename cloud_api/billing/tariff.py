"""What a tariff is: dated versions of seasons, day types, windows and priced components. Values only, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

Kind = Literal["energy", "demand", "capacity", "fixed", "per_day", "min", "tax", "adjust", "pf", "percent_of"]
DayCount = Literal["thirtieth", "actual_cycle", "actual_days", "degree_days", "none"]
TierBasis = Literal["per_bucket", "cumulative_sequential", "proportional"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

WHOLE_DAY = "all"
"""The bucket of a tariff without windows."""

_STRICT: dict[str, Any] = {"extra": "forbid", "arbitrary_types_allowed": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A name in both languages of the product."""

    zh: str
    en: str
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A time-of-use class such as peak or valley; `ratio` multiplies the price of components that float."""

    name: Label | None = None
    ratio: Decimal | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Season:
    """A part of every year: whole `months`, or from day `starts` to before day `ends` (MM-DD, may cross New Year)."""

    code: str
    name: Label | None = None
    months: tuple[int, ...] = ()
    starts: str | None = None
    ends: str | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRule:
    """Which dates a day type takes; every given condition must hold.

    `kind` follows the holiday calendar: a make-up Saturday is a workday, a holiday on a Tuesday is a holiday.
    `first_days` keeps the first n days of the run of a named holiday. `dates` lists single days (weather days).
    """

    kind: tuple[Literal["workday", "weekend", "holiday"], ...] = ()
    weekdays: tuple[Weekday, ...] = ()
    holiday: tuple[str, ...] = ()
    first_days: int | None = None
    dates: tuple[date, ...] = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class DayType:
    """A class of days; the first type whose rule matches a date takes it. Without a rule it takes every day left."""

    code: str
    name: Label | None = None
    when: DayRule | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Local time of day from `start` to before `end`, in minutes after midnight, that belongs to one bucket.

    Empty `seasons` or `day_types` mean all of them.
    """

    bucket: str
    start: int
    end: int
    seasons: tuple[str, ...] = ()
    day_types: tuple[str, ...] = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One step: quantities up to `up_to` (none in the last step) at one price, or at a price per bucket."""

    up_to: Decimal | None = None
    price: Decimal | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Steps of a price that depends on how much was used in the month, two months or year.

    basis: `cumulative_sequential` fills the steps in order of time, `per_bucket` counts each bucket by itself,
    `proportional` splits each step in the ratio of the buckets. scale: `days` or `months` shrink the steps when
    only a part of the tier period is billed; `none` keeps them.
    """

    steps: tuple[Tier, ...]
    basis: TierBasis = "cumulative_sequential"
    period: Literal["month", "bimonth", "year"] = "month"
    scale: Literal["days", "months", "none"] = "none"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratchet:
    """Billing demand never below `percent` of the highest demand of the `months_back` months before, nor `minimum_kw`.

    `months` limits which calendar months' peaks are looked back at (empty: all).
    """

    percent: Decimal
    months_back: int = 11
    months: tuple[int, ...] = ()
    minimum_kw: Decimal = Decimal(0)
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How billing demand follows from measured demand (kW over `window_min` minutes)."""

    window_min: int = 15
    rule: Literal["actual", "contract105", "legacy95_105", "ratchet"] = "actual"
    buckets: tuple[str, ...] = ()
    feeds: Literal["sum", "coincident"] = "sum"
    band_100_105: Literal["charged", "free"] = "free"
    peaks: int = 1
    ratchet: Ratchet | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One priced part of a bill. `price` is per unit: kWh, kW·month, kVA·month, month or day, by `kind`."""

    code: str
    name: Label
    kind: Kind
    unit: str | None = None
    price: Decimal | None = None
    prices: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    floats: bool = False
    buckets: tuple[str, ...] = ()
    """Energy: only these buckets are charged (empty: all)."""
    tiers: Tiers | None = None
    months: tuple[int, ...] = ()
    demand: Demand | None = None
    percent: Decimal | None = None
    base_codes: tuple[str, ...] = ()
    pf_standard: Decimal | None = None
    guaranteed_quantity: Decimal | None = None
    day_count: DayCount | None = None
    rounding: Decimal = Decimal("0.01")
    price_digits: int | None = None
    vat_rate: Decimal = Decimal(0)
    tax_included: bool = True
    gl_account: str = ""
    fapiao_tax_code: str = ""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The rules in force from local midnight of `valid_from` to local midnight of `valid_to` (excluded)."""

    version: str
    valid_from: date
    valid_to: date | None = None
    doc_no: str = ""
    source_url: str = ""
    note: Label | None = None
    buckets: Mapping[str, Bucket] = field(default_factory=dict[str, Bucket])
    seasons: tuple[Season, ...] = (Season(code="year", months=tuple(range(1, 13))),)
    day_types: tuple[DayType, ...] = (DayType(code="any"),)
    windows: tuple[Window, ...] = (Window(bucket=WHOLE_DAY, start=0, end=1440),)
    components: tuple[Component, ...] = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def bucket_codes(self) -> list[str]:
        """Return the buckets that the windows name, in order of first appearance."""
        return list(dict.fromkeys(window.bucket for window in self.windows))

    def needs_calendar(self) -> bool:
        """Tell whether a holiday or a make-up day can change a price."""
        rules = [day_type.when for day_type in self.day_types if day_type.when]
        return any(rule.kind or rule.holiday for rule in rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """A named tariff with its dated versions, for one utility, currency and time zone."""

    tariff: str
    name: Label
    utility: Literal["electricity", "water", "gas", "heat", "cooling", "hvac"] = "electricity"
    region: str = ""
    currency: str = "CNY"
    time_zone: str = "Asia/Shanghai"
    holiday_calendar: str | None = None
    versions: tuple[Version, ...] = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which months, days and windows are cut."""
        return ZoneInfo(self.time_zone)

    def version_on(self, day: date) -> Version | None:
        """Return the version in force on a local date."""
        for version in self.versions:
            if version.valid_from <= day and (version.valid_to is None or day < version.valid_to):
                return version
        return None


BUCKET_NAMES = {
    "sharp": Label(zh="尖峰", en="Sharp peak"),
    "peak": Label(zh="高峰", en="Peak"),
    "flat": Label(zh="平段", en="Flat"),
    "valley": Label(zh="低谷", en="Valley"),
    "deep": Label(zh="深谷", en="Deep valley"),
    WHOLE_DAY: Label(zh="全天", en="All day"),
}
"""Names of the usual buckets; a tariff file may give its own."""


def bucket_name(version: Version, code: str) -> Label:
    """Return the bucket's name from the version, else the usual one, else its code."""
    bucket = version.buckets.get(code)
    if bucket and bucket.name:
        return bucket.name
    return BUCKET_NAMES.get(code, Label(zh=code, en=code))
