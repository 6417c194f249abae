"""The life of an account: let in by a link, given roles, shut out; and the own password."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from cloud_api.db.pool import transaction
from cloud_api.identity import people, service
from cloud_api.identity.model import LastAdministrator, LinkUsed, NewSession, Role, TooManyAttempts, WeakPassword
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM, Scope

from .conftest import PASSWORD, csrf_token, sign_in

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CLOCK = fixed_clock(NOW)
NEW_PASSWORD = "four unrelated words here"


async def _post(client, path, **data):
    token = await csrf_token(client, "/account")
    return await client.post(path, data={"csrf_token": token} | data)


def _come_back(client, session):
    """Go on in a browser that was signed in before."""
    client.cookies.clear()
    client.cookies.set("wattlease_session", session)


async def _id_of(pool, login):
    async with transaction(pool, SYSTEM) as conn:
        return (await people.person_of_login(conn, login)).id


async def _audited(pool, login):
    async with transaction(pool, SYSTEM) as conn:
        rows = await (
            await conn.execute("SELECT actor, action FROM audit_entry WHERE subject = %s ORDER BY id", (login,))
        ).fetchall()
    return [tuple(row) for row in rows]


async def _invite(client, **data):
    """Add an account as the administrator and return the path of the link that the page shows."""
    await sign_in(client, "admin")
    page = await _post(client, "/console/accounts", **data)
    assert page.status_code == 200, page.text
    return re.search(r"http://[^/]+(/account/password/[\w-]+)", page.text)[1]


async def test_who_is_added_chooses_a_password_by_the_link_and_is_signed_in(client, park, pool):
    path = await _invite(client, login="Lin@park.example", name="Lin", roles=["facilities", "leasing"], language="en")
    client.cookies.clear()
    assert "lin@park.example" in (await client.get(path)).text
    answer = await client.post(path, data={"new": NEW_PASSWORD, "again": NEW_PASSWORD})
    assert answer.headers["location"] == "/"
    assert (await client.get("/console/meters")).status_code == 200
    assert (await sign_in(client, "lin@park.example", NEW_PASSWORD)).status_code == 303
    assert await _audited(pool, "lin@park.example") == [
        ("admin", "user.add"),
        ("admin", "user.offer_link"),
        ("lin@park.example", "user.use_link"),
    ]


async def test_a_person_of_a_company_comes_to_the_portal_and_to_no_other_company(client, park):
    path = await _invite(client, login="mei", tenant_id=str(park.tenants["north"]))
    client.cookies.clear()
    await client.post(path, data={"new": NEW_PASSWORD, "again": NEW_PASSWORD})
    assert (await client.get("/")).headers["location"] == "/portal"
    assert (await client.get("/console")).status_code == 404


async def test_a_link_works_once(client, park):
    path = await _invite(client, login="lin", roles=["finance"])
    form = {"new": NEW_PASSWORD, "again": NEW_PASSWORD}
    assert (await client.post(path, data=form)).status_code == 303
    assert (await client.get(path)).status_code == 410
    assert (await client.post(path, data=form)).status_code == 410


async def test_a_link_ends_after_three_days_and_when_a_newer_one_is_made(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        person = await people.person_of_login(conn, "finance")
        first = await people.offer_password_link(conn, CLOCK, person, actor="admin")
        second = await people.offer_password_link(conn, CLOCK, person, actor="admin")
        with pytest.raises(LinkUsed):
            await people.account_of_link(conn, CLOCK, first)
        last_moment, too_late = (fixed_clock(NOW + people.LINK_LIFETIME + timedelta(seconds=s)) for s in (-1, 0))
        assert (await people.account_of_link(conn, last_moment, second)).login == "finance"
        with pytest.raises(LinkUsed):
            await people.account_of_link(conn, too_late, second)


async def test_a_link_with_a_weak_or_mistyped_password_may_be_tried_again(client, park):
    path = await _invite(client, login="lin", roles=["finance"])
    assert (await client.post(path, data={"new": "short", "again": "short"})).status_code == 422
    assert (await client.post(path, data={"new": NEW_PASSWORD, "again": "other words here"})).status_code == 422
    assert (await client.post(path, data={"new": NEW_PASSWORD, "again": NEW_PASSWORD})).status_code == 303


async def test_setting_a_password_anew_ends_the_old_one_and_the_sessions(client, park, pool):
    await sign_in(client, "finance")
    session = client.cookies["wattlease_session"]
    await sign_in(client, "admin")
    await _post(client, f"/console/accounts/{await _id_of(pool, 'finance')}/link")
    assert (await sign_in(client, "finance")).status_code == 401
    _come_back(client, session)
    assert (await client.get("/console")).headers["location"].startswith("/login")


async def test_a_role_that_is_taken_away_is_gone_with_the_next_page(client, park, pool):
    await sign_in(client, "facilities")
    session = client.cookies["wattlease_session"]
    assert (await client.get("/console/storage")).status_code == 200
    await sign_in(client, "admin")
    path = f"/console/accounts/{await _id_of(pool, 'facilities')}"
    assert (await _post(client, f"{path}/roles", roles=["finance"])).status_code == 303
    _come_back(client, session)
    assert (await client.get("/console/storage")).status_code == 403
    assert ("admin", "user.set_roles") in await _audited(pool, "facilities")


async def test_a_closed_account_is_signed_out_and_opens_with_its_old_password_but_no_old_session(client, park, pool):
    await sign_in(client, "finance")
    session = client.cookies["wattlease_session"]
    await sign_in(client, "admin")
    path = f"/console/accounts/{await _id_of(pool, 'finance')}/active"
    await _post(client, path, is_active="false")
    assert (await sign_in(client, "finance")).status_code == 401
    await sign_in(client, "admin")
    await _post(client, path, is_active="true")
    _come_back(client, session)
    assert (await client.get("/console")).headers["location"].startswith("/login")
    assert (await sign_in(client, "finance")).status_code == 303


async def test_the_last_administrator_stays(client, park, pool):
    await sign_in(client, "admin")
    path = f"/console/accounts/{await _id_of(pool, 'admin')}"
    assert (await _post(client, f"{path}/roles", roles=["finance"])).status_code == 409
    assert (await _post(client, f"{path}/active", is_active="false")).status_code == 409
    assert (await _post(client, f"{path}/link")).status_code == 409
    assert (await client.get("/console/accounts")).status_code == 200


async def test_an_administrator_who_cannot_sign_in_yet_does_not_count_as_another(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        values = {"organisation_id": park.organisation_id, "display_name": "", "roles": frozenset({Role.ADMIN})}
        await service.create_user(conn, login="second", password=None, **values)
        admin = await people.person_of_login(conn, "admin")
        with pytest.raises(LastAdministrator):
            await people.set_active(conn, CLOCK, admin, is_active=False, actor="admin")
        second = await people.person_of_login(conn, "second")
        await people.set_password(conn, CLOCK, second, NEW_PASSWORD, actor="cli:root")
        await people.set_active(conn, CLOCK, admin, is_active=False, actor="second")


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.ADMIN}))
async def test_accounts_are_for_administrators_alone(client, park, pool, role):
    await sign_in(client, role)
    own = f"/console/accounts/{await _id_of(pool, role)}"
    assert (await client.get("/console/accounts")).status_code == 403
    assert (await client.get(own)).status_code == 403
    assert (await _post(client, f"{own}/roles", roles=["admin"])).status_code == 403
    assert (await _post(client, "/console/accounts", login="new", roles=["admin"])).status_code == 403
    assert "/console/accounts" not in (await client.get("/console")).text


async def test_another_organisations_account_is_not_there(client, park, pool):
    async with transaction(pool, SYSTEM) as conn:
        [other] = await (
            await conn.execute(
                "INSERT INTO organisation (code, name_zh, name_en) VALUES ('o', '其他', 'O') RETURNING id"
            )
        ).fetchone()
        values = {"password": PASSWORD, "display_name": "x", "roles": frozenset({Role.FINANCE})}
        user_id = await service.create_user(conn, organisation_id=other, login="stranger", **values)
    await sign_in(client, "admin")
    assert (await client.get(f"/console/accounts/{user_id}")).status_code == 404
    assert (await _post(client, f"/console/accounts/{user_id}/link")).status_code == 404
    assert "stranger" not in (await client.get("/console/accounts")).text


async def test_a_tenants_transaction_sees_the_accounts_of_its_own_company_alone(pool, park):
    scope = Scope(kind="tenant", organisation_id=park.organisation_id, tenant_id=park.tenants["north"])
    async with transaction(pool, scope) as conn:
        assert await (await conn.execute("SELECT login FROM app_user")).fetchall() == [("north",)]


@pytest.mark.parametrize("login", ["finance", "north"])
async def test_everyone_changes_the_own_password_and_stays_signed_in_here_alone(client, park, pool, login):
    await sign_in(client, login)
    elsewhere = client.cookies["wattlease_session"]
    await sign_in(client, login)
    answer = await _post(client, "/account/password", old=PASSWORD, new=NEW_PASSWORD, again=NEW_PASSWORD)
    assert answer.headers["location"] == "/account?changed=1"
    assert "every other browser is signed out" in (await client.get("/account?changed=1")).text
    _come_back(client, elsewhere)
    assert (await client.get("/account")).headers["location"].startswith("/login")
    assert (await sign_in(client, login)).status_code == 401
    assert (await sign_in(client, login, NEW_PASSWORD)).status_code == 303
    assert await _audited(pool, login) == [(login, "user.change_password")]


async def test_the_own_password_needs_the_present_one(client, park):
    await sign_in(client, "finance")
    answer = await _post(client, "/account/password", old="a guess", new=NEW_PASSWORD, again=NEW_PASSWORD)
    assert answer.status_code == 401
    assert "not your present password" in answer.text
    assert (await sign_in(client, "finance")).status_code == 303


async def test_two_different_new_passwords_are_refused(client, park):
    await sign_in(client, "finance")
    answer = await _post(client, "/account/password", old=PASSWORD, new=NEW_PASSWORD, again="mistyped words here")
    assert answer.status_code == 422
    assert "The two new passwords differ." in answer.text


async def test_guessing_the_present_password_counts_as_guessing_at_the_sign_in(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        new = await service.log_in(conn, CLOCK, login="finance", password=PASSWORD, address="a")
        assert isinstance(new, NewSession)
        change = {"new": NEW_PASSWORD, "address": "a"}
        for _ in range(service.FAILURES_PER_LOGIN_MAX):
            await service.change_own_password(conn, CLOCK, new.session.viewer, old="guess", **change)
        outcome = await service.change_own_password(conn, CLOCK, new.session.viewer, old=PASSWORD, **change)
        assert isinstance(outcome, TooManyAttempts)


async def test_a_weak_new_password_is_no_attempt(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        new = await service.log_in(conn, CLOCK, login="finance", password=PASSWORD, address="a")
        for _ in range(service.FAILURES_PER_LOGIN_MAX + 1):
            with pytest.raises(WeakPassword):
                change = {"old": "guess", "new": "short", "address": "a"}
                await service.change_own_password(conn, CLOCK, new.session.viewer, **change)


async def test_people_of_a_tenant_are_given_no_roles_and_staff_keep_at_least_one(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        for login, roles in {"north": frozenset({Role.ADMIN}), "finance": frozenset()}.items():
            person = await people.person_of_login(conn, login)
            with pytest.raises(Invalid):
                await people.set_roles(conn, CLOCK, person, roles, actor="admin")


async def test_only_a_hash_of_the_link_is_kept(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        person = await people.person_of_login(conn, "finance")
        token = await people.offer_password_link(conn, CLOCK, person, actor="admin")
        rows = await (await conn.execute("SELECT encode(token_sha256, 'escape') FROM password_link")).fetchall()
        entries = await (await conn.execute("SELECT detail::text FROM audit_entry")).fetchall()
    assert all(token not in str(row) for row in rows + entries)
