"""A tenant tells what is wrong; staff see it and plan the work; nobody else does."""

import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM

from .conftest import csrf_token, sign_in


@pytest.fixture
async def equipment_id(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        site = await (
            await conn.execute(
                "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'Site') RETURNING id",
                (park.organisation_id,),
            )
        ).fetchone()
        row = await (
            await conn.execute(
                "INSERT INTO equipment (organisation_id, site_id, code, name_zh, name_en, brick_class)"
                " VALUES (%s, %s, 'ahu-3', '三号', 'AHU-3', 'AHU') RETURNING id",
                (park.organisation_id, site[0]),
            )
        ).fetchone()
    return row[0]


async def test_a_tenants_request_reaches_staff_and_no_other_tenant(client, equipment_id):
    assert equipment_id
    await sign_in(client, "north")
    token = await csrf_token(client, "/portal/repairs")
    answer = await client.post("/portal/repairs", data={"csrf_token": token, "title": "漏水", "description": "茶水间"})
    assert answer.status_code == 303
    assert "漏水" in (await client.get("/portal/repairs")).text
    await sign_in(client, "south")
    assert "漏水" not in (await client.get("/portal/repairs")).text
    await sign_in(client, "facilities")
    assert "漏水" in (await client.get("/console/work-orders")).text


async def test_staff_open_and_end_a_window_and_plan_work_on_the_page(client, equipment_id):
    await sign_in(client, "facilities")
    token = await csrf_token(client, "/console/upkeep")
    window = {
        "csrf_token": token, "equipment_id": equipment_id, "starts_at": "2026-01-01T08:00",
        "ends_at": "2026-01-02T08:00", "reason": "filters",
    }  # fmt: skip
    assert (await client.post("/console/upkeep/windows", data=window)).status_code == 303
    assert "filters" in (await client.get("/console/upkeep?show=past")).text
    backwards = window | {"ends_at": "2025-12-31T08:00"}
    assert (await client.post("/console/upkeep/windows", data=backwards)).status_code == 422
    plan = {
        "csrf_token": token, "equipment_id": equipment_id, "title_zh": "保养", "title_en": "Service", "every_days": 90,
        "next_on": "2026-12-01", "window_hours": "4",
    }  # fmt: skip
    assert (await client.post("/console/upkeep/plans", data=plan)).status_code == 303
    assert "Service" in (await client.get("/console/upkeep")).text
