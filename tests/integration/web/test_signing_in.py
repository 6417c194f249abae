from datetime import UTC, datetime, timedelta

import pytest
from psycopg.errors import InsufficientPrivilege

from cloud_api.db.pool import transaction
from cloud_api.identity import people, service
from cloud_api.identity.model import LoginTaken, NewSession, TooManyAttempts, WeakPassword, WrongCredentials
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM, Scope

from .conftest import PASSWORD, csrf_token, sign_in

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


async def test_a_stranger_is_led_to_the_sign_in_page_and_back(client, park):
    answer = await client.get("/console/overview/today.json")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/console/overview/today.json")


async def test_staff_go_to_the_console_and_tenants_to_the_portal(client, park):
    for login, home in {"finance": "/console", "north": "/portal"}.items():
        assert (await sign_in(client, login)).status_code == 303
        assert (await client.get("/")).headers["location"] == home


async def test_a_wrong_password_is_refused_without_saying_which_part_is_wrong(client, park):
    known = await sign_in(client, "finance", "wrong password")
    unknown = await sign_in(client, "nobody", "wrong password")
    assert known.status_code == unknown.status_code == 401
    assert (
        "user name or the password is wrong"
        in (await client.post("/login", data={"login": "x", "password": "y"}, headers={"Accept-Language": "en"})).text
    )


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(client, park):
    cookie = (await sign_in(client, "finance")).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_signing_in_leads_only_to_pages_of_this_host(client, park):
    client.cookies.clear()
    answer = await client.post("/login", data={"login": "finance", "password": PASSWORD, "next": "//evil.example/x"})
    assert answer.headers["location"] == "/"


async def test_a_form_from_another_site_is_refused(client, park):
    data = {"login": "finance", "password": PASSWORD}
    assert (await client.post("/login", data=data, headers={"Origin": "http://evil.example"})).status_code == 403


async def test_signing_out_needs_the_token_and_ends_the_session(client, park):
    await sign_in(client, "finance")
    assert (await client.post("/account/logout")).status_code == 403
    token = await csrf_token(client, "/console")
    assert (await client.post("/account/logout", data={"csrf_token": token})).status_code == 303
    assert (await client.get("/console")).headers["location"].startswith("/login")


async def test_the_language_stays_with_the_person(client, park):
    await sign_in(client, "finance")
    assert 'lang="en"' in (await client.get("/console")).text
    await client.get("/account/language/zh")
    await sign_in(client, "finance")
    assert 'lang="zh-Hans"' in (await client.get("/console")).text


async def test_guessing_is_stopped_for_a_quarter_of_an_hour(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        for minute in range(service.FAILURES_PER_LOGIN_MAX):
            clock = fixed_clock(NOW + timedelta(minutes=minute))
            outcome = await service.log_in(conn, clock, login="finance", password="guess", address="10.0.0.9")
            assert isinstance(outcome, WrongCredentials)
        right = {"login": "finance", "password": PASSWORD, "address": "10.0.0.9"}
        assert isinstance(await service.log_in(conn, fixed_clock(NOW + timedelta(minutes=9)), **right), TooManyAttempts)
        assert isinstance(await service.log_in(conn, fixed_clock(NOW + timedelta(minutes=24)), **right), NewSession)


async def test_a_session_ends_two_weeks_after_its_last_use(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        new = await service.log_in(conn, fixed_clock(NOW), login="finance", password=PASSWORD, address="a")
        used = NOW + timedelta(days=13)
        assert await service.session_for(conn, fixed_clock(used), new.token)
        assert await service.session_for(conn, fixed_clock(used + timedelta(days=13)), new.token)
        assert await service.session_for(conn, fixed_clock(used + timedelta(days=28)), new.token) is None


async def test_a_new_password_ends_the_sessions(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        new = await service.log_in(conn, fixed_clock(NOW), login="finance", password=PASSWORD, address="a")
        person = await people.person_of_login(conn, "finance")
        await people.set_password(conn, fixed_clock(NOW), person, "another long password", actor="cli:root")
        assert await service.session_for(conn, fixed_clock(NOW), new.token) is None


async def test_only_a_hash_of_the_session_is_kept(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        new = await service.log_in(conn, fixed_clock(NOW), login="finance", password=PASSWORD, address="a")
        rows = await (
            await conn.execute("SELECT encode(token_sha256, 'escape'), csrf_token FROM user_session")
        ).fetchall()
    assert all(new.token not in str(row) for row in rows)


async def test_staff_without_roles_and_tenants_with_roles_are_refused(pool, park):
    values = {"organisation_id": park.organisation_id, "login": "x", "password": PASSWORD, "display_name": "x"}
    async with transaction(pool, SYSTEM) as conn:
        with pytest.raises(Invalid):
            await service.create_user(conn, **values)
        with pytest.raises(Invalid):
            await service.create_user(conn, **values, roles=frozenset({"admin"}), tenant_id=park.tenants["north"])


async def test_a_taken_user_name_and_a_short_password_are_refused(pool, park):
    values = {"organisation_id": park.organisation_id, "roles": frozenset({"admin"}), "display_name": "x"}
    async with transaction(pool, SYSTEM) as conn:
        with pytest.raises(LoginTaken):
            await service.create_user(conn, login="Finance ", password=PASSWORD, **values)
        with pytest.raises(WeakPassword):
            await service.create_user(conn, login="new", password="short", **values)


async def test_an_audit_entry_cannot_be_changed(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        await service.audit(conn, viewer=None, at=NOW, action="user.add", subject="x", reason="first", colour="red")
    async with pool.connection() as conn:
        with pytest.raises(Exception, match="permission denied"):
            await conn.execute("UPDATE audit_entry SET actor = 'someone else'")


async def test_staff_read_their_own_organisations_audit_and_tenants_only_add_to_it(pool, park):
    own = park.organisation_id
    add = (
        "INSERT INTO audit_entry (organisation_id, at, actor, action, subject) VALUES (%s, now(), 'x', 'bill.ask', %s)"
    )
    count = "SELECT count(*) FROM audit_entry WHERE subject = ANY (ARRAY['ours', 'theirs', 'asked'])"
    staff = Scope(kind="staff", organisation_id=own)
    tenant = Scope(kind="tenant", organisation_id=own, tenant_id=park.tenants["north"])
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(add, (own, "ours"))
        await conn.execute(add, (own + 1, "theirs"))
    async with transaction(pool, tenant) as conn:
        await conn.execute(add, (own, "asked"))
    for scope, seen in ((SYSTEM, 3), (staff, 2), (tenant, 0)):
        async with transaction(pool, scope) as conn:
            assert await (await conn.execute(count)).fetchone() == (seen,), scope
    for scope in (staff, tenant):
        with pytest.raises(InsufficientPrivilege):
            async with transaction(pool, scope) as conn:
                await conn.execute(add, (own + 1, "forged"))
