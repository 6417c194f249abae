"""Faults that come and go: told once, or not at all when they were over before anyone could be told."""

from datetime import timedelta

from cloud_api.alarms.states import Policy
from tests.integration.notifications.stage import FAULT, OK


async def test_an_alarm_that_is_over_before_it_was_told_says_nothing(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, FAULT)
    await stage.turn(5)
    await stage.say(10, OK)
    await stage.turns(15, 600)
    assert hook.got == []


async def test_a_fault_that_comes_back_before_anyone_was_told_is_told(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, FAULT)
    await stage.turn(1)
    await stage.say(10, OK)
    await stage.turn(11)
    await stage.say(20, FAULT)
    await stage.turns(21, 120)
    assert len(hook.items()) == 1


async def test_a_signal_that_chatters_for_a_day_is_told_once_and_its_end_once(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=10_080)
    signal = {"rule": "PNT-01/3", "subject": "point:1", "policy": Policy(reopen_within=timedelta(hours=2))}
    for minute in range(0, 24 * 60, 4):
        await stage.say(minute * 60, FAULT, **signal)
        await stage.turn(minute * 60 + 45)
        await stage.say(minute * 60 + 60, OK, **signal)
        await stage.turn(minute * 60 + 65)
    assert len(hook.items()) == 1
    await stage.turns(24 * 3600, 26 * 3600, step=300)
    assert [t.partition("-")[0] for t in hook.transitions()][1:] == ["cleared"]


async def test_a_critical_alarm_that_sounded_is_told_although_it_was_over_before_its_message_left(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    boss = receivers()
    await stage.route(await stage.channel("boss", boss.url), after_minutes=15)
    brief = {"rule": "PNT-01/1", "subject": "point:1", "severity": 1, "policy": Policy()}
    [alarm] = await stage.say(0, FAULT, **brief)
    await stage.say(0.25, OK, **brief)  # Before the notifier has looked.
    await stage.turns(1, 1800)
    assert hook.items() == [(str(alarm), "opened"), (str(alarm), "cleared")]
    assert boss.got == []


async def test_a_critical_alarm_that_a_channel_did_not_take_at_once_is_told_although_it_is_over(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    hook.status = 503
    await stage.say(0, FAULT, severity=1)
    await stage.turn(0)
    await stage.say(3, OK, severity=1)
    await stage.turn(3)
    hook.status = 200
    await stage.turns(6, 600)
    assert hook.transitions() == ["opened", "cleared"]
