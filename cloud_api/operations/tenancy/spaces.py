"""Spaces change too: a new area from a day on, and a space that becomes several. Each is one transaction.

A part of a space is let or sub-let by dividing the space first: the parts are spaces of their own, with meters, access
and leases, and their areas and meter shares sum to the whole's from that midnight on. So no rule of apportionment needs
to know of parts.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.period import local_day
from cloud_api.leasing.access import align_access
from cloud_api.leasing.service import Site, audit
from cloud_api.operations.tenancy.repository import Row, execute, note, one, queries, rows

SHARE_DIGITS = Decimal("1e-12")
_AREA_DIGITS = Decimal("0.01")


async def find_space(conn: AsyncConnection, site: Site, code: str, day: date) -> Row:
    """Return a space of the site with its area on a day (None: it is not there then). Raises NotFound."""
    found = await one(conn, queries.space, {"site_id": site.id, "code": code, "day": day})
    if found is None:
        raise NotFound("there is no space {code} at this site", code=code)
    return found


async def change_area(
    conn: AsyncConnection,
    site: Site,
    space: str,
    *,
    area_m2: Decimal,
    area_kind: str,
    from_day: date,
    actor: str,
    clock: Clock,
) -> list[str]:
    """Give a space another area from a day on. Returns issued bills of the days that it reaches back to.

    Leases that name an area of their own keep it. Raises Invalid when a later change is known already.
    """
    if area_m2 <= 0:
        raise Invalid("the area of {space} has to be above 0", space=space)
    where = await find_space(conn, site, space, from_day)
    ids = {"space_id": where["id"], "day": from_day}
    before = await one(conn, queries.area_for_change, ids)
    if before is not None and before["later"]:
        raise Invalid(
            "the area of {space} changes after {from_day} already; change it from a later day",
            space=space,
            from_day=from_day,
        )
    await execute(conn, queries.drop_area, ids)
    await execute(conn, queries.cut_area, ids)
    await execute(conn, queries.set_area, ids | {"area_m2": area_m2, "area_kind": area_kind})
    detail = {"from": from_day, "before": where["area_m2"], "after": area_m2, "kind": area_kind}
    await audit(conn, site, clock, actor=actor, action="space.area", subject=f"space/{space}", detail=detail)
    holders = [row["tenant_id"] for row in await rows(conn, queries.holders_from, ids)]
    issued = await rows(conn, queries.issued_bills_after, {"tenant_ids": holders, "day": from_day})
    return [row["number"] for row in issued]


async def split_space(
    conn: AsyncConnection,
    site: Site,
    space: str,
    *,
    parts: Mapping[str, Decimal],
    from_day: date,
    actor: str,
    clock: Clock,
) -> None:
    """Divide a space into parts (code → m²) from a day on; who held it holds the parts, meters are shared by area.

    The areas have to sum to the space's. Raises Invalid when they do not, or when something later is known of it.
    """
    where = await find_space(conn, site, space, from_day)
    whole = where["area_m2"]
    if whole is None or len(parts) < 2 or sum(parts.values()) != whole or min(parts.values()) <= 0:
        raise Invalid(
            "the parts of {space} are {parts} m2; they have to be above 0 and sum to {whole} m2",
            space=space,
            parts=", ".join(str(area) for area in parts.values()),
            whole=whole or 0,
        )
    at = local_day(from_day, site.zone).start
    ids = {"space_id": where["id"], "day": from_day, "at": at}
    before = await one(conn, queries.area_for_change, ids)
    if (before is not None and before["later"]) or await rows(conn, queries.later_shares_of_space, ids):
        raise Invalid(
            "the area or the meters of {space} change after {from_day} already; divide it from a later day",
            space=space,
            from_day=from_day,
        )
    made = await _make_parts(conn, where["id"], parts, ids)
    await _divide_meters(conn, ids, made, whole)
    leases = await _divide_holdings(conn, ids, made, whole)
    for lease_id in leases:
        await align_access(conn, lease_id, from_day)
        await note(conn, lease_id, "split_space", {"space": space, "from": from_day, "parts": parts}, actor, clock)
    detail = {"from": from_day, "parts": parts}
    await audit(conn, site, clock, actor=actor, action="space.split", subject=f"space/{space}", detail=detail)


async def part_codes(conn: AsyncConnection, site: Site, space: str, count: int) -> list[str]:
    """Return codes for the parts of a space that no space of the site has yet."""
    taken = {row["code"] for row in await rows(conn, queries.codes_like, {"site_id": site.id, "code": space})}
    free = (f"{space}-{number}" for number in range(1, len(taken) + count + 1))
    return [code for code in free if code not in taken][:count]


async def history(conn: AsyncConnection, site: Site, code: str) -> dict[str, Any]:
    """Return a space's areas, holders and meter shares by period. Raises NotFound."""
    where = await find_space(conn, site, code, date.max)
    ids = {"space_id": where["id"]}
    return {
        "code": code,
        "name_zh": where["name_zh"],
        "name_en": where["name_en"],
        "use": where["use"],
        "leases": await rows(conn, queries.leases_of_space, ids),
        "areas": await rows(conn, queries.areas_of_space, ids),
        "meters": await rows(conn, queries.meters_of_space, ids),
    }


Part = tuple[int, Decimal]
"""A part's space id and area."""


async def _make_parts(
    conn: AsyncConnection, space_id: int, parts: Mapping[str, Decimal], ids: dict[str, Any]
) -> list[Part]:
    made: list[Part] = []
    for code, area in parts.items():
        values = {"space_id": space_id, "code": code, "area_m2": area, "day": ids["day"]}
        try:
            async with conn.transaction():
                row = await one(conn, queries.add_part, values)
        except psycopg.errors.UniqueViolation as error:
            raise Invalid("there is a space {code} already; choose another code", code=code) from error
        assert row is not None
        await execute(conn, queries.begin_part, {"space_id": row["id"], "day": ids["day"]})
        made.append((row["id"], area))
    await execute(conn, queries.drop_area, ids)
    await execute(conn, queries.cut_area, ids)
    return made


async def _divide_meters(conn: AsyncConnection, ids: dict[str, Any], made: Sequence[Part], whole: Decimal) -> None:
    for row in await rows(conn, queries.shares_of_space, ids):
        await execute(conn, queries.end_share, ids | {"meter_id": row["meter_id"]})
        divided = _divide(row["share"], made, whole, SHARE_DIGITS)
        values = {
            "meter_id": row["meter_id"],
            "at": ids["at"],
            "space_id": [part for part, _area in made],
            "until": None,
        }
        await execute(conn, queries.add_shares, values | {"share": divided})


async def _divide_holdings(
    conn: AsyncConnection, ids: dict[str, Any], made: Sequence[Part], whole: Decimal
) -> list[int]:
    held = await rows(conn, queries.holdings_of_space, ids)
    for row in held:
        await execute(conn, queries.drop_space, {"id": row["id"], "after": ids["day"]})
        await execute(conn, queries.cut_space, {"id": row["id"], "after": ids["day"]})
        first = max(row["starts_on"], ids["day"])
        own = row["area_m2"]
        areas = [None] * len(made) if own is None else _divide(own, made, whole, _AREA_DIGITS)
        for (part, _area), area_m2 in zip(made, areas, strict=True):
            values = {"lease_id": row["lease_id"], "space_id": part, "first": first, "after": row["ends_on"]}
            await execute(conn, queries.hold, values | {"area_m2": area_m2})
    return sorted({row["lease_id"] for row in held})


def _divide(amount: Decimal, made: Sequence[Part], whole: Decimal, digits: Decimal) -> list[Decimal]:
    """Divide an amount by the parts' areas; the last part takes the rest, so that they sum to it exactly."""
    found = [(amount * area / whole).quantize(digits) for _part, area in made[:-1]]
    return [*found, amount - sum(found, Decimal(0))]
