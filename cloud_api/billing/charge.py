"""What rating is given and what it makes: usage, cycle and facts; charged lines and their sum. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cloud_api.billing.demand import Peaks
from cloud_api.billing.tariff import Label
from cloud_api.kit.i18n import Text
from cloud_api.kit.money import CENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A quantity in one bucket of one tariff version."""

    version: str
    bucket: str
    quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used: slices in order of time (order matters only to sequential tiers), demand peaks, reactive energy.

    `feeds` holds the highest averages (kW) per bucket for each feed. `reactive_kvarh` is |forward| + |reverse|; None
    means it was not measured.
    """

    slices: tuple[Slice, ...] = ()
    feeds: tuple[Peaks, ...] = ()
    coincident: Peaks | None = None
    reactive_kvarh: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """The full billing cycle `[starts_on, ends_on)` in local dates, and the part of it that is billed."""

    starts_on: date
    ends_on: date
    billed_from: date
    billed_to: date

    @property
    def days(self) -> int:
        """Days of the full cycle."""
        return (self.ends_on - self.starts_on).days

    @property
    def billed_days(self) -> int:
        """Days of the billed part."""
        return (self.billed_to - self.billed_from).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the rating has to know about the account beside its use.

    `used_before` is the use already billed in the running tier period ("*" in all, or per bucket). `earlier` maps the
    first day of earlier months to what was used then: ratchets look at its demand. `service_from` and `service_to`
    bound the supply inside a tier period of two months or a year. `adjustments` gives the amount of each `adjust`
    component.
    """

    contract_kw: Decimal | None = None
    capacity_kva: Decimal | None = None
    used_before: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    earlier: Mapping[date, Usage] = field(default_factory=dict[date, Usage])
    service_from: date | None = None
    service_to: date | None = None
    adjustments: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    power_factor: Decimal | None = None
    """The main meter's, where the adjustment belongs to it; else it follows from the usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One printed line. `amount` is `amount_exact` rounded half-up once; `tax` is its share of the group's VAT."""

    component: str
    name: Label
    kind: str
    version: str
    starts_on: date
    ends_on: date
    quantity: Fraction
    unit: str
    unit_price: Fraction | None
    amount_exact: Fraction
    amount: Decimal
    bucket: str | None = None
    bucket_label: Label | None = None
    tier: int | None = None
    vat_rate: Decimal = Decimal(0)
    tax_included: bool = True
    tax: Decimal = Decimal(0)
    note: Text | None = None
    source: str = "own"
    """Whose energy the line prices: the tenant's own, its share of common areas, or of losses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VatGroup:
    """VAT of all lines with one rate: net + tax = gross."""

    rate: Decimal
    tax_included: bool
    net: Decimal
    tax: Decimal
    gross: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """Something that keeps the result from being a bill: a missing fact, price or calendar."""

    code: str
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """The charges of one cycle. `total` is the sum of the printed lines, VAT lines included."""

    lines: tuple[Line, ...]
    vat: tuple[VatGroup, ...]
    total: Decimal
    issues: tuple[Issue, ...] = ()


def round_fraction(value: Fraction, quantum: Decimal = CENT) -> Decimal:
    """Round an exact fraction half away from zero to `quantum`."""
    unit = Fraction(quantum)
    scaled = abs(value) / unit
    whole = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
    return (Decimal(whole if value >= 0 else -whole) * quantum).quantize(quantum)


def said(text: Text) -> dict[str, Any]:
    """Return a text as JSON data: what translates it with its values (a text among them likewise), and in English."""
    values = {k: said(v) if isinstance(v, Text) else str(v) for k, v in text.values.items()}
    return {"message": text.message, "values": values, "text": str(text)}


def unsaid(found: Mapping[str, Any]) -> Text:
    """Return the text that `said` wrote down."""
    values = {k: unsaid(v) if isinstance(v, Mapping) else v for k, v in found["values"].items()}
    return Text(found["message"], **values)


def issue_json(issue: Issue) -> dict[str, Any]:
    """Return an issue as JSON data."""
    return {"code": issue.code} | said(issue.text)
