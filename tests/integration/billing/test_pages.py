"""Finance and a tenant use the pages; a stranger's bill is not there."""

import csv
import io
import re
import zipfile
from decimal import Decimal

import httpx
import openpyxl
import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr

from cloud_api.db.pool import transaction
from cloud_api.db.queue import Worker
from cloud_api.identity import repository as identity
from cloud_api.kit.scope import SYSTEM
from cloud_api.main import create_app
from cloud_api.settings import Settings
from cloud_api.worker.run import drain, import_tasks
from tests.integration.billing.small_site import CLOCK, SmallSite, estate
from tests.integration.billing.test_bill_run import OCTOBER, some_kwh

PASSWORD = "correct horse battery"
HASH = PasswordHasher().hash(PASSWORD)


@pytest.fixture
async def bills(pool):
    """October is calculated for two tenants; finance, its manager and both tenants can sign in."""
    async with transaction(pool, SYSTEM) as conn:
        site = SmallSite(conn)
        leases = [("L1", "a", "r1", "2026-01-01", ""), ("L2", "b", "r2", "2026-10-11", "")]
        await site.build(
            estate({"m1": ["r1"], "m2": ["r2"]}, areas={"r1": 100, "r2": 60}), leases, approval="two_people"
        )
        await site.meter("m1", *OCTOBER, some_kwh(1))
        await site.meter("m2", *OCTOBER, some_kwh(2))
        await site.meter("common", *OCTOBER, some_kwh(3))
        await site.main_is_sum_of(["m1", "m2", "common"], *OCTOBER, loss=Decimal("0.002"))
        await site.settle()
        rows = await (await conn.execute("SELECT code, id FROM tenant")).fetchall()
        tenants = dict(rows)
        people = [("finance", None, ["finance"]), ("manager", None, ["manager"]), ("guard", None, ["facilities"])]
        people += [("north", tenants["a"], []), ("south", tenants["b"], [])]
        for login, tenant_id, roles in people:
            await identity.insert_user(
                conn, organisation_id=site.site.organisation_id, tenant_id=tenant_id, login=login, display_name=login,
                email=None, password_hash=HASH, roles=roles, language="zh" if login == "north" else "en",
            )  # fmt: skip
    return tenants


@pytest.fixture
async def app(database):
    settings = Settings(database_url=SecretStr(database.app), pool_size_max=4)
    app = create_app(settings, CLOCK)
    async with app.router.lifespan_context(app):
        yield app


async def sign_in(app, login):
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://console.test")
    page = await client.get("/login")
    form = {"login": login, "password": PASSWORD}
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    if token:
        form["csrf_token"] = token[1]
    answer = await client.post("/login", data=form)
    assert answer.status_code == 303, answer.text
    return client


async def post(client, page, action, **form):
    """Send a form of a page, with the token that stands in it."""
    shown = await client.get(page)
    assert shown.status_code == 200, shown.text
    token = re.search(r'name="csrf_token" value="([^"]+)"', shown.text)
    answer = await client.post(action, data=form | {"csrf_token": token[1]})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def work(pool, database):
    """Let the worker do what waits."""
    import_tasks()
    await drain(Worker(pool=pool, clock=CLOCK, database_url=database.app))


async def calculate(finance, pool, database, month="2026-10"):
    run = await post(finance, "/console/bills", "/console/bills/runs", month=month)
    await work(pool, database)
    return run


async def test_a_month_goes_from_calculation_to_a_tenants_question(app, bills, pool, database):
    finance, manager = await sign_in(app, "finance"), await sign_in(app, "manager")
    run = await calculate(finance, pool, database)
    shown = (await finance.get(run)).text
    assert "main = tenants + common + owner + losses" in shown
    await post(finance, run, run + "/steps", step="review")
    assert "somebody else has to approve it" in (await finance.get(run)).text
    await post(manager, run, run + "/steps", step="approve")
    await post(finance, run, run + "/steps", step="issue")
    bill = re.search(r'href="(/console/bills/\d+)">Tenant a<', (await finance.get(run)).text)[1]
    assert "PARK-2026-B000001" in (await finance.get(bill)).text
    assert "is the same to the cent" in (await finance.get(bill + "/proof")).text
    pdf = await finance.get(bill + "/pdf")
    assert pdf.headers["content-type"] == "application/pdf"
    assert pdf.content[:5] == b"%PDF-"
    chart = (await finance.get(bill + "/days.json")).json()
    assert len(chart["x"]["values"]) == 31

    south = await sign_in(app, "south")
    north = await sign_in(app, "north")
    mine = bill.replace("/console", "/portal")
    assert "业主购电价公示" in (await north.get(mine)).text
    assert "PARK-2026-B000001" in (await north.get("/portal/bills")).text
    assert "?line=2#question" in (await north.get(mine)).text
    assert '<option value="2" selected>' in (await north.get(mine + "?line=2")).text
    await post(north, mine, mine + "/questions", line="1", question="为什么这么多？")
    for path in (mine, mine + "/pdf", mine + "/days.json"):
        assert (await south.get(path)).status_code == 404
    assert "PARK-2026-B000001" not in (await south.get("/portal/bills")).text
    overview = (await finance.get("/console/bills")).text
    assert "为什么这么多？" in overview
    question = re.search(r"/console/bills/questions/(\d+)", overview)[0]
    await post(finance, "/console/bills", question, text="实验室整夜运行。")
    assert "实验室整夜运行。" in (await north.get(mine)).text

    await post(finance, bill, bill + "/payments", amount="10.00", received_on="2026-11-12", reference="r-1")
    await post(finance, bill, bill + "/credit", reason="a rounding", line="1", part="0.01")
    assert f'href="{mine}"' in (await north.get("/portal")).text  # The latest bill is the bill, not the note on it.
    await post(finance, bill, bill + "/credit", reason="wrong meter", rebill="true")
    assert "PARK-2026-R000001" in (await north.get("/portal/bills")).text
    assert "Data of the electronic invoice" in (await finance.get(bill)).text
    sheet = openpyxl.load_workbook(io.BytesIO((await finance.get(run + "/export.xlsx")).content)).active
    lines = list(sheet.iter_rows(min_row=2, values_only=True))
    gross = sheet[1][20].column - 1
    assert [c.value for c in sheet[1]][gross] == "gross"
    rows = list(csv.DictReader(io.StringIO((await finance.get(run + "/export.csv")).text.lstrip("\ufeff"))))
    assert {r["bill"] for r in rows} == {"PARK-2026-B000001", "PARK-2026-B000002"}
    assert [Decimal(str(line[gross])) for line in lines] == [Decimal(r["gross"]) for r in rows]
    assert all(Decimal(r["net"]) + Decimal(r["tax"]) == Decimal(r["gross"]) for r in rows)


async def test_a_run_shows_its_progress_while_the_worker_calculates_and_keeps_every_document(
    app, bills, pool, database
):
    finance, manager = await sign_in(app, "finance"), await sign_in(app, "manager")
    run = await post(finance, "/console/bills", "/console/bills/runs", month="2026-10")
    waiting = (await finance.get(run)).text
    assert "The calculation waits for the worker" in waiting
    assert "main = tenants" not in waiting
    assert "hx-get" in (await finance.get(run + "/progress")).text
    await work(pool, database)
    assert (await finance.get(run + "/progress")).headers["HX-Refresh"] == "true"
    for person, step in ((finance, "review"), (manager, "approve"), (finance, "issue")):
        await post(person, run, run + "/steps", step=step)
    assert "Documents are made" in (await finance.get(run + "/progress")).text
    await work(pool, database)
    archive = zipfile.ZipFile(io.BytesIO((await finance.get(run + "/documents.zip")).content))
    assert archive.namelist() == ["PARK-2026-B000001.pdf", "PARK-2026-B000002.pdf"]
    bill = re.search(r'href="(/console/bills/\d+)">Tenant a<', (await finance.get(run)).text)[1]
    assert (await finance.get(bill + "/pdf")).content == archive.read("PARK-2026-B000001.pdf")


async def test_a_run_that_cannot_be_calculated_says_why_and_can_be_begun_anew(app, bills, pool, database):
    finance = await sign_in(app, "finance")
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute("DELETE FROM site_tariff")
    run = await calculate(finance, pool, database)
    assert (
        "has no tariff for electricity: enter one under Tariffs (template zhejiang-2026-demo)"
        in (await finance.get(run)).text
    )
    again = await post(finance, "/console/bills", "/console/bills/runs", month="2026-10")
    assert again != run
    assert (await finance.get(run)).status_code == 200


async def test_a_draft_is_not_there_for_the_tenant_and_bills_not_for_the_guard(app, bills, pool, database):
    finance = await sign_in(app, "finance")
    run = await calculate(finance, pool, database)
    bill = re.search(r'href="(/console/bills/\d+)">Tenant a<', (await finance.get(run)).text)[1]
    assert (await (await sign_in(app, "north")).get(bill.replace("/console", "/portal"))).status_code == 404
    assert (await (await sign_in(app, "guard")).get(bill)).status_code == 403


async def test_a_tariff_is_checked_entered_and_proved_on_its_page(app, bills):
    finance = await sign_in(app, "finance")
    template = (await finance.get("/console/tariffs?template=zhejiang-2026-demo")).text
    assert "浙发改价格〔2026〕112号" in template
    token = re.search(r'name="csrf_token" value="([^"]+)"', template)[1]
    broken = "tariff: t\nname: {zh: a, en: b}\nversions:\n  - {version: 1, valid_from: 2026-01-01}\n"
    refused = await finance.post("/console/tariffs", data={"csrf_token": token, "text": broken, "use": "tenants"})
    assert refused.status_code == 422
    assert "there are no components" in refused.text
    from cloud_api.billing.cli import TEMPLATES

    text = (TEMPLATES / "zhejiang-2026-demo.yaml").read_text(encoding="utf-8")
    shown = await post(finance, "/console/tariffs", "/console/tariffs", text=text, use="tenants")
    proof = (await finance.get(shown)).text
    assert "Every minute of 2026 is in exactly one period: 525,600 minutes." in proof
    assert "09:00-15:00" in proof


async def test_leases_are_imported_on_a_page_after_a_preview_with_refused_rows_named(app, bills):
    manager = await sign_in(app, "manager")
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await manager.get("/console/lease-import")).text)[1]
    rows = "lease,tenant,space,first_day,last_day\nL1,a,r1,2026-01-01,\nL9,a,r9,2026-01-01,\nL8,b,r1,2026-03-01,2026-03-31\n"
    companies = "tenant,name_zh\nc,租户c\n"
    files = [("file", ("l.csv", rows.encode(), "text/csv")), ("file", ("t.csv", companies.encode(), "text/csv"))]
    shown = await manager.post("/console/lease-import", data={"csrf_token": token, "source": "test"}, files=files)
    assert shown.status_code == 200
    assert "row 3: there is no space r9 at this site" in shown.text
    assert "row 4: space r1 is held by lease L1 from 2026-03-01" in shown.text
    assert "1 Mar 2026 – 31 Mar 2026" in shown.text  # As the file says it, not the day after.
    assert "as before" in shown.text
    assert "租户c" not in (await manager.get("/console/leases/new")).text  # A preview stores nothing.
    upload = re.search(r'action="(/console/lease-import/\d+)"', shown.text)[1]
    done = await manager.post(upload, data={"csrf_token": token})
    assert done.status_code == 303
    assert (await manager.post(upload, data={"csrf_token": token})).status_code == 422  # Once.
    assert 'value="c"' in (await manager.get("/console/leases/new")).text


async def test_a_chinese_reader_sees_refused_rows_in_chinese(app, bills, pool):
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute("UPDATE app_user SET language = 'zh' WHERE login = 'manager'")
    manager = await sign_in(app, "manager")
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await manager.get("/console/lease-import")).text)[1]
    rows = "合同编号,租户,房号,起租日\nL9,a,r9,2026-01-01\nL7,,r2,2026-01-01\n"
    shown = await manager.post(
        "/console/lease-import", data={"csrf_token": token}, files={"file": ("l.csv", rows.encode(), "text/csv")}
    )
    assert "第 2 行：本园区没有房间 r9" in shown.text
    assert "第 3 行：缺少 租户" in shown.text


async def issued_bill(finance, manager, pool, database):
    run = await calculate(finance, pool, database)
    for person, step in ((finance, "review"), (manager, "approve"), (finance, "issue")):
        await post(person, run, run + "/steps", step=step)
    return re.search(r'href="(/console/bills/\d+)">Tenant a<', (await finance.get(run)).text)[1]


async def test_each_line_leads_its_tenant_down_to_quarter_hours_registers_and_the_tariffs_version(
    app, bills, pool, database
):
    finance, manager = await sign_in(app, "finance"), await sign_in(app, "manager")
    bill = await issued_bill(finance, manager, pool, database)
    mine = bill.replace("/console", "/portal")
    north, south = await sign_in(app, "north"), await sign_in(app, "south")
    assert f'href="{mine}/lines/1"' in (await north.get(mine)).text
    line = (await north.get(mine + "/lines/1")).text
    assert "v1" in line  # The version of the tariff.
    assert f"{mine}?line=1#question" in line
    assert "?day=2026-10-14#day" in line
    day = (await north.get(mine + "/lines/1?day=2026-10-14")).text
    assert day.count("实抄") == 96
    assert "不计入本行" in day  # The other period's quarter hours are shown and left out.
    for path in (mine + "/lines/1", mine + "/lines/1?day=2026-10-14"):
        assert (await south.get(path)).status_code == 404
    assert (await north.get(mine + "/lines/99")).status_code == 404
    assert (await north.get(mine + "/lines/1?day=2026-12-01")).status_code == 404
    assert "Tenant a" in (await finance.get(bill + "/lines/1?day=2026-10-14")).text


async def test_the_utilitys_bill_is_entered_on_a_page_and_compared_with_our_ledger(app, bills):
    finance = await sign_in(app, "finance")
    page = "/console/utility-bills"
    token = re.search(r'name="csrf_token" value="([^"]+)"', (await finance.get(page)).text)[1]
    columns = {"name": ["电量", "基金"], "bucket": ["peak", ""], "energy": ["1", ""], "amount": ["200.00", "50.00"],
               "driver": ["energy", "area"]}  # fmt: skip
    days = {"first_day": "2026-10-01", "last_day": "2026-10-31"}
    form = {"csrf_token": token, **days, "total": "251.00", "kwh": "400"} | columns
    refused = await finance.post(page, data=form)
    assert refused.status_code == 422
    assert "the lines sum to 250.00, the total says 251.00" in refused.text
    assert 'value="电量"' in refused.text  # What was typed is still there.
    unknown = await finance.post(page, data=form | {"total": "250.00", "bucket": ["moon", ""]})
    assert "line 1: the tariff has no period moon; write valley, peak" in unknown.text
    stored = await finance.post(page, data=form | {"total": "250.00"})
    assert stored.status_code == 303
    shown = (await finance.get(stored.headers["location"])).text
    assert "Our main meter" in shown
    assert "period 高峰 Peak: the bill counts 1 kWh" in shown
    lines = "项目,时段,电量,金额,分摊方式\n购电,峰,10,30.00,\n其他,,,12.50,landlord\n"
    files = {"file": ("bill.csv", lines.encode(), "text/csv")}
    again = await finance.post(page, data={"csrf_token": token, **days, "total": "42.50", "kwh": "400"}, files=files)
    assert again.status_code == 303, again.text
    shown = (await finance.get(again.headers["location"])).text
    assert "stays with the landlord" in shown
    assert (await finance.get(page)).text.count("/console/utility-bills/") == 1  # The newer entry replaced the older.
    days = {"first_day": "2026-10-26", "last_day": "2026-11-05"}
    beside = await finance.post(page, data=form | days | {"total": "250.00"})
    assert "2026-10-01 to 2026-10-31: correct the days, or remove that bill first" in beside.text
    removed = await finance.post(again.headers["location"] + "/remove", data={"csrf_token": token})
    assert removed.status_code == 303
    stored = await finance.post(page, data=form | days | {"total": "250.00"})
    assert "26 Oct 2026 – 5 Nov 2026" in (await finance.get(stored.headers["location"])).text


async def test_with_several_sites_the_forms_let_finance_choose_one(app, bills, pool):
    finance = await sign_in(app, "finance")
    assert 'name="site"' not in (await finance.get("/console/bills")).text
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO site (organisation_id, code, name_zh, name_en) SELECT organisation_id, 'north', '北园', 'North'"
            " FROM site"
        )
    for page in ("/console/bills", "/console/tariffs", "/console/utility-bills", "/console/tariffs/test-tou"):
        assert '<option value="north"' in (await finance.get(page)).text, page
    run = await post(finance, "/console/bills", "/console/bills/runs", month="2026-10", site="park")
    assert re.fullmatch(r"/console/bills/runs/\d+", run)
    assert "Park" in (await finance.get("/console/bills")).text
