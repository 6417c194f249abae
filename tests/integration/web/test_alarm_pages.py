"""A person finds an alarm, understands it, and acts on it."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from cloud_api.alarms import service
from cloud_api.alarms.model import Report
from cloud_api.db.pool import transaction
from cloud_api.faults.model import Verdict
from cloud_api.kit.scope import SYSTEM

from .conftest import csrf_token, sign_in


@pytest.fixture
async def alarm_id(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        row = await (
            await conn.execute(
                "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'Site') RETURNING id",
                (park.organisation_id,),
            )
        ).fetchone()
        now = datetime.now(UTC)
        report = Report(
            organisation_id=park.organisation_id,
            site_id=row[0],
            subject="device:1",
            rule="device_silent",
            severity=3,
            verdict=Verdict.FAULT,
            at=now - timedelta(minutes=5),
            params={
                "name": "meter-t301",
                "label_zh": "301 分表",
                "label_en": "Sub-meter 301",
                "error": "cannot connect to 10.0.0.7:502: connection lost",
            },
        )
        [found] = await service.report(conn, [report], now)
    return found


async def test_the_list_says_what_is_wrong_and_acknowledging_needs_one_click(client, alarm_id):
    await sign_in(client, "facilities")
    page = await client.get("/console/alarms")
    assert "Sub-meter 301 (meter-t301) has not answered since" in page.text
    token = await csrf_token(client, "/console/alarms")
    answer = await client.post(f"/console/alarms/{alarm_id}/acknowledge", data={"csrf_token": token})
    assert answer.headers["location"] == f"/console/alarms/{alarm_id}"
    shown = (await client.get(f"/console/alarms/{alarm_id}")).text
    assert "acknowledged" in shown
    assert "Check cable" in shown


async def test_an_alarm_leads_to_its_device_and_says_the_gateways_error_in_the_readers_language(client, alarm_id):
    await sign_in(client, "facilities")
    await client.get("/account/language/zh")
    shown = (await client.get(f"/console/alarms/{alarm_id}")).text
    assert "301 分表（meter-t301）自" in shown
    assert '<a href="/console/devices/1">301 分表</a>' in shown
    assert "<summary>无法连接 10.0.0.7:502：连接中断</summary>" in shown
    assert "cannot connect to 10.0.0.7:502: connection lost" in shown


async def test_a_shelf_takes_a_reason_and_moves_the_alarm_to_the_suppressed(client, alarm_id):
    await sign_in(client, "facilities")
    token = await csrf_token(client, f"/console/alarms/{alarm_id}")
    data = {"csrf_token": token, "hours": 8, "reason": "fit-out of 3F"}
    assert (await client.post(f"/console/alarms/{alarm_id}/shelve", data=data)).status_code == 303
    assert "meter-t301" not in (await client.get("/console/alarms")).text
    assert "meter-t301" in (await client.get("/console/alarms?show=suppressed")).text


async def test_the_page_speaks_chinese(client, alarm_id):
    await sign_in(client, "facilities")
    client.cookies.set("language", "zh")
    page = await client.get(f"/console/alarms/{alarm_id}?lang=zh", headers={"Accept-Language": "zh-CN"})
    assert page.status_code == 200


async def test_an_alarm_becomes_a_work_order_that_someone_takes_and_finishes(client, alarm_id):
    await sign_in(client, "facilities")
    token = await csrf_token(client, f"/console/alarms/{alarm_id}")
    answer = await client.post(f"/console/work-orders/from-alarm/{alarm_id}", data={"csrf_token": token})
    order = answer.headers["location"]
    for data in ({"action": "assign", "assignee": "wang"}, {"action": "start"}, {"action": "complete"}):
        answer = await client.post(f"{order}/act", data=data | {"csrf_token": token})
        assert answer.status_code == 303, answer.text
    shown = await client.get(order)
    assert "being watched" in shown.text
    assert "Check cable" in shown.text
    assert "meter-t301" in (await client.get("/console/work-orders")).text


async def test_a_channel_and_a_route_are_set_up_by_page_and_the_secret_is_not_shown_again(client, park):
    await sign_in(client, "facilities")
    token = await csrf_token(client, "/console/notifications")
    channel = {"csrf_token": token, "name": "hook", "address": "webhook+https://example.test/s3cret"}
    assert (await client.post("/console/notifications/channels", data=channel)).status_code == 303
    page = await client.get("/console/notifications")
    assert "hook" in page.text
    assert "s3cret" not in page.text
    number = re.search(r'option value="channel:(\d+)">hook', page.text)[1]
    route = {"csrf_token": token, "target": f"channel:{number}", "after_minutes": "15"}
    assert (await client.post("/console/notifications/routes", data=route)).status_code == 303
    assert "15 minutes" in (await client.get("/console/notifications")).text
    bad = channel | {"name": "x", "address": "pigeon://coop"}
    refused = await client.post("/console/notifications/channels", data=bad)
    assert refused.status_code == 422


@pytest.mark.parametrize(
    "path", ["/console/alarm-figures?days=7", "/console/fault-rules", "/console/alarms?show=money"]
)
async def test_the_other_pages_open(client, alarm_id, path):
    await sign_in(client, "facilities")
    assert (await client.get(path)).status_code == 200


@pytest.fixture
async def point(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        return await (
            await conn.execute(
                "WITH s AS (INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%(o)s, 'p', '站', 'P')"
                " RETURNING id), g AS (INSERT INTO gateway (organisation_id, site_id, name)"
                " SELECT %(o)s, id, 'g' FROM s RETURNING id), d AS (INSERT INTO device (organisation_id, gateway_id, name)"
                " SELECT %(o)s, id, 'ahu-3' FROM g RETURNING id)"
                " INSERT INTO point (organisation_id, device_id, name, unit) SELECT %(o)s, id, 't', '°C' FROM d"
                " RETURNING id, device_id",
                {"o": park.organisation_id},
            )
        ).fetchone()


async def test_a_limit_is_set_on_its_points_page_and_listed(client, point):
    point_id, device_id = point
    await sign_in(client, "facilities")
    assert "No limits yet" in (await client.get("/console/limits")).text
    address = f"/console/devices/{device_id}/points/{point_id}"
    token = await csrf_token(client, address)
    data = {"csrf_token": token, "device_id": device_id, "kind": "above", "value": "30", "clear_value": "28"}
    answer = await client.post(f"/console/limits/points/{point_id}", data=data)
    assert answer.headers["location"] == address
    assert "30 °C" in (await client.get(address)).text
    page = (await client.get("/console/limits")).text
    assert "One limit is watched." in page
    [limit_id] = re.findall(r"/console/limits/(\d+)/remove", page)
    await client.post(f"/console/limits/{limit_id}/remove", data={"csrf_token": token})
    assert "No limits yet" in (await client.get("/console/limits")).text


async def test_a_rota_is_planned_exchanged_and_used_by_a_route(client, park):
    await sign_in(client, "facilities")
    assert "Add a channel first" in (await client.get("/console/on-call")).text
    token = await csrf_token(client, "/console/notifications")
    for name in ("Lin", "Mo"):
        data = {"csrf_token": token, "name": name, "address": "null://"}
        await client.post("/console/notifications/channels", data=data)
    channels = re.findall(r'name="channels" value="(\d+)"', (await client.get("/console/on-call")).text)
    today = datetime.now(UTC).date()
    plan = {"csrf_token": token, "name": "Duty", "channels": channels, "starts_on": str(today - timedelta(days=2))}
    assert (await client.post("/console/on-call", data=plan)).status_code == 303
    page = (await client.get("/console/on-call")).text
    assert "On call now: Lin." in page
    [rota_id] = re.findall(r"/console/on-call/(\d+)/give", page)
    given = {"csrf_token": token, "channel_id": channels[1], "day": str(today - timedelta(days=1)), "days": 3}
    await client.post(f"/console/on-call/{rota_id}/give", data=given)
    assert "On call now: Mo." in (await client.get("/console/on-call")).text
    route = {"csrf_token": token, "target": f"rota:{rota_id}", "days": "restdays", "hours_from": "20", "hours_to": "8"}
    assert (await client.post("/console/notifications/routes", data=route)).status_code == 303
    shown = (await client.get("/console/notifications")).text
    assert "days off" in shown
    assert "20–08" in shown


async def test_an_administrator_sets_who_letters_come_from_and_the_password_is_not_shown(client, park):
    await sign_in(client, "admin")
    page = "/console/notifications"
    token = await csrf_token(client, page)
    assert "No sender is set" in (await client.get(page)).text
    form = {"csrf_token": token, "sender": "mailtos://bills:s3cret@mail.example:465?from=bills@park.example"}
    assert (await client.post(f"{page}/sender", data=form)).status_code == 303
    shown = (await client.get(page)).text
    assert "bills@park.example · mail.example:465" in shown
    assert "s3cret" not in shown
    assert (await client.post(f"{page}/sender", data=form | {"sender": "https://mail.example"})).status_code == 422
    await sign_in(client, "facilities")
    token = await csrf_token(client, page)
    assert (await client.post(f"{page}/sender", data=form | {"csrf_token": token})).status_code == 403
