"""Moves in the life of a lease: take a room, give one back, merge, sub-let, amend. Each is one transaction.

Every change begins at local midnight of a day, and the periods before and after it touch. What was known before stays
in the history, so that a bill can be made again as it was. A change that reaches back over issued bills leaves them as
they are and names them: they are corrected by credit note.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cloud_api.billing import settlement
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import Text
from cloud_api.kit.period import local_day
from cloud_api.leasing.access import align_access
from cloud_api.leasing.repository import as_json
from cloud_api.leasing.service import Site
from cloud_api.operations.tenancy.handover import HandoverRefused, read_meters
from cloud_api.operations.tenancy.repository import Row, execute, find_tenant, lock_lease, note, one, queries, rows
from cloud_api.operations.tenancy.service import end_lease, entitle, site_of_lease
from cloud_api.operations.tenancy.spaces import find_space, part_codes, split_space


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a move did: the meters' values at its instant, and issued bills over the days that it reaches back to."""

    readings: Mapping[str, Decimal]
    bills_to_correct: Sequence[str]


async def take_space(
    conn: AsyncConnection,
    site: Site,
    number: str,
    *,
    space: str,
    from_day: date,
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
    area_m2: Decimal | None = None,
) -> Change:
    """Add a space to a running lease from a day to the lease's end, with the opening readings of its meters."""
    lease = await _running(conn, site, number, from_day, clock)
    where = await _space(conn, site, space, from_day, area_m2)
    ids = {"lease_id": lease["id"], "day": from_day, "space_ids": [where["id"]]}
    reasons = [
        Text(
            "space {space} still has the open account of lease {number}: move it out",
            space=r["space"],
            number=r["number"],
        )
        for r in await rows(conn, queries.open_accounts, ids)
    ]
    opening = await read_meters(
        conn, [where["id"]], local_day(from_day, site.zone).start, readings, clock, reasons=reasons
    )
    await _hold(conn, lease["id"], where, from_day, lease["ends_on"], area_m2)
    await align_access(conn, lease["id"], from_day)
    detail = {"space": space, "from": from_day, "readings": opening, "area_m2": area_m2}
    return await _done(conn, lease, "take_space", from_day, detail, opening, actor, clock)


async def give_back_space(
    conn: AsyncConnection,
    site: Site,
    number: str,
    *,
    space: str,
    last_day: date,
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
) -> Change:
    """End one space of a running lease at the end of a day, with its closing readings; the others go on."""
    after = last_day + timedelta(days=1)
    lease = await _running(conn, site, number, last_day, clock)
    held = await rows(conn, queries.spaces_held, {"lease_id": lease["id"], "day": last_day})
    mine = _held(held, space, number, last_day)
    if len(held) == 1:
        raise Invalid("{space} is the only space of lease {number}: move it out instead", space=space, number=number)
    at = local_day(after, site.zone).start
    if at > clock.now():
        raise Invalid("{last_day} is not over yet: the closing readings cannot be known", last_day=last_day)
    closing = await read_meters(conn, [mine["space_id"]], at, readings, clock)
    await execute(conn, queries.cut_space, {"id": mine["id"], "after": after})
    await align_access(conn, lease["id"], after)
    detail = {"space": space, "last_day": last_day, "closed_on": after, "readings": closing}
    return await _done(conn, lease, "give_back", after, detail, closing, actor, clock)


async def sublet(
    conn: AsyncConnection,
    site: Site,
    number: str,
    *,
    space: str,
    to_tenant: str,
    new_number: str,
    first: date,
    last_day: date | None,
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
    area_m2: Decimal | None = None,
) -> Change:
    """Let a tenant's space to another one for a term: the sub-tenant pays for it, afterwards the tenant again.

    With `area_m2` only a part is sub-let: the space is divided first, and its meters with it by area. The sub-lease is
    a lease of its own that names the one it stands on. Raises Invalid when the term leaves the lease.
    """
    lease = await _running(conn, site, number, first, clock)
    if area_m2 is not None:
        _held(await rows(conn, queries.spaces_held, {"lease_id": lease["id"], "day": first}), space, number, first)
        space = await _divide_for(conn, site, space, area_m2, first, actor=actor, clock=clock)
    after = lease["ends_on"] if last_day is None else last_day + timedelta(days=1)
    held = await rows(conn, queries.spaces_held, {"lease_id": lease["id"], "day": first})
    mine = _held(held, space, number, first)
    if after is not None and after <= first:
        raise Invalid("the last day {last_day} is before the first {first}", last_day=last_day, first=first)
    if mine["ends_on"] is not None and (after is None or after > mine["ends_on"]):
        raise Invalid(
            "lease {number} holds {space} to {until}: sub-let it up to there",
            number=number,
            space=space,
            until=mine["ends_on"] - timedelta(days=1),
        )
    tenant = await find_tenant(conn, site, to_tenant)
    if tenant["id"] == lease["tenant_id"]:
        raise Invalid("{to_tenant} holds {space} already", to_tenant=to_tenant, space=space)
    values = await read_meters(conn, [mine["space_id"]], local_day(first, site.zone).start, readings, clock)
    await _end_holding(conn, mine, first)
    sub = await _follow(conn, lease, new_number, tenant["id"], first, after, {"sublet_of": number})
    where = {"id": mine["space_id"], "code": space}
    await _hold(conn, sub, where, first, after, mine["area_m2"])
    if after is not None and (mine["ends_on"] is None or after < mine["ends_on"]):
        await _hold(conn, lease["id"], where, after, mine["ends_on"], mine["area_m2"])
    await execute(conn, queries.copy_hvac_hours, {"from_id": lease["id"], "lease_id": sub})
    for lease_id in (lease["id"], sub):
        await align_access(conn, lease_id, first)
    detail = {"space": space, "from": first, "last_day": last_day, "closed_on": first, "readings": values}
    await note(conn, sub, "move_in", {"on": first, "sublet_of": number, "readings": values}, actor, clock)
    detail |= {"to": to_tenant, "sublease": new_number}
    return await _done(conn, lease, "sublet", first, detail, values, actor, clock)


async def _divide_for(
    conn: AsyncConnection, site: Site, space: str, area_m2: Decimal, first: date, *, actor: str, clock: Clock
) -> str:
    """Divide a space in what stays and what is sub-let; returns the code of the latter."""
    whole = (await find_space(conn, site, space, first))["area_m2"]
    if whole is None or not 0 < area_m2 < whole:
        raise Invalid("a part of {space} has to be above 0 and below its {whole} m2", space=space, whole=whole or 0)
    rest, part = await part_codes(conn, site, space, 2)
    parts = {rest: whole - area_m2, part: area_m2}
    await split_space(conn, site, space, parts=parts, from_day=first, actor=actor, clock=clock)
    return part


async def merge(
    conn: AsyncConnection,
    site: Site,
    *,
    from_tenant: str,
    into_tenant: str,
    on_day: date,
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
) -> dict[str, Change]:
    """Make two tenants one from a day on: every lease of the first, at whatever site, goes on under the second.

    Running leases are cut at the day, with readings; those not begun go over as they are. Deposit and prepaid balance
    go over too. Bills of the days before stay with the company that used the energy. Returns what each lease's cut did.
    """
    old, new = await find_tenant(conn, site, from_tenant), await find_tenant(conn, site, into_tenant)
    if old["id"] == new["id"] or old["is_owner"] or new["is_owner"]:
        raise Invalid(
            "{from_tenant} cannot be merged into {into_tenant}", from_tenant=from_tenant, into_tenant=into_tenant
        )
    leases = await rows(conn, queries.leases_of_tenant, {"tenant_id": old["id"]})
    if not leases:
        raise Invalid("tenant {from_tenant} has no running lease that could go over", from_tenant=from_tenant)
    places = {lease["number"]: await site_of_lease(conn, lease["id"]) for lease in leases}
    for place in places.values():
        _not_in_future(on_day, place, clock)
    every = await _meters_of(conn, places, leases, on_day)
    _one_site_per_meter(readings, every, places)
    unknown = set(readings) - {meter for meters in every.values() for meter in meters}
    if unknown:
        raise HandoverRefused(
            [
                Text("meter {meter} does not measure a space of {tenant}", meter=code, tenant=from_tenant)
                for code in sorted(unknown)
            ]
        )
    found = {}
    for lease in leases:
        own = {meter: value for meter, value in readings.items() if meter in every.get(lease["number"], ())}
        found[lease["number"]] = await _hand_on(
            conn, places[lease["number"]], lease, new, on_day, own, actor=actor, clock=clock
        )
    await _move_balances(conn, old, new, lease=leases[0], on_day=on_day, actor=actor, clock=clock)
    return found


async def _hand_on(
    conn: AsyncConnection,
    site: Site,
    lease: Row,
    new: Row,
    on_day: date,
    readings: Mapping[str, Decimal],
    *,
    actor: str,
    clock: Clock,
) -> Change:
    """Let a lease go on under another tenant from a day."""
    if lease["status"] == "approved" or lease["starts_on"] >= on_day:
        await execute(conn, queries.move_lease, {"lease_id": lease["id"], "tenant_id": new["id"]})
        await note(conn, lease["id"], "merge", {"to": new["code"], "on": on_day}, actor, clock)
        return Change(readings={}, bills_to_correct=())
    held = await rows(conn, queries.spaces_held, {"lease_id": lease["id"], "day": on_day})
    at = local_day(on_day, site.zone).start
    told = await read_meters(conn, [s["space_id"] for s in held], at, readings, clock)
    number = f"{lease['number']}-{new['code']}"
    after = await _follow(conn, lease, number, new["id"], on_day, lease["ends_on"], {"merged_from": lease["number"]})
    ids = {"from_id": lease["id"], "lease_id": after}
    await execute(conn, queries.copy_hvac_hours, ids)
    await execute(conn, queries.copy_head_counts, ids)
    parts = await rows(conn, queries.holdings_from, {"lease_id": lease["id"], "day": on_day})
    await end_lease(conn, lease["id"], on_day)
    for part in parts:
        where = {"id": part["space_id"], "code": part["code"]}
        await _hold(conn, after, where, max(part["starts_on"], on_day), part["ends_on"], part["area_m2"])
    await align_access(conn, after, on_day)
    await note(conn, after, "move_in", {"on": on_day, "merged_from": lease["number"], "readings": told}, actor, clock)
    detail = {"to": new["code"], "lease": number, "on": on_day, "readings": told}
    return await _done(conn, lease, "merge", on_day, detail, told, actor, clock)


async def amend(
    conn: AsyncConnection,
    site: Site,
    number: str,
    *,
    on_day: date,
    actor: str,
    clock: Clock,
    areas: Mapping[str, Decimal] | None = None,
    people: int | None = None,
    hours: Sequence[tuple[int, str, str]] | None = None,
) -> Change:
    """Change areas (space → m²), people or air-conditioning hours (weekday, from, to) of a lease from a day on."""
    lease = await lock_lease(conn, site, number, {"approved", "active"})
    if on_day < lease["starts_on"] or (lease["ends_on"] is not None and on_day >= lease["ends_on"]):
        raise Invalid("{on_day} is not a day of lease {number}", on_day=on_day, number=number)
    if not areas and people is None and hours is None:
        raise Invalid("say what changes: an area, the people or the air-conditioning hours")
    ids = {"lease_id": lease["id"], "day": on_day, "after": on_day}
    held = await rows(conn, queries.spaces_held, ids)
    for space, area in (areas or {}).items():
        mine = _held(held, space, number, on_day)
        if area <= 0:
            raise Invalid("the area of {space} has to be above 0", space=space)
        await _end_holding(conn, mine, on_day)
        await _hold(conn, lease["id"], {"id": mine["space_id"], "code": space}, on_day, mine["ends_on"], area)
    if people is not None:
        if people < 0:
            raise Invalid("the number of people cannot be below 0")
        await execute(conn, queries.drop_later_head_counts, ids)
        await execute(conn, queries.end_head_counts, ids)
        await execute(conn, queries.set_head_count, ids | {"people": people})
    if hours is not None:
        _check_hours(hours)
        await execute(conn, queries.drop_later_hvac_hours, ids)
        await execute(conn, queries.end_hvac_hours, ids)
        await entitle(conn, lease["id"], on_day, hours, replace=True)
    detail = {"from": on_day, "areas": dict(areas or {}), "people": people, "hours": hours}
    return await _done(conn, lease, "amendment", on_day, detail, {}, actor, clock)


async def _running(conn: AsyncConnection, site: Site, number: str, day: date, clock: Clock) -> Row:
    lease = await lock_lease(conn, site, number, {"active"})
    if day < lease["starts_on"] or (lease["ends_on"] is not None and day >= lease["ends_on"]):
        raise Invalid("{day} is not a day of lease {number}", day=day, number=number)
    _not_in_future(day, site, clock)
    return lease


def _not_in_future(day: date, site: Site, clock: Clock) -> None:
    if local_day(day, site.zone).start > clock.now():
        raise Invalid("{day} has not begun: the readings at its first instant cannot be known", day=day)


async def _space(conn: AsyncConnection, site: Site, code: str, day: date, area_m2: Decimal | None) -> Row:
    found = await find_space(conn, site, code, day)
    if found["use"] not in {"lettable", "shared"}:
        raise Invalid("space {code} is {use} area and cannot be let", code=code, use=found["use"])
    if found["area_m2"] is None and area_m2 is None:
        raise Invalid("space {code} has no area: give one", code=code)
    return found


def _held(held: Sequence[Row], space: str, number: str, day: date) -> Row:
    mine = next((row for row in held if row["code"] == space), None)
    if mine is None:
        names = ", ".join(row["code"] for row in held) or "nothing"
        raise Invalid(
            "lease {number} does not hold {space} on {day}; it holds {names}",
            number=number,
            space=space,
            day=day,
            names=names,
        )
    return mine


async def _hold(
    conn: AsyncConnection,
    lease_id: int,
    where: Mapping[str, Any],
    first: date,
    after: date | None,
    area: Decimal | None,
) -> None:
    values = {"lease_id": lease_id, "space_id": where["id"], "first": first, "after": after, "area_m2": area}
    try:
        async with conn.transaction():
            await execute(conn, queries.hold, values)
    except psycopg.errors.ExclusionViolation as error:
        raise HandoverRefused(
            [Text("another lease holds space {space} for part of the term", space=where["code"])]
        ) from error


async def _end_holding(conn: AsyncConnection, mine: Row, after: date) -> None:
    await execute(conn, queries.drop_space, {"id": mine["id"], "after": after})
    await execute(conn, queries.cut_space, {"id": mine["id"], "after": after})


async def _follow(
    conn: AsyncConnection,
    lease: Row,
    number: str,
    tenant_id: int,
    first: date,
    after: date | None,
    attributes: Mapping[str, Any],
) -> int:
    values = {"lease_id": lease["id"], "tenant_id": tenant_id, "number": number, "status": "active", "first": first}
    try:
        async with conn.transaction():
            row = await one(conn, queries.follow_lease, values | {"after": after, "attributes": as_json(attributes)})
    except psycopg.errors.UniqueViolation as error:
        raise Invalid("there is a lease {number} already; choose another number", number=number) from error
    assert row is not None
    return row["id"]


def _one_site_per_meter(
    readings: Mapping[str, Decimal], every: Mapping[str, set[str]], places: Mapping[str, Site]
) -> None:
    """Raise HandoverRefused for a reading of a meter whose code two sites have: it would count for both."""
    for meter in readings:
        if len({places[number].id for number, meters in every.items() if meter in meters}) > 1:
            raise HandoverRefused(
                [Text("meter {meter} is at several sites: move these leases one by one", meter=meter)]
            )


async def _meters_of(
    conn: AsyncConnection, places: Mapping[str, Site], leases: Sequence[Row], day: date
) -> dict[str, set[str]]:
    found = {}
    for lease in leases:
        held = await rows(conn, queries.spaces_held, {"lease_id": lease["id"], "day": day})
        values = {"space_ids": [s["space_id"] for s in held], "at": local_day(day, places[lease["number"]].zone).start}
        found[lease["number"]] = {row["meter"] for row in await rows(conn, queries.registers, values)}
    return found


async def _move_balances(
    conn: AsyncConnection, old: Row, new: Row, *, lease: Row, on_day: date, actor: str, clock: Clock
) -> None:
    ids = {"organisation_id": lease["organisation_id"], "on_day": on_day, "actor": actor, "clock": clock}
    for account, balance in (await settlement.balances(conn, old["id"])).items():
        if balance > 0:
            reference = f"{old['code']} → {new['code']}"
            ids |= {"account": account, "reference": reference}
            await settlement.move_account(conn, tenant_id=old["id"], amount=-balance, kind="paid_out", **ids)
            await settlement.move_account(conn, tenant_id=new["id"], amount=balance, kind="paid_in", **ids)


def _check_hours(hours: Sequence[tuple[int, str, str]]) -> None:
    last: dict[int, time] = {}
    for weekday, starts, ends in sorted(hours):
        first, end = time.fromisoformat(starts), time.fromisoformat(ends)
        if first >= end or first < last.get(weekday, time.min):
            raise Invalid(
                "air-conditioning hours {starts}-{ends} of weekday {weekday} overlap or end before they begin",
                starts=starts,
                ends=ends,
                weekday=weekday,
            )
        last[weekday] = end


async def _done(
    conn: AsyncConnection,
    lease: Row,
    step: str,
    day: date,
    detail: Mapping[str, Any],
    readings: Mapping[str, Decimal],
    actor: str,
    clock: Clock,
) -> Change:
    issued = await rows(conn, queries.issued_bills_after, {"tenant_ids": [lease["tenant_id"]], "day": day})
    bills = [row["number"] for row in issued]
    await note(conn, lease["id"], step, {**detail, "bills_to_correct": bills}, actor, clock)
    return Change(readings=readings, bills_to_correct=bills)
