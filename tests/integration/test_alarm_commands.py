"""What people do with alarms, limits, channels, rotas and work orders works by command as on the pages."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from cloud_api.cli import app as commands
from cloud_api.db.pool import transaction
from cloud_api.kit.scope import SYSTEM

from .test_alarms import at, one, plant, say, turn


@pytest.fixture
def command(database, monkeypatch):
    monkeypatch.setenv("CLOUD_DATABASE_URL", database.app)
    monkeypatch.setenv("CLOUD_SECRET_KEY", "k" * 40)

    async def run(*arguments, fails=False):
        done = await asyncio.to_thread(CliRunner().invoke, commands, [*map(str, arguments)])
        assert (done.exit_code != 0) == fails, done.output
        return done.output

    return run


@pytest.fixture
async def alarm(pool):
    """A device that does not answer, and a point on it."""
    async with transaction(pool, SYSTEM) as conn:
        organisation, *_, (device,) = await plant(conn)
        await conn.execute(
            "INSERT INTO point (organisation_id, device_id, name, unit) VALUES (%s, %s, 'temperature', '°C')",
            (organisation, device),
        )
        await say(conn, device, "offline", at(5))
        await turn(conn, at(6))
        return await one(conn, "SELECT id FROM alarm")


async def test_an_alarm_is_listed_shown_acknowledged_and_shelved(alarm, command):
    assert "meter-t301 has not answered since 03-02 09:00" in await command("alarm", "list")
    assert f"alarm {alarm} is acknowledged" in await command("alarm", "ack", alarm)
    assert "not waiting" in await command("alarm", "ack", alarm, fails=True)
    assert "is shelved until" in await command("alarm", "shelve", alarm, "--hours", 4, "--reason", "fit-out")
    assert "0 alarms" in await command("alarm", "list")
    assert "1 alarms" in await command("alarm", "list", "--shelved")
    shown = await command("alarm", "show", alarm, "--language", "zh")
    assert "自 03-02 09:00 起没有应答" in shown
    assert "fit-out" in shown
    assert "is back" in await command("alarm", "unshelve", alarm)
    assert "reset" in await command("alarm", "reset", alarm, fails=True)
    assert "chattering" in await command("alarm", "figures", "--days", 30)


async def test_a_limit_is_set_listed_and_removed(alarm, command):
    set_ = ("limit", "set", "gw-1", "meter-t301/temperature", "above", 30)
    number = (await command(*set_, "--clear", 28, "--severity", 1, "--on-delay", 60)).split()[-1]
    assert "meter-t301/temperature  above 30 (clears at 28) °C  severity 1  on 60 s" in await command("limit", "list")
    assert "clear at or below" in await command(*set_, "--clear", 31, fails=True)
    assert "nothing" in await command("limit", "set", "gw-1", "nothing", "above", 30, fails=True)
    await command("limit", "remove", number)
    assert "0 limits" in await command("limit", "list")


async def test_channels_routes_and_rotas_are_set_up_and_shifts_exchanged(alarm, command):
    for name in ("lin", "mo"):
        await command("notify", "add-channel", name, "null://", "--language", "en")
    assert "not understood" in await command("notify", "add-channel", "bad", "pigeon://coop", fails=True)
    today = datetime.now(UTC).date()
    await command("notify", "plan", "duty", "lin", "mo", "--first", today, "--days", 14, "--turn-days", 1)
    assert "duty" in await command("notify", "rotas")
    start, end = (f"{today + timedelta(days=n)}T09:00" for n in (1, 3))
    assert "lin is on call" in await command("notify", "give", "duty", "lin", "--start", start, "--end", end)
    assert f"{end[:10]} 09:00" in await command("notify", "shifts", "duty")
    route = (await command("notify", "add-route", "--rota", "duty", "--severity", 2, "--fallback", "mo")).split()[-1]
    assert "duty" in await command("notify", "routes")
    assert "one of them" in await command("notify", "add-route", "--rota", "duty", "--channel", "mo", fails=True)
    await command("notify", "test", "mo")
    assert "2 channels" in await command("notify", "channels")
    await command("notify", "remove-route", route)
    assert "0 routes" in await command("notify", "routes")
    assert (await command("notify", "log")).strip() == ""


async def test_a_work_order_goes_from_an_alarm_to_done(alarm, command, tmp_path):
    photo = tmp_path / "before.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n")
    order = (await command("work", "from-alarm", alarm)).split()[-1]
    await command("work", "act", order, "assign", "--to", "lin")
    due = (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="minutes")
    await command("work", "due", order, due)
    assert "future" in await command("work", "due", order, "2020-01-01T00:00+08:00", fails=True)
    await command("work", "tick", order, 1)
    await command("work", "part", order, "fuse", "--cost", "8.5")
    await command("work", "comment", order, "the fuse was open")
    await command("work", "photo", order, photo)
    for step in ("start", "complete"):
        await command("work", "act", order, step)
    shown = await command("work", "show", order)
    for words in ("done  lin", "[x] 1.", "1 fuse  8.5", "the fuse was open", "photo", "due"):
        assert words in shown
    assert "closed" not in shown
    asked = (await command("work", "request", "s", "the lamp of the lobby is out")).split()[-1]
    assert "requested" in await command("work", "show", asked)
