import re
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import checks
from cloud_api.metering import service as metering
from tests.integration.metering.conftest import Meters
from tests.integration.web.conftest import csrf_token, sign_in

PAGES = (
    "/console/meters",
    "/console/meters/{meter}",
    "/console/worklist",
    "/console/balance",
    "/console/imports",
    "/console/gaps",
)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
async def meter(pool, park):
    """A main meter with one tenant meter below it, read by hand every quarter of the last two days, with a silence."""
    async with transaction(pool, SYSTEM) as conn:
        cursor = await conn.execute(
            "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '园', 'Park') RETURNING id",
            (park.organisation_id,),
        )
        [site_id] = await cursor.fetchone()
    meters = Meters(pool=pool, organisation_id=park.organisation_id, site_id=site_id)
    main = await meters.meter("main", use="main")
    tenant = await meters.meter("t1", parent_meter_id=main)
    for meter_id, factor in ((main, 2), (tenant, 1)):
        register = await meters.register(meter_id)
        await meters.execute(
            "INSERT INTO reading (register_id, taken_at, value, source, received_at) SELECT %s, t, n * %s, 'manual', now()"
            " FROM unnest(%s::timestamptz[]) WITH ORDINALITY x(t, n) WHERE n NOT BETWEEN 100 AND 130",
            register,
            factor,
            [TODAY - timedelta(days=3) + n * timedelta(minutes=15) for n in range(3 * 96 + 1)],
        )
    await metering.recompute_all(pool, Clock())
    async with transaction(pool, SYSTEM) as conn:
        await checks.check(conn, Clock(), days=5)
    return tenant


async def test_every_page_opens_for_facilities_and_none_for_tenants(client, park, meter):
    await sign_in(client, "facilities")
    for path in PAGES:
        page = await client.get(path.format(meter=meter))
        assert page.status_code == 200, path
        assert ("main" if "balance" in path else "t1") in page.text
    await sign_in(client, "north")
    for path in PAGES:
        assert (await client.get(path.format(meter=meter))).status_code == 404, path


async def test_charts_answer_with_data_and_gaps_stay_gaps(client, meter):
    await sign_in(client, "facilities")
    day = (TODAY - timedelta(days=1)).date()
    chart = (await client.get(f"/console/meters/{meter}/day.json?day={day}")).json()
    assert any(v is not None for v in chart["series"][0]["values"])
    assert (await client.get(f"/console/meters/{meter}/days.json")).json()["cells"]
    [[main]] = [re.findall(r'<option value="(\d+)"', (await client.get("/console/balance")).text)[:1]]
    assert (await client.get(f"/console/balance/days.json?meter={main}&days=7")).json()["series"]


async def test_an_exchange_by_the_form_opens_a_new_register_and_can_be_seen(client, pool, meter):
    await sign_in(client, "facilities")
    token = await csrf_token(client, f"/console/meters/{meter}")
    page = await client.get(f"/console/meters/{meter}")
    register = re.search(r'name="register_id" value="(\d+)"', page.text)[1]
    at = (TODAY - timedelta(hours=1)).replace(tzinfo=None).isoformat(timespec="minutes")
    form = {
        "csrf_token": token,
        "register_id": register,
        "at": at,
        "closing": "999,5",
        "opening": "0",
        "reason": "broken",
    }
    refused = await client.post(f"/console/meters/{meter}/exchange", data=form | {"closing": "1"})
    assert refused.status_code == 409
    answer = await client.post(f"/console/meters/{meter}/exchange", data=form)
    assert answer.status_code == 303
    async with transaction(pool, SYSTEM) as conn:
        rows = await (await conn.execute("SELECT count(*) FROM register")).fetchall()
    assert rows == [(3,)]


async def test_a_finding_is_estimated_from_the_list(client, pool, meter):
    await sign_in(client, "facilities")
    page = (await client.get("/console/worklist")).text
    finding = re.search(r'action="/console/worklist/(\d+)"', page)[1]
    token = await csrf_token(client, "/console/worklist")
    without_reason = await client.post(
        f"/console/worklist/{finding}", data={"csrf_token": token, "action": "estimate", "reason": ""}
    )
    assert without_reason.status_code == 422
    answer = await client.post(
        f"/console/worklist/{finding}", data={"csrf_token": token, "action": "estimate", "reason": "outage"}
    )
    assert answer.status_code == 303
    assert f"/console/worklist/{finding}" in (await client.get("/console/worklist?state=estimated")).text


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ["all in a few intervals", "load factor 0.011", "reactive energy + apparent", "hours earlier 96",
                "Look whether a file was imported twice"]),
        ("zh", ["用电集中在少数时段", "负荷率 0.011", "无功电量 + apparent", "早于本段（小时） 96", "请检查是否重复导入了文件"]),
    ],
)  # fmt: skip
async def test_the_worklist_says_what_was_found_where_and_what_to_do_in_both_languages(
    client, pool, meter, language, words
):
    details = {
        "load_factor": {"load_factor": "0.011", "limit": "0.03"},
        "sibling": {"channels": ["reactive_energy_import", "apparent"], "hours": "24"},
        "duplicate": {"intervals": 96, "hours_before": "96"},
    }
    async with transaction(pool, SYSTEM) as conn:
        for check, detail in details.items():
            await conn.execute(
                "INSERT INTO vee_finding (organisation_id, register_id, starts_at, ends_at, check_name, detail, found_at)"
                " SELECT organisation_id, id, %s, %s, %s, %s, now() FROM register WHERE meter_id = %s",
                (TODAY - timedelta(days=1), TODAY, check, Jsonb(detail), meter),
            )
    await sign_in(client, "facilities")
    await client.get(f"/account/language/{language}")
    page = (await client.get("/console/worklist")).text
    assert [word for word in words if word not in page] == []


async def test_a_file_is_looked_at_imported_once_and_undone(client, pool, meter):
    await sign_in(client, "facilities")
    token = await csrf_token(client, "/console/imports")
    day = (TODAY - timedelta(days=9)).date()
    text = f"meter,time,value\nt1,{day} 08:00,1\nt1,{day} 09:00,2\nnobody,{day} 09:00,2\nt1,{day} 10:00,x\n"

    async def upload():
        return await client.post(
            "/console/imports", data={"csrf_token": token}, files={"file": ("hand.csv", text, "text/csv")}
        )

    page = (await upload()).text
    assert "nobody" in page
    target = re.search(r'action="(/console/imports/uploads/\d+)"', page)[1]
    assert (await client.post(target, data={"csrf_token": token})).status_code == 303
    async with transaction(pool, SYSTEM) as conn:
        count = "SELECT count(*) FROM reading WHERE source = 'import'"
        assert await (await conn.execute(count)).fetchall() == [(2,)]
    assert "uploads/" not in (await upload()).text  # Nothing new.
    undo = re.search(r'action="(/console/imports/\d+/undo)"', (await client.get("/console/imports")).text)[1]
    assert (await client.post(undo, data={"csrf_token": token})).status_code == 303
    async with transaction(pool, SYSTEM) as conn:
        assert await (await conn.execute(count)).fetchall() == [(0,)]


@pytest.mark.parametrize("form", ["csv", "xlsx", "parquet", "xml"])
async def test_intervals_leave_as_files(client, meter, form):
    await sign_in(client, "finance")
    answer = await client.get(f"/console/meters/{meter}/export.{form}?day={TODAY.date()}&days=4")
    assert answer.status_code == 200
    assert len(answer.content) > 1000
