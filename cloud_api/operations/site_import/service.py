"""Import an estate file: idempotent, all or nothing, every problem reported at once."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from cloud_api.db.queries import load_queries
from cloud_api.kit.clock import Clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.yaml_exact import YamlProblem, load_exact
from cloud_api.leasing.service import sites
from cloud_api.operations.places import service as places
from cloud_api.operations.site_import import check
from cloud_api.operations.site_import.model import EstateFile, MeterIn

queries = load_queries(__file__)
_USE = {"tenant": "lettable", "shared": "shared", "common": "common", "plant": "plant"}
_SHARE_DIGITS = Decimal("1e-12")


class EstateInvalid(Invalid):
    """The estate file cannot be imported; the text lists every problem."""

    code = "estate_invalid"

    def __init__(self, name: str, found: Sequence[str]) -> None:
        super().__init__("{name}: {count} problem(s){problems}", name=name, count=len(found), problems=list(found))


def read_estate(path: Path) -> EstateFile:
    """Read and check a file. Raises EstateInvalid with every problem, each with its line where it has one."""
    try:
        data, lines = load_exact(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise EstateInvalid(str(path), [f"cannot be read: {error.strerror}"]) from error
    except (UnicodeDecodeError, YamlProblem) as error:
        raise EstateInvalid(path.name, [str(error)]) from error
    try:
        estate = EstateFile.model_validate(data)
    except ValidationError as error:
        found = []
        for one in error.errors(include_url=False):
            where = ".".join(str(part) for part in one["loc"])
            found.append(f"line {_line(tuple(one['loc']), lines)}, {where}: {one['msg']}")
        raise EstateInvalid(path.name, found) from error
    found = check.problems(estate)
    if found:
        raise EstateInvalid(path.name, found)
    return estate


def _line(loc: tuple[Any, ...], lines: dict[tuple[str | int, ...], int]) -> int:
    while loc and loc not in lines:
        loc = loc[:-1]
    return lines.get(loc, 1)


async def import_estate(conn: AsyncConnection, estate: EstateFile, *, actor: str, clock: Clock) -> dict[str, int]:
    """Store the estate; importing the same file again changes nothing. Returns how many of each there are.

    Codes are the identity: a thing left out of the file stays as it is; one that is called otherwise, or stands
    elsewhere, does so from today on. Areas and meter shares that are known stay: their changes are dated
    (`tenancy.spaces`).
    """
    organisation = estate.organisation
    row = await _one(
        conn, queries.save_organisation, code=organisation.code, zh=organisation.name.zh, en=organisation.name.en
    )
    ids: dict[str, Any] = {"organisation_id": row[0]}
    await conn.execute(queries.save_owner, ids | {"zh": organisation.name.zh, "en": organisation.name.en})
    ids["site_id"] = await _save_site(conn, estate, ids["organisation_id"])
    ids["today"] = clock.now().astimezone(ZoneInfo(estate.site.time_zone)).date()
    for statement, rows in _statements(estate):
        await conn.execute(statement, ids | {"rows": _json(rows)})
    counts = {
        "buildings": len(estate.buildings),
        "floors": sum(len(b.floors) for b in estate.buildings),
        "spaces": len(check.space_codes(estate)),
        "meters": len(estate.meters),
        "equipment": len(estate.equipment),
    }
    kept = await (await conn.execute(queries.areas_kept, ids | {"rows": _json(_areas(estate))})).fetchall()
    if kept:
        counts["areas kept that differ from the file"] = len(kept)
    changed = await conn.execute(queries.change_places, ids | {"rows": _json(_places(estate))})
    if changed.rowcount:
        counts["places called or nested otherwise from today on"] = changed.rowcount
    site = next(site for site in await sites(conn) if site.id == ids["site_id"])
    await places.show_today(conn, site, clock)
    await conn.execute(
        queries.audit,
        {
            "organisation_id": ids["organisation_id"],
            "at": clock.now(),
            "actor": actor,
            "subject": f"site/{estate.site.code}",
            "detail": _json(counts),
        },
    )
    return counts


async def _save_site(conn: AsyncConnection, estate: EstateFile, organisation_id: int) -> int:
    site = estate.site
    attributes = dict(site.model_extra or {}) | {"supply": site.supply}
    contract = site.supply.get("contract_demand_kw")
    row = await _one(
        conn, queries.save_site,
        organisation_id=organisation_id, code=site.code, zh=site.name.zh, en=site.name.en,
        time_zone=site.time_zone, currency=site.currency, region=site.region,
        contract_kw=contract, attributes=_json(attributes),
    )  # fmt: skip
    if row[1] != site.currency:
        raise EstateInvalid(
            "site", [f"the site's currency is {row[1]}; changing it to {site.currency} needs a new site"]
        )
    return row[0]


async def _one(conn: AsyncConnection, statement: LiteralString, **values: Any) -> Any:
    row = await (await conn.execute(statement, values)).fetchone()
    assert row is not None
    return row


def _statements(estate: EstateFile) -> list[tuple[LiteralString, list[dict[str, Any]]]]:
    """Return the statements in the order in which one row needs another."""
    floors = [(b, f) for b in estate.buildings for f in b.floors]
    meters, equipment = estate.meters, estate.equipment
    return [
        (queries.save_buildings, [_named(b) | {"attributes": dict(b.model_extra or {})} for b in estate.buildings]),
        (
            queries.save_floors,
            [_named(f) | {"building": b.code, "level_number": f.level_number, "area_m2": f.area_m2} for b, f in floors],
        ),
        (
            queries.save_spaces,
            [_named(s) | {"floor": f.code, "use": _USE[s.kind]} for _, f in floors for s in f.spaces],
        ),
        (queries.begin_places, _places(estate)),
        (queries.save_areas, _areas(estate)),
        (queries.save_meters, [_meter(m) for m in meters]),
        (queries.save_meter_parents, [{"code": m.code, "parent": m.parent} for m in meters]),
        (
            queries.save_registers,
            [
                {"meter": m.code, "quantity": q, "unit": r.unit, "multiplier": r.multiplier, "modulus": r.modulus}
                for m in meters
                for q, r in m.registers.items()
            ],
        ),
        (
            queries.save_register_points,
            [{"meter": m.code, "quantity": q} | _address(r.point) for m in meters for q, r in m.registers.items()],
        ),
        (queries.save_meter_spaces, [row for m in meters for row in _shares(estate, m)]),
        (
            queries.save_equipment,
            [
                _named(e)
                | {"brick": e.brick, "space": e.space}
                | {"attributes": dict(e.model_extra or {}) | {"fed_by": list(e.fed_by), "device": e.device}}
                for e in equipment
            ],
        ),
        (queries.save_equipment_parents, [{"code": e.code, "parent": next(iter(e.fed_by), None)} for e in equipment]),
        (queries.forget_served, []),
        (
            queries.save_served,
            [
                {"equipment": e.code, "space": space}
                for e in equipment
                for place in e.serves
                for space in check.spaces_at(estate, place)
            ],
        ),
        (
            queries.save_equipment_points,
            [{"equipment": e.code, "role": role} | _address(p) for e in equipment for role, p in e.points.items()],
        ),
    ]


def _areas(estate: EstateFile) -> list[dict[str, Any]]:
    return [
        {"code": s.code, "since": s.since, "area_m2": s.area_m2, "area_kind": s.area_kind}
        for b in estate.buildings
        for f in b.floors
        for s in f.spaces
    ]


def _places(estate: EstateFile) -> list[dict[str, Any]]:
    """Return every place by the codes that lead to it, with what is dated of it; the site has none."""
    found = [{"zh": estate.site.name.zh, "en": estate.site.name.en}]
    for b in estate.buildings:
        found.append(_named(b) | {"building": b.code, "since": b.since})
        for f in b.floors:
            found.append(_named(f) | {"building": b.code, "floor": f.code, "since": f.since, "area_m2": f.area_m2})
            stands = {"building": b.code, "floor": f.code}
            found += [_named(s) | stands | {"space": s.code, "since": s.since, "inside": s.inside} for s in f.spaces]
    return found


def _named(part: Any) -> dict[str, Any]:
    return {"code": part.code, "zh": part.name.zh, "en": part.name.en}


def _meter(meter: MeterIn) -> dict[str, Any]:
    attributes = dict(meter.model_extra or {}) | {"space": meter.space, "installed_on": meter.installed_on}
    return _named(meter) | {
        "utility": meter.utility,
        "use": meter.role,
        "interval_minutes": meter.interval_minutes,
        "attributes": attributes,
    }


def _address(point: str) -> dict[str, str]:
    device, _, name = point.partition("/")
    return {"device": device, "point": name}


def _shares(estate: EstateFile, meter: MeterIn) -> list[dict[str, Any]]:
    """Divide a meter over the spaces it serves, by area or equally; the shares sum to exactly one."""
    areas = {s.code: s.area_m2 for b in estate.buildings for f in b.floors for s in f.spaces}
    weights = {code: areas[code] or Decimal(0) for code in meter.serves}
    if meter.split == "equal" or not all(weights.values()):
        weights = dict.fromkeys(meter.serves, Decimal(1))
    whole = sum(weights.values(), Decimal(0))
    rows = [
        {"meter": meter.code, "space": code, "share": (weight / whole).quantize(_SHARE_DIGITS)}
        for code, weight in weights.items()
    ]
    if rows:
        rows[-1]["share"] = 1 - sum((row["share"] for row in rows[:-1]), Decimal(0))
    return rows


def _json(value: Any) -> Jsonb:
    return Jsonb(value, dumps=_dumps)


def _dumps(value: Any) -> str:
    import json

    return json.dumps(value, default=str, ensure_ascii=False)
