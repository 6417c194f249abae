"""The life of a tenancy: application, review, move-in, move-out; each step one transaction."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cloud_api.billing import settlement
from cloud_api.billing.final_bill import issue_final_bills
from cloud_api.billing.inputs import find_policy
from cloud_api.billing.inputs import find_site as find_billing_site
from cloud_api.billing.states import NotIssuable
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.kit.period import local_day
from cloud_api.leasing.access import align_access, end_cards, lease_doors
from cloud_api.leasing.service import Site, shown_site
from cloud_api.operations.tenancy import repository
from cloud_api.operations.tenancy.handover import HandoverRefused, meters_at, read_meters
from cloud_api.operations.tenancy.repository import Row, execute, lock_lease, note, one, queries, rows, set_status

OFFICE_HOURS = [(day, "08:00", "18:00") for day in range(1, 6)] + [(6, "08:00", "13:00")]
"""Air conditioning that belongs to a lease unless it says otherwise: Mon-Fri 8-18, Sat 8-13."""


async def apply(
    conn: AsyncConnection,
    site: Site,
    *,
    tenant_id: int,
    number: str,
    first: date,
    last_day: date | None,
    spaces: Sequence[str],
    actor: str,
    clock: Clock,
    people: int | None = None,
) -> int:
    """File an application for spaces; nothing is held until it is approved. Returns the lease's id."""
    if not spaces:
        raise Invalid("an application names at least one space")
    if not number.strip():
        raise Invalid("an application needs a number")
    if last_day is not None and last_day < first:
        raise Invalid("the last day {last_day} is before the first {first}", last_day=last_day, first=first)
    values = {"organisation_id": site.organisation_id, "tenant_id": tenant_id, "number": number, "first": first}
    values["after"] = None if last_day is None else last_day + timedelta(days=1)
    try:
        async with conn.transaction():
            row = await one(conn, queries.add_application, values)
    except psycopg.errors.UniqueViolation as error:
        raise Invalid("there is a lease or application {number} already", number=number) from error
    assert row is not None
    asked = {"site": site.code, "spaces": list(spaces)} | ({} if people is None else {"people": people})
    await set_status(conn, row["id"], "application", asked)
    await note(conn, row["id"], "application", asked, actor, clock)
    return row["id"]


async def take_into_review(conn: AsyncConnection, site: Site, number: str, *, actor: str, clock: Clock) -> None:
    """Say that somebody looks at an application now."""
    lease = await lock_lease(conn, site, number, {"application"})
    await set_status(conn, lease["id"], "review", {})
    await note(conn, lease["id"], "review", {}, actor, clock)


async def review(
    conn: AsyncConnection, site: Site, number: str, *, approve: bool, reason: str, actor: str, clock: Clock
) -> None:
    """Approve an application, which then holds its spaces, or reject it with a reason."""
    lease = await lock_lease(conn, site, number, {"application", "review"})
    if not approve:
        if not reason.strip():
            raise Invalid("rejecting an application needs a reason")
        await set_status(conn, lease["id"], "rejected", {})
    else:
        row = await one(conn, queries.attributes, {"lease_id": lease["id"]})
        asked = (row or {"attributes": {}})["attributes"]
        await _reserve(conn, site, lease["id"], asked.get("spaces", []))
        await set_status(conn, lease["id"], "approved", {})
        if "people" in asked:
            values = {"lease_id": lease["id"], "day": lease["starts_on"], "people": asked["people"]}
            await execute(conn, queries.set_head_count, values)
    await note(conn, lease["id"], "approved" if approve else "rejected", {"reason": reason}, actor, clock)


async def decide(
    conn: AsyncConnection, site: Site, number: str, *, decision: str, reason: str, actor: str, clock: Clock
) -> None:
    """Take an application into review (`review`), approve or reject it (`approve`, `reject`)."""
    if decision == "review":
        await take_into_review(conn, site, number, actor=actor, clock=clock)
    else:
        await review(conn, site, number, approve=decision == "approve", reason=reason, actor=actor, clock=clock)


async def _reserve(conn: AsyncConnection, site: Site, lease_id: int, spaces: list[str]) -> None:
    values = {"lease_id": lease_id, "site_id": site.id, "spaces": spaces}
    try:
        async with conn.transaction():
            held = await rows(conn, queries.reserve, values)
    except psycopg.errors.ExclusionViolation as error:
        raise HandoverRefused([Text("another lease holds one of the spaces for part of the term")]) from error
    if len(held) != len(set(spaces)):
        raise Invalid("not every space of {spaces} exists and can be let", spaces=", ".join(spaces))


async def move_in(
    conn: AsyncConnection,
    site: Site,
    number: str,
    *,
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
) -> dict[str, Decimal]:
    """Open a tenancy on its lease's first day: an opening reading of every meter, entitlements, the account.

    A meter with telemetry of that instant reads itself; the others need a value in `readings` (meter → value). Raises
    HandoverRefused while another account on a space is open or a meter has no reading. Returns the opening readings.
    """
    lease = await lock_lease(conn, site, number, {"approved"})
    day = lease["starts_on"]
    if local_day(day, site.zone).start > clock.now():
        raise Invalid("the lease begins on {day}: the opening readings cannot be known yet", day=day)
    held = await rows(conn, queries.spaces_held, {"lease_id": lease["id"], "day": day})
    ids = {"lease_id": lease["id"], "day": day, "space_ids": [s["space_id"] for s in held]}
    reasons = [
        Text(
            "space {space} still has the open account of lease {number}: move it out",
            space=r["space"],
            number=r["number"],
        )
        for r in await rows(conn, queries.open_accounts, ids)
    ]
    at = local_day(day, site.zone).start
    opening = await read_meters(conn, ids["space_ids"], at, readings, clock, reasons=reasons)
    await execute(conn, queries.activate, ids)
    await entitle(conn, lease["id"], day, OFFICE_HOURS, replace=False)
    await align_access(conn, lease["id"], day)
    await note(conn, lease["id"], "move_in", {"on": day, "readings": opening}, actor, clock)
    return opening


async def entitle(
    conn: AsyncConnection, lease_id: int, day: date, hours: Sequence[tuple[int, str, str]], *, replace: bool
) -> None:
    """Give a lease air-conditioning hours (weekday, from, to) from a day to its end; unless it has some, or replace."""
    values = {"weekday": [h[0] for h in hours], "starts": [h[1] for h in hours], "ends": [h[2] for h in hours]}
    await execute(conn, queries.entitle, values | {"lease_id": lease_id, "day": day, "replace": replace})


async def move_out(
    conn: AsyncConnection,
    site: Site,
    number: str,
    *,
    last_day: date,
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
    without_final_bill: str = "",
) -> dict[str, Any]:
    """Close a tenancy at the end of a day: closing readings, final bill, deposit settled, entitlements ended.

    A tenant whose other leases go on keeps its account: the month's run bills these days too, and the deposit stays.
    `without_final_bill` is the reason for leaving the final bill to the month's run. The deposit pays what is open;
    what is left of it is told, to be paid out. Raises HandoverRefused when a meter has no closing reading or the final
    bill cannot be issued.
    """
    lease = await lock_lease(conn, site, number, {"active"})
    after = last_day + timedelta(days=1)
    if after <= lease["starts_on"]:
        raise Invalid(
            "the lease began on {starts_on}; it cannot end on {last_day}",
            starts_on=lease["starts_on"],
            last_day=last_day,
        )
    at = local_day(after, site.zone).start
    if at > clock.now():
        raise Invalid("{last_day} is not over yet: the closing readings cannot be known", last_day=last_day)
    held = await rows(conn, queries.spaces_held, {"lease_id": lease["id"], "day": last_day})
    standing = {"organisation_id": site.organisation_id, "number": number, "day": after}
    reasons = [
        Text("the sub-lease {number} still runs: move it out first", number=r["number"])
        for r in await rows(conn, queries.running_subleases, standing)
    ]
    closing = await read_meters(conn, [s["space_id"] for s in held], at, readings, clock, reasons=reasons)
    await end_lease(conn, lease["id"], after)
    values = {"tenant_id": lease["tenant_id"], "lease_id": lease["id"], "day": after}
    others = [row["number"] for row in await rows(conn, queries.other_tenancies, values)]
    bills: list[str] = []
    used = Decimal(0)
    if not others:
        if not without_final_bill.strip():
            bills = await _final_bills(conn, site, lease["tenant_id"], after, actor=actor, clock=clock)
        await end_cards(conn, lease["tenant_id"], after)
        used = await settle_deposit(conn, lease, number, after, actor=actor, clock=clock)
    left = (await settlement.balances(conn, lease["tenant_id"]))["deposit"]
    done = {
        "readings": closing,
        "final_bills": bills,
        "deposit_used": used,
        "deposit_left": left,
        "other_leases": others,
    }
    detail = done | {"last_day": last_day, "reason": without_final_bill.strip()}
    await note(conn, lease["id"], "move_out", detail, actor, clock)
    return done


async def _final_bills(
    conn: AsyncConnection, site: Site, tenant_id: int, after: date, *, actor: str, clock: Clock
) -> list[str]:
    billed = await find_billing_site(conn, site_id=site.id)
    if (await find_policy(conn, billed)).final_bill != "at_move_out":
        return []
    try:
        return await issue_final_bills(conn, billed, tenant_id, after, actor=actor, clock=clock)
    except NotIssuable as error:
        reasons = [*error.values.get("reasons", [error.text])]
        raise HandoverRefused([Text("the final bill cannot be issued:{reasons}", reasons=reasons)]) from error


async def end_lease(conn: AsyncConnection, lease_id: int, after: date) -> None:
    """End a lease, its spaces, people, air-conditioning hours and doors before a day."""
    for statement in (
        queries.forget_later_spaces,
        queries.end_spaces,
        queries.drop_later_hvac_hours,
        queries.end_hvac_hours,
        queries.drop_later_head_counts,
        queries.end_head_counts,
        queries.end_lease,
    ):
        await execute(conn, statement, {"lease_id": lease_id, "after": after})
    await align_access(conn, lease_id, after)


async def settle_deposit(
    conn: AsyncConnection, lease: Mapping[str, Any], number: str, on_day: date, *, actor: str, clock: Clock
) -> Decimal:
    """Pay what the tenant owes from its deposit; returns how much was used."""
    tenant = lease["tenant_id"]
    held = (await settlement.balances(conn, tenant))["deposit"]
    statement = await settlement.statement(conn, tenant)
    owed = statement[-1]["balance"] if statement else Decimal(0)
    used = min(held, max(owed, Decimal(0)))
    if not used:
        return Decimal(0)
    ids = {"organisation_id": lease["organisation_id"], "tenant_id": tenant, "actor": actor, "clock": clock}
    await settlement.move_account(
        conn, account="deposit", amount=-used, kind="settled", on_day=on_day, reference=number, **ids
    )
    await settlement.record_payment(
        conn, amount=used, received_on=on_day, method="deposit", reference=f"{number}/{on_day}", **ids
    )
    return used


async def list_leases(
    conn: AsyncConnection, organisation_id: int, today: date, *, tenant_id: int | None = None
) -> list[Row]:
    """Return every lease (of a tenant) with its spaces, area and people of the day; what needs somebody first."""
    values = {"organisation_id": organisation_id, "today": today, "tenant_id": tenant_id, "lease_id": None}
    return await rows(conn, queries.leases, values)


async def lease_id(conn: AsyncConnection, site: Site, number: str) -> int:
    """Return a lease's id by its number. Raises NotFound."""
    found = await one(conn, queries.lease_by_number, {"organisation_id": site.organisation_id, "number": number})
    if found is None:
        raise NotFound("there is no lease {number}", number=number)
    return found["id"]


async def site_of_lease(conn: AsyncConnection, lease_id: int) -> Site:
    """Return the site where a lease's spaces are, or are asked for. Raises NotFound."""
    found = await one(conn, queries.site_of_lease, {"lease_id": lease_id})
    if found is None:
        raise NotFound("there is no lease {lease_id}", lease_id=lease_id)
    return (await shown_site(conn, found["code"]))[0]


async def lease_details(conn: AsyncConnection, site: Site, lease_id: int, today: date) -> Row:
    """Return a lease with its spaces, people, hours and history by period. Raises NotFound."""
    values = {"organisation_id": site.organisation_id, "today": today, "tenant_id": None, "lease_id": lease_id}
    found = await one(conn, queries.leases, values)
    if found is None:
        raise NotFound("there is no lease {lease_id}", lease_id=lease_id)
    return found | {
        "holdings": await rows(conn, queries.lease_spaces, values),
        "people_by_period": await rows(conn, queries.lease_people, values),
        "hours": await rows(conn, queries.lease_hours, values),
        "doors": await lease_doors(conn, lease_id, today),
        "steps": await rows(conn, queries.steps, values),
    }


async def lease_meters(conn: AsyncConnection, site: Site, lease_id: int, day: date) -> list[Row]:
    """Return the meters of a lease's spaces on a day, with what telemetry says at its first instant."""
    held = await rows(conn, queries.spaces_held, {"lease_id": lease_id, "day": day})
    return await meters_at(conn, [s["space_id"] for s in held], local_day(day, site.zone).start)


async def free_spaces(conn: AsyncConnection, site: Site, day: date) -> list[Row]:
    """Return the spaces that may be let and that nobody holds on a day."""
    return await rows(conn, queries.free_spaces, {"site_id": site.id, "day": day})


async def find_tenant(conn: AsyncConnection, site: Site, code: str) -> Row:
    """Return a tenant by code. Raises NotFound with the remedy."""
    return await repository.find_tenant(conn, site, code)


async def tenants(conn: AsyncConnection, organisation_id: int) -> list[Row]:
    """Return the companies that may hold a lease."""
    return await rows(conn, queries.tenants, {"organisation_id": organisation_id})
