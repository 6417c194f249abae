"""Leases as values: who holds which space from when to when."""

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRecord:
    """A tenant as another system describes it."""

    code: str
    name_zh: str
    name_en: str
    credit_code: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceTerm:
    """One space of a lease for `[starts_on, ends_on)`; no end means until further notice."""

    row: int
    space: str
    starts_on: date
    ends_on: date | None
    area_m2: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """A lease as another system describes it: identity is source, external id and version."""

    number: str
    external_id: str
    tenant: str
    spaces: tuple[SpaceTerm, ...]
    version: int | None = None
    head_count: int | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def starts_on(self) -> date:
        """First day of the first space."""
        return min(s.starts_on for s in self.spaces)

    @property
    def ends_on(self) -> date | None:
        """Day after the last day of the last space; None without an end."""
        ends = [s.ends_on for s in self.spaces]
        known = [e for e in ends if e is not None]
        return max(known) if len(known) == len(ends) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, and each refused row with its reason."""

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
