"""What Alertmanager's acceptance tests ask of a notifier, and what they leave disabled (restart), on a scripted clock."""

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import loads
from threading import Thread

import pytest

from cloud_api.alarms import rota, routing, service
from cloud_api.alarms.model import Report
from cloud_api.alarms.states import Policy
from cloud_api.db.pool import transaction
from cloud_api.faults.model import Verdict
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM
from cloud_api.notify import channels, outbox
from cloud_api.notify import service as notify

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)  # 09:00 in Shanghai.


@dataclass
class Receiver:
    """A real HTTP server that collects what it is sent; `status` is what it answers."""

    url: str = ""
    status: int = 200
    delay: float = 0.0
    got: list = field(default_factory=list)

    def items(self):
        return [(i["topic"].split(":")[1], i["transition"]) for body in self.got for i in body["items"]]


@pytest.fixture
def receivers():
    servers = []

    def make():
        receiver = Receiver()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.status == 200:
                    receiver.got.append(body)
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        receiver.url = f"webhook+http://127.0.0.1:{server.server_port}/hook"
        return receiver

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def opened(receiver):
    return sum(transition == "opened" for _, transition in receiver.items())


class Stage:
    """A site with alarms that can be told to fail and recover, and a notifier on a scripted clock."""

    def __init__(self, pool, organisation, site):
        self.pool, self.organisation, self.site = pool, organisation, site

    @asynccontextmanager
    async def transaction(self):
        async with transaction(self.pool, SYSTEM) as conn:
            yield conn

    async def channel(self, name, address, **more):
        async with self.transaction() as conn:
            return await notify.add_channel(
                conn, organisation_id=self.organisation, name=name, address=address, language="en", **more
            )

    async def route(self, channel, **more):
        async with self.transaction() as conn:
            await routing.add_route(conn, organisation_id=self.organisation, channel_id=channel, **more)

    async def say(self, seconds, verdict, *, subject="device:1", rule="device_silent", severity=2, policy=None):
        at = T0 + timedelta(seconds=seconds)
        report = Report(
            organisation_id=self.organisation,
            site_id=self.site,
            subject=subject,
            rule=rule,
            severity=severity,
            verdict=verdict,
            at=at,
            params={"name": subject},
            policy=policy,
        )
        async with self.transaction() as conn:
            return await service.report(conn, [report], at)

    async def turn(self, seconds):
        """Let the notifier work as it would at this instant; it keeps nothing in memory between turns."""
        now = T0 + timedelta(seconds=seconds)
        async with self.transaction() as conn:
            await service.run_timers(conn, now)
            await routing.dispatch(conn, now)
            await routing.repeat(conn, now)
        return await outbox.flush(self, now)

    async def turns(self, first, last, step=30):
        for seconds in range(first, last + 1, step):
            await self.turn(seconds)

    async def acknowledge(self, alarm_id, seconds):
        async with self.transaction() as conn:
            await service.acknowledge(conn, fixed_clock(T0 + timedelta(seconds=seconds)), alarm_id, actor="lin")


@pytest.fixture
async def stage(pool):
    async with transaction(pool, SYSTEM) as conn:
        row = await (
            await conn.execute(
                "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
            )
        ).fetchone()
        site = await (
            await conn.execute(
                "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'S') RETURNING id",
                row,
            )
        ).fetchone()
    return Stage(pool, row[0], site[0])


async def test_an_alarm_is_told_once_and_its_recovery_once(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    [alarm] = await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 300)
    assert hook.items() == [(str(alarm), "opened")]
    assert "device:1 has not answered since" in hook.got[0]["text"]
    await stage.say(600, Verdict.OK)
    await stage.turns(600, 900)
    assert hook.items() == [(str(alarm), "opened"), (str(alarm), "cleared")]


async def test_an_unchanged_alarm_is_repeated_only_after_the_repetition_and_not_after_acknowledgement(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=60)
    [alarm] = await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 3 * 3600, step=60)
    assert [t for _, t in hook.items()] == ["opened", "repeat-1", "repeat-2"]
    await stage.acknowledge(alarm, 3 * 3600)
    await stage.turns(3 * 3600, 6 * 3600, step=60)
    assert len(hook.items()) == 3


async def test_a_failing_receiver_neither_delays_nor_doubles_another(stage, receivers):
    good, bad = receivers(), receivers()
    bad.status = 500
    await stage.route(await stage.channel("good", good.url))
    await stage.route(await stage.channel("bad", bad.url))
    await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 120)
    assert len(good.got) == 1
    assert bad.got == []
    bad.status = 200
    await stage.turns(150, 600)
    assert (len(good.got), len(bad.got)) == (1, 1)


async def test_changes_within_the_group_interval_go_out_together(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT, subject="device:1")
    await stage.turns(0, 60)
    for n in (2, 3, 4):
        await stage.say(60 + n, Verdict.FAULT, subject=f"device:{n}")
    await stage.turns(90, 420)
    assert [len(body["items"]) for body in hook.got] == [1, 3]


async def test_a_receiver_without_recoveries_gets_none(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url, sends_recovery=False))
    await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 60)
    await stage.say(100, Verdict.OK)
    await stage.turns(100, 900)
    assert [t for _, t in hook.items()] == ["opened"]


async def test_an_alarm_that_is_over_before_it_was_told_says_nothing(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT)
    await stage.turn(5)
    await stage.say(10, Verdict.OK)
    await stage.turns(15, 600)
    assert hook.got == []


async def test_a_shelf_mutes_and_its_end_speaks_exactly_once(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    [alarm] = await stage.say(0, Verdict.FAULT)
    async with stage.transaction() as conn:
        clock = fixed_clock(T0 + timedelta(seconds=1))
        until = T0 + timedelta(seconds=1000)
        await service.shelve(conn, clock, alarm, until=until, reason="works", actor="lin")
    await stage.turns(5, 995)
    assert hook.got == []
    await stage.turns(1000, 3000)
    assert len(hook.items()) == 1


async def test_acknowledging_stops_every_channel_and_every_step(stage, receivers):
    first, boss = receivers(), receivers()
    await stage.route(await stage.channel("first", first.url))
    await stage.route(await stage.channel("boss", boss.url), after_minutes=15)
    [alarm] = await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 600)
    await stage.acknowledge(alarm, 600)
    await stage.turns(600, 3600)
    assert (len(first.got), len(boss.got)) == (1, 0)


async def test_escalation_speaks_when_nobody_acknowledges(stage, receivers):
    boss = receivers()
    await stage.route(await stage.channel("boss", boss.url), after_minutes=15)
    await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 890)
    assert boss.got == []
    await stage.turns(900, 1000)
    assert len(boss.got) == 1


async def test_several_faults_of_one_equipment_are_one_incident(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    for n, rule in enumerate(("AHU-0015", "AHU-0012", "AHU-0013")):
        await stage.say(n, Verdict.FAULT, subject="equipment:7", rule=rule, severity=2 + bool(n))
    await stage.turns(0, 1800)
    assert len(hook.items()) == 1


async def test_in_quiet_hours_only_critical_alarms_speak(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), quiet_from=8, quiet_to=11)
    await stage.say(0, Verdict.FAULT, subject="device:1", severity=3)
    await stage.say(0, Verdict.FAULT, subject="device:2", severity=1)
    await stage.turns(0, 120)
    assert len(hook.items()) == 1
    await stage.turns(7200, 7300)
    assert len(hook.items()) == 2


async def test_two_hundred_alarms_in_a_minute_stay_within_the_limit_and_critical_ones_take_the_second_way(
    stage, receivers
):
    robot, second = receivers(), receivers()
    fallback = await stage.channel("second", second.url, per_minute=60)
    limited = await stage.channel("robot", robot.url, per_minute=20)
    await stage.route(limited, fallback_channel_id=fallback)
    for n in range(200):
        await stage.say(n * 0.3, Verdict.FAULT, subject=f"device:{n}", severity=1)
        if n % 4 == 0:
            await stage.turn(n * 0.3)
    await stage.turns(60, 180, step=5)
    assert len(robot.got) <= 20 + 20 * 3
    told = {topic for topic, _ in robot.items()} | {topic for topic, _ in second.items()}
    assert len(told) == 200
    assert len(robot.items()) + len(second.items()) == 200


async def test_a_crash_between_sending_and_recording_repeats_the_same_key(stage, receivers, monkeypatch):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT)

    async def crash(*_):
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_settle", crash)
        with pytest.raises(asyncio.CancelledError):
            await stage.turns(0, 300)
    await stage.turns(330, 600)
    assert len({body["key"] for body in hook.got}) == 1
    assert {t for _, t in hook.items()} == {"opened"}


async def test_nothing_is_told_again_after_a_restart(stage, receivers, pool, database):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 300)
    restarted = Stage(pool, stage.organisation, stage.site)
    await restarted.turns(330, 3600, step=60)
    assert len(hook.got) == 1


async def test_a_channel_can_be_tested_and_a_wrong_address_is_refused(stage, receivers):
    hook = receivers()
    channel = await stage.channel("hook", hook.url)
    async with stage.transaction() as conn:
        await notify.send_test(conn, fixed_clock(T0), channel)
    await stage.turn(1)
    assert "test" in hook.got[0]["text"].lower()
    with pytest.raises(channels.ChannelRefused, match="not understood"):
        await stage.channel("bad", "pigeon://coop")


async def test_a_hanging_receiver_does_not_hold_up_the_others(stage, receivers, monkeypatch):
    monkeypatch.setattr(channels, "SEND_SECONDS_MAX", 0.5)
    writers = []

    async def never_answer(_reader, writer):
        writers.append(writer)

    silent = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    hook = receivers()
    await stage.route(await stage.channel("silent", f"webhook+http://127.0.0.1:{port}/"))
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT)
    await stage.turns(0, 60)
    assert len(hook.got) == 1
    assert writers
    silent.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_critical_alarm_leaves_in_the_turn_that_sees_it_and_others_wait_for_their_siblings(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT, subject="device:1", severity=1)
    await stage.say(0, Verdict.FAULT, subject="device:2", severity=2)
    await stage.turn(0)
    assert [i["severity"] for body in hook.got for i in body["items"]] == [1]


async def test_a_message_says_what_to_check_first(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT, severity=1)
    await stage.turn(0)
    assert "Check first: " in hook.got[0]["text"]
    assert "先查：" in hook.got[0]["items"][0]["zh"]


async def test_a_route_speaks_only_in_its_hours_and_on_its_days(stage, receivers):
    day, night, workdays, restdays = receivers(), receivers(), receivers(), receivers()
    await stage.route(await stage.channel("day", day.url), hours_from=8, hours_to=20)
    await stage.route(await stage.channel("night", night.url), hours_from=20, hours_to=8)
    await stage.route(await stage.channel("workdays", workdays.url), days="workdays")
    await stage.route(await stage.channel("restdays", restdays.url), days="restdays")
    await stage.say(0, Verdict.FAULT, subject="device:1", severity=1)  # Monday, 09:00.
    await stage.turn(0)
    assert [len(r.got) for r in (day, night, workdays, restdays)] == [1, 0, 1, 0]
    saturday = 5 * 86_400 + 13 * 3600  # 22:00.
    await stage.say(saturday, Verdict.FAULT, subject="device:2", severity=1)
    await stage.turn(saturday)
    assert [opened(r) for r in (day, night, workdays, restdays)] == [1, 1, 1, 1]


async def test_whoever_is_on_call_is_told_and_the_next_one_gets_what_is_open_at_the_hand_over(stage, receivers):
    lin, mo = receivers(), receivers()
    channels = [await stage.channel("lin", lin.url), await stage.channel("mo", mo.url)]
    async with stage.transaction() as conn:
        duty = await rota.save(
            conn, organisation_id=stage.organisation, name="duty", channels=channels, starts_on=T0.date(), days=14,
            turn_days=1,
        )  # fmt: skip
        await routing.add_route(conn, organisation_id=stage.organisation, rota_id=duty)
    await stage.say(60, Verdict.FAULT, severity=1)
    await stage.turn(60)
    assert (len(lin.items()), mo.got) == (1, [])
    async with stage.transaction() as conn:
        assert await rota.hand_over(conn, T0 + timedelta(days=1, seconds=1)) == 1
        assert await rota.hand_over(conn, T0 + timedelta(days=1, seconds=2)) == 0
    await stage.turn(86_402)
    assert "alarms open: 1." in mo.got[0]["text"]
    assert "device:1 has not answered" in mo.got[0]["text"]


async def test_a_shift_given_away_reaches_the_other_person(stage, receivers):
    lin, mo = receivers(), receivers()
    channels = [await stage.channel("lin", lin.url), await stage.channel("mo", mo.url)]
    async with stage.transaction() as conn:
        duty = await rota.save(
            conn, organisation_id=stage.organisation, name="duty", channels=channels[:1], starts_on=T0.date(), days=7
        )
        await routing.add_route(conn, organisation_id=stage.organisation, rota_id=duty)
        day = timedelta(days=1)
        await rota.give(conn, duty, channel_id=channels[1], starts_at=T0 + day, ends_at=T0 + 2 * day)
    for n, seconds in enumerate((60, 86_460, 2 * 86_400 + 60)):
        await stage.say(seconds, Verdict.FAULT, subject=f"device:{n}", severity=1)
        await stage.turn(seconds)
    assert (opened(lin), opened(mo)) == (2, 1)


async def test_a_repetition_goes_to_whoever_is_on_call_now(stage, receivers):
    lin, mo = receivers(), receivers()
    channels = [await stage.channel("lin", lin.url), await stage.channel("mo", mo.url)]
    async with stage.transaction() as conn:
        duty = await rota.save(
            conn, organisation_id=stage.organisation, name="duty", channels=channels, starts_on=T0.date(), days=14,
            turn_days=1,
        )  # fmt: skip
        await routing.add_route(conn, organisation_id=stage.organisation, rota_id=duty)
    await stage.say(86_000, Verdict.FAULT, severity=1)
    await stage.turn(86_000)
    await stage.turn(86_000 + 4 * 3600)
    assert [[t for _, t in r.items()] for r in (lin, mo)] == [["opened"], ["repeat-1"]]


async def test_recoveries_and_repetitions_below_critical_wait_for_the_end_of_the_quiet_hours(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), quiet_from=10, quiet_to=18, repeat_minutes=60)
    await stage.say(0, Verdict.FAULT, subject="device:1", severity=2)  # 09:00.
    await stage.say(0, Verdict.FAULT, subject="device:2", severity=2)
    await stage.turns(0, 60)
    await stage.say(3 * 3600, Verdict.OK, subject="device:2", severity=2)  # 12:00.
    await stage.turns(3 * 3600, 9 * 3600 - 60, step=900)
    assert [t for _, t in hook.items()] == ["opened", "opened"]
    await stage.turns(9 * 3600 + 1, 9 * 3600 + 600, step=60)
    assert sorted(t for _, t in hook.items()) == ["cleared", "opened", "opened", "repeat-1"]


async def test_a_fault_that_comes_back_before_anyone_was_told_is_told(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url))
    await stage.say(0, Verdict.FAULT)
    await stage.turn(1)
    await stage.say(10, Verdict.OK)
    await stage.turn(11)
    await stage.say(20, Verdict.FAULT)
    await stage.turns(21, 120)
    assert len(hook.items()) == 1


async def test_a_signal_that_chatters_for_a_day_is_told_once_and_its_end_once(stage, receivers):
    hook = receivers()
    await stage.route(await stage.channel("hook", hook.url), repeat_minutes=10_080)
    signal = {"rule": "PNT-01/3", "subject": "point:1", "policy": Policy(reopen_within=timedelta(hours=2))}
    for minute in range(0, 24 * 60, 4):
        await stage.say(minute * 60, Verdict.FAULT, **signal)
        await stage.turn(minute * 60 + 45)
        await stage.say(minute * 60 + 60, Verdict.OK, **signal)
        await stage.turn(minute * 60 + 65)
    assert len(hook.items()) == 1
    await stage.turns(24 * 3600, 26 * 3600, step=300)
    assert [t.partition("-")[0] for _, t in hook.items()][1:] == ["cleared"]


async def test_a_channel_of_someone_else_is_refused(stage):
    with pytest.raises(Invalid, match="no channel 99"):
        await stage.route(99)
