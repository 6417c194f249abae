"""Who is on call: turns, exchanged shifts, the hand-over."""

from datetime import timedelta

from cloud_api.alarms import rota
from tests.integration.notifications.stage import FAULT, T0, at


async def test_whoever_is_on_call_is_told_and_the_next_one_gets_what_is_open_at_the_hand_over(stage, receivers):
    lin, mo = receivers(), receivers()
    channels = [await stage.channel("lin", lin.url), await stage.channel("mo", mo.url)]
    await stage.route(None, rota_id=await stage.rota(channels, days=14, turn_days=1))
    await stage.say(60, FAULT, severity=1)
    await stage.turn(60)
    assert (len(lin.items()), mo.got) == (1, [])
    async with stage.transaction() as conn:
        assert await rota.hand_over(conn, at(86_401)) == 1
        assert await rota.hand_over(conn, at(86_402)) == 0
    await stage.turn(86_402)
    assert "alarms open: 1." in mo.got[0]["text"]
    assert "device:1 has not answered" in mo.got[0]["text"]


async def test_a_shift_given_away_reaches_the_other_person(stage, receivers):
    lin, mo = receivers(), receivers()
    channels = [await stage.channel("lin", lin.url), await stage.channel("mo", mo.url)]
    duty = await stage.rota(channels[:1], days=7)
    await stage.route(None, rota_id=duty)
    day = timedelta(days=1)
    async with stage.transaction() as conn:
        await rota.give(conn, duty, channel_id=channels[1], starts_at=T0 + day, ends_at=T0 + 2 * day)
    for n, seconds in enumerate((60, 86_460, 2 * 86_400 + 60)):
        await stage.say(seconds, FAULT, subject=f"device:{n}", severity=1)
        await stage.turn(seconds)
    assert (lin.opened(), mo.opened()) == (2, 1)


async def test_a_repetition_goes_to_whoever_is_on_call_now(stage, receivers):
    lin, mo = receivers(), receivers()
    channels = [await stage.channel("lin", lin.url), await stage.channel("mo", mo.url)]
    await stage.route(None, rota_id=await stage.rota(channels, days=14, turn_days=1))
    await stage.say(86_000, FAULT, severity=1)
    await stage.turn(86_000)
    await stage.turn(86_000 + 4 * 3600)
    assert [r.transitions() for r in (lin, mo)] == [["opened"], ["repeat-1"]]
