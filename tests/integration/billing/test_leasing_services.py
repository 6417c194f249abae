"""What leasing's programs and pages say beside bills: findings, people by company, entries without right, several sites."""

import asyncio
import re
from datetime import UTC, date, datetime

from typer.testing import CliRunner

from cloud_api.db.pool import transaction
from cloud_api.kit.ids import SiteId
from cloud_api.kit.scope import SYSTEM
from cloud_api.leasing import access
from cloud_api.leasing import service as leasing
from cloud_api.leasing.access import Card
from cloud_api.leasing.cli import hours_app, notice_app
from cloud_api.occupancy import service as occupancy
from cloud_api.operations.site_import import service as site_import
from cloud_api.operations.tenancy import service as tenancy
from tests.integration.billing.small_site import CLOCK, estate
from tests.integration.billing.test_moves import WHO, park  # noqa: F401  # A fixture.
from tests.integration.billing.test_pages import app, bills, post, sign_in  # noqa: F401  # Fixtures.
from tests.integration.billing.test_park_pages import api  # noqa: F401  # A fixture.
from tests.integration.billing.test_spaces import door

NOW = CLOCK.now()


def card(number):
    return f"hmac-sha256:{number:032x}"


async def let_in(conn, device, at, *numbers):
    await conn.execute(
        "INSERT INTO gateway (organisation_id, site_id, name) SELECT organisation_id, id, 'gw' FROM site ON CONFLICT DO NOTHING"
    )
    await conn.execute(
        "INSERT INTO device (organisation_id, gateway_id, name) SELECT organisation_id, id, %s FROM gateway"
        " ON CONFLICT DO NOTHING",
        (device,),
    )
    await conn.execute(
        "INSERT INTO event (organisation_id, gateway_id, device_id, occurred_at, received_at, kind, data)"
        " SELECT d.organisation_id, d.gateway_id, d.id, %s, %s, 'door.access', jsonb_build_object('result', 'granted', 'credential', c)"
        " FROM device d, unnest(%s::text[]) AS c WHERE d.name = %s",
        (at, at, [card(n) for n in numbers], device),
    )


async def test_a_let_space_without_a_meter_and_a_meter_without_a_lease_are_named(park):  # noqa: F811
    site = await leasing.find_site(park.conn)
    await park.conn.execute("DELETE FROM meter_space WHERE space_id = (SELECT id FROM space WHERE code = 'r1')")
    found = [str(text) for text in await leasing.reconcile(park.conn, site, NOW)]
    assert "lease L1: no meter measures space r1" in found
    assert "meter m2: none of its spaces is let today, the owner pays" in found
    assert not any("m3" in text or "L3" in text for text in found)


async def test_areas_that_do_not_add_up_are_named_for_leases_and_floors(park):  # noqa: F811
    site = await leasing.find_site(park.conn)
    assert not [t for t in await leasing.reconcile(park.conn, site, NOW) if "m2" in t.message]
    await park.conn.execute(
        "UPDATE lease_space SET area_m2 = 95 WHERE lease_id = (SELECT id FROM lease WHERE number = 'L1')"
    )
    await park.conn.execute("UPDATE floor SET area_m2 = 240")
    found = [str(text) for text in await leasing.reconcile(park.conn, site, NOW)]
    assert "lease L1, space r1: 95 m2 told, 100 m2 known" in found
    assert "floor 1F: its spaces have 250 m2, the floor 240 m2" in found


async def test_people_of_a_day_belong_to_the_card_or_to_the_only_company_behind_the_door(park):  # noqa: F811
    conn, site = park.conn, await leasing.find_site(park.conn)
    await door(conn, "front", "r1", "r2", "r3")
    await door(conn, "d1", "r1")
    at = datetime(2026, 11, 9, 1, tzinfo=UTC)
    await access.record_cards(
        conn, site, [Card(credential=card(n), tenant="b", first=date(2026, 1, 1)) for n in range(3)], **WHO
    )
    await let_in(conn, "front", at, *range(3), 50, 51)  # Three of b, two that nobody knows.
    await let_in(conn, "d1", at, *range(10, 16))  # Six strangers at a door of a's alone.
    found = await occupancy.tenants_day(conn, SiteId(site.id), site.zone, date(2026, 11, 9))
    assert {row.code: row.people for row in found} == {"a": 6, "b": None}  # Three are too few to be shown.


async def test_an_entry_by_an_ended_card_or_through_a_door_of_others_is_a_finding(park):  # noqa: F811
    conn, site = park.conn, await leasing.find_site(park.conn)
    await door(conn, "d1", "r1")
    await door(conn, "d3", "r3")
    for number in ("L1", "L3"):
        await access.align_access(conn, await tenancy.lease_id(conn, site, number), date(2026, 1, 1))
    told = [
        Card(credential=card(1), tenant="a", first=date(2026, 1, 1)),
        Card(credential=card(2), tenant="a", first=date(2026, 1, 1), last_day=date(2026, 11, 1)),
    ]
    await access.record_cards(conn, site, told, **WHO)
    at = datetime(2026, 11, 9, 1, tzinfo=UTC)
    await let_in(conn, "d1", at, 1, 2)  # 1 may; 2 had ended.
    await let_in(conn, "d3", at, 1)  # The door of b's room.
    found = await occupancy.entries_without_right(conn, SiteId(site.id), site.zone, NOW)
    assert [(row.code, row.door, row.is_ended_card, row.entries) for row in found] == [
        ("a", "d1", True, 1),
        ("a", "d3", False, 1),
    ]


async def test_services_of_leasing_are_reached_by_the_api_as_on_their_pages(api, app, bills):  # noqa: F811
    notice = {"kind": "news", "title_zh": "停水", "title_en": "No water", "first": "2026-01-01"}
    made = await api.post("/api/v1/notices", json=notice)
    assert made.status_code == 201
    assert (await api.post(f"/api/v1/notices/{made.json()['id']}/withdraw")).status_code == 204
    assert (await api.get("/api/v1/notices")).json()[0]["withdrawn_at"] is not None
    company = {"code": "n1", "name_zh": "新企业", "contact_email": "a@b.example"}
    assert (await api.post("/api/v1/companies", json=company)).status_code == 201
    assert (await api.put("/api/v1/companies/a/prepaid", json={"low_balance": "50.00"})).status_code == 204
    assert (await api.get("/api/v1/companies/a/prepaid")).json()["low_balance"] == "50.00"
    assert [x["number"] for x in (await api.get("/api/v1/companies/a")).json()["leases"]] == ["L1"]
    asked = {"tenant": "a", "space": "r1", "starts_at": "2030-01-05T19:00+08:00", "ends_at": "2030-01-05T21:00+08:00"}
    booked = await api.post("/api/v1/after-hours", json=asked)
    assert (booked.status_code, booked.json()["state"]) == (201, "approved")
    assert (await api.post(f"/api/v1/after-hours/{booked.json()['id']}/cancel")).status_code == 204
    assert (await api.put("/api/v1/after-hours/parameters", json={"notice_hours": 5})).json()["notice_hours"] == 5
    area = {"area_m2": "99", "from_day": "2026-11-01"}
    assert (await api.put("/api/v1/spaces/r1/area", json=area)).json() == {"bills_to_correct": []}
    parts = {"parts": {"x": "50", "y": "40"}, "from_day": "2026-11-02"}
    assert (await api.post("/api/v1/spaces/r1/parts", json=parts)).status_code == 422
    assert [float(a["area_m2"]) for a in (await api.get("/api/v1/spaces/r1")).json()["areas"]][-1] == 99
    cards = {"cards": [{"credential": card(1), "tenant": "a", "first_day": "2026-01-01"}]}
    assert (await api.put("/api/v1/access/cards", json=cards)).json() == {"changed": 1}
    for path in ("entries-without-right", "people"):
        assert (await api.get(f"/api/v1/access/{path}")).status_code == 200


async def test_a_tenants_program_sees_its_own_bookings_and_notices_and_nothing_of_companies(app, bills):  # noqa: F811
    client = await sign_in(app, "south")
    answer = await client.post("/api/v1/session", json={"login": "south", "password": "correct horse battery"})
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    asked = {"space": "r2", "starts_at": "2030-01-05T19:00+08:00", "ends_at": "2030-01-05T21:00+08:00"}
    assert (await client.post("/api/v1/after-hours", json=asked)).status_code == 201
    refused = await client.post("/api/v1/after-hours", json=asked | {"space": "r1"})
    assert (refused.status_code, refused.json()["code"]) == (422, "request_refused")
    assert [r["space"] for r in (await client.get("/api/v1/after-hours")).json()] == ["r2"]
    assert (await client.get("/api/v1/notices")).status_code == 200
    for path in ("companies", "after-hours/parameters", "access/people", "spaces"):
        assert (await client.get(f"/api/v1/{path}")).status_code == 403, path


async def test_a_chinese_program_reads_the_refused_rows_of_a_preview_in_chinese(api):  # noqa: F811
    rows = "lease,tenant,space,first_day,last_day\nL7,a,nowhere,2026-12-01,\n"
    files = {"file": ("l.csv", rows.encode(), "text/csv")}
    path = "/api/v1/leases/import?preview=true"
    assert (await api.post(path, files=files)).json()["refused"] == ["row 2: there is no space nowhere at this site"]
    told = await api.post(path, files=files, headers={"Accept-Language": "zh-CN"})
    assert told.json()["refused"] == ["第 2 行：本园区没有房间 nowhere"]


async def test_a_space_is_remeasured_and_divided_on_its_page_and_several_sites_are_chosen(app, bills, pool):  # noqa: F811
    manager = await sign_in(app, "manager")
    page = "/console/spaces/r1?site=park"
    await post(manager, page, "/console/spaces/r1/area?site=park", area="90", kind="gross", from_day="2026-11-01")
    assert re.search(r"90\.00 m² <span[^>]*>gross", (await manager.get(page)).text)
    parts = {"parts": "r1-1 = 60, r1-2 = 30", "from_day": "2026-11-02"}
    await post(manager, page, "/console/spaces/r1/parts?site=park", **parts)
    assert "r1-2" in (await manager.get("/console/estate")).text
    assert "Other park" not in (await manager.get("/console/estate")).text
    async with transaction(pool, SYSTEM) as conn:
        file = estate({}, areas={"z1": 10}).model_dump(mode="json")
        site = file["site"] | {"code": "other", "name": {"zh": "另一园区", "en": "Other park"}}
        other = site_import.EstateFile.model_validate(file | {"site": site, "meters": []})
        await site_import.import_estate(conn, other, actor="test", clock=CLOCK)
    for path in (
        "/console/estate",
        "/console/leases",
        "/console/leases/new",
        "/console/lease-import",
        "/console/after-hours",
        "/console/occupancy",
        f"/console/tenants/{bills['a']}",
    ):
        shown = await manager.get(path)
        assert (shown.status_code, "Other park" in shown.text) == (200, True), path
    assert "z1" in (await manager.get("/console/leases/new?site=other")).text
    other_people = (await manager.get("/console/occupancy?site=other&day=2026-10-05")).text
    assert "hours.json?day=2026-10-05&amp;site=other" in other_people
    assert (await manager.get("/console/occupancy/hours.json?day=2026-10-05&site=other")).status_code == 200
    assert (await manager.get("/console/occupancy?site=nowhere")).status_code == 404
    lease = re.search(r"/console/leases/\d+", (await manager.get("/console/leases")).text)[0]
    assert (await manager.get(lease)).status_code == 200


async def test_a_meter_is_divided_anew_on_its_page_by_percent_or_by_area(app, bills):  # noqa: F811
    manager = await sign_in(app, "manager")
    page = "/console/meter-shares/m1?site=park"
    rooms = {"space.0": "r1", "percent.0": "62.5", "space.1": "r2", "percent.1": "37.5"}
    await post(manager, page, page, mode="percent", from_day="2026-10-20", **rooms)
    shown = (await manager.get(page)).text
    assert "62.50" in shown
    assert "37.50" in shown
    await post(manager, page, page, mode="area", from_day="2026-11-01", **{"space.0": "r1", "space.1": "r2"})
    assert (await manager.get(page)).text.count("62.50") == 2  # r1's 100 of 160 m2 again, in a period of its own.
    token = re.search(r'name="csrf_token" value="([^"]+)"', shown)[1]
    wrong = {"csrf_token": token, "mode": "percent", "from_day": "2026-11-05", "space.0": "r1", "percent.0": "90"}
    refused = await manager.post(page, data=wrong)
    assert (refused.status_code, "they have to sum to 1" in refused.text) == (422, True)


async def test_after_hours_and_notices_are_handled_by_command(app, bills, database, monkeypatch):  # noqa: F811
    monkeypatch.setenv("CLOUD_DATABASE_URL", database.app)

    async def run(command, *words):
        return await asyncio.to_thread(CliRunner().invoke, command, list(words))

    asked = await run(hours_app, "request", "b", "r2", "--from", "2030-01-05T19:00", "--to", "2030-01-05T21:00")
    assert "is approved, charged 2030-01-05 19:00 to 2030-01-05 21:00" in asked.stdout, asked.output
    number = asked.stdout.split()[1]
    refused = await run(hours_app, "request", "b", "r1", "--from", "2030-01-05T19:00", "--to", "2030-01-05T21:00")
    assert (refused.exit_code, "r1 is not a space of your lease" in refused.output) == (1, True)
    assert "approved" in (await run(hours_app, "list", "--tenant", "b")).stdout
    assert "cancelled" in (await run(hours_app, "cancel", number)).stdout
    again = await run(hours_app, "decide", number, "--reject", "--reason", "late")
    assert (again.exit_code, "was decided" in again.output) == (1, True)
    assert "rejecting a request needs a reason" in (await run(hours_app, "decide", number, "--reject")).output
    posted = await run(notice_app, "post", "--title-zh", "停电", "--title-en", "Power cut", "--first", "2026-01-01")
    assert posted.exit_code == 0, posted.output
    south = await sign_in(app, "south")
    assert "Power cut" in (await south.get("/portal")).text
    await run(notice_app, "withdraw", posted.stdout.split()[1])
    assert "Power cut" not in (await south.get("/portal")).text
    assert "withdrawn" in (await run(notice_app, "list")).stdout
    one_language = await run(notice_app, "post", "--title-zh", "停电", "--title-en", "")
    assert (one_language.exit_code, "title in Chinese and in English" in one_language.output) == (1, True)
