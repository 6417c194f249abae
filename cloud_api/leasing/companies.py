"""The tenant companies themselves: names, industry, honours, contacts."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from psycopg import AsyncConnection

from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.leasing import repository
from cloud_api.leasing.repository import as_json, queries

PROFILE = ("industry_zh", "industry_en", "honours_zh", "honours_en", "contact_name", "contact_phone", "contact_email",
           "language")  # fmt: skip
"""What the profile knows beside the names; further attributes of an import are kept untouched."""


async def add(conn: AsyncConnection, *, organisation_id: int, code: str, values: Mapping[str, str]) -> int:
    """Add a company. Raises Invalid for a code that is taken or a missing name."""
    facts = _facts(values) | {"organisation_id": organisation_id, "code": code.strip()}
    if not code.strip():
        raise Invalid("a company needs a code")
    found = await repository.rows(conn, queries.add_tenant, facts)
    if not found:
        raise Invalid("there is a company {code} already", code=code)
    return found[0]["id"]


async def change(conn: AsyncConnection, tenant_id: int, *, organisation_id: int, values: Mapping[str, str]) -> None:
    """Change a company's names and profile. Raises NotFound."""
    facts = _facts(values) | {"organisation_id": organisation_id, "id": tenant_id}
    if not await repository.rows(conn, queries.change_tenant, facts):
        raise NotFound


def _facts(values: Mapping[str, str]) -> dict[str, Any]:
    name = values.get("name_zh", "").strip()
    if not name:
        raise Invalid("a company needs a name")
    profile = {key: values[key].strip() for key in PROFILE if key in values}
    credit = values.get("credit_code", "").strip() or None
    name_en = values.get("name_en", "").strip() or name
    return {"name_zh": name, "name_en": name_en, "credit_code": credit, "attributes": as_json(profile)}


async def profile(conn: AsyncConnection, tenant_id: int, organisation_id: int) -> dict[str, Any]:
    """Return one company. Raises NotFound."""
    found = await repository.rows(conn, queries.tenant_profile, {"id": tenant_id, "organisation_id": organisation_id})
    if not found:
        raise NotFound
    return found[0]


async def find(conn: AsyncConnection, organisation_id: int, code: str) -> dict[str, Any]:
    """Return one company by its code. Raises NotFound."""
    found = await repository.rows(conn, queries.tenant_by_code, {"code": code, "organisation_id": organisation_id})
    if not found:
        raise NotFound("there is no tenant {code}; add the company first", code=code)
    return found[0]


async def companies(conn: AsyncConnection, organisation_id: int, day: date) -> list[dict[str, Any]]:
    """Return the companies with what they hold on a day."""
    return await repository.rows(conn, queries.companies, {"organisation_id": organisation_id, "day": day})
