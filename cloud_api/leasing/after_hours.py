"""Air conditioning after hours: tenants ask, a policy or a person approves, the tariff for `hvac` charges it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal

import psycopg
from psycopg import AsyncConnection
from pydantic import TypeAdapter, ValidationError

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, Invalid, NotFound
from cloud_api.leasing import repository
from cloud_api.leasing.repository import as_json, queries
from cloud_api.leasing.service import Site, audit

BY_RULE = "policy:after_hours"
REQUESTS_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterHoursPolicy:
    """Named parameters of a site.

    notice_hours: how long before its start a request has to be made to be approved by rule; later ones wait for a
    person. block_minutes: what is charged is rounded up to. minimum_minutes: the least that is charged.
    """

    approval: Literal["automatic", "by_staff"] = "automatic"
    notice_hours: int = 2
    block_minutes: Literal[15, 30, 60] = 30
    minimum_minutes: int = 60
    hours_max: int = 16


_POLICY: TypeAdapter[AfterHoursPolicy] = TypeAdapter(AfterHoursPolicy)


class RequestRefused(DomainError):
    """Air conditioning cannot be asked for like this."""

    code = "request_refused"
    status = 422


async def find_policy(conn: AsyncConnection, site: Site) -> AfterHoursPolicy:
    """Return the parameters in force at a site."""
    found = await repository.rows(conn, queries.after_hours_policy, {"site_id": site.id})
    return _POLICY.validate_python(found[0]["content"] or {}) if found else AfterHoursPolicy()


async def set_policy(
    conn: AsyncConnection, site: Site, content: Mapping[str, Any], *, actor: str, clock: Clock
) -> AfterHoursPolicy:
    """Change parameters of a site; those not given keep their value."""
    try:
        policy = _POLICY.validate_python(asdict(await find_policy(conn, site)) | dict(content))
    except ValidationError as error:
        raise Invalid("parameters of air conditioning after hours: {problem}", problem=error) from error
    await repository.store(
        conn, queries.set_after_hours_policy, {"site_id": site.id, "content": as_json(asdict(policy))}
    )
    detail = asdict(policy)
    await audit(conn, site, clock, actor=actor, action="after_hours.policy", subject=f"site/{site.code}", detail=detail)
    return policy


def billable(starts: datetime, ends: datetime, policy: AfterHoursPolicy) -> tuple[datetime, datetime]:
    """Return the period that is charged: whole blocks, at least the minimum."""
    block = timedelta(minutes=policy.block_minutes)
    length = max(ends - starts, timedelta(minutes=policy.minimum_minutes))
    return starts, starts + -(-length // block) * block


def outside(
    starts: datetime, ends: datetime, entitled: Sequence[tuple[datetime, datetime]]
) -> list[tuple[datetime, datetime]]:
    """Return what is left of a period outside the hours that belong to the lease anyway."""
    left = [(starts, ends)]
    for first, last in entitled:
        left = [part for a, b in left for part in ((a, min(b, first)), (max(a, last), b)) if part[0] < part[1]]
    return left


async def request(
    conn: AsyncConnection,
    site: Site,
    *,
    tenant_id: int,
    space: str,
    starts: datetime,
    ends: datetime,
    actor: str,
    clock: Clock,
) -> dict[str, Any]:
    """Ask for air conditioning in a space of the tenant's. Returns id, state and the period that will be charged.

    Hours that belong to the lease are not asked for: the request is cut to what lies outside them. With enough notice
    the policy approves it. Raises RequestRefused.
    """  # fmt: skip
    policy = await find_policy(conn, site)
    now = clock.now()
    if ends <= starts:
        raise RequestRefused("the end has to be after the start")
    if starts < now:
        raise RequestRefused("the start has passed; ask for a later one")
    if ends - starts > timedelta(hours=policy.hours_max):
        raise RequestRefused("at most {hours} hours can be asked for at once", hours=policy.hours_max)
    day = starts.astimezone(site.zone).date()
    ids = {"site_id": site.id, "tenant_id": tenant_id, "space": space, "day": day}
    held = await repository.rows(conn, queries.held_by_tenant, ids)
    if not held:
        raise RequestRefused("{space} is not a space of your lease on {day}", space=space, day=day)
    entitled = await _entitled(conn, site, held[0]["lease_id"], starts, ends)
    parts = outside(starts, ends, entitled)
    if not parts:
        raise RequestRefused("air conditioning belongs to your lease at these hours")
    if len(parts) > 1:
        raise RequestRefused("the hours of your lease lie in between: ask before and after them")
    first, last = billable(*parts[0], policy)
    approved = policy.approval == "automatic" and first - now >= timedelta(hours=policy.notice_hours)
    values = {"lease_id": held[0]["lease_id"], "space_id": held[0]["space_id"], "first": first, "last": last}
    values |= {"state": "approved" if approved else "requested", "at": now, "actor": actor}
    values |= {"decided_at": now if approved else None, "decided_by": BY_RULE if approved else None}
    try:
        async with conn.transaction():
            row = (await repository.rows(conn, queries.add_hvac_request, values))[0]
    except psycopg.errors.ExclusionViolation as error:
        raise RequestRefused("there is a request for this space and time already") from error
    return {"id": row["id"], "state": values["state"], "starts_at": first, "ends_at": last}


async def _entitled(
    conn: AsyncConnection, site: Site, lease_id: int, starts: datetime, ends: datetime
) -> list[tuple[datetime, datetime]]:
    zone = site.zone
    first, last = starts.astimezone(zone).date(), ends.astimezone(zone).date()
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    hours = await repository.rows(conn, queries.hours_on_days, {"lease_id": lease_id, "days": days})

    def at(row: Mapping[str, Any], clock_time: time) -> datetime:
        return datetime.combine(row["day"], clock_time, zone).astimezone(UTC)

    return [(at(row, row["starts"]), at(row, row["ends"])) for row in hours]


async def decide(
    conn: AsyncConnection, request_id: int, *, approve: bool, reason: str, actor: str, clock: Clock
) -> None:
    """Approve or reject a request before it begins; rejecting needs a reason."""
    if not approve and not reason.strip():
        raise Invalid("rejecting a request needs a reason")
    await _end(conn, request_id, "approved" if approve else "rejected", ["requested"], reason, actor, clock)


async def cancel(
    conn: AsyncConnection, request_id: int, *, actor: str, clock: Clock, tenant_id: int | None = None
) -> None:
    """Take a request back before it begins; it is not charged. `tenant_id` keeps a tenant to its own requests."""
    await _end(conn, request_id, "cancelled", ["requested", "approved"], "", actor, clock, tenant_id=tenant_id)


async def _end(
    conn: AsyncConnection,
    request_id: int,
    state: str,
    from_states: list[str],
    reason: str,
    actor: str,
    clock: Clock,
    *,
    tenant_id: int | None = None,
) -> None:
    values = {"id": request_id, "state": state, "from_states": from_states, "reason": reason.strip(), "actor": actor}
    values |= {"at": clock.now(), "tenant_id": tenant_id}
    if not await repository.rows(conn, queries.decide_hvac_request, values):
        raise NotFound("this request has begun, was decided, or is not there")


async def requests(
    conn: AsyncConnection, organisation_id: int, *, tenant_id: int | None = None
) -> list[dict[str, Any]]:
    """Return requests (of a tenant), those that wait first, then the latest."""
    values = {"organisation_id": organisation_id, "tenant_id": tenant_id, "limit": REQUESTS_SHOWN_MAX}
    return await repository.rows(conn, queries.hvac_requests, values)


async def booked(
    conn: AsyncConnection, organisation_id: int, now: datetime, hours: int = 24, *, tenant_id: int | None = None
) -> list[dict[str, Any]]:
    """Return what is booked after hours in the next hours, by start."""
    values = {"organisation_id": organisation_id, "now": now, "until": now + timedelta(hours=hours)}
    return await repository.rows(conn, queries.booked_after_hours, values | {"tenant_id": tenant_id})


async def spaces_of(conn: AsyncConnection, tenant_id: int, day: Any) -> list[dict[str, Any]]:
    """Return the spaces that a tenant holds on a day."""
    return await repository.rows(conn, queries.spaces_of_tenant, {"tenant_id": tenant_id, "day": day})
