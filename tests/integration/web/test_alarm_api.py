"""The same stories through the documented API."""

from .conftest import PASSWORD
from .test_alarm_pages import alarm_id  # noqa: F401  # A fixture.


async def bearer(client, login):
    answer = await client.post("/api/v1/session", json={"login": login, "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def test_an_alarm_is_read_acknowledged_and_becomes_an_order(client, alarm_id):  # noqa: F811
    who = await bearer(client, "facilities")
    [alarm] = (await client.get("/api/v1/alarms", headers=who)).json()
    assert alarm["sentence_zh"].startswith("301 分表（meter-t301）自")
    assert (await client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=who)).status_code == 204
    again = await client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=who)
    assert (again.status_code, again.json()["code"]) == (409, "alarm_action_refused")
    order = await client.post("/api/v1/work-orders/from-alarm", json={"alarm_id": alarm_id}, headers=who)
    assert order.status_code == 201
    kinds = [line["kind"] for line in (await client.get(f"/api/v1/alarms/{alarm_id}/journal", headers=who)).json()]
    assert kinds[0] == "acknowledged"
    assert (await client.get("/api/v1/alarms/figures?days=7", headers=who)).json()["figures"]


async def test_strangers_and_other_roles_are_refused(client, alarm_id):  # noqa: F811
    assert (await client.get("/api/v1/alarms")).status_code == 401
    who = await bearer(client, "finance")
    assert (await client.post(f"/api/v1/alarms/{alarm_id}/acknowledge", headers=who)).status_code == 403
    tenant = await bearer(client, "north")
    assert (await client.get("/api/v1/alarms", headers=tenant)).status_code == 403
    wrong = await client.post("/api/v1/session", json={"login": "facilities", "password": "no"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "wrong_credentials")


async def test_rules_can_be_read_and_a_wrong_shelf_is_refused(client, alarm_id):  # noqa: F811
    who = await bearer(client, "facilities")
    rules = (await client.get("/api/v1/faults/rules?family=ahu", headers=who)).json()
    assert len(rules) >= 39
    shelf = {"until": "2020-01-01T00:00:00Z", "reason": "works"}
    answer = await client.post(f"/api/v1/alarms/{alarm_id}/shelve", json=shelf, headers=who)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
