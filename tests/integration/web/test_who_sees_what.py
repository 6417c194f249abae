"""Role × route × owner: every page of the application, found in its routing table, asked by every kind of person."""

import re

import pytest
from fastapi.routing import APIRoute

from cloud_api.identity.model import Role

from .conftest import sign_in

PORTAL_PEOPLE = ("north", "south")


def _pages(app, prefix):
    routes = [r for r in app.routes if isinstance(r, APIRoute) and (r.path + "/").startswith(prefix + "/")]
    return [(method, route) for route in routes for method in sorted(route.methods)]


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
