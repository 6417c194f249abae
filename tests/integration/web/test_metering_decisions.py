"""What a meter engineer decides, on pages and through the API: the same use cases, the same audit."""

import asyncio
import json
import re
from datetime import timedelta
from decimal import Decimal

from typer.testing import CliRunner

from cloud_api.cli import app as commands
from cloud_api.db.pool import transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import service as metering
from cloud_api.telemetry.live import Notice
from cloud_api.web.shared.live import _audience
from tests.integration.web.conftest import csrf_token, sign_in
from tests.integration.web.test_metering_pages import TODAY, meter  # noqa: F401
from tests.integration.web.test_meters_api import _call

JPEG = b"\xff\xd8\xff\xe0 display"
WHY = {"reason": "seen on site"}


async def _rows(pool, statement, *arguments):
    async with transaction(pool, SYSTEM) as conn:
        return await (await conn.execute(statement, arguments)).fetchall()


async def _registers(pool):
    return [row[0] for row in await _rows(pool, "SELECT id FROM register ORDER BY id")]


async def test_an_exchange_with_photographs_is_seen_and_undone_on_the_page(client, pool, meter):  # noqa: F811
    await sign_in(client, "facilities")
    path = f"/console/meters/{meter}"
    token = await csrf_token(client, path)
    [_, register] = await _registers(pool)
    at = (TODAY - timedelta(hours=30)).replace(tzinfo=None).isoformat()[:16]
    form = WHY | {"csrf_token": token, "register_id": register, "at": at, "closing": "500", "opening": "0"}
    photos = {"photo_old": ("old.jpg", JPEG, "image/jpeg"), "photo_new": ("new.jpg", b"<html>", "image/jpeg")}
    refused = await client.post(f"{path}/exchange", data=form, files=photos)
    assert refused.status_code == 422
    photos["photo_new"] = ("new.jpg", JPEG, "image/jpeg")
    assert (await client.post(f"{path}/exchange", data=form, files=photos)).status_code == 303
    page = (await client.get(path)).text
    picture = await client.get(re.search(rf"{path}/photos/\d+", page).group())
    assert (picture.content, picture.headers["content-type"]) == (JPEG, "image/jpeg")
    [[exchange_id]] = await _rows(pool, "SELECT id FROM meter_exchange")
    undo = WHY | {"csrf_token": token, "register_id": register, "kind": "exchange", "decision_id": exchange_id}
    assert (await client.post(f"{path}/undo", data=undo)).status_code == 303
    assert await _rows(pool, "SELECT count(*) FROM meter_exchange WHERE undone_at IS NULL") == [(0,)]
    actions = {row[0] for row in await _rows(pool, "SELECT action FROM audit_entry")}
    assert {"meter.exchange", "meter.undo_exchange"} <= actions


async def test_a_bad_reading_is_found_from_its_interval_and_corrected(client, pool, meter):  # noqa: F811
    await sign_in(client, "facilities")
    day = (TODAY - timedelta(days=1)).date()
    page = (await client.get(f"/console/meters/{meter}?day={day}")).text
    link = re.search(rf'"(/console/meters/{meter}/readings[^"]+)"', page).group(1).replace("&amp;", "&")
    readings = (await client.get(link)).text
    assert "2 readings" in readings
    at = re.search(r'name="at" value="([^"]+)"', readings).group(1)
    register = re.search(r'name="register_id" value="(\d+)"', readings).group(1)
    form = WHY | {"csrf_token": await csrf_token(client, link), "register_id": register, "at": at}
    assert (await client.post(f"/console/meters/{meter}/exclusions", data=form)).status_code == 303
    assert "excluded" in (await client.get(link)).text


async def test_every_dated_event_can_be_entered_on_the_page_and_by_api(client, pool, meter):  # noqa: F811
    [_, register] = await _registers(pool)
    await sign_in(client, "facilities")
    path = f"/console/meters/{meter}"
    token = await csrf_token(client, path)
    for n, (action, fields) in enumerate((
        ("multiplier", {"multiplier": "80", "cause": "ratio"}),
        ("multiplier", {"cause": "reversed"}),
        ("multiplier", {"multiplier": "0.001", "cause": "unit"}),
        ("multiplier", {"multiplier": "1.5", "cause": "wiring"}),
        ("reset", {"stop": "400", "start": "0"}),
        ("modulus", {"modulus": "1000000"}),
    )):  # fmt: skip
        at = (TODAY - timedelta(hours=40 - n)).replace(tzinfo=None).isoformat()[:16]
        form = WHY | fields | {"csrf_token": token, "register_id": register, "at": at}
        assert (await client.post(f"{path}/{action}", data=form)).status_code == 303, fields
    page = (await client.get(path)).text
    assert all(
        word in page for word in ("reversed transformer", "another unit", "wrong wiring", "range of the counter")
    )
    await _call(client, "facilities")
    api, when = f"/api/v1/meters/{meter}", (TODAY - timedelta(hours=20)).isoformat()
    body = WHY | {"register_id": register, "at": when}
    assert (await client.post(f"{api}/resets", json=body | {"start": "0"})).status_code == 204
    changed = await client.post(f"{api}/multipliers", json=body | {"cause": "reversed"})
    assert Decimal(str(changed.json()["multiplier"])) == Decimal("0.12")
    assert (
        await client.post(f"{api}/modulus", json=WHY | {"register_id": register, "modulus": None})
    ).status_code == 204


async def test_the_worklist_is_worked_off_and_undone_through_the_api(client, pool, meter):  # noqa: F811
    await _call(client, "facilities")
    [finding, *_] = [f for f in (await client.get("/api/v1/worklist")).json() if f["check_name"] == "estimated"]
    settle = f"/api/v1/worklist/{finding['id']}"
    zero = await client.post(settle, json=WHY | {"action": "zero"})
    assert (zero.status_code, zero.json()["code"]) == (409, "correction_refused")
    assert (await client.post(settle, json=WHY | {"action": "edit", "total": "12.5"})).json() == {"method": "edit"}
    await metering.recompute_all(pool, Clock())
    edited = "SELECT sum(quantity) FROM interval WHERE register_id = %s AND quality = 'edited'"
    assert await _rows(pool, edited, finding["register_id"]) == [(Decimal("12.5"),)]
    assert (await client.post(settle, json=WHY | {"action": "reopen"})).status_code == 200
    await metering.recompute_all(pool, Clock())
    assert await _rows(pool, edited, finding["register_id"]) == [(None,)]


async def test_limits_of_a_class_are_set_and_refused_when_they_make_no_sense(client, pool, meter):  # noqa: F811
    await sign_in(client, "facilities")
    token = await csrf_token(client, "/console/check-limits")
    form = WHY | {"csrf_token": token, "zero_hours": "", "spike_ratio": "2.5"}
    assert (await client.post("/console/check-limits/tenant", data=form)).status_code == 303
    await _call(client, "facilities")
    held = (await client.get("/api/v1/worklist/limits")).json()["tenant"]
    assert (held["zero_hours"], Decimal(str(held["spike_ratio"]))) == (None, Decimal("2.5"))
    for use, wrong in (("tenant", {"spike_ratio": -1}), ("tenant", {"nonsense": 1}), ("boat", {"spike_ratio": 2})):
        answer = await client.put(f"/api/v1/worklist/limits/{use}", json=WHY | {"limits": wrong})
        assert answer.status_code in {404, 422}, wrong


async def test_virtual_meters_of_any_depth_are_made_read_and_refused_in_a_circle(client, pool, meter):  # noqa: F811
    [[main]] = await _rows(pool, "SELECT id FROM meter WHERE code = 'main'")
    await sign_in(client, "facilities")
    token = await csrf_token(client, "/console/formulas")
    form = WHY | {"csrf_token": token, "code": "rest", "kind": "sum", "meter_0": main, "factor_0": "1", "meter_1": meter,
                  "factor_1": "-1"}  # fmt: skip
    made = await client.post("/console/formulas", data=form)
    assert made.status_code == 303
    rest = int(made.headers["location"].rsplit("/", 1)[1])
    assert "main" in (await client.get(f"/console/meters/{rest}")).text
    await _call(client, "facilities")
    new = WHY | {"code": "twice", "inputs": [{"meter_id": rest, "factor": 2}]}
    twice = (await client.post("/api/v1/virtual-meters", json=new)).json()["id"]
    share = WHY | {"code": "share", "kind": "ratio",
                   "inputs": [{"meter_id": twice, "factor": 1}, {"meter_id": main, "factor": -1}]}  # fmt: skip
    ratio = (await client.post("/api/v1/virtual-meters", json=share)).json()["id"]
    period = {"start": (TODAY - timedelta(days=1)).isoformat(), "end": TODAY.isoformat()}
    values = (await client.get(f"/api/v1/virtual-meters/{ratio}/ratio", params=period)).json()
    assert {Decimal(str(v["value"])) for v in values} == {Decimal(1)}  # Twice (2 - 1), over 2.
    circle = await client.put(
        f"/api/v1/virtual-meters/{rest}", json=WHY | {"inputs": [{"meter_id": twice, "factor": 1}]}
    )
    assert (circle.status_code, circle.json()["code"]) == (422, "formula_refused")
    used = await client.post(f"/api/v1/virtual-meters/{rest}/remove", json=WHY)
    assert used.json()["users"] == ["twice"]
    touched = (await client.get(f"/api/v1/meters/{meter}/touched", params=period)).json()
    assert {v["code"] for v in touched["virtual_meters"]} == {"rest", "twice", "share"}
    await sign_in(client, "facilities")
    assert (await client.get(f"/console/meters/{ratio}")).status_code == 200
    assert (await client.get(f"/console/meters/{ratio}/ratio.json")).json()["series"][0]["values"]


async def test_a_file_is_previewed_imported_and_undone_through_the_api(client, pool, meter):  # noqa: F811
    await _call(client, "facilities")
    when = (TODAY - timedelta(hours=2)).isoformat()
    table = f"meter,time,value\nt1,{when},1000\nnobody,{when},1\n".encode()
    file = {"file": ("readings.csv", table, "text/csv")}
    shown = (await client.post("/api/v1/reading-imports/preview", files=file)).json()
    assert (shown["new_count"], shown["error_count"], shown["errors"][0]["line"]) == (1, 1, 3)
    assert shown["touches"][0]["meter"] == "t1"
    stored = await client.post(f"/api/v1/reading-imports/uploads/{shown['upload_id']}")
    assert stored.json() == {"new_count": 1}
    [imported] = (await client.get("/api/v1/reading-imports")).json()
    assert (await client.post(f"/api/v1/reading-imports/{imported['id']}/undo")).status_code == 204
    assert await _rows(pool, "SELECT count(*) FROM reading WHERE source = 'import'") == [(0,)]


async def test_balance_by_day_is_labelled_with_local_days(client, meter):  # noqa: F811
    await sign_in(client, "facilities")
    chart = (await client.get("/console/balance/days.json?meter=1&days=7")).json()
    assert all(re.fullmatch(r"\d+ [A-Z][a-z]{2}", label) for label in chart["x"]["values"])
    assert (await client.get("/console/balance/trend.json?meter=1&days=7")).json()["limits"]


async def test_readings_are_imported_and_intervals_exported_by_command(meter, database, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("CLOUD_DATABASE_URL", database.app)
    table = tmp_path / "readings.csv"
    table.write_text(f"meter,time,value\nt1,{(TODAY - timedelta(hours=2)).isoformat()},1000\nnobody,x,1\n")

    async def command(*arguments):
        return await asyncio.to_thread(CliRunner().invoke, commands, ["meter", *map(str, arguments)])

    looked = await command("import", table)
    assert (looked.exit_code, "1 new" in looked.output, "line 3" in looked.output) == (0, True, True), looked.output
    assert "1 imported" in (await command("import", table, "--yes")).output
    assert "estimated" in (await command("worklist")).output
    day, out = (TODAY - timedelta(days=2)).date(), tmp_path / "t1.csv"
    assert (await command("export", "t1", "--from", day, "--to", day, "--out", out)).exit_code == 0
    assert out.read_text("utf-8-sig").startswith("meter,starts_at")


async def test_meters_are_decided_about_by_command_as_on_the_pages(meter, pool, database, monkeypatch):  # noqa: F811
    monkeypatch.setenv("CLOUD_DATABASE_URL", database.app)

    async def command(*arguments):
        done = await asyncio.to_thread(CliRunner().invoke, commands, ["meter", *map(str, arguments)])
        return done.exit_code, done.output

    at = (TODAY - timedelta(minutes=5)).isoformat()
    exchange = ("exchange", "t1", "--at", at, "--closing", "500", "--opening", "0")
    assert (await command(*exchange, "--reason", "no"))[0] == 1
    assert (await command(*exchange, "--reason", "seal broken"))[0] == 0
    number = re.search(r"exchange +(\d+)", (await command("decisions", "t1"))[1])[1]
    assert (await command("undo", "t1", "exchange", number, "--reason", "the wrong meter"))[0] == 0
    assert await _rows(pool, "SELECT count(*) FROM meter_exchange WHERE undone_at IS NULL") == [(0,)]

    finding = re.search(r"(\d+)  t1 +estimated", (await command("worklist"))[1])[1]
    assert (await command("decide", finding, "guess", "--reason", "seen"))[0] == 2
    [listed] = [
        f
        for f in json.loads((await command("worklist", "--meter", "t1", "--check", "estimated", "--json"))[1])
        if f["id"] == int(finding)
    ]
    assert listed["advice"] == "Accept it, or import the readings of the gap."
    assert listed["touches"]["bills"] == []
    assert (await command("worklist", "--check", "guess"))[0] == 2
    code, said = await command("decide", finding, "edit", "--total", "12.5", "--reason", "seen on site")
    assert (code, "12.5 in " in said, "touches no bill" in said) == (0, True, True), said
    assert "edited by cli:" in (await command("worklist", "--state", "edited"))[1]
    await metering.recompute_all(pool, Clock())
    assert await _rows(pool, "SELECT sum(quantity) FROM interval WHERE quality = 'edited'") == [(Decimal("12.5"),)]
    assert (await command("decide", finding, "reopen", "--reason", "was wrong"))[0] == 0

    code, held = await command(
        "limits", "tenant", "--set", "zero_hours=", "--set", "spike_ratio=3", "--reason", "quiet"
    )
    assert (code, "zero_hours           off" in held, "spike_ratio          3" in held) == (0, True, True), held
    assert "zero_hours           24" in (await command("limits", "tenant", "--reset", "--reason", "as before"))[1]
    assert (await command("limits", "boat"))[0] == 1

    made = await command("virtual", "rest", "--input", "main=1", "--input", "t1=-1", "--reason", "the rest")
    assert made == (0, "rest = 1 × main + -1 × t1\n")
    assert (await command("virtual", "rest", "--input", "rest=1", "--reason", "a circle"))[0] == 1
    assert (await command("virtual", "rest", "--remove", "--reason", "not needed"))[0] == 0
    assert (await command("virtual"))[1] == "there is no virtual meter\n"
    assert (await command("gaps"))[1] == "no meter was silent\n"  # Read by hand: nobody waits for its next reading.


async def test_a_whole_import_is_undone_by_command(meter, pool, database, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.setenv("CLOUD_DATABASE_URL", database.app)
    table = tmp_path / "readings.csv"
    table.write_text(f"meter,time,value\nt1,{(TODAY - timedelta(hours=2)).isoformat()},1000\n")

    async def command(*arguments):
        return (await asyncio.to_thread(CliRunner().invoke, commands, ["meter", *map(str, arguments)])).output

    await command("import", table, "--yes")
    number = re.match(r" *(\d+)", await command("imports"))[1]
    assert "is undone" in await command("undo-import", number)
    assert await _rows(pool, "SELECT count(*) FROM reading WHERE import_id IS NOT NULL") == [(0,)]
    assert "undone by" in await command("imports")


async def test_a_previewed_row_says_what_is_wrong_in_the_programs_language(client, meter):  # noqa: F811
    await _call(client, "facilities")
    file = {"file": ("readings.csv", b"meter,time,value\nnobody,2026-01-01T00:00:00+08:00,1\n", "text/csv")}
    said = {}
    for language in ("zh-CN", "en"):
        answer = await client.post("/api/v1/reading-imports/preview", files=file, headers={"Accept-Language": language})
        [error] = answer.json()["errors"]
        said[language] = error["reason"]
    assert re.search(r"[\u4e00-\u9fff]", said["zh-CN"])
    assert not re.search(r"[\u4e00-\u9fff]", said["en"])


async def test_the_preview_names_what_a_register_counts_in_words(client, meter):  # noqa: F811
    await sign_in(client, "facilities")
    token = await csrf_token(client, "/console/imports")
    code = re.search(r'<option value="([^"]+)"', (await client.get("/console/imports")).text)[1]
    file = {"file": ("readings.csv", f"meter,time,value\n{code},2026-01-01T00:00:00+08:00,1\n".encode(), "text/csv")}
    page = (await client.post("/console/imports", data={"csrf_token": token}, files=file)).text
    assert "<td>Active energy</td>" in page


async def test_gaps_are_read_through_the_api(client, meter):  # noqa: F811
    await _call(client, "facilities")
    period = {"start": (TODAY - timedelta(days=2)).isoformat(), "end": TODAY.isoformat()}
    assert (await client.get("/api/v1/gaps", params=period)).json() == []
    assert (await client.get("/api/v1/gaps", params=period | {"meter_id": meter, "limit": 0})).status_code == 422


async def test_an_administrator_says_how_long_data_are_kept_and_nobody_else(client, pool, park):
    form = {"kind": "raw", "days": "500"}
    await sign_in(client, "facilities")
    token = await csrf_token(client, "/console/storage")
    assert (await client.post("/console/storage/keep", data=form | {"csrf_token": token})).status_code in {403, 404}
    await sign_in(client, "admin")
    token = await csrf_token(client, "/console/storage")
    refused = await client.post("/console/storage/keep", data=form | {"csrf_token": token, "days": "3"})
    assert refused.status_code == 422
    assert (await client.post("/console/storage/keep", data=form | {"csrf_token": token})).status_code == 303
    assert 'value="500"' in (await client.get("/console/storage")).text


async def test_the_open_page_of_a_meter_fetches_its_day_anew_when_its_ledger_changes(client, meter):  # noqa: F811
    await sign_in(client, "facilities")
    path = f"/console/meters/{meter}"
    assert f'sse-connect="/console/live?meter={meter}"' in (await client.get(path)).text
    part = (await client.get(path, headers={"HX-Request": "true"})).text
    assert 'id="day-now"' in part
    assert "<html" not in part
    mine, others = (Notice(kind="ledger", data={"meters": [m]}) for m in (meter, meter + 1))
    see = _audience(frozenset(), ("alarm",), meter)
    assert (see(mine), see(others)) == (Notice(kind="ledger", data={}), None)
