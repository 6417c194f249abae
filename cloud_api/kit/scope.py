"""Whose rows a transaction may see: the database's row-level security reads it."""

from dataclasses import dataclass
from typing import Literal

from cloud_api.kit.ids import OrganisationId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Set at the start of every transaction; without it no protected row is visible.

    `system` sees everything (jobs, ingest, commands), `staff` one organisation, `tenant` one tenant of it.
    """

    kind: Literal["system", "staff", "tenant"]
    organisation_id: OrganisationId | None = None
    tenant_id: TenantId | None = None


SYSTEM = Scope(kind="system")
