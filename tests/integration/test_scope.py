from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM, Scope


async def _two_tenants(pool):
    async with transaction(pool, SYSTEM) as conn:
        row = await (
            await conn.execute(
                "INSERT INTO organisation (code, name_zh, name_en) VALUES ('park', '园区', 'Park') RETURNING id"
            )
        ).fetchone()
        ids = []
        for code in ("a", "b"):
            cursor = await conn.execute(
                "INSERT INTO tenant (organisation_id, code, name_zh, name_en) VALUES (%s, %s, %s, %s) RETURNING id",
                (row[0], code, code, code),
            )
            ids.append((await cursor.fetchone())[0])
            await conn.execute(
                "INSERT INTO lease (organisation_id, tenant_id, number, status, term)"
                " VALUES (%s, %s, %s, 'active', '[2026-01-01,2027-01-01)')",
                (row[0], ids[-1], f"L-{code}"),
            )
    return row[0], ids


async def test_a_tenant_sees_only_its_own_lease_even_when_the_query_asks_for_all(pool):
    organisation_id, (first, _second) = await _two_tenants(pool)
    scope = Scope(kind="tenant", organisation_id=organisation_id, tenant_id=first)
    async with transaction(pool, scope) as conn:
        rows = await (await conn.execute("SELECT number FROM lease")).fetchall()
    assert rows == [("L-a",)]


async def test_without_a_scope_nothing_is_visible(pool):
    await _two_tenants(pool)
    async with pool.connection() as conn:
        rows = await (await conn.execute("SELECT number FROM lease")).fetchall()
    assert rows == []


async def test_staff_of_another_organisation_see_nothing(pool):
    organisation_id, _ = await _two_tenants(pool)
    async with transaction(pool, Scope(kind="staff", organisation_id=organisation_id + 1)) as conn:
        rows = await (await conn.execute("SELECT number FROM lease")).fetchall()
    assert rows == []
