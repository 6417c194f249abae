"""The life of a tenancy: application, review, move-in, move-out; each step one transaction."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from cloud_api.billing import settlement
from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import DomainError, Invalid, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.kit.period import local_day
from cloud_api.leasing.repository import as_json
from cloud_api.leasing.service import Site

queries = load_queries(__file__)
READING_TOLERANCE = Decimal(1)
"""How far a value read off by hand may lie from telemetry of the same instant, in the register's unit."""

OFFICE_HOURS = [(day, "08:00", "18:00") for day in range(1, 6)] + [(6, "08:00", "13:00")]
"""Air conditioning that belongs to a lease unless it says otherwise: Mon-Fri 8-18, Sat 8-13."""


class HandoverRefused(DomainError):
    """The space cannot be handed over yet; the text lists what is open."""

    code = "handover_refused"

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("the handover is not possible yet:{reasons}", reasons=list(reasons))


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
) -> int:
    """File an application for spaces; nothing is held until it is approved. Returns the lease's id."""
    if not spaces:
        raise Invalid("an application names at least one space")
    values = {"organisation_id": site.organisation_id, "tenant_id": tenant_id, "number": number, "first": first}
    values["after"] = None if last_day is None else last_day + timedelta(days=1)
    try:
        async with conn.transaction():
            row = await _one(conn, queries.add_application, values)
    except psycopg.errors.UniqueViolation as error:
        raise Invalid("there is a lease or application {number} already", number=number) from error
    except psycopg.errors.DataError as error:
        raise Invalid("the last day {last_day} is before the first {first}", last_day=last_day, first=first) from error
    assert row is not None
    await _set(conn, row["id"], "application", {"spaces": list(spaces)})
    await _note(conn, row["id"], "application", {"spaces": list(spaces)}, actor, clock)
    return row["id"]


async def review(
    conn: AsyncConnection, site: Site, number: str, *, approve: bool, reason: str, actor: str, clock: Clock
) -> None:
    """Approve an application, which then holds its spaces, or reject it with a reason."""
    lease = await _lease(conn, site, number, {"application", "review"})
    if not approve:
        if not reason.strip():
            raise Invalid("rejecting an application needs a reason")
        await _set(conn, lease["id"], "rejected", {})
    else:
        row = await _one(conn, queries.attributes, {"lease_id": lease["id"]})
        wanted = (row or {"attributes": {}})["attributes"].get("spaces", [])
        await _reserve(conn, site, lease["id"], wanted)
        await _set(conn, lease["id"], "approved", {})
    await _note(conn, lease["id"], "approved" if approve else "rejected", {"reason": reason}, actor, clock)


async def _reserve(conn: AsyncConnection, site: Site, lease_id: int, spaces: list[str]) -> None:
    values = {"lease_id": lease_id, "site_id": site.id, "spaces": spaces}
    try:
        async with conn.transaction():
            held = await _rows(conn, queries.reserve, values)
    except psycopg.errors.ExclusionViolation as error:
        raise HandoverRefused(["another lease holds one of the spaces for part of the term"]) from error
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
    lease = await _lease(conn, site, number, {"approved"})
    day = lease["starts_on"]
    open_accounts = await _rows(conn, queries.open_accounts, {"lease_id": lease["id"], "day": day})
    reasons = [
        f"space {r['space']} still has the open account of lease {r['number']}: move it out" for r in open_accounts
    ]
    opening = await _read(conn, lease["id"], local_day(day, site.zone).start, readings, reasons, clock)
    await _execute(conn, queries.activate, {"lease_id": lease["id"]})
    weekdays, starts, ends = zip(*OFFICE_HOURS, strict=True)
    hours = {"weekday": list(weekdays), "starts": list(starts), "ends": list(ends)}
    await _execute(conn, queries.entitle, hours | {"lease_id": lease["id"]})
    await _note(conn, lease["id"], "move_in", {"on": day, "readings": opening}, actor, clock)
    return opening


async def move_out(
    conn: AsyncConnection,
    site: Site,
    number: str,
    *,
    last_day: date,
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
) -> dict[str, Any]:
    """Close a tenancy at the end of a day: closing readings, entitlements, spaces free, the deposit settled.

    The deposit pays what is open; the rest stays on the account until the month's bill is issued. Energy up to the last
    day is billed by the month's run. Raises HandoverRefused when a meter has no closing reading.
    """
    lease = await _lease(conn, site, number, {"active"})
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
    closing = await _read(conn, lease["id"], at, readings, [], clock)
    ids = {"lease_id": lease["id"], "after": after}
    for statement in (
        queries.forget_later_spaces,
        queries.end_spaces,
        queries.end_hvac_hours,
        queries.end_head_counts,
        queries.end_lease,
    ):
        await _execute(conn, statement, ids)
    settled = await settle_deposit(conn, lease, number, after, actor=actor, clock=clock)
    detail = {"last_day": last_day, "readings": closing, "deposit_used": settled}
    await _note(conn, lease["id"], "move_out", detail, actor, clock)
    return {"readings": closing, "deposit_used": settled}


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


async def _read(
    conn: AsyncConnection,
    lease_id: int,
    at: datetime,
    readings: Mapping[str, Decimal],
    reasons: list[str],
    clock: Clock,
) -> dict[str, Decimal]:
    """Return the value of every meter of a lease at an instant, storing those read off by hand."""
    registers = await _rows(conn, queries.registers, {"lease_id": lease_id, "at": at})
    unknown = set(readings) - {r["meter"] for r in registers}
    reasons += [f"meter {code} does not measure a space of this lease" for code in sorted(unknown)]
    found: dict[str, Decimal] = {}
    entered: dict[int, Decimal] = {}
    for register in registers:
        meter, told, given = register["meter"], register["value"], readings.get(register["meter"])
        if told is None and given is None:
            reasons.append(f"meter {meter} has no reading at the handover: read it off and enter it")
        elif told is not None and given is not None and abs(told - given) > READING_TOLERANCE:
            reasons.append(f"meter {meter} shows {told} by telemetry, {given} was read off: look again")
        elif told is None and given is not None:
            entered[register["register_id"]] = given
        value = told if told is not None else given
        if value is not None:
            found[meter] = value
    if reasons:
        raise HandoverRefused(reasons)
    values = {"register_id": list(entered), "value": list(entered.values()), "at": at, "now": clock.now()}
    await _execute(conn, queries.add_readings, values)
    return found


async def list_leases(conn: AsyncConnection, organisation_id: int) -> list[dict[str, Any]]:
    """Return every lease with its spaces."""
    return await _rows(conn, queries.leases, {"organisation_id": organisation_id})


async def _lease(conn: AsyncConnection, site: Site, number: str, states: set[str]) -> dict[str, Any]:
    found = await _one(conn, queries.lease, {"organisation_id": site.organisation_id, "number": number})
    if found is None:
        raise NotFound("there is no lease {number}", number=number)
    if found["status"] not in states:
        raise Invalid(
            "lease {number} is {state}; this step begins at {states}",
            number=number,
            state=Text(found["status"]),
            states=tuple(Text(state) for state in sorted(states)),
        )
    return found


async def _set(conn: AsyncConnection, lease_id: int, status: str, attributes: Mapping[str, Any]) -> None:
    values = {"lease_id": lease_id, "status": status, "attributes": as_json(attributes)}
    await _execute(conn, queries.set_status, values)


async def _note(
    conn: AsyncConnection, lease_id: int, step: str, detail: Mapping[str, Any], actor: str, clock: Clock
) -> None:
    values = {"lease_id": lease_id, "at": clock.now(), "actor": actor, "step": step, "detail": as_json(detail)}
    await _execute(conn, queries.add_step, values)


async def _rows(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchall()


async def _one(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> dict[str, Any] | None:
    found = await _rows(conn, statement, values)
    return found[0] if found else None


async def _execute(conn: AsyncConnection, statement: Any, values: Mapping[str, Any]) -> None:
    await conn.execute(statement, values)
