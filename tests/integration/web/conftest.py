"""The real application on the fresh database, asked over ASGI; people who can sign in."""

import re
from dataclasses import dataclass

import httpx
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from cloud_api.db.pool import transaction
from cloud_api.identity import repository as identity
from cloud_api.identity.model import Role
from cloud_api.kit.scope import SYSTEM
from cloud_api.main import create_app
from cloud_api.settings import Settings

PASSWORD = "correct horse battery"
# Hashed once: seven people per test would otherwise cost seconds.
HASH = PasswordHasher().hash(PASSWORD)


@dataclass
class Park:
    """Two tenants of one organisation, and one person of each kind."""

    organisation_id: int
    tenants: dict[str, int]


@pytest.fixture
async def park(pool):
    async with transaction(pool, SYSTEM) as conn:
        row = await (
            await conn.execute(
                "INSERT INTO organisation (code, name_zh, name_en) VALUES ('park', '园区', 'Park') RETURNING id"
            )
        ).fetchone()
        tenants = {}
        for code in ("north", "south"):
            cursor = await conn.execute(
                "INSERT INTO tenant (organisation_id, code, name_zh, name_en) VALUES (%s, %s, %s, %s) RETURNING id",
                (row[0], code, code, code),
            )
            tenants[code] = (await cursor.fetchone())[0]
            await _person(conn, row[0], code, tenant_id=tenants[code])
        for role in Role:
            await _person(conn, row[0], role, roles=[role])
    return Park(organisation_id=row[0], tenants=tenants)


async def _person(conn, organisation_id, login, *, tenant_id=None, roles=()):
    await identity.insert_user(
        conn,
        organisation_id=organisation_id,
        tenant_id=tenant_id,
        login=login,
        display_name=login,
        email=None,
        password_hash=HASH,
        roles=list(roles),
        language="en",
    )


@pytest.fixture
async def app(database):
    settings = Settings(database_url=SecretStr(database.app), pool_size_max=4)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(app):
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
        yield client


async def sign_in(client, login, password=PASSWORD):
    client.cookies.clear()
    return await client.post("/login", data={"login": login, "password": password})


async def csrf_token(client, path):
    page = await client.get(path)
    return re.search(r'name="csrf_token" value="([^"]+)"', page.text)[1]
