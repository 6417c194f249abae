"""Sites, buildings, floors and spaces by period: what each is called and part of, from a day on.

A *change* says what holds from a day on and leaves what was before; a *correction* says what a period should have said
from the start. Both keep in `fact_history` what was known until now, so a bill can be made again as known on a date.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import psycopg
from psycopg import AsyncConnection

from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import Text
from cloud_api.leasing.service import Site, audit, sites
from cloud_api.operations.tenancy.repository import Row, execute, one, rows

queries = load_queries(__file__)
Kind = Literal["site", "building", "floor", "space"]
_A: dict[Kind, Text] = {
    "site": Text("a site"),
    "building": Text("a building"),
    "floor": Text("a floor"),
    "space": Text("a space"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What becomes of a place; None leaves it as it is. `inside` "" takes a space out of the one around it."""

    name_zh: str | None = None
    name_en: str | None = None
    building: str | None = None
    floor: str | None = None
    inside: str | None = None
    area_m2: Decimal | None = None

    def check(self, kind: Kind) -> None:
        """Raise Invalid when nothing is wanted, or what a place of this kind has not."""
        told = {name for name in self.__slots__ if getattr(self, name) is not None}
        may = {"name_zh", "name_en"} | {"floor": {"building", "area_m2"}, "space": {"floor", "inside"}}.get(kind, set())
        if not told:
            raise Invalid("say what changes: a name, or what it is part of")
        if told - may:
            raise Invalid("{kind} has no {what}", kind=_A[kind], what=", ".join(sorted(told - may)))
        if "" in {self.name_zh, self.name_en}:
            raise Invalid("a place needs a name in both languages")
        if self.area_m2 is not None and self.area_m2 <= 0:
            raise Invalid("the area has to be above 0")


async def history(conn: AsyncConnection, site: Site, kind: Kind, code: str, as_known: datetime | None) -> list[Row]:
    """Return a place's periods, oldest first, as we know them now or knew them at an instant. Raises NotFound."""
    place_id = await _find(conn, site, kind, code)
    return await _periods(conn, kind, place_id, as_known)


async def corrected(conn: AsyncConnection, site: Site, kind: Kind, code: str) -> list[Row]:
    """Return what was said of a place before, with the instant until which we said so, newest first."""
    return await rows(conn, queries.corrected, {"kind": kind, "place_id": await _find(conn, site, kind, code)})


async def tree(conn: AsyncConnection, site: Site, day: date) -> list[Row]:
    """Return the buildings, floors and spaces that a site has on a day, with the codes of what each is part of."""
    return await rows(conn, queries.tree, {"site_id": site.id, "organisation_id": site.organisation_id, "day": day})


async def change(
    conn: AsyncConnection,
    site: Site,
    kind: Kind,
    code: str,
    wanted: Wanted,
    *,
    from_day: date,
    actor: str,
    clock: Clock,
) -> None:
    """Say what holds of a place from a day on, up to the next change that is known.

    A space that moves to another floor takes the spaces inside it along, and leaves the one around it.
    Raises NotFound, or Invalid when the place or what it becomes part of is not there on that day.
    """
    wanted.check(kind)
    place_id = await _locked(conn, site, kind, code)
    before = await _on(conn, kind, place_id, code, from_day)
    after = await _merged(conn, site, before, wanted, from_day)
    _differs(code, before, after)
    await _put(conn, site, kind, place_id, before, after, from_day)
    if kind == "space" and after["in_floor_id"] != before["in_floor_id"]:
        await _take_along(conn, site, place_id, after["in_floor_id"], from_day)
    detail = {"from": from_day, "before": _said(before), "after": _said(after)}
    await _noted(conn, site, "place.change", kind, code, detail, actor, clock)


async def correct(
    conn: AsyncConnection, site: Site, kind: Kind, code: str, wanted: Wanted, *, on_day: date, actor: str, clock: Clock
) -> None:
    """Put right how a place was called, or a floor's area, in the whole period that holds on a day.

    What a place was part of is put right by `change` from the first day on which it was otherwise.
    """
    wanted.check(kind)
    if wanted.building is not None or wanted.floor is not None or wanted.inside is not None:
        raise Invalid("what {code} is part of is changed from a day on, not corrected", code=code)
    place_id = await _locked(conn, site, kind, code)
    before = await _on(conn, kind, place_id, code, on_day)
    after = await _merged(conn, site, before, wanted, on_day)
    _differs(code, before, after)
    await execute(conn, queries.correct, after)
    detail = {"on": on_day, "before": _said(before), "after": _said(after)}
    await _noted(conn, site, "place.correct", kind, code, detail, actor, clock)


async def take_out(
    conn: AsyncConnection, site: Site, kind: Kind, code: str, *, from_day: date, actor: str, clock: Clock
) -> int:
    """Take a building, a floor or a space out of service from a day on, with everything in it.

    Its spaces have no area from that day, so nobody pays for them and nobody can let them; their meters count for the
    owner. Returns how many places end. Raises Invalid while a lease holds one of its spaces on that day or later.
    """
    if kind == "site":
        raise Invalid("a site cannot be taken out of service; its buildings can")
    place_id = await _locked(conn, site, kind, code)
    await _on(conn, kind, place_id, code, from_day)
    below = await rows(conn, queries.below, {"kind": kind, "place_id": place_id, "day": from_day})
    ids = {f"{k}_ids": [row["id"] for row in below if row["kind"] == k] for k in ("building", "floor", "space")}
    held = await rows(conn, queries.holdings, ids | {"day": from_day})
    if held:
        raise Invalid(
            "{code} cannot be taken out of service from {from_day}: lease {number} holds {space}; end it first",
            code=code,
            from_day=from_day,
            number=held[0]["number"],
            space=held[0]["space"],
        )
    await execute(conn, queries.end_places, ids | {"day": from_day})
    await execute(conn, queries.end_areas, ids | {"day": from_day})
    await _noted(conn, site, "place.out", kind, code, {"from": from_day, "places": len(below)}, actor, clock)
    return len(below)


async def bring_back(
    conn: AsyncConnection, site: Site, kind: Kind, code: str, *, from_day: date, actor: str, clock: Clock
) -> None:
    """Bring a place back into service from a day on, with everything that went out of service with it."""
    place_id = await _locked(conn, site, kind, code)
    periods = await _periods(conn, kind, place_id, None)
    if any(p["ends_on"] is None or p["ends_on"] > from_day for p in periods):
        raise Invalid("{code} is in service on {day} or later", code=code, day=from_day)
    ended = {"kind": kind, "place_id": place_id, "ended": periods[-1]["ends_on"], "day": from_day}
    try:
        async with conn.transaction():
            await execute(conn, queries.begin_again, ended)
    except psycopg.errors.ExclusionViolation as error:
        raise Invalid("part of {code} is in service again already; bring the rest back by itself", code=code) from error
    await _noted(conn, site, "place.back", kind, code, {"from": from_day}, actor, clock)


async def split_floor(
    conn: AsyncConnection,
    site: Site,
    code: str,
    *,
    new_code: str,
    name_zh: str,
    name_en: str,
    spaces: Sequence[str],
    from_day: date,
    actor: str,
    clock: Clock,
    area_m2: Decimal | None = None,
) -> None:
    """Make two floors of one from a day on: a new floor of the same storey takes the named spaces, and its area.

    Raises Invalid when a space does not stand on the floor, or the new floor's area is not below the whole's.
    """
    floor_id = await _locked(conn, site, "floor", code)
    before = await _on(conn, "floor", floor_id, code, from_day)
    if not spaces or not new_code or not name_zh or not name_en:
        raise Invalid("a new floor needs a code, a name in both languages and at least one space")
    if area_m2 is not None and not 0 < area_m2 < (before["area_m2"] or 0):
        raise Invalid("the new floor's area has to be above 0 and below the {whole} m2 of {code}",
                      code=code, whole=before["area_m2"] or 0)  # fmt: skip
    for space in spaces:
        standing = await _on(conn, "space", await _find(conn, site, "space", space), space, from_day)
        if standing["in_floor_id"] != floor_id:
            raise Invalid("space {space} does not stand on floor {code}", space=space, code=code)
    if await one(conn, queries.find, {"site_id": site.id, "kind": "floor", "code": new_code}):
        raise Invalid("there is a floor {code} already; choose another code", code=new_code)
    named = {"code": new_code, "name_zh": name_zh, "name_en": name_en, "area_m2": area_m2, "floor_id": floor_id}
    made = await one(conn, queries.new_floor, named | {"building_id": before["in_building_id"]})
    assert made is not None
    await execute(conn, queries.begin_on, {"kind": "floor", "place_id": made["id"], "day": from_day})
    who = {"actor": actor, "clock": clock}
    if area_m2 is not None:
        rest = Wanted(area_m2=before["area_m2"] - area_m2)
        await change(conn, site, "floor", code, rest, from_day=from_day, **who)
    for space in spaces:
        await change(conn, site, "space", space, Wanted(floor=new_code), from_day=from_day, **who)
    detail = {"from": from_day, "new": new_code, "spaces": list(spaces), "area_m2": area_m2}
    await _noted(conn, site, "place.split", "floor", code, detail, actor, clock)


async def show_today(conn: AsyncConnection, site: Site, clock: Clock) -> None:
    """Let the rows of sites, buildings, floors and spaces say what holds on the site's day of today."""
    today = clock.now().astimezone(site.zone).date()
    values = {"site_id": site.id, "organisation_id": site.organisation_id, "day": today}
    await execute(conn, queries.show_today, values)


async def show_today_everywhere(conn: AsyncConnection, clock: Clock) -> None:
    """Do so at every site: a change that was told ahead holds from its local midnight on."""
    for site in await sites(conn):
        await show_today(conn, site, clock)


async def _find(conn: AsyncConnection, site: Site, kind: Kind, code: str) -> int:
    found = await one(conn, queries.find, {"site_id": site.id, "kind": kind, "code": code})
    if found is None:
        raise NotFound("{code} is not {kind} of this site", kind=_A[kind], code=code)
    return found["id"]


async def _locked(conn: AsyncConnection, site: Site, kind: Kind, code: str) -> int:
    await execute(conn, queries.lock, {"organisation_id": site.organisation_id})
    return await _find(conn, site, kind, code)


async def _periods(conn: AsyncConnection, kind: Kind, place_id: int, as_known: datetime | None) -> list[Row]:
    values = {"kind": kind, "place_id": place_id, "known_at": "infinity" if as_known is None else as_known.isoformat()}
    return await rows(conn, queries.periods, values)


async def _on(conn: AsyncConnection, kind: Kind, place_id: int, code: str, day: date) -> Row:
    for period in await _periods(conn, kind, place_id, None):
        starts, ends = period["starts_on"], period["ends_on"]
        if (starts is None or starts <= day) and (ends is None or day < ends):
            return period
    raise Invalid("{code} is not in service on {day}", code=code, day=day)


async def _merged(conn: AsyncConnection, site: Site, before: Row, wanted: Wanted, day: date) -> Row:
    """Return a period's row with what is wanted of it; the parents are looked up on the day."""
    after = before | {"name_zh": wanted.name_zh or before["name_zh"], "name_en": wanted.name_en or before["name_en"]}
    after["area_m2"] = wanted.area_m2 or before["area_m2"]
    if wanted.building is not None:
        after |= {
            "building": wanted.building,
            "in_building_id": await _parent(conn, site, "building", wanted.building, day),
        }
    if wanted.floor is not None:
        after |= {"floor": wanted.floor, "in_floor_id": await _parent(conn, site, "floor", wanted.floor, day)}
        if after["in_floor_id"] != before["in_floor_id"]:
            after |= {"inside": None, "in_space_id": None}
    if wanted.inside == "":
        after |= {"inside": None, "in_space_id": None}
    elif wanted.inside is not None:
        around_id = await _find(conn, site, "space", wanted.inside)
        around = await _on(conn, "space", around_id, wanted.inside, day)
        if wanted.floor is not None and around["in_floor_id"] != after["in_floor_id"]:
            raise Invalid("space {space} does not stand on floor {code}", space=wanted.inside, code=wanted.floor)
        after |= {"inside": wanted.inside, "in_space_id": around_id}
        after |= {"floor": around["floor"], "in_floor_id": around["in_floor_id"]}
    return after


async def _parent(conn: AsyncConnection, site: Site, kind: Kind, code: str, day: date) -> int:
    place_id = await _find(conn, site, kind, code)
    await _on(conn, kind, place_id, code, day)
    return place_id


async def _put(
    conn: AsyncConnection, site: Site, kind: Kind, place_id: int, before: Row, after: Row, first: date
) -> None:
    ids = {"id": before["id"], "day": first, "organisation_id": site.organisation_id, "kind": kind}
    try:
        async with conn.transaction():
            await execute(conn, queries.drop, ids)
            await execute(conn, queries.cut, ids)
            period = {"place_id": place_id, "first": first, "after": before["ends_on"]}
            await execute(conn, queries.add, after | ids | period)
    except psycopg.errors.CheckViolation as error:
        raise Invalid("space {space} would be inside itself", space=after["inside"] or "") from error


async def _take_along(conn: AsyncConnection, site: Site, space_id: int, floor_id: int, day: date) -> None:
    for row in await rows(conn, queries.inside, {"space_id": space_id, "day": day}):
        before = await _on(conn, "space", row["space_id"], str(row["space_id"]), day)
        await _put(conn, site, "space", row["space_id"], before, before | {"in_floor_id": floor_id}, day)
        await _take_along(conn, site, row["space_id"], floor_id, day)


def _said(period: Row) -> dict[str, Any]:
    told = ("name_zh", "name_en", "building", "floor", "inside", "area_m2")
    return {name: period[name] for name in told if period[name] is not None}


def _differs(code: str, before: Row, after: Row) -> None:
    if _said(before) == _said(after):
        raise Invalid("nothing changes: {code} is so already", code=code)


async def _noted(
    conn: AsyncConnection,
    site: Site,
    action: str,
    kind: Kind,
    code: str,
    detail: dict[str, Any],
    actor: str,
    clock: Clock,
) -> None:
    await show_today(conn, site, clock)
    await audit(conn, site, clock, actor=actor, action=action, subject=f"{kind}/{code}", detail=detail)
