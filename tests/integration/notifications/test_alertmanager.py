"""What Alertmanager's acceptance tests ask of a notifier, and what they leave disabled (restart), on a scripted clock.

Behaviour           Test
Merge               the_same_condition_reported_again_is_merged…; a_fault_that_returns_after_its_end_is_a_new_occurrence
Repeat              an_unchanged_alarm_is_repeated_only_after_the_repetition…
Retry               a_failing_receiver_neither_delays_nor_doubles_another; test_channels.py: …answers_500…, …hanging…
Batching            changes_within_the_group_interval_go_out_together
Resolved            an_alarm_whose_data_stop_is_neither_resolved_nor_told_again (silence is an alarm of its own: no
                    resolve_timeout); an_alarm_is_told_once_and_its_recovery_once
Resolved filter     a_receiver_without_recoveries_gets_none_but_its_state_is_recorded
Reload              changed_channels_and_routes_announce_nothing_again
Inhibiting          an_explained_alarm_is_silent_and_speaks_once_when_its_cause_is_gone_and_it_still_holds
Always inhibiting   a_cause_and_what_it_explains_that_end_together_appear_in_one_final_message
Silence             a_shelf_mutes_and_its_end_speaks_exactly_once
Peer dedupe         two_notifiers_and_two_evaluators_at_once_send_one_message; a_receiver_that_answers_5xx_slowly_gets…
                    (Alertmanager issue 4108); test_channels.py: …second_sender
Restart             nothing_is_told_again_after_a_restart_and_nothing_is_lost; a_restart_in_the_middle_of_a_retry…
Restart by kill -9  tests/fault_injection/test_alarms_killed.py
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from cloud_api.alarms import routing, service, tasks
from cloud_api.alarms.evaluator import evaluate_communication
from cloud_api.db.queue import Worker
from cloud_api.kit.clock import Clock, fixed_clock
from cloud_api.notify import outbox
from cloud_api.notify import service as notify
from tests.integration.notifications.stage import FAULT, NO_EVAL, OK, T0, Stage, at, until


async def test_an_alarm_is_told_once_and_its_recovery_once(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    [alarm] = await stage.say(0, FAULT)
    await stage.turns(0, 300)
    assert hook.items() == [(str(alarm), "opened")]
    assert "device:1 has not answered since" in hook.got[0]["text"]
    await stage.say(600, OK)
    await stage.turns(600, 900)
    assert hook.items() == [(str(alarm), "opened"), (str(alarm), "cleared")]


async def test_an_unchanged_alarm_is_repeated_only_after_the_repetition_and_not_after_acknowledgement(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=60)
    [alarm] = await stage.say(0, FAULT)
    await stage.turns(0, 3 * 3600, step=60)
    assert hook.transitions() == ["opened", "repeat-1", "repeat-2"]
    await stage.acknowledge(alarm, 3 * 3600)
    await stage.turns(3 * 3600, 6 * 3600, step=60)
    assert len(hook.items()) == 3


async def test_a_failing_receiver_neither_delays_nor_doubles_another(stage, receivers):
    good, bad = receivers(), receivers()
    bad.status = 500
    await stage.route(await stage.channel("good", good.url))
    await stage.route(await stage.channel("bad", bad.url))
    await stage.say(0, FAULT)
    await stage.turns(0, 120)
    assert len(good.got) == 1
    assert bad.got == []
    bad.status = 200
    await stage.turns(150, 600)
    assert (len(good.got), len(bad.got)) == (1, 1)


async def test_changes_within_the_group_interval_go_out_together(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, FAULT, subject="device:1")
    await stage.turns(0, 60)
    for n in (2, 3, 4):
        await stage.say(60 + n, FAULT, subject=f"device:{n}")
    await stage.turns(90, 420)
    assert [len(body["items"]) for body in hook.got] == [1, 3]


async def test_a_receiver_without_recoveries_gets_none_but_its_state_is_recorded(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url, sends_recovery=False))
    [alarm] = await stage.say(0, FAULT)
    await stage.turns(0, 60)
    await stage.say(100, OK)
    await stage.turns(100, 900)
    assert hook.transitions() == ["opened"]
    async with stage.transaction() as conn:
        assert (await service.alarm(conn, alarm)).isa_state == "A"


async def test_a_shelf_mutes_and_its_end_speaks_exactly_once(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    [alarm] = await stage.say(0, FAULT)
    async with stage.transaction() as conn:
        clock = fixed_clock(at(1))
        until = at(1000)
        await service.shelve(conn, clock, alarm, until=until, reason="works", actor="lin")
    await stage.turns(5, 995)
    assert hook.got == []
    await stage.turns(1000, 3000)
    assert len(hook.items()) == 1


async def test_the_same_condition_reported_again_is_merged_and_keeps_its_start(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    [alarm] = await stage.say(0, FAULT, severity=3)
    await stage.turn(1)
    for seconds, verdict, severity in ((20, FAULT, 3), (25, OK, 3), (28, FAULT, 2)):  # The latest severity counts.
        await stage.say(seconds, verdict, severity=severity)
    await stage.turns(29, 119)
    assert [topic for topic, _ in hook.items()] == [str(alarm)]
    async with stage.transaction() as conn:
        [shown] = await service.open_alarms(conn)
    assert (shown.opened_at, shown.occurrence, shown.severity) == (T0, 1, 2)


async def test_a_fault_that_returns_after_its_end_is_a_new_occurrence(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    for begin in (0, 7200):
        await stage.say(begin, FAULT)
        await stage.turns(begin, begin + 300)
        await stage.say(begin + 600, OK)
        await stage.turns(begin + 600, begin + 1800, step=60)
    assert hook.transitions() == ["opened", "cleared"] * 2
    async with stage.transaction() as conn:
        [alarm] = await stage.alarm_ids()
        assert [o["opened_at"] for o in await service.occurrences(conn, alarm)] == [at(7200), at(0)]


async def test_an_alarm_whose_data_stop_is_neither_resolved_nor_told_again(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=10_080)
    await stage.say(0, FAULT)
    await stage.turns(0, 60)
    await stage.say(100, NO_EVAL)  # "unavailable", then the same value again.
    await stage.turns(100, 7200, step=60)
    await stage.say(7300, FAULT)
    await stage.turns(7300, 7500)
    assert hook.transitions() == ["opened"]


async def test_changed_channels_and_routes_announce_nothing_again(stage, receivers):
    hook, other = receivers(), receivers()
    channel = await stage.channel("hook", hook.url)
    old = await stage.route(channel)
    await stage.say(0, FAULT)
    await stage.turns(0, 60)
    async with stage.transaction() as conn:
        await notify.enable_channel(conn, channel, is_enabled=False)
        await routing.remove_route(conn, old)
    await stage.turns(90, 400)
    async with stage.transaction() as conn:
        await notify.enable_channel(conn, channel, is_enabled=True)
    await stage.route(channel, severity_max=4)
    await stage.route(await stage.channel("other", other.url))
    await stage.turns(420, 1800)
    assert (hook.transitions(), other.transitions()) == (["opened"], [])
    await stage.say(1900, OK)
    await stage.turns(1900, 2700)
    assert (hook.transitions(), other.transitions()) == (["opened", "cleared"], [])


async def plant(stage):
    """A gateway with one device on it, both well."""
    async with stage.transaction() as conn:
        values = {"organisation": stage.organisation, "site": stage.site, "at": T0}
        [row] = await outbox.rows(
            conn,
            "WITH g AS (INSERT INTO gateway (organisation_id, site_id, name, last_seen_at)"
            " VALUES (%(organisation)s, %(site)s, 'gw-1', %(at)s) RETURNING id)"
            " INSERT INTO device (organisation_id, gateway_id, name, bus, poll_s, timeout_s, state, state_since)"
            " SELECT %(organisation)s, id, 'meter-1', '', 5, 15, 'online', %(at)s FROM g RETURNING id",
            values,
        )
    return row["id"]


async def live(stage, seconds, until, device, state, since, *, gateway_lives):
    """Evaluate and notify every ten seconds while the device is in a state and its gateway is heard, or not."""
    async with stage.transaction() as conn:
        await conn.execute("UPDATE device SET state = %s, state_since = %s WHERE id = %s", (state, at(since), device))
    for now in range(seconds, until, 10):
        async with stage.transaction() as conn:
            if gateway_lives:
                await conn.execute("UPDATE gateway SET last_seen_at = %s", (at(now),))
            await evaluate_communication(conn, at(now), at(-3600))
        await stage.turn(now)


async def test_an_explained_alarm_is_silent_and_speaks_once_when_its_cause_is_gone_and_it_still_holds(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=10_080)
    device = await plant(stage)
    await live(stage, 0, 60, device, "online", 0, gateway_lives=True)
    await live(stage, 60, 900, device, "offline", 55, gateway_lives=False)
    assert [body["title"].split()[0] for body in hook.got] == ["gateway"]
    await live(stage, 900, 2400, device, "offline", 55, gateway_lives=True)
    assert sorted(body["title"].split()[0] for body in hook.got) == ["Cleared:", "gateway", "meter-1"]


async def test_a_cause_and_what_it_explains_that_end_together_appear_in_one_final_message(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=10_080)
    device = await plant(stage)
    # Told before its gateway is lost: it stays open.
    await live(stage, 0, 300, device, "offline", 0, gateway_lives=True)
    await live(stage, 300, 900, device, "offline", 0, gateway_lives=False)
    assert hook.transitions() == ["opened", "opened"]
    await live(stage, 900, 2400, device, "online", 900, gateway_lives=True)
    assert [len(body["items"]) for body in hook.got] == [1, 1, 2]
    assert hook.transitions()[2:] == ["cleared", "cleared"]


async def test_two_notifiers_and_two_evaluators_at_once_send_one_message(stage, receivers, pool, database):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), severity_max=4)
    device = await plant(stage)
    now = datetime.now(UTC)
    async with stage.transaction() as conn:
        await conn.execute("UPDATE gateway SET last_seen_at = %s", (now + timedelta(minutes=1),))
        await conn.execute("UPDATE notification_channel SET per_minute = 600, tokens = 600")
        await conn.execute("UPDATE device SET state = 'offline', state_since = %s", (now - timedelta(minutes=5),))
    soon = Clock(source=lambda: datetime.now(UTC) + timedelta(seconds=50))  # When the hold-back is over.
    worker = Worker(pool=pool, clock=soon, database_url=database.app)
    running = [asyncio.create_task(run(worker)) for run in (tasks.evaluate, tasks.notify) for _ in range(2)]
    await until(stage.alarm_ids)
    async with stage.transaction() as conn:  # Its hold-back and the wait for siblings are over.
        await conn.execute("UPDATE alarm SET annunciate_at = %s, next_timer_at = %s", (now, now))
    await until(stage.waiting)
    async with stage.transaction() as conn:
        await conn.execute("UPDATE notification SET due_at = %s", (now,))
    await until(hook.has_got)
    await asyncio.sleep(1.5)  # The others have had their turns too.
    for task in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert hook.items() == [(str((await stage.alarm_ids())[0]), "opened")]
    assert device


async def test_a_receiver_that_answers_5xx_slowly_gets_each_attempt_from_one_notifier_only(stage, receivers):
    hook = receivers()
    hook.status, hook.delay = 500, 0.2
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, FAULT, severity=1)
    for seconds in (0, 5, 20):
        await asyncio.gather(stage.turn(seconds), stage.turn(seconds))
    hook.status = 200
    await asyncio.gather(stage.turn(90), stage.turn(90))
    await stage.turns(100, 700)
    assert len(hook.got) == 1
    async with stage.transaction() as conn:
        assert [line["outcome"] for line in await notify.deliveries(conn)] == ["sent", "failed", "failed", "failed"]


async def test_nothing_is_told_again_after_a_restart_and_nothing_is_lost(stage, receivers, pool):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    [first] = await stage.say(0, FAULT)
    await stage.turns(0, 300)
    [second] = await stage.say(301, FAULT, subject="device:2")
    await stage.route_now(302)  # In the outbox, waiting for its siblings, when the process ends.
    restarted = Stage(pool, stage.organisation, stage.site)
    await restarted.turns(330, 3600, step=60)
    assert hook.items() == [(str(first), "opened"), (str(second), "opened")]
    await restarted.acknowledge(first, 3700)
    again = Stage(pool, stage.organisation, stage.site)
    await again.turns(3700, 5 * 3600, step=60)  # Who has acknowledged is not told again; the other one is.
    assert hook.items()[2:] == [(str(second), "repeat-1")]


async def test_a_restart_in_the_middle_of_a_retry_goes_on_with_the_same_pauses(stage, receivers, pool):
    hook = receivers()
    hook.status = 500
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, FAULT, severity=1)
    await stage.turns(0, 20, step=5)  # Attempts at 0, 5 and 20 s; the next is due at 80 s.
    restarted = Stage(pool, stage.organisation, stage.site)
    hook.status = 200
    await restarted.turns(25, 75, step=5)
    assert hook.got == []
    await restarted.turns(80, 600, step=5)
    assert hook.transitions() == ["opened"]
