"""Role × route × owner: every page of the application, found in its routing table, asked by every kind of person."""

import re

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

from cloud_api.db.pool import transaction
from cloud_api.identity.model import Role
from cloud_api.kit.scope import SYSTEM

from .conftest import csrf_token, sign_in

PORTAL_PEOPLE = ("north", "south")


def _pages(app, prefix):
    """Every method of every page below `prefix`, from the application's own routing table."""
    found = [
        (method, route)
        for route in iter_route_contexts(app.routes)
        if (route.path + "/").startswith(prefix + "/") and not isinstance(route.original_route, Mount)
        for method in sorted(route.methods - {"HEAD"})
    ]
    assert found, f"no page below {prefix}: this test would prove nothing"
    return found


def _address(route):
    # No row has the number 0; what is under test is who may ask at all.
    return re.sub(r"\{[^}]+\}", "0", route.path)


async def _ask(client, method, route):
    return await client.request(method, _address(route), headers={"X-CSRF-Token": "none"})


@pytest.mark.parametrize("prefix", ["/console", "/portal"])
async def test_strangers_reach_no_page(app, client, park, prefix):
    for method, route in _pages(app, prefix):
        client.cookies.clear()
        answer = await _ask(client, method, route)
        assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/login"), route.path


async def test_for_tenants_the_console_is_not_there(app, client, park):
    for person in PORTAL_PEOPLE:
        await sign_in(client, person)
        for method, route in _pages(app, "/console"):
            assert (await _ask(client, method, route)).status_code == 404, f"{person}: {method} {route.path}"


async def test_for_staff_the_portal_is_not_there(app, client, park):
    for person in Role:
        await sign_in(client, person)
        for method, route in _pages(app, "/portal"):
            assert (await _ask(client, method, route)).status_code == 404, f"{person}: {method} {route.path}"


async def test_no_page_changes_anything_without_the_sessions_token(app, client, park):
    for person, prefix in {"admin": "/console", "north": "/portal"}.items():
        await sign_in(client, person)
        for method, route in _pages(app, prefix):
            if method not in {"GET", "HEAD"}:
                answer = await _ask(client, method, route)
                assert answer.status_code == 403, f"{method} {route.path} answered {answer.status_code}"


async def test_acknowledging_is_for_facilities(client, park):
    await sign_in(client, "leasing")
    answer = await client.post("/console/overview/alarms/0/acknowledge")
    assert answer.status_code == 403
    assert "Not allowed" in answer.text or "没有权限" in answer.text


async def _bill_of(pool, park, tenant):
    """An issued bill: what matters here is whose it is."""
    async with transaction(pool, SYSTEM) as conn:
        site = "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 'site', '园区', 'Site') RETURNING id"
        [site_id] = await (await conn.execute(site, (park.organisation_id,))).fetchone()
        bill = """
            INSERT INTO bill (organisation_id, tenant_id, site_id, kind, state, number, period, currency, net, tax, total,
                              issued_at, sha256, snapshot)
            VALUES (%s, %s, %s, 'bill', 'issued', 'B-1', '[2026-02-01,2026-03-01)', 'CNY', 1, 0, 1, now(), '', '{}')
            RETURNING id"""
        return (await (await conn.execute(bill, (park.organisation_id, park.tenants[tenant], site_id))).fetchone())[0]


async def _request_of(pool, park, tenant):
    """A request for air conditioning tomorrow, which its own tenant could still take back."""
    async with transaction(pool, SYSTEM) as conn:
        cursor = await conn.execute(
            """
            WITH b AS (
                INSERT INTO building (organisation_id, site_id, code, name_zh, name_en)
                SELECT organisation_id, id, 'b', '楼', 'B' FROM site WHERE organisation_id = %(organisation)s
                RETURNING id, organisation_id
            ), f AS (
                INSERT INTO floor (organisation_id, building_id, code, name_zh, name_en, level_number)
                SELECT organisation_id, id, 'f', '层', 'F', 1 FROM b RETURNING id, organisation_id
            ), s AS (
                INSERT INTO space (organisation_id, floor_id, code, name_zh, name_en)
                SELECT organisation_id, id, 's', '间', 'S' FROM f RETURNING id
            ), l AS (
                INSERT INTO lease (organisation_id, tenant_id, number, status, term)
                VALUES (%(organisation)s, %(tenant)s, 'L-1', 'active', '[2026-01-01,)') RETURNING id
            )
            INSERT INTO hvac_request (organisation_id, tenant_id, lease_id, space_id, period, state, asked_at, asked_by)
            SELECT %(organisation)s, %(tenant)s, l.id, s.id,
                   tstzrange(now() + interval '1 day', now() + interval '26 hours'), 'requested', now(), %(name)s
              FROM l, s
            RETURNING id""",
            {"organisation": park.organisation_id, "tenant": park.tenants[tenant], "name": tenant},
        )
        return (await cursor.fetchone())[0]


async def test_what_belongs_to_another_tenant_is_not_there_on_any_page_of_the_portal(app, client, pool, park):
    bill_id = await _bill_of(pool, park, "north")
    owned = {"bill_id": bill_id, "request_id": await _request_of(pool, park, "north")}
    public = {"day": "2026-02-01", "number": "1"}  # A date belongs to nobody; a line's number is its bill's.
    await sign_in(client, "south")
    token = await csrf_token(client, "/portal/bills")
    asked = 0
    for method, route in _pages(app, "/portal"):
        names = set(re.findall(r"\{(\w+)", route.path))
        unknown = names - set(owned) - set(public)
        assert not unknown, f"{route.path}: say in this test whose {unknown} is, with a row of another tenant"
        if not names & set(owned):
            continue
        path = re.sub(r"\{(\w+)[^}]*\}", lambda found: str((owned | public)[found[1]]), route.path)
        form = {"line": "1", "question": "why"} if method == "POST" else None
        answer = await client.request(method, path, data=form, headers={"X-CSRF-Token": token})
        assert answer.status_code == 404, f"{method} {path} answered {answer.status_code}"
        asked += 1
    assert asked >= 4
    assert "B-1" not in (await client.get("/portal/bills")).text


async def test_the_stream_of_a_tenant_takes_no_points_from_the_address(app):
    [route] = [route for _, route in _pages(app, "/portal/live")]
    assert not route.original_route.dependant.query_params
