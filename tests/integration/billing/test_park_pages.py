"""Pages of the park: companies, buildings, notices, after hours, the portal's home; the whole life of a lease by API."""

import re
from decimal import Decimal

import pytest

from cloud_api.billing import service as billing
from cloud_api.billing.cli import TEMPLATES
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM
from tests.integration.billing.small_site import CLOCK
from tests.integration.billing.test_pages import app, bills, post, sign_in  # noqa: F401  # Fixtures.

PASSWORD = "correct horse battery"  # Of a user made for the test.


async def test_a_notice_is_read_on_the_portal_in_the_readers_language_until_it_is_withdrawn(app, bills):  # noqa: F811
    manager, north, south = [await sign_in(app, who) for who in ("manager", "north", "south")]
    form = {"kind": "news", "title_zh": "周六停电", "title_en": "Power cut on Saturday", "first": "2026-01-01"}
    await post(manager, "/console/notices", "/console/notices", **form)
    assert "周六停电" in (await north.get("/portal")).text
    assert "Power cut on Saturday" in (await south.get("/portal")).text
    withdraw = re.search(r"/console/notices/\d+/withdraw", (await manager.get("/console/notices")).text)[0]
    await post(manager, "/console/notices", withdraw)
    assert "周六停电" not in (await north.get("/portal")).text


async def test_of_many_notices_the_newest_are_at_home_and_all_on_pages_of_their_own(app, bills):  # noqa: F811
    manager, south = await sign_in(app, "manager"), await sign_in(app, "south")
    for number in range(1, 31):
        form = {"kind": "service", "title_zh": f"通知{number}", "title_en": f"Notice {number}.", "first": "2026-01-01"}
        await post(manager, "/console/notices", "/console/notices", **form)
    home = (await south.get("/portal")).text
    assert [n for n in range(1, 31) if f"Notice {n}." in home] == [28, 29, 30]
    assert '<a href="/portal/notices">All 30</a>' in home
    second = (await south.get("/portal/notices?page=2")).text
    assert [n for n in range(1, 31) if f"Notice {n}." in second] == list(range(1, 11))
    assert "Page 2 of 2" in second
    assert "Tenants see 30 notices today." in (await manager.get("/console/notices?page=2")).text
    assert "Notice 5." in (await manager.get("/console/notices?page=2")).text
    assert (await south.get("/portal/notices?page=9")).status_code == 200


async def test_a_company_page_shows_leases_deposit_prepaid_and_statement(app, bills):  # noqa: F811
    manager = await sign_in(app, "manager")
    page = f"/console/tenants/{bills['a']}"
    await post(
        manager, page, page + "/account", account="deposit", direction="paid_in", amount="500", on_day="2026-11-01"
    )
    await post(manager, page, page + "/prepaid", low_balance="300")
    await post(
        manager, page, page + "/profile", name_zh="租户甲", name_en="Tenant A", honours_en="High-tech enterprise"
    )
    shown = (await manager.get(page)).text
    for words in ("Tenant A", "High-tech enterprise", "¥500.00", "L1", "Prepaid balance", "contract rate per day"):
        assert words in shown, words
    assert "Tenant A" in (await manager.get("/console/tenants")).text
    await post(manager, "/console/tenants", "/console/tenants", code="new", name_zh="新企业")
    assert "新企业" in (await manager.get("/console/tenants")).text


async def test_the_plan_of_a_building_shows_who_holds_what_and_what_is_vacant(app, bills):  # noqa: F811
    guard = await sign_in(app, "guard")
    shown = (await guard.get("/console/estate")).text
    assert shown.count('class="occupied"') == 2
    assert "Tenant a" in shown
    assert '<svg class="plan"' in shown


async def test_a_tenant_asks_for_air_conditioning_on_its_portal_and_only_for_its_own_rooms(app, bills, pool):  # noqa: F811
    async with transaction(pool, SYSTEM) as conn:
        site = await billing.find_site(conn)
        tariff = parse_tariff((TEMPLATES / "after-hours-hvac.yaml").read_text(encoding="utf-8")).tariff
        await billing.import_tariff(conn, site, tariff, actor="test", clock=CLOCK)
    south, guard = await sign_in(app, "south"), await sign_in(app, "guard")
    form = {"space": "r2", "starts": "2030-01-05T19:00", "ends": "2030-01-05T21:00"}
    await post(south, "/portal/after-hours", "/portal/after-hours", **form)
    assert "approved" in (await south.get("/portal/after-hours")).text
    assert "Tenant b" in (await guard.get("/console/after-hours")).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await south.get("/portal/after-hours")).text)[1]
    refused = await south.post("/portal/after-hours", data=form | {"space": "r1", "csrf_token": token})
    assert refused.status_code == 422
    assert "r1 is not a space of your lease" in refused.text


@pytest.fixture
async def api(app, bills):  # noqa: F811
    client = await sign_in(app, "manager")
    answer = await client.post("/api/v1/session", json={"login": "manager", "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    return client


async def test_a_lease_lives_by_the_api_from_application_to_move_out(api, pool):
    asked = {"tenant": "b", "number": "L9", "first_day": "2026-10-05", "spaces": ["r3"], "people": 4}
    refused = await api.post("/api/v1/leases", json=asked | {"tenant": "zz"})
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    assert (await api.post("/api/v1/leases", json=asked)).status_code == 201
    not_there = await api.post("/api/v1/leases/L9/review", json={"approve": True})
    assert not_there.status_code == 422  # r3 does not exist.
    amend = {"on_day": "2026-10-20", "people": 7, "areas": {"r1": "90.5"}}
    changed = await api.post("/api/v1/leases/L1/amend", json=amend)
    assert changed.status_code == 200, changed.text
    lease = (await api.get("/api/v1/leases/L1")).json()
    assert [Decimal(str(h["area_m2"])) for h in lease["holdings"]] == [100, Decimal("90.5")]
    out = await api.post("/api/v1/leases/L2/move-out", json={"last_day": "2026-10-20"})
    assert out.status_code == 200, out.text
    assert out.json()["final_bills"] == ["PARK-2026-F000001"]
    again = await api.post("/api/v1/leases/L2/move-out", json={"last_day": "2026-10-20"})
    assert again.status_code == 422
    rows = "lease,tenant,space,first_day,last_day\nL5,b,r2,2026-12-01,\n"
    told = await api.post("/api/v1/leases/import?preview=true", files={"file": ("l.csv", rows.encode(), "text/csv")})
    assert told.json()["leases"] == [{"lease": "L5", "verdict": "new"}]
