"""What has to hold between the parts of an estate file: unique codes, known references, one meter tree. Pure."""

from collections import Counter
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from cloud_api.operations.site_import.model import EstateFile


def problems(estate: EstateFile) -> list[str]:
    """Return everything that keeps the file from being imported, all at once."""
    return [*_codes(estate), *_zone(estate), *_spaces(estate), *_nesting(estate), *_meters(estate), *_equipment(estate)]


def _codes(estate: EstateFile) -> Iterator[str]:
    kinds = {
        "building": [b.code for b in estate.buildings],
        "floor": [f.code for b in estate.buildings for f in b.floors],
        "space": [s.code for b in estate.buildings for f in b.floors for s in f.spaces],
        "meter": [m.code for m in estate.meters],
        "equipment": [e.code for e in estate.equipment],
    }
    for kind, codes in kinds.items():
        for code in (c for c, count in Counter(codes).items() if count > 1):
            yield f"{kind} {code} stands there twice"


def _zone(estate: EstateFile) -> Iterator[str]:
    try:
        ZoneInfo(estate.site.time_zone)
    except (KeyError, ValueError, OSError):
        yield f"site: unknown time zone {estate.site.time_zone!r}; use a name such as Asia/Shanghai"


def _spaces(estate: EstateFile) -> Iterator[str]:
    for space in (s for b in estate.buildings for f in b.floors for s in f.spaces):
        if space.kind == "tenant" and space.area_m2 is None:
            yield f"space {space.code} can be let and needs area_m2: shares of common energy follow it"


def _nesting(estate: EstateFile) -> Iterator[str]:
    floors = {s.code: f.code for b in estate.buildings for f in b.floors for s in f.spaces}
    inside = {s.code: s.inside for b in estate.buildings for f in b.floors for s in f.spaces}
    for code, around in ((code, around) for code, around in inside.items() if around is not None):
        if around not in floors:
            yield f"space {code} is inside the unknown space {around}"
        elif floors[around] != floors[code]:
            yield f"space {code} is inside {around}, which stands on another floor"
        if _is_own_ancestor(code, inside):
            yield f"space {code} is inside itself"


def _meters(estate: EstateFile) -> Iterator[str]:
    spaces = space_codes(estate)
    by_code = {meter.code: meter for meter in estate.meters}
    for meter in estate.meters:
        for code in (c for c in (*meter.serves, *filter(None, [meter.space])) if c not in spaces):
            yield f"meter {meter.code} names the unknown space {code}"
        if meter.role == "tenant" and not meter.serves:
            yield f"meter {meter.code} is a tenant meter and serves no space: name it under serves"
        if meter.parent and meter.parent not in by_code:
            yield f"meter {meter.code} hangs under the unknown meter {meter.parent}"
        elif meter.parent and by_code[meter.parent].utility != meter.utility:
            yield f"meter {meter.code} measures {meter.utility}, its parent {by_code[meter.parent].utility}"
        if _is_own_ancestor(meter.code, {m.code: m.parent for m in estate.meters}):
            yield f"meter {meter.code} hangs under itself"


def _is_own_ancestor(code: str, parents: dict[str, str | None]) -> bool:
    seen: set[str] = set()
    above = parents.get(code)
    while above is not None and above not in seen:
        if above == code:
            return True
        seen.add(above)
        above = parents.get(above)
    return False


def _equipment(estate: EstateFile) -> Iterator[str]:
    places = {*space_codes(estate), *(f.code for b in estate.buildings for f in b.floors)}
    places |= {b.code for b in estate.buildings}
    codes = {e.code for e in estate.equipment}
    for equipment in estate.equipment:
        for code in (c for c in (*equipment.serves, *filter(None, [equipment.space])) if c not in places):
            yield f"equipment {equipment.code} names the unknown place {code}"
        for code in (c for c in equipment.fed_by if c not in codes):
            yield f"equipment {equipment.code} is fed by the unknown equipment {code}"
        for role, point in equipment.points.items():
            if point.count("/") != 1:
                yield f"equipment {equipment.code}, point {role}: {point!r} is not device/point"


def space_codes(estate: EstateFile) -> set[str]:
    """Return the codes of all spaces."""
    return {s.code for b in estate.buildings for f in b.floors for s in f.spaces}


def spaces_at(estate: EstateFile, place: str) -> list[str]:
    """Return the spaces of a place: of a building, of a floor, or the space itself."""
    found = []
    for building in estate.buildings:
        for floor in building.floors:
            found += [s.code for s in floor.spaces if place in {building.code, floor.code, s.code}]
    return found
