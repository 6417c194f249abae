"""The JSON API of billing: a month from tariff to payment by program, and nothing for those whom it does not concern."""

import re

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from tests.integration.billing.small_site import TARIFF
from tests.integration.billing.test_pages import PASSWORD, app, bills, sign_in, work  # noqa: F401

BILLING = {"tariffs", "bill runs", "bills", "bill corrections", "payments", "utility bills"}
FOR_TENANTS = {"/api/v1/bills", "/api/v1/bills/{bill}", "/api/v1/bills/{bill}/pdf", "/api/v1/bills/{bill}/questions"}
FOR_TENANTS |= {"/api/v1/statement", "/api/v1/bills/{bill}/lines/{line}"}


@pytest.fixture
async def people(app, bills):  # noqa: F811
    """A client per person, each with its token; "stranger" has none."""
    clients = {}
    for login in ("finance", "manager", "guard", "north", "south", "stranger"):
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api.test/api/v1")
        if login != "stranger":
            answer = await client.post("/session", json={"login": login, "password": PASSWORD})
            client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        clients[login] = client
    yield clients
    for client in clients.values():
        await client.aclose()


async def issued(people, pool, database):
    """October's bills are issued; returns the run's id and its bills by tenant."""
    finance, manager = people["finance"], people["manager"]
    run = (await finance.post("/bill-runs", json={"month": "2026-10"})).json()["id"]
    await work(pool, database)
    for person, step in ((finance, "review"), (manager, "approve"), (finance, "issue")):
        answer = await person.post(f"/bill-runs/{run}/steps", json={"step": step})
        assert answer.status_code == 200, answer.text
    await work(pool, database)
    shown = (await finance.get(f"/bill-runs/{run}")).json()
    return run, {b["tenant_code"]: b for b in shown["bills"]}


def billing_routes(app):  # noqa: F811
    found = [
        (method, route.path)
        for route in iter_route_contexts(app.routes)
        if BILLING & set(getattr(route.original_route, "tags", None) or ())
        for method in sorted(route.methods - {"HEAD"})
    ]
    assert len(found) > 25
    return found


async def test_a_month_goes_from_preparation_to_payment_through_the_api(people, pool, database):
    finance, manager = people["finance"], people["manager"]
    run = (await finance.post("/bill-runs", json={"month": "2026-10"})).json()["id"]
    assert (await finance.get(f"/bill-runs/{run}/progress")).json()["phase"] == "waiting"
    await work(pool, database)
    progress = (await finance.get(f"/bill-runs/{run}/progress")).json()
    assert (progress["phase"], progress["count"], progress["total"]) == ("done", 3, 3)
    shown = (await finance.get(f"/bill-runs/{run}")).json()
    assert shown["reasons"] == []
    assert float(shown["summary"]["main_kwh"]) == pytest.approx(
        sum(float(shown["summary"][k]) for k in ("tenants_kwh", "common_kwh", "owner_kwh", "loss_kwh"))
    )
    assert (await finance.post(f"/bill-runs/{run}/steps", json={"step": "review"})).json() == {"state": "reviewed"}
    refused = await finance.post(f"/bill-runs/{run}/steps", json={"step": "approve"})
    assert (refused.status_code, refused.json()["code"]) == (409, "same_person")
    await manager.post(f"/bill-runs/{run}/steps", json={"step": "approve"})
    assert (await finance.post(f"/bill-runs/{run}/steps", json={"step": "issue"})).json() == {"state": "issued"}
    await work(pool, database)
    assert (await finance.get(f"/bill-runs/{run}/documents.zip")).content[:2] == b"PK"
    assert (await finance.get(f"/bill-runs/{run}/export.csv")).text.count("PARK-2026-B") == 6
    assert all(v["holds"] for v in (await finance.get(f"/bill-runs/{run}/verification")).json())

    assert (await finance.get(f"/bill-runs/{run}/export.xlsx")).content[:2] == b"PK"
    [south, north] = (await finance.get("/bills")).json()
    fields = (await finance.get(f"/bills/{north['number']}/einvoice")).json()
    assert (fields["request_serial"], fields["gross"]) == (north["number"], north["total"])
    assert {north["tenant_code"], south["tenant_code"]} == {"a", "b"}
    paid = {"tenant": north["tenant_code"], "amount": north["total"], "received_on": "2026-11-12", "reference": "x1"}
    answer = (await finance.post("/payments", json=paid)).json()
    assert answer == {"settled": {north["number"]: north["total"]}, "credit": "0.00"}
    assert (await finance.post("/payments", json=paid)).json()["code"] == "payment_known"
    written = await finance.post(f"/bills/{north['number']}/credit-note", json={"reason": "wrong", "rebill": True})
    assert written.json() == {"credit_note": "PARK-2026-C000001", "rebill": "PARK-2026-R000001"}
    statement = (await finance.get("/statement", params={"tenant": north["tenant_code"]})).json()
    assert statement[-1]["balance"] == "0.00"
    assert (await finance.get("/statement")).status_code == 422
    assert (await finance.get("/arrears", params={"on_day": "2027-01-01"})).json()[0]["number"] == south["number"]


async def test_a_tenant_reads_and_questions_its_own_bills_and_no_other(people, pool, database):
    _, bills_by_tenant = await issued(people, pool, database)
    north, south = people["north"], people["south"]
    mine, foreign = bills_by_tenant["a"], bills_by_tenant["b"]
    assert [b["number"] for b in (await north.get("/bills")).json()] == [mine["number"]]
    assert [b["number"] for b in (await north.get("/bills", params={"tenant": "b"})).json()] == []
    shown = (await north.get(f"/bills/{mine['id']}")).json()
    assert shown["lines"][0]["amount"]
    assert shown["evidence"][0]["opening"][0]["value"]
    assert shown["resale"]["average_price"]
    assert (await north.get(f"/bills/{mine['number']}/pdf")).content[:5] == b"%PDF-"
    asked = await north.post(f"/bills/{mine['id']}/questions", json={"line": 1, "question": "why?"})
    assert asked.status_code == 201
    [question] = (await people["finance"].get("/bill-questions")).json()
    await people["finance"].post(f"/bill-questions/{question['id']}/answer", json={"text": "the lab"})
    assert (await north.get(f"/bills/{mine['id']}")).json()["questions"][0]["answer"] == "the lab"
    for key in (foreign["id"], foreign["number"]):
        for path in (f"/bills/{key}", f"/bills/{key}/pdf"):
            assert (await north.get(path)).status_code == 404
        body = {"line": 1, "question": "whose?"}
        assert (await north.post(f"/bills/{key}/questions", json=body)).status_code == 404
    assert {row["bill_id"] for row in (await south.get("/statement", params={"tenant": "a"})).json()} == {foreign["id"]}


async def test_every_route_of_billing_refuses_strangers_guards_and_what_is_not_for_tenants(people, app):  # noqa: F811
    for method, path in billing_routes(app):
        address = re.sub(r"\{[^}]+\}", "0", path).removeprefix("/api/v1")
        assert (await people["stranger"].request(method, address)).status_code == 401, path
        assert (await people["guard"].request(method, address)).status_code == 403, path
        if path not in FOR_TENANTS:
            assert (await people["north"].request(method, address)).status_code == 403, path


async def test_a_tariff_is_proved_and_recorded_and_a_broken_one_names_its_faults(people):
    finance = people["finance"]
    names = (await finance.get("/tariffs/templates")).json()
    assert {"zhejiang-2026-demo", "two-part-demand", "after-hours-hvac"} <= set(names)
    text = (await finance.get("/tariffs/templates/zhejiang-2026-demo")).json()["text"]
    assert (await finance.get("/tariffs/templates/..%2Fsecret")).status_code == 404
    checked = (await finance.post("/tariffs/check", json={"text": text}, params={"year": 2026})).json()
    assert checked["proof"]["minutes_in_all"] == 365 * 1440
    hole = TARIFF.replace('hours: ["08:00-24:00"]', 'hours: ["09:00-24:00"]')
    refused = await finance.post("/tariffs/check", json={"text": hole})
    assert refused.status_code == 422
    assert any("08:00" in problem for problem in refused.json()["problems"])
    recorded = (await finance.post("/tariffs", json={"text": text, "payers": ["landlord"]})).json()
    assert (recorded["code"], recorded["revision"]) == ("zhejiang-commercial-tou", 1)
    assert (await finance.get("/tariffs/zhejiang-commercial-tou")).json()["proof"]["minutes_in_all"] == 365 * 1440
    assert len((await finance.get("/tariffs")).json()) == 2


async def test_the_utilitys_bill_is_entered_by_program_and_must_add_up(people):
    bill = {"month": "2026-10", "total": "100.00", "kwh": "90", "lines": [{"name": "energy", "amount": "99.00"}]}
    refused = await people["finance"].put("/utility-bills", json=bill)
    assert "the lines sum to 99.00, the total says 100.00" in refused.json()["detail"]
    bill["lines"].append({"name": "funds", "amount": "1.00"})
    assert (await people["finance"].put("/utility-bills", json=bill)).json()["compared"]
    assert (await people["finance"].get("/utility-bills")).json()[0]["total"] == "100.00"


async def test_the_api_of_billing_is_documented_with_its_bodies_and_answers(app):  # noqa: F811
    schema = app.openapi()
    for method, path in billing_routes(app):
        operation = schema["paths"][path][method.lower()]
        assert operation["description"], path
    assert {"Bill", "BillLine", "Payment", "UtilityBill", "Proof"} <= set(schema["components"]["schemas"])


async def test_a_tariff_is_tried_on_the_past_beside_todays(people):
    dearer = TARIFF.replace("1.07", "2.14").replace("0.31", "0.62").replace("0.0292", "0.0584")
    body = {"text": dearer, "first": "2026-09-01", "after": "2026-11-01"}
    tried = (await people["finance"].post("/tariffs/trial", json=body)).json()
    assert tried["months"] == ["2026-10"]  # September has no readings.
    assert set(tried["tenants"]) == {"a", "b"}
    for part in (*tried["tenants"].values(), *tried["components"].values(), tried["total"]):
        assert abs(float(part["trial"]) - 2 * float(part["today"])) <= 0.05
    assert float(tried["total"]["difference"]) > 0
    same = (await people["finance"].post("/tariffs/trial", json=body | {"text": TARIFF})).json()
    assert same["total"]["difference"] == "0.00"
    long = await people["finance"].post("/tariffs/trial", json=body | {"first": "2024-01-01"})
    assert "1 to 12 months" in long.json()["detail"]


async def test_the_trial_page_answers_first_and_names_every_tenant(app, bills):  # noqa: F811
    finance = await sign_in(app, "finance")
    page = (await finance.get("/console/tariffs")).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
    shown = await finance.post("/console/tariffs/trial", data={"csrf_token": token, "text": TARIFF})
    assert shown.status_code == 200
    assert "This is today&#39;s tariff" in shown.text
    other = TARIFF.replace("1.07", "1.27")
    shown = await finance.post("/console/tariffs/trial", data={"csrf_token": token, "text": other})
    assert "Tenants would have paid" in shown.text
    assert "Tenant a" in shown.text
    assert (await finance.get("/console/tariffs/test-tou/trial")).status_code == 200
