from datetime import timedelta
from decimal import Decimal

from tests.integration.web.conftest import csrf_token, sign_in
from tests.integration.web.test_metering_pages import TODAY, meter  # noqa: F401


async def _call(client, login):
    await sign_in(client, login)
    token = client.cookies["wattlease_session"]
    client.cookies.clear()
    client.headers["Authorization"] = f"Bearer {token}"


async def test_the_ledger_is_read_and_corrected_through_the_api(client, meter):  # noqa: F811
    await _call(client, "facilities")
    period = {"start": (TODAY - timedelta(days=2)).isoformat(), "end": TODAY.isoformat()}
    shown = (await client.get(f"/api/v1/meters/{meter}")).json()
    [register] = [r["id"] for r in shown["registers"]]
    rows = (await client.get(f"/api/v1/meters/{meter}/intervals", params=period)).json()
    energy = (await client.get(f"/api/v1/meters/{meter}/energy", params=period)).json()
    assert len(rows) == 192
    assert sum(Decimal(str(row["quantity"])) for row in rows) == Decimal(str(energy["quantity"])) == 192
    for path in ("demand", "balance", f"registers/{register}/gaps", f"registers/{register}/intervals", "export.csv"):
        assert (await client.get(f"/api/v1/meters/{meter}/{path}", params=period)).status_code == 200, path
    edit = {"register_id": register, "starts_at": period["start"], "quantity": "9.5", "reason": "seal broken"}
    assert (await client.post(f"/api/v1/meters/{meter}/edits", json=edit)).status_code == 204
    [decision] = (await client.get(f"/api/v1/meters/{meter}")).json()["decisions"]
    undo = {"register_id": register, "kind": "edit", "decision_id": decision["id"], "reason": "was right"}
    assert (await client.post(f"/api/v1/meters/{meter}/undo", json=undo)).status_code == 204
    assert (await client.post(f"/api/v1/meters/{meter}/undo", json=undo)).status_code == 409


async def test_finance_reads_but_does_not_correct_and_strangers_do_neither(client, meter):  # noqa: F811
    assert (await client.get("/api/v1/meters")).status_code == 401
    await _call(client, "finance")
    assert (await client.get("/api/v1/meters")).status_code == 200
    body = {"register_id": 1, "starts_at": TODAY.isoformat(), "quantity": 1, "reason": "because"}
    assert (await client.post(f"/api/v1/meters/{meter}/edits", json=body)).status_code == 403


async def test_a_refusal_reaches_a_program_in_its_language_with_the_same_code(client, meter):  # noqa: F811
    await _call(client, "finance")
    asked = f"/api/v1/meters/{meter}/energy?start={TODAY.isoformat().replace('+', '%2B')}&end=2100-01-01T00:00:00Z"
    english = await client.get(asked)
    chinese = await client.get(asked, headers={"Accept-Language": "zh-CN,zh;q=0.9"})
    assert english.json()["detail"].startswith("a period has 0 to")
    assert chinese.json()["detail"].startswith("时段长度为 0 至")
    assert chinese.headers["Content-Language"] == "zh"
    assert {k: v for k, v in english.json().items() if k != "detail"} == {
        k: v for k, v in chinese.json().items() if k != "detail"
    }


async def test_the_course_of_a_point_and_the_storage_are_read_through_the_api(client, meter):  # noqa: F811
    await _call(client, "facilities")
    period = {"start": (TODAY - timedelta(days=2)).isoformat(), "end": TODAY.isoformat()}
    assert (await client.get("/api/v1/points/999999/course", params=period)).status_code == 404
    report = (await client.get("/api/v1/storage")).json()
    assert {"observation", "observation_kept", "observation_series", "event", "interval"} <= {
        table["name"] for table in report["tables"]
    }
    await _call(client, "finance")
    assert (await client.get("/api/v1/storage")).status_code == 403


async def test_the_length_of_the_intervals_changes_on_the_page_and_through_the_api(client, meter):  # noqa: F811
    await sign_in(client, "facilities")
    path, day = f"/console/meters/{meter}", (TODAY - timedelta(days=1)).date()
    token = await csrf_token(client, path)
    form = {"csrf_token": token, "at": f"{day}T12:00", "minutes": "60", "reason": "the utility bills by the hour"}
    assert (await client.post(f"{path}/length", data=form)).status_code == 303
    assert (await client.post(f"{path}/length", data=form | {"at": f"{day}T12:20"})).status_code == 422
    assert "60 " in (await client.get(path)).text
    await _call(client, "facilities")
    shown = (await client.get(f"/api/v1/meters/{meter}")).json()
    assert [x["minutes"] for x in shown["lengths"]] == [15, 60]
    [decision] = shown["decisions"]
    undo = f"/api/v1/meters/{meter}/lengths/{decision['id']}/undo"
    assert (await client.post(undo, json={"reason": "not yet"})).status_code == 204
    assert (await client.post(undo, json={"reason": "not yet"})).status_code == 409
    body = {"at": f"{day}T04:00:00Z", "minutes": 30, "reason": "by the half hour"}
    assert (await client.post(f"/api/v1/meters/{meter}/lengths", json=body)).status_code == 201
    assert (await client.post(f"/api/v1/meters/{meter}/lengths", json=body | {"minutes": 7})).status_code == 422
