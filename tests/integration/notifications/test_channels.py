"""Channels: webhooks, a real mail server, and what happens when one refuses, hangs, or is beyond its limit."""

import asyncio
import contextlib
from email import message_from_bytes, policy

import pytest
from aiosmtpd.smtp import SMTP

from cloud_api.kit.clock import fixed_clock
from cloud_api.notify import channels, outbox
from cloud_api.notify import service as notify
from tests.integration.notifications.stage import FAULT, OK, T0, at, until


class Mailbox:
    """What a real SMTP server was handed; it can refuse."""

    def __init__(self):
        self.taken, self.refuses, self.tries = [], False, 0

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802  # The library's name.
        self.tries += 1
        if self.refuses:
            return "451 the mailbox is busy"
        self.taken.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


@pytest.fixture
async def mailbox():
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    box.url = f"mailto://127.0.0.1:{port}?from=alarms@park.example&to=duty@park.example&mode=insecure&format=text"
    yield box
    server.close()


@pytest.fixture
async def silent():
    """The address of a server that takes every connection and never says a word."""
    writers = []

    async def never_answer(_reader, writer):
        writers.append(writer)

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert writers, "nobody talked to it"
    server.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def state_of(stage, channel):
    """Return the state and number of attempts of a channel's notifications, and what the page says of the channel."""
    async with stage.transaction() as conn:
        values = {"id": channel}
        found = await outbox.rows(conn, "SELECT state, attempts FROM notification WHERE channel_id = %(id)s", values)
        shown = next(c for c in await notify.list_channels(conn) if c["id"] == channel)
    return [(n["state"], n["attempts"]) for n in found], shown["last_error"]


async def test_a_channel_can_be_tested_and_a_wrong_address_is_refused(stage, receivers):
    hook = receivers()
    channel = await stage.channel("hook", hook.url)
    async with stage.transaction() as conn:
        await notify.send_test(conn, fixed_clock(T0), channel)
    await stage.turn(1)
    assert "test" in hook.got[0]["text"].lower()
    with pytest.raises(channels.ChannelRefused, match="not understood"):
        await stage.channel("bad", "pigeon://coop")


async def test_a_hanging_channel_holds_up_no_other_and_not_the_next_alarm(stage, receivers, silent):
    hook = receivers()
    await stage.route(await stage.channel("silent", f"webhook+http://{silent}/"))
    await stage.route(
        await stage.channel("silent mail", f"mailto://{silent}?from=y@park.example&to=x@park.example&mode=insecure")
    )
    await stage.route(await stage.channel("hook", hook.url))
    sender = outbox.Sender(stage, fixed_clock(T0))
    for n in range(3):
        await stage.say(0, FAULT, subject=f"device:{n}", severity=1)
        await stage.route_now(0)
        await sender.turn()  # Does not wait for what hangs.
        await until(hook.has_got, n + 1)
    assert [topic for topic, _ in hook.items()] == [str(n) for n in await stage.alarm_ids()]
    await sender.abandon()


async def test_a_webhook_that_hangs_is_given_up_and_tried_again(stage, silent, monkeypatch):
    monkeypatch.setattr(channels, "SEND_SECONDS_MAX", 0.2)
    channel = await stage.channel("silent", f"webhook+http://{silent}/")
    await stage.route(channel)
    await stage.say(0, FAULT)
    await stage.turns(0, 60)
    assert await state_of(stage, channel) == ([("waiting", 2)], "no answer within 0 s")


async def test_a_receiver_that_answers_500_is_tried_ten_times_with_growing_pauses_and_shown(stage, receivers):
    hook = receivers()
    hook.status = 500
    channel = await stage.channel("hook", hook.url)
    await stage.route(channel)
    await stage.say(0, FAULT)
    await stage.turns(0, 45, step=5)
    assert await state_of(stage, channel) == ([("waiting", 2)], "HTTP 500")  # After 30, 35 s; the next at 50 s.
    await stage.turns(50, 3 * 3600, step=50)
    assert await state_of(stage, channel) == ([("failed", 10)], "HTTP 500")
    async with stage.transaction() as conn:
        log = await notify.deliveries(conn)
    assert [(line["outcome"], line["detail"]) for line in log] == [("failed", "HTTP 500")] * 10
    hook.status = 200
    await stage.turns(3 * 3600, 6 * 3600, step=60)  # The repetition after four hours reaches it.
    assert hook.transitions() == ["repeat-1"]


async def test_a_mail_server_gets_the_alarm_and_its_recovery_as_mail(stage, mailbox):
    await stage.route(await stage.channel("mail", mailbox.url))
    await stage.say(0, FAULT)
    await stage.turns(0, 60)
    [mail] = mailbox.taken
    assert mail["To"] == "duty@park.example"
    assert "alarms@park.example" in mail["From"]
    assert mail["Subject"].startswith("device:1 has not answered since 03-02 09:00")
    assert "Check first: " in mail.get_content()
    await stage.say(100, OK)
    await stage.turns(100, 900)
    assert [m["Subject"].split(":")[0] for m in mailbox.taken] == ["device", "Cleared"]


async def test_a_mail_server_that_refuses_is_tried_again_and_its_reason_is_shown(stage, mailbox):
    mailbox.refuses = True
    channel = await stage.channel("mail", mailbox.url)
    await stage.route(channel)
    await stage.say(0, FAULT)
    await stage.turn(0)
    await stage.turn(30)
    states, error = await state_of(stage, channel)
    assert states == [("waiting", 1)]
    assert error.startswith("the service did not take the message: ")
    mailbox.refuses = False
    await stage.turns(60, 300)
    assert len(mailbox.taken) == 1
    assert await state_of(stage, channel) == ([("sent", 2)], "")


async def test_two_hundred_alarms_in_a_minute_stay_within_the_limit_and_critical_ones_take_the_second_way(
    stage, receivers
):
    robot, second = receivers(), receivers()
    fallback = await stage.channel("second", second.url, per_minute=60)
    limited = await stage.channel("robot", robot.url, per_minute=20)
    await stage.route(limited, fallback_channel_id=fallback)
    for n in range(200):
        await stage.say(n * 0.3, FAULT, subject=f"device:{n}", severity=1)
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
    await stage.say(0, FAULT)

    async def crash(*_):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_settle", crash)
        await stage.turns(0, 30)
    await stage.turn(31)  # Another sender may still be at it.
    assert len(hook.got) == 1
    await stage.turns(60, 600)
    assert len(hook.got) == 2
    assert len({body["key"] for body in hook.got}) == 1
    assert set(hook.transitions()) == {"opened"}


class Crash(Exception):
    """The process ends between sending and recording."""


async def test_a_sender_that_is_stopped_lets_a_message_under_way_arrive_and_be_recorded(stage, receivers):
    hook = receivers()
    hook.delay = 0.3
    channel = await stage.channel("hook", hook.url)
    await stage.route(channel)
    await stage.say(0, FAULT, severity=1)
    await stage.route_now(0)

    async def serve():
        async with outbox.Sender(stage, fixed_clock(T0)) as sender:
            await sender.turn()
            await asyncio.sleep(60)

    async def is_under_way():
        return await state_of(stage, channel) == ([("sending", 1)], "")

    service = asyncio.create_task(serve())
    await until(is_under_way)
    service.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await service
    assert await state_of(stage, channel) == ([("sent", 1)], "")


async def test_what_became_due_while_its_channel_was_busy_is_not_sent_twice_by_a_second_sender(stage, receivers):
    """Two senders at once, as when a lock was lost with its session: each message leaves by one of them."""
    hook = receivers()
    hook.delay = 0.2
    await stage.route(await stage.channel("hook", hook.url))
    senders = [outbox.Sender(stage, fixed_clock(at(n))) for n in range(2)]
    for n in range(6):
        await stage.say(0, FAULT, subject=f"device:{n}", severity=1)
        await stage.route_now(0)
        await asyncio.gather(*(sender.turn() for sender in senders))
    for sender in senders:
        await sender.idle()
    await stage.turns(5, 400)
    assert sorted(int(topic) for topic, _ in hook.items()) == await stage.alarm_ids()
