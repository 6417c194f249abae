"""Leases as values: who holds which space from when to when."""

import hashlib
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from cloud_api.kit.i18n import Text


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
    currencies: tuple[tuple[int, str], ...] = ()
    """Row and currency, where the record tells one: it has to be the site's, and is not stored."""
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """What tells whether the source says the same again, whatever was changed here since."""
        spaces = [(s.space, str(s.starts_on), str(s.ends_on), str(s.area_m2)) for s in self.spaces]
        told = (
            self.version,
            self.number,
            self.tenant,
            self.head_count,
            sorted(spaces),
            sorted(self.attributes.items()),
        )
        return hashlib.sha256(repr(told).encode()).hexdigest()

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


Verdict = Literal["new", "changed", "unchanged", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseVerdict:
    """What an import does with one lease of the file."""

    lease: LeaseRecord
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did, and each refused row with its reason."""

    tenants: int = 0
    leases: tuple[LeaseVerdict, ...] = ()

    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: tuple[Text, ...] = ()
    findings: tuple[Text, ...] = ()
