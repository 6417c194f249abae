"""Who is told of what, when, and who is spared it."""

import pytest

from cloud_api.kit.errors import Invalid
from tests.integration.notifications.stage import FAULT, OK


async def test_acknowledging_stops_every_channel_and_every_step(stage, receivers):
    first, boss = receivers(), receivers()
    await stage.route(await stage.channel("first", first.url))
    await stage.route(await stage.channel("boss", boss.url), after_minutes=15)
    [alarm] = await stage.say(0, FAULT)
    await stage.turns(0, 600)
    await stage.acknowledge(alarm, 600)
    await stage.turns(600, 3600)
    assert (len(first.got), len(boss.got)) == (1, 0)


async def test_escalation_speaks_when_nobody_acknowledges(stage, receivers):
    boss = receivers()
    await stage.route(await stage.channel("boss", boss.url), after_minutes=15)
    await stage.say(0, FAULT)
    await stage.turns(0, 890)
    assert boss.got == []
    await stage.turns(900, 1000)
    assert len(boss.got) == 1


async def test_several_faults_of_one_equipment_are_one_incident(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    for n, rule in enumerate(("AHU-0015", "AHU-0012", "AHU-0013")):
        await stage.say(n, FAULT, subject="equipment:7", rule=rule, severity=2 + bool(n))
    await stage.turns(0, 1800)
    assert len(hook.items()) == 1


async def test_in_quiet_hours_only_critical_alarms_speak(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), quiet_from=8, quiet_to=11)
    await stage.say(0, FAULT, subject="device:1", severity=3)
    await stage.say(0, FAULT, subject="device:2", severity=1)
    await stage.turns(0, 120)
    assert len(hook.items()) == 1
    await stage.turns(7200, 7300)
    assert len(hook.items()) == 2


async def test_a_critical_alarm_leaves_in_the_turn_that_sees_it_and_others_wait_for_their_siblings(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, FAULT, subject="device:1", severity=1)
    await stage.say(0, FAULT, subject="device:2", severity=2)
    await stage.turn(0)
    assert [i["severity"] for body in hook.got for i in body["items"]] == [1]


async def test_a_message_says_what_to_check_first(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, FAULT, severity=1)
    await stage.turn(0)
    assert "Check first: " in hook.got[0]["text"]
    assert "先查：" in hook.got[0]["items"][0]["zh"]


async def test_a_route_speaks_only_in_its_hours_and_on_its_days(stage, receivers):
    day, night, workdays, restdays = receivers(), receivers(), receivers(), receivers()
    await stage.route(await stage.channel("day", day.url), hours_from=8, hours_to=20)
    await stage.route(await stage.channel("night", night.url), hours_from=20, hours_to=8)
    await stage.route(await stage.channel("workdays", workdays.url), days="workdays")
    await stage.route(await stage.channel("restdays", restdays.url), days="restdays")
    await stage.say(0, FAULT, subject="device:1", severity=1)  # Monday, 09:00.
    await stage.turn(0)
    assert [len(r.got) for r in (day, night, workdays, restdays)] == [1, 0, 1, 0]
    saturday = 5 * 86_400 + 13 * 3600  # 22:00.
    await stage.say(saturday, FAULT, subject="device:2", severity=1)
    await stage.turn(saturday)
    assert [r.opened() for r in (day, night, workdays, restdays)] == [1, 1, 1, 1]


async def test_recoveries_and_repetitions_below_critical_wait_for_the_end_of_the_quiet_hours(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), quiet_from=10, quiet_to=18, repeat_minutes=60)
    await stage.say(0, FAULT, subject="device:1", severity=2)  # 09:00.
    await stage.say(0, FAULT, subject="device:2", severity=2)
    await stage.turns(0, 60)
    await stage.say(3 * 3600, OK, subject="device:2", severity=2)  # 12:00.
    await stage.turns(3 * 3600, 9 * 3600 - 60, step=900)
    assert hook.transitions() == ["opened", "opened"]
    await stage.turns(9 * 3600 + 1, 9 * 3600 + 600, step=60)
    assert sorted(hook.transitions()) == ["cleared", "opened", "opened", "repeat-1"]


async def test_a_channel_of_someone_else_is_refused(stage):
    with pytest.raises(Invalid, match="no channel 99"):
        await stage.route(99)
