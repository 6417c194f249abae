"""Which spaces a meter measures, and what share of it is whose, from local midnight of a day on."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from psycopg import AsyncConnection

from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.period import local_day
from cloud_api.leasing.service import Site, audit
from cloud_api.operations.tenancy.repository import Row, execute, one, queries, rows
from cloud_api.operations.tenancy.spaces import SHARE_DIGITS, find_space


async def set_meter_shares(
    conn: AsyncConnection,
    site: Site,
    meter: str,
    *,
    shares: Mapping[str, Decimal],
    from_day: date,
    actor: str,
    clock: Clock,
) -> None:
    """Divide a meter anew over spaces from local midnight of a day on; the shares have to sum to one.

    A meter that measured no space on that day gets these until the shares that are known already begin.
    """
    if sum(shares.values()) != 1 or any(share <= 0 for share in shares.values()):
        raise Invalid(
            "the shares of {meter} are {shares}; they have to sum to 1",
            meter=meter,
            shares=", ".join(str(s) for s in shares.values()) or "0",
        )
    at = local_day(from_day, site.zone).start
    before = await rows(conn, queries.meter_shares, {"site_id": site.id, "meter": meter, "at": at})
    if not before:
        raise NotFound("there is no meter {meter}", meter=meter)
    ids = {"meter_id": before[0]["meter_id"], "at": at}
    later = await one(conn, queries.later_shares, ids)
    until = None if later is None else later["first"]
    if until is not None and (until == at or before[0]["space"] is not None):
        raise Invalid(
            "shares of {meter} begin after {from_day} already; set them from a later day",
            meter=meter,
            from_day=from_day,
        )
    spaces = [await find_space(conn, site, code, from_day) for code in shares]
    await execute(conn, queries.end_shares, ids)
    values = {"space_id": [s["id"] for s in spaces], "share": list(shares.values()), "until": until}
    await execute(conn, queries.add_shares, ids | values)
    told = {row["space"]: row["share"] for row in before if row["space"]}
    detail = {"from": from_day, "before": told, "after": dict(shares)}
    await audit(conn, site, clock, actor=actor, action="meter.shares", subject=f"meter/{meter}", detail=detail)


async def shares_by_area(conn: AsyncConnection, site: Site, spaces: Sequence[str], day: date) -> dict[str, Decimal]:
    """Return shares by the spaces' areas of a day, which sum to exactly one. Raises Invalid for one without area."""
    areas: dict[str, Decimal] = {}
    for code in spaces:
        area = (await find_space(conn, site, code, day))["area_m2"]
        if area is None:
            raise Invalid("space {space} has no area on {day}: give the shares as numbers", space=code, day=day)
        areas[code] = area
    whole = sum(areas.values(), Decimal(0))
    found = {code: (area / whole).quantize(SHARE_DIGITS) for code, area in areas.items()}
    if found:
        last = next(reversed(found))
        found[last] += 1 - sum(found.values(), Decimal(0))
    return found


async def history(conn: AsyncConnection, site: Site, meter: str) -> tuple[Row, list[Row]]:
    """Return a meter with its shares by period, the latest first. Raises NotFound."""
    found = await one(conn, queries.meter_by_code, {"site_id": site.id, "meter": meter})
    if found is None:
        raise NotFound("there is no meter {meter}", meter=meter)
    return found, await rows(conn, queries.shares_of_meter, {"meter_id": found["id"]})
