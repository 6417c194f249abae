"""Names and nesting by period: what a bill of an earlier month prints, what is refused, what was known when."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random

import psycopg
import pytest

from cloud_api.billing.document.render import content
from cloud_api.billing.inputs import Pins, find_policy, find_site, load_inputs
from cloud_api.billing.service import now_known
from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import use_language
from cloud_api.kit.scope import SYSTEM
from cloud_api.leasing import service as leasing
from cloud_api.operations.estate_view import service as estate_view
from cloud_api.operations.places import service as places
from cloud_api.operations.places.service import Wanted
from cloud_api.operations.site_import import service as site_import
from cloud_api.operations.site_import.check import problems
from cloud_api.operations.tenancy import spaces
from cloud_api.web.shared.bill_view import bill_view
from tests.integration.billing.small_site import CLOCK, SmallSite, estate
from tests.integration.billing.test_moves import WHO, park  # noqa: F401  # A fixture.
from tests.integration.billing.test_pages import app, bills, post, sign_in  # noqa: F401  # Fixtures.

NOVEMBER = {"from_day": date(2026, 11, 1)}


@pytest.fixture
async def site(park):  # noqa: F811
    return await leasing.find_site(park.conn)


async def rows(conn, statement, *values):
    return await (await conn.execute(statement, values)).fetchall()


async def names(conn, site, kind, code):
    return [(p["name_en"], p["starts_on"], p["ends_on"]) for p in await places.history(conn, site, kind, code, None)]


async def places_of(park, who):  # noqa: F811
    bill = await park.bill(await park.run(), who)
    return bill["snapshot"]["site"]["name"]["en"], bill["snapshot"]["leases"][0]["place"]


async def test_a_bill_prints_the_names_of_its_own_month(park, site):  # noqa: F811
    for kind, code in (("site", "park"), ("building", "b1"), ("floor", "1F"), ("space", "r1")):
        new = Wanted(name_zh=f"新{code}", name_en=f"New {code}")
        await places.change(park.conn, site, kind, code, new, **NOVEMBER, **WHO)
    whole, place = await places_of(park, "a")
    assert whole == "Park"
    assert place["space"]["en"] == "r1"
    assert (place["floor"]["zh"], place["building"]["en"]) == ("一层", "Building 1")
    bill = await park.bill(await park.run(), "a")
    assert ("房间 · Space", "r1 r1 r1") in [(f["label"], f["value"]) for f in content(bill)["facts"]]
    with use_language("en"):
        assert bill_view(bill)["leases"][0]["name"] == "r1"
    shown = await rows(park.conn, "SELECT s.name_en, f.name_en, b.name_en, x.name_en FROM space s JOIN floor f ON"
                                  " f.id = s.floor_id JOIN building b ON b.id = f.building_id JOIN site x ON x.id ="
                                  " b.site_id WHERE s.code = 'r1'")  # fmt: skip
    assert shown == [("New r1", "New 1F", "New b1", "New park")]


async def test_a_name_that_changes_within_the_month_is_that_of_the_last_day(park, site):  # noqa: F811
    await places.change(park.conn, site, "space", "r1", Wanted(name_en="Café"), from_day=date(2026, 10, 20), **WHO)
    _, place = await places_of(park, "a")
    assert place["space"] == {"zh": "r1", "en": "Café"}


async def test_a_correction_is_printed_for_the_whole_period_and_a_change_from_its_day(park, site):  # noqa: F811
    await places.change(park.conn, site, "space", "r1", Wanted(name_en="Studio"), **NOVEMBER, **WHO)
    await places.correct(park.conn, site, "space", "r1", Wanted(name_en="Room 1"), on_day=date(2026, 3, 1), **WHO)
    assert await names(park.conn, site, "space", "r1") == [
        ("Room 1", None, date(2026, 11, 1)),
        ("Studio", date(2026, 11, 1), None),
    ]
    _, place = await places_of(park, "a")
    assert place["space"]["en"] == "Room 1"


async def test_a_change_between_two_known_ones_lasts_until_the_next(park, site):  # noqa: F811
    await places.change(park.conn, site, "floor", "1F", Wanted(name_en="C"), from_day=date(2026, 12, 1), **WHO)
    await places.change(park.conn, site, "floor", "1F", Wanted(name_en="B"), from_day=date(2026, 10, 1), **WHO)
    await places.change(park.conn, site, "floor", "1F", Wanted(name_en="B2"), from_day=date(2026, 10, 1), **WHO)
    assert await names(park.conn, site, "floor", "1F") == [
        ("Ground", None, date(2026, 10, 1)),
        ("B2", date(2026, 10, 1), date(2026, 12, 1)),
        ("C", date(2026, 12, 1), None),
    ]


async def test_a_name_told_ahead_is_shown_from_its_day_on(park, site):  # noqa: F811
    await places.change(park.conn, site, "space", "r1", Wanted(name_en="Later"), from_day=date(2026, 12, 1), **WHO)
    shown = "SELECT name_en FROM space WHERE code = 'r1'"
    assert await rows(park.conn, shown) == [("r1",)]
    eve = fixed_clock(datetime(2026, 11, 30, 15, 59, tzinfo=UTC))
    await places.show_today_everywhere(park.conn, eve)
    assert await rows(park.conn, shown) == [("r1",)]
    await places.show_today_everywhere(park.conn, fixed_clock(datetime(2026, 11, 30, 16, tzinfo=UTC)))
    assert await rows(park.conn, shown) == [("Later",)]


async def test_the_database_refuses_two_names_on_one_day_and_circles(park, site):  # noqa: F811
    again = (
        "INSERT INTO place_period (organisation_id, space_id, in_floor_id, name_zh, name_en, valid)"
        " SELECT organisation_id, id, floor_id, 'x', 'x', daterange('2026-10-01', '2026-10-02') FROM space WHERE code = 'r1'"
    )
    with pytest.raises(psycopg.errors.ExclusionViolation, match="one_period_per_space_and_day"):
        async with park.conn.transaction():
            await park.conn.execute(again)
    await places.change(park.conn, site, "space", "r2", Wanted(inside="r1"), from_day=date(2026, 10, 1), **WHO)
    await places.change(park.conn, site, "space", "r3", Wanted(inside="r2"), from_day=date(2026, 10, 1), **WHO)
    with pytest.raises(Invalid, match="would be inside itself"):
        await places.change(park.conn, site, "space", "r1", Wanted(inside="r3"), **NOVEMBER, **WHO)
    with pytest.raises(Invalid, match="would be inside itself"):
        await places.change(park.conn, site, "space", "r1", Wanted(inside="r1"), **NOVEMBER, **WHO)
    # From the day on which r3 is out of r2, there is no circle.
    await places.change(park.conn, site, "space", "r3", Wanted(inside=""), **NOVEMBER, **WHO)
    await places.change(park.conn, site, "space", "r1", Wanted(inside="r3"), **NOVEMBER, **WHO)


async def test_a_split_floor_takes_its_spaces_and_what_is_inside_them(park, site):  # noqa: F811
    await places.change(park.conn, site, "space", "r3", Wanted(inside="r2"), from_day=date(2026, 1, 1), **WHO)
    new = {"new_code": "1FN", "name_zh": "一层北", "name_en": "Ground north", "spaces": ["r2"]}
    await places.split_floor(park.conn, site, "1F", **new, **NOVEMBER, **WHO)
    floors = await rows(park.conn, "SELECT s.code, f.code FROM space s JOIN floor f ON f.id = s.floor_id ORDER BY 1")
    assert floors == [("hall", "1F"), ("r1", "1F"), ("r2", "1FN"), ("r3", "1FN")]
    assert await names(park.conn, site, "floor", "1FN") == [("Ground north", date(2026, 11, 1), None)]
    _, place = await places_of(park, "b")  # r3 stood on the whole floor in October.
    assert place["floor"]["en"] == "Ground"
    with pytest.raises(Invalid, match="r1 does not stand on floor 1FN"):
        await places.split_floor(park.conn, site, "1FN", **new | {"new_code": "x", "spaces": ["r1"]}, **NOVEMBER, **WHO)
    with pytest.raises(Invalid, match="1FN is not in service on 2026-10-31"):
        await places.change(park.conn, site, "space", "r1", Wanted(floor="1FN"), from_day=date(2026, 10, 31), **WHO)


async def test_a_building_out_of_service_has_nothing_to_let_and_comes_back_as_it_was(park, site):  # noqa: F811
    out = {"from_day": date(2026, 12, 1)}
    with pytest.raises(Invalid, match="lease L1 holds r1; end it first"):
        await places.take_out(park.conn, site, "building", "b1", **out, **WHO)
    await park.conn.execute("UPDATE lease_space SET term = daterange(lower(term), '2026-12-01')")
    assert await places.take_out(park.conn, site, "building", "b1", **out, **WHO) == 6
    december = datetime(2026, 12, 2, tzinfo=UTC)
    assert await estate_view.spaces(park.conn, site, december) == []
    assert len(await estate_view.spaces(park.conn, site, datetime(2026, 11, 2, tzinfo=UTC))) == 4
    with pytest.raises(Invalid, match="r1 is not in service on 2026-12-05"):
        await places.change(park.conn, site, "space", "r1", Wanted(name_en="x"), from_day=date(2026, 12, 5), **WHO)
    await places.bring_back(park.conn, site, "building", "b1", from_day=date(2027, 3, 1), **WHO)
    back = await estate_view.spaces(park.conn, site, datetime(2027, 3, 2, tzinfo=UTC))
    assert {s["code"]: s["area_m2"] for s in back} == {"hall": 50, "r1": 100, "r2": 60, "r3": 40}
    with pytest.raises(Invalid, match="b1 is in service"):
        await places.bring_back(park.conn, site, "building", "b1", from_day=date(2027, 3, 1), **WHO)


async def test_a_part_of_a_space_is_there_from_the_day_of_its_division(park, site):  # noqa: F811
    parts = {"r1-1": Decimal(60), "r1-2": Decimal(40)}
    await spaces.split_space(park.conn, site, "r1", parts=parts, from_day=date(2026, 10, 16), **WHO)
    [part] = await places.history(park.conn, site, "space", "r1-1", None)
    assert (part["starts_on"], part["inside"]) == (date(2026, 10, 16), "r1")


async def test_what_a_place_has_not_and_a_place_that_is_not_there_are_refused(park, site):  # noqa: F811
    with pytest.raises(Invalid, match="a building has no floor"):
        await places.change(park.conn, site, "building", "b1", Wanted(floor="1F"), **NOVEMBER, **WHO)
    with pytest.raises(Invalid, match="nothing changes: b1 is so already"):
        await places.change(park.conn, site, "building", "b1", Wanted(name_en="Building 1"), **NOVEMBER, **WHO)
    with pytest.raises(Invalid, match="say what changes"):
        await places.change(park.conn, site, "building", "b1", Wanted(), **NOVEMBER, **WHO)
    with pytest.raises(NotFound, match="9F is not a floor of this site"):
        await places.change(park.conn, site, "space", "r1", Wanted(floor="9F"), **NOVEMBER, **WHO)
    with pytest.raises(Invalid, match="changed from a day on, not corrected"):
        await places.correct(park.conn, site, "space", "r1", Wanted(inside="r2"), on_day=date(2026, 3, 1), **WHO)


async def test_an_imported_estate_that_calls_things_otherwise_changes_them_from_today(conn):
    file = estate({"m1": ["r1"]}, areas={"r1": 100, "r2": 50})
    await site_import.import_estate(conn, file, actor="x", clock=fixed_clock(datetime(2026, 3, 1, tzinfo=UTC)))
    site = await leasing.find_site(conn)
    await conn.execute("UPDATE place_period SET recorded_at = '2026-03-01'")
    raw = file.model_dump()
    floors = raw["buildings"][0]["floors"]
    floors = raw["buildings"][0]["floors"] = list(floors)
    floors[0]["spaces"][0]["name"] = {"zh": "新", "en": "New"}
    moved = floors[0]["spaces"][1]
    floors[0]["spaces"] = [floors[0]["spaces"][0], floors[0]["spaces"][2]]
    inner = {"code": "r2a", "kind": "tenant", "name": {"zh": "内", "en": "Inner"}, "area_m2": 5, "inside": "r2"}
    upper = {"code": "2F", "level_number": 1, "name": {"zh": "二层", "en": "First"}, "since": "2026-06-01"}
    floors.append(upper | {"spaces": [moved, inner | {"since": "2026-07-01"}]})
    changed = site_import.EstateFile.model_validate(raw)
    assert problems(changed) == []
    counts = await site_import.import_estate(conn, changed, actor="x", clock=CLOCK)
    assert counts["spaces"] == 4
    assert (await names(conn, site, "space", "r1"))[-1][0] == "New"
    assert await names(conn, site, "floor", "2F") == [("First", date(2026, 6, 1), None)]
    [inside] = await places.history(conn, site, "space", "r2a", None)
    assert (inside["starts_on"], inside["inside"], inside["floor"]) == (date(2026, 7, 1), "r2", "2F")
    r2 = await places.history(conn, site, "space", "r2", None)
    assert [(p["floor"], p["ends_on"]) for p in r2] == [("1F", date(2026, 11, 10)), ("2F", None)]
    assert (await rows(conn, "SELECT count(*) FROM space WHERE code = 'r2'")) == [(1,)]
    again = await site_import.import_estate(conn, changed, actor="x", clock=CLOCK)
    assert "places called or nested otherwise from today on" not in again


def test_an_estate_file_with_a_space_inside_itself_or_on_another_floor_is_refused():
    raw = estate({}, areas={"r1": 100, "r2": 50}).model_dump()
    first, second = raw["buildings"][0]["floors"][0]["spaces"][:2]
    first["inside"], second["inside"] = "r2", "r1"
    assert "space r1 is inside itself" in problems(site_import.EstateFile.model_validate(raw))
    first["inside"], second["inside"] = "nowhere", None
    assert "space r1 is inside the unknown space nowhere" in problems(site_import.EstateFile.model_validate(raw))


def a_step(random, number):
    """Return one change or correction of what stands where, chosen by chance."""
    day = date(2026, 9, 20) + timedelta(days=random.randrange(50))
    kind, code = random.choice(
        [("site", "park"), ("building", "b1"), ("floor", "1F"), ("space", "r1"), ("space", "r2")]
    )
    named = Wanted(name_zh=f"名{number}", name_en=f"Name {number}")
    area = {"area_m2": Decimal(10 + number), "area_kind": random.choice(["net", "gross"]), "from_day": day}
    return random.choice([
        lambda c, s: places.change(c, s, kind, code, named, from_day=day, **WHO),
        lambda c, s: places.correct(c, s, kind, code, named, on_day=day, **WHO),
        lambda c, s: places.change(c, s, "space", "r2", Wanted(inside=random.choice(["", "r1"])), from_day=day, **WHO),
        lambda c, s: spaces.change_area(c, s, "r1", **area, **WHO),
        lambda c, s: places.take_out(c, s, "space", "r3", from_day=day, **WHO),
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_changes_a_month_as_known_on_a_date_is_as_it_was_read_then(pool, database, seed):
    random = Random(seed)
    month = (date(2026, 10, 1), date(2026, 11, 1))
    async with transaction(pool, SYSTEM) as conn:
        rooms = {"r1": 100, "r2": 50, "r3": 20}
        await SmallSite(conn).build(estate({"m1": ["r1"]}, areas=rooms), [("L1", "a", "r1", "2026-01-01", "")])

    async def read(known_at):
        async with transaction(pool, SYSTEM) as conn:
            billed = await find_site(conn)
            pins = Pins(known_at=known_at, tariff_revision=1, policy=await find_policy(conn, billed))
            found, _ = await load_inputs(conn, billed, "electricity", *month, pins=pins)
            return found.site.name, found.places, found.spaces, found.tenancies

    seen = []
    for number in range(8):
        async with transaction(pool, SYSTEM) as conn:
            at = await now_known(conn)
        seen.append((at, await read(at)))
        try:
            async with transaction(pool, SYSTEM) as conn:
                await a_step(random, number)(conn, await leasing.find_site(conn))
        except Invalid:
            pass  # Such as a room that is out of service: nothing was stored, and the next step follows.
    assert [await read(at) for at, _ in seen] == [then for _, then in seen]
    assert len({str(then) for _, then in seen}) > 2


async def test_leasing_renames_splits_and_closes_on_pages_and_a_guard_only_reads(app, bills):  # noqa: F811
    manager, guard = [await sign_in(app, who) for who in ("manager", "guard")]
    page = "/console/places/floor/1F"
    form = {"name_zh": "底层", "name_en": "Lower floor", "building": "b1", "from_day": "2026-11-01"}
    await post(manager, page, page + "/change", **form)
    shown = (await guard.get(page)).text
    assert "底层 · Lower floor" in shown
    assert "一层 · Ground" in shown  # What it was called before.
    assert '<form method="post" action="/console/places' not in shown
    split = {"new_code": "1FN", "name_zh": "北区", "name_en": "North wing", "spaces": "r2", "from_day": "2026-11-01"}
    await post(manager, page, page + "/split", **split)
    assert "r2 · r2" in (await manager.get("/console/places/floor/1FN")).text
    assert "/console/places/floor/1F?" in (await manager.get("/console/spaces/r1")).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await manager.get(page)).text)[1]
    refused = await manager.post(page + "/take-out", data={"csrf_token": token, "from_day": "2026-11-05"})
    assert refused.status_code == 422
    assert "lease L1 holds r1; end it first" in refused.text


async def test_a_program_reads_places_as_known_and_changes_them(app, bills):  # noqa: F811
    client = await sign_in(app, "manager")
    answer = await client.post("/api/v1/session", json={"login": "manager", "password": "correct horse battery"})
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    place = "/api/v1/places/building/b1"
    at = (await client.get(place)).json()[0]["recorded_at"]
    body = {"on_day": "2026-10-01", "name_en": "Tower"}
    assert (await client.post(place + "/corrections", json=body)).status_code == 204
    assert [p["name_en"] for p in (await client.get(place)).json()] == ["Tower"]
    assert [p["name_en"] for p in (await client.get(place, params={"known_at": at})).json()] == ["Building 1"]
    refused = await client.post(place + "/changes", json={"from_day": "2026-11-01", "floor": "1F"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
