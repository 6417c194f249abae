"""A gateway's page: its site files and the points set through it, and who may touch them."""

from datetime import UTC, datetime

import pytest

from cloud_api.db.pool import transaction
from cloud_api.devices import service as devices
from cloud_api.devices.model import Catalogue, Gateway, Heartbeat
from cloud_api.kit.ids import OrganisationId
from cloud_api.kit.scope import SYSTEM
from tests.integration.web.conftest import csrf_token, sign_in
from tests.integration.web.test_meters_api import _call

NOW = datetime.now(UTC)
SETPOINT = {"name": "setpoint", "unit": "°C", "labels": {"en": "Setpoint"}, "write": {"low": 16, "high": 28}}
FAN = {"name": "fan", "labels": {"0": "off", "1": "on"}, "write": {"low": 0, "high": 1}}
CATALOGUE = Catalogue.model_validate(
    {"v": 1, "revision": "1", "devices": [{"name": "fcu-1", "points": [SETPOINT, FAN, {"name": "room"}]}]}
)


@pytest.fixture
async def gateway(pool, park):
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 'one', '一号', 'One')",
            (park.organisation_id,),
        )
        credential = await devices.add_gateway(conn, site_code="one", name="gw-1", actor="test", now=NOW)
        found = await devices.authenticate(conn, credential)
        await devices.put_catalogue(conn, found, CATALOGUE, NOW)
        [device] = await devices.devices(conn)
        cursor = await conn.execute("SELECT name, id FROM point")
        points = dict(await cursor.fetchall())
    return {"id": found.id, "device": device["id"], "points": points}


async def test_facilities_set_a_point_and_take_it_back(client, gateway):
    await sign_in(client, "facilities")
    page = f"/console/devices/{gateway['device']}"
    token = await csrf_token(client, page)
    shown = (await client.get(page)).text
    assert "16 … 28 °C" in shown
    assert '<option value="1">on</option>' in shown
    action = f"/console/gateways/devices/{gateway['device']}/points/{gateway['points']['setpoint']}"
    form = {"csrf_token": token, "value": "21,5", "why": "too warm", "release_after_min": "90"}
    assert (await client.post(action, data=form)).status_code == 303
    shown = (await client.get(f"/console/gateways/{gateway['id']}")).text
    assert "too warm" in shown
    assert "21.5 °C" in shown
    commands = (await client.get(f"/console/gateways/{gateway['id']}")).text
    [withdraw] = {
        line.split('"')[3] for line in commands.splitlines() for line in line.split("<") if "/withdraw" in line
    }
    assert (await client.post(withdraw, data={"csrf_token": token})).status_code == 303
    assert "withdrawn" in (await client.get(f"/console/gateways/{gateway['id']}")).text
    refused = await client.post(action, data=form | {"value": "40"})
    assert refused.status_code == 422
    assert "16 to 28" in refused.text


async def test_what_waits_in_the_outbox_is_counted_whatever_an_agent_reports(client, gateway, pool):
    await sign_in(client, "facilities")
    for outbox, shown in (
        ({"waiting": {"telemetry": 1200, "event": 30}, "buffered": 4}, "1,234"),
        ([], "–"),
        ({}, "–"),
    ):
        async with transaction(pool, SYSTEM) as conn:
            found = Gateway(id=gateway["id"], organisation_id=OrganisationId(1), name="gw-1")
            await devices.record_heartbeat(conn, found, Heartbeat.model_validate({"outbox": outbox}), NOW)
        page = (await client.get(f"/console/gateways/{gateway['id']}")).text
        assert f"<dt>Not sent yet</dt><dd>{shown}</dd>" in page


async def test_a_site_file_is_typed_or_uploaded_and_its_mistakes_are_told(client, gateway):
    await sign_in(client, "manager")
    page = f"/console/gateways/{gateway['id']}/configuration"
    token = await csrf_token(client, page)
    typed = {"csrf_token": token, "why": "first", "site_file": "gateway: gw-1\r\nbuses: []\r\n"}
    assert (await client.post(page, data=typed)).status_code == 303
    upload = {"upload": ("site.yaml", "gateway: gw-1\nbuses: []\n# 二\n".encode(), "text/yaml")}
    assert (await client.post(page, data={"csrf_token": token, "why": "second"}, files=upload)).status_code == 303
    shown = (await client.get(f"/console/gateways/{gateway['id']}")).text
    assert shown.index("second") < shown.index("first")
    assert "# 二" in (await client.get(page)).text
    assert "# 二" not in (await client.get(f"{page}?version=1")).text
    wrong = await client.post(page, data=typed | {"site_file": "gateway: other\n"})
    assert wrong.status_code == 422
    assert "other" in wrong.text


async def test_finance_and_tenants_set_nothing(client, gateway):
    await sign_in(client, "finance")
    page = f"/console/gateways/{gateway['id']}"
    token = await csrf_token(client, "/console/devices")
    assert (await client.get(page)).status_code == 200
    assert (await client.get(f"{page}/configuration")).status_code == 403
    action = f"/console/gateways/devices/{gateway['device']}/points/{gateway['points']['fan']}"
    assert (await client.post(action, data={"csrf_token": token, "value": "1", "why": "x"})).status_code == 403
    await sign_in(client, "north")
    assert (await client.get(page)).status_code == 404


async def test_the_same_by_the_api(client, gateway):
    await sign_in(client, "facilities")
    client.headers["Authorization"] = f"Bearer {client.cookies['wattlease_session']}"
    point = gateway["points"]["fan"]
    asked = await client.post(f"/api/v1/points/{point}/commands", json={"value": "on", "why": "hot"})
    assert asked.status_code == 202
    [command] = (await client.get("/api/v1/commands", params={"device_id": gateway["device"]})).json()
    assert (command["id"], command["state"], command["value"]) == (asked.json()["id"], "waiting", "on")
    assert (await client.delete(f"/api/v1/commands/{command['id']}")).status_code == 204
    assert (await client.delete(f"/api/v1/commands/{command['id']}")).status_code == 422
    assert {p["name"] for p in (await client.get(f"/api/v1/devices/{gateway['device']}/writable-points")).json()} == {
        "setpoint",
        "fan",
    }
    path = f"/api/v1/gateways/{gateway['id']}/configurations"
    text = "gateway: gw-1\n"
    assert (await client.post(path, json={"site_file": text, "why": "new"})).json() == {"version": 1}
    assert (await client.get(f"{path}/1")).json()["site_file"] == text
    assert [v["state"] for v in (await client.get(path)).json()] == ["offered"]
    assert (await client.get(f"{path}/2")).status_code == 404


async def test_what_came_in_vain_is_shown_with_reason_and_remedy_to_its_own_organisation(client, pool, gateway):
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO ingest_stream (gateway_id, stream, last_batch_at, rejected_count) VALUES (%s, gen_random_uuid(), now(), 7)",
            (gateway["id"],),
        )
        await conn.execute(
            "INSERT INTO ingest_rejection (stream_id, seq, code, reason, content, rejected_at) SELECT id, 5, 'future',"
            ' \'ahead\', \'{"point": "fcu-1/room", "at_ms": 4102444800000, "value": 21.5}\', now() FROM ingest_stream'
        )
        for topic in ("spBv1.0/hotel/NDATA/gw-1", "spBv1.0/hotel/NDATA/elsewhere"):
            await conn.execute(
                "INSERT INTO sparkplug_failure (failed_at, topic, reason, payload_bytes, payload)"
                " VALUES (now(), %s, 'DecodeError: truncated', 3, 'abc')",
                (topic,),
            )
    await sign_in(client, "facilities")
    assert f"/console/rejected?gateway={gateway['id']}" in (await client.get(f"/console/gateways/{gateway['id']}")).text
    shown = (await client.get("/console/rejected")).text
    for words in (
        "7 observations were refused",
        "fcu-1/room",
        "2100",
        "ahead of the cloud",
        "Set the clock of the gateway",
    ):
        assert words in shown
    assert "spBv1.0/hotel/NDATA/gw-1" in shown
    assert "elsewhere" not in shown
    assert "No observation was refused" in (await client.get("/console/rejected?gateway=99999")).text
    await _call(client, "facilities")
    asked = (await client.get(f"/api/v1/rejected?gateway_id={gateway['id']}")).json()
    assert [(o["code"], o["point"]) for o in asked["observations"]] == [("future", "fcu-1/room")]
    assert [m["topic"] for m in asked["messages"]] == ["spBv1.0/hotel/NDATA/gw-1"]


async def test_of_many_gateways_the_first_are_shown_and_the_part_that_moves_is_drawn_alone(client, gateway, pool):
    await sign_in(client, "facilities")
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO gateway (organisation_id, site_id, name, last_seen_at) SELECT organisation_id, site_id,"
            " 'gw-' || n, now() - interval '1 day' FROM gateway, generate_series(2, 40) n WHERE id = %s",
            (gateway["id"],),
        )
        await conn.execute("UPDATE gateway SET last_seen_at = now() - interval '1 day'")
    page = (await client.get("/console/devices")).text
    assert "and 37 more is not heard" in page
    assert "Another 20 gateways" in page
    part = await client.get("/console/devices", headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "<html" not in part.text
    assert part.text.count('<a href="/console/gateways/') == 40
    health = await client.get("/console/overview/health", headers={"HX-Request": "true"})
    assert "Another 35 gateways" in health.text
