"""What the cloud asks of a gateway in its answer to a heartbeat, and what it makes of the replies."""

from datetime import timedelta

import pytest

from cloud_api.db.pool import transaction
from cloud_api.devices import commands, configurations
from cloud_api.devices import service as devices
from cloud_api.devices.model import CommandRefused, ConfigurationRefused
from cloud_api.kit.scope import SYSTEM
from tests.integration.ingest.conftest import CATALOGUE, NOW, NOW_MS

WRITABLE = {
    "name": "fan_mode",
    "kind": "setpoint",
    "labels": {"0": "off", "1": "low", "2": "high", "en": "Fan", "zh": "风机"},
    "write": {"low": 0, "high": 2, "step": 1, "release_after_s": None},
}
WITH_FAN = CATALOGUE | {
    "revision": "r2",
    "devices": [*CATALOGUE["devices"], {"name": "fcu-1", "points": [WRITABLE, {"name": "room_temperature"}]}],
}
SITE_FILE = "gateway: gw-1\nbuses: []\n"


@pytest.fixture
async def gateway(edge, pool):
    await edge.announce(WITH_FAN)
    async with transaction(pool, SYSTEM) as conn:
        return await devices.gateway_named(conn, "gw-1")


@pytest.fixture
def ask(pool, gateway):
    """Set a point of the gateway by its address."""

    async def ask(address="fcu-1/fan_mode", value="high", why="too warm", now=NOW, **more):
        async with transaction(pool, SYSTEM) as conn:
            point = await commands.point_by_address(conn, "gw-1", address)
            return await commands.order(conn, point, value=value, why=why, actor="li", now=now, **more)

    return ask


@pytest.fixture
def told(pool, gateway):
    """Return the commands of the gateway as a page shows them."""

    async def told(now=NOW):
        async with transaction(pool, SYSTEM) as conn:
            return await commands.commands(conn, now, gateway_id=gateway)

    return told


async def beat(edge, **members):
    answer = await edge.client.post("/ingest/v1/heartbeat", json={"v": 1, **members}, headers=edge.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def result(seq, **data):
    return {
        "seq": seq,
        "kind": "command.result",
        "device": "fcu-1",
        "at_ms": NOW_MS,
        "received_at_ms": NOW_MS,
        "data": data,
    }


async def test_a_command_is_offered_until_the_gateway_answers_and_shows_its_result(edge, ask, told):
    number = await ask(release_after_s=600)
    wanted = {"device": "fcu-1", "point": "fan_mode", "value": "high", "by": "li", "why": "too warm"}
    for _ in range(2):
        [offered] = (await beat(edge))["commands"]
        assert offered == wanted | {"id": str(number), "release_after_s": 600}
    await edge.send(events=[result(1, id=str(number), outcome="done", reason="", shown=2.0)])
    assert (await beat(edge))["commands"] == []
    [command] = await told()
    assert (command["state"], command["shown"], command["released_at"]) == ("done", 2.0, None)
    by_hand = {"id": "", "device": "fcu-1", "point": "fan_mode", "outcome": "done", "reason": ""}
    await edge.send(events=[result(2, **by_hand, by="a technician")])
    assert (await told())[0]["released_at"] is None
    await edge.send(events=[result(3, **by_hand, by="edge-agent")])
    assert (await told())[0]["released_at"] is not None


async def test_the_first_result_of_a_command_holds_and_foreign_numbers_change_nothing(edge, ask, told):
    number = await ask()
    wild = ["", "0", "99999999999999999999999", "x'; --", str(number + 1)]
    events = [result(seq, id=given, outcome="failed", reason="no") for seq, given in enumerate(wild, start=1)]
    receipt = await edge.send(events=events)
    assert receipt["accepted"] == [[1, 5]]
    assert (await told())[0]["state"] == "waiting"
    await edge.send(events=[result(6, id=str(number), outcome="refused", reason="out_of_range: 9")])
    await edge.send(events=[result(7, id=str(number), outcome="done", reason="", shown=1)])
    [command] = await told()
    assert (command["state"], command["reason"]) == ("refused", "out_of_range: 9")


async def test_what_nobody_took_in_time_is_not_offered_any_more(edge, ask, told):
    await ask(now=NOW - commands.EXPIRES_AFTER - timedelta(seconds=1))
    assert (await beat(edge))["commands"] == []
    assert (await told())[0]["state"] == "expired"


async def test_a_withdrawn_command_is_not_offered_but_its_result_is_still_taken(edge, ask, told, pool):
    number = await ask()
    async with transaction(pool, SYSTEM) as conn:
        await commands.withdraw(conn, number, actor="li", now=NOW)
        with pytest.raises(CommandRefused):
            await commands.withdraw(conn, number, actor="li", now=NOW)
    assert (await beat(edge))["commands"] == []
    await edge.send(events=[result(1, id=str(number), outcome="done", reason="", shown=2)])
    assert (await told())[0]["state"] == "done"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"address": "fcu-1/room_temperature"}, "cannot be set"),
        ({"address": "fcu-1/fan_speed"}, "has no point"),
        ({"value": "9"}, "takes 0 to 2"),
        ({"value": "nan"}, "takes 0 to 2"),
        ({"value": "fast"}, "off, low, high"),
        ({"why": " "}, "say why"),
        ({"release_after_s": 0}, "release"),
    ],
)
async def test_a_command_that_no_agent_would_carry_out_is_refused_at_once(ask, told, given, says):
    with pytest.raises(CommandRefused, match=says):
        await ask(**given)
    assert await told() == []


async def test_only_so_many_commands_wait_for_a_gateway(ask):
    for _ in range(commands.WAITING_MAX):
        await ask()
    with pytest.raises(CommandRefused, match="already wait"):
        await ask()


async def offer(pool, gateway, site_file=SITE_FILE, why="a new meter"):
    async with transaction(pool, SYSTEM) as conn:
        return await configurations.offer(conn, gateway, site_file=site_file, actor="li", why=why, now=NOW)


async def states(pool, gateway):
    async with transaction(pool, SYSTEM) as conn:
        return [(v["version"], v["state"]) for v in await configurations.versions(conn, gateway)]


async def test_a_site_file_is_offered_until_the_gateway_reports_it_and_again_after_it_lost_its_disk(
    edge, pool, gateway
):
    local = {"version": None, "state": "local", "problems": [], "refused": None}
    assert (await beat(edge, configuration=local))["configuration"] is None
    version = await offer(pool, gateway)
    offered = {"version": version, "site": SITE_FILE}
    assert (await beat(edge, configuration=local))["configuration"] == offered
    for state in ("trying", "confirmed"):
        answer = await beat(edge, configuration=local | {"version": version, "state": state})
        assert answer["configuration"] is None
        assert await states(pool, gateway) == [(version, state)]
    assert (await beat(edge, configuration=local))["configuration"] == offered


async def test_a_version_that_did_not_hold_is_not_offered_again_and_the_one_before_stays(edge, pool, gateway):
    good = await offer(pool, gateway)
    running = {"version": good, "state": "confirmed", "problems": [], "refused": None}
    await beat(edge, configuration=running)
    bad = await offer(pool, gateway, SITE_FILE + "poll: -1\n")
    assert (await beat(edge, configuration=running))["configuration"]["version"] == bad
    problems = ["site.yaml:3: poll: unknown key → remove it"]
    answer = await beat(edge, configuration=running | {"state": "refused", "problems": problems, "refused": bad})
    assert answer["configuration"] is None
    assert await states(pool, gateway) == [(bad, "refused"), (good, "confirmed")]
    assert (await beat(edge, configuration=running | {"version": None, "refused": bad}))["configuration"][
        "version"
    ] == good


async def test_a_newer_offer_replaces_one_that_was_not_taken(edge, pool, gateway):
    first, second = await offer(pool, gateway), await offer(pool, gateway, SITE_FILE + "# again\n")
    assert await states(pool, gateway) == [(second, "offered"), (first, "withdrawn")]
    assert (await beat(edge))["configuration"]["version"] == second


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gateway: other\n", "is for gateway 'other'"),
        ("- a\n- list\n", "is for gateway None"),
        ("gateway: [gw-1\n", "not valid YAML"),
        ("gateway: gw-1\ngateway: gw-1\n", "site.yaml:2: gateway: stands twice"),
        ("gateway: gw-1\n" + "# x" * 400_000, "larger than"),
    ],
)
async def test_a_site_file_that_no_gateway_could_use_is_not_offered(pool, gateway, text, says):
    with pytest.raises(ConfigurationRefused, match=says):
        await offer(pool, gateway, text)
    assert await states(pool, gateway) == []
