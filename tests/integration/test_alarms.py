"""Communication losses become alarms: one per cause, in the database."""

import json
import random
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cloud_api.alarms import repository, service, states
from cloud_api.alarms.evaluator import evaluate_communication
from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM, Scope

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)  # 09:00 in Shanghai.


def at(seconds):
    return T0 + timedelta(seconds=seconds)


async def one(conn, query, values=()):
    return (await (await conn.execute(query, values)).fetchone())[0]


async def plant(conn, *, devices=("meter-t301",), bus="", timeout_s=15, poll_s=5):
    organisation = await one(
        conn, "INSERT INTO organisation (code, name_zh, name_en) VALUES ('park', '园区', 'Park') RETURNING id"
    )
    site = await one(
        conn,
        "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'Site') RETURNING id",
        (organisation,),
    )
    gateway = await one(
        conn,
        "INSERT INTO gateway (organisation_id, site_id, name, last_seen_at) VALUES (%s, %s, 'gw-1', %s) RETURNING id",
        (organisation, site, T0),
    )
    ids = [
        await one(
            conn,
            "INSERT INTO device (organisation_id, gateway_id, name, bus, poll_s, timeout_s, state, state_since)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'online', %s) RETURNING id",
            (organisation, gateway, name, bus, poll_s, timeout_s, T0),
        )
        for name in devices
    ]
    return organisation, site, gateway, ids


async def heard(conn, now):
    await conn.execute("UPDATE gateway SET last_seen_at = %s", (now,))


async def outbox_waits_since(conn, instant, *, heard_at):
    health = json.dumps({"outbox": {"oldest_stored_at_ms": int(instant.timestamp() * 1000)}})
    await conn.execute("UPDATE gateway SET health = %s, last_seen_at = %s", (health, heard_at))


async def say(conn, device, state, since):
    await conn.execute("UPDATE device SET state = %s, state_since = %s WHERE id = %s", (state, since, device))


async def turn(conn, now):
    changed = await evaluate_communication(conn, now, T0 - timedelta(hours=1))
    return changed + await service.run_timers(conn, now)


async def kinds(conn):
    rows = await (await conn.execute("SELECT kind FROM alarm_journal ORDER BY id")).fetchall()
    return [r[0] for r in rows]


async def test_a_silent_device_alarms_can_be_acknowledged_and_clears_by_itself(conn):
    *_, (device,) = await plant(conn)
    await heard(conn, at(600))
    await say(conn, device, "offline", at(600))
    await turn(conn, at(601))
    [alarm] = await service.open_alarms(conn)
    assert alarm.sentence("en") == "meter-t301 has not answered since 03-02 09:10"
    assert alarm.sentence("zh") == "meter-t301 自 03-02 09:10 起没有应答"
    await service.acknowledge(conn, fixed_clock(at(610)), alarm.id, actor="lin")
    [alarm] = await service.open_alarms(conn)
    assert (alarm.isa_state, alarm.acknowledged) == ("C", True)
    await say(conn, device, "online", at(700))
    await heard(conn, at(700))
    await turn(conn, at(701))
    assert await service.open_alarms(conn) == []
    assert await kinds(conn) == ["opened", "acknowledged", "cleared"]
    lines = await service.journal(conn, alarm.id)
    assert [(line.kind, line.actor) for line in lines][1] == ("acknowledged", "lin")


async def test_a_second_acknowledgement_is_refused_with_a_reason(conn):
    *_, (device,) = await plant(conn)
    await say(conn, device, "offline", at(5))
    await turn(conn, at(6))
    [alarm] = await service.open_alarms(conn)
    await service.acknowledge(conn, fixed_clock(at(7)), alarm.id, actor="lin")
    with pytest.raises(states.NotAllowed, match="not waiting"):
        await service.acknowledge(conn, fixed_clock(at(8)), alarm.id, actor="lin")


async def test_a_shelf_needs_a_reason_and_an_end_and_hides_the_alarm_until_then(conn):
    *_, (device,) = await plant(conn)
    await say(conn, device, "offline", at(5))
    await turn(conn, at(6))
    [alarm] = await service.open_alarms(conn)
    with pytest.raises(Invalid, match="reason"):
        await service.shelve(conn, fixed_clock(at(7)), alarm.id, until=at(100), reason=" ", actor="lin")
    with pytest.raises(Invalid, match="future"):
        await service.shelve(conn, fixed_clock(at(7)), alarm.id, until=at(7), reason="fit-out", actor="lin")
    await service.shelve(conn, fixed_clock(at(7)), alarm.id, until=at(25), reason="fit-out", actor="lin")
    assert await service.open_alarms(conn) == []
    assert [a.suppression_reason for a in await service.open_alarms(conn, with_suppressed=True)] == ["fit-out"]
    await turn(conn, at(26))
    [alarm] = await service.open_alarms(conn)
    assert alarm.isa_state == "B"


async def test_a_lost_gateway_with_500_devices_is_one_opening_and_one_recovery(conn):
    names = [f"m-{i}" for i in range(500)]
    *_, devices = await plant(conn, devices=names, bus="tcp-1")
    await heard(conn, at(20))
    await turn(conn, at(20))
    # The link flaps: some devices were called offline just before the gateway itself went away.
    for device in random.Random(7).sample(devices, 200):
        await say(conn, device, "offline", at(29))
    await turn(conn, at(30))
    for second in range(31, 120, 3):
        await turn(conn, at(second))
    assert [a.rule for a in await service.open_alarms(conn)] == ["gateway_lost"]
    await heard(conn, at(120))
    await turn(conn, at(120))
    await conn.execute("UPDATE device SET state = 'online', state_since = %s", (at(125),))
    for second in range(121, 240, 3):
        await heard(conn, at(second))
        await turn(conn, at(second))
    assert await service.open_alarms(conn, with_suppressed=True) == []
    rows = await (
        await conn.execute(
            "SELECT a.rule, j.kind FROM alarm_journal j JOIN alarm a ON a.id = j.alarm_id"
            " WHERE j.kind IN ('annunciated', 'realarmed') OR (j.kind = 'cleared' AND a.is_annunciated) ORDER BY j.id"
        )
    ).fetchall()
    assert rows == [("gateway_lost", "annunciated"), ("gateway_lost", "cleared")]


async def test_a_device_in_fault_before_its_gateway_was_lost_stays_open(conn):
    *_, devices = await plant(conn, devices=("a", "b"))
    await say(conn, devices[0], "offline", at(5))
    await turn(conn, at(10))
    await heard(conn, at(40))
    await turn(conn, at(100))
    assert {a.rule for a in await service.open_alarms(conn)} == {"gateway_lost", "device_silent"}


async def test_a_silent_bus_is_one_alarm_for_all_of_its_devices(conn):
    *_, devices = await plant(conn, devices=("a", "b", "c"), bus="rtu-1")
    for n, device in enumerate(devices):
        await say(conn, device, "offline", at(15 + 3 * n))
        await heard(conn, at(16 + 3 * n))
        await turn(conn, at(16 + 3 * n))
    for second in range(25, 80, 5):
        await heard(conn, at(second))
        await turn(conn, at(second))
    [alarm] = await service.open_alarms(conn)
    assert alarm.sentence("en") == "none of the 3 devices on bus rtu-1 has answered since 03-02 09:00"


async def test_a_device_whose_data_stop_arriving_is_stale_although_its_gateway_lives(conn):
    organisation, *_, (device,) = await plant(conn)
    point = await one(
        conn,
        "INSERT INTO point (organisation_id, device_id, name) VALUES (%s, %s, 'power') RETURNING id",
        (organisation, device),
    )
    await conn.execute(
        "INSERT INTO latest_value (point_id, observed_at, value, quality, received_at) VALUES (%s, %s, 1, 0, %s)",
        (point, at(0), at(0)),
    )
    await heard(conn, at(299))
    await turn(conn, at(299))
    assert await service.open_alarms(conn) == []
    await outbox_waits_since(conn, at(100), heard_at=at(310))
    await turn(conn, at(310))
    assert await service.open_alarms(conn) == []  # The gateway still sends what it had stored.
    await outbox_waits_since(conn, at(319), heard_at=at(320))
    await turn(conn, at(320))
    await turn(conn, at(322))
    assert [a.rule for a in await service.open_alarms(conn)] == ["device_stale"]


async def test_the_evaluators_own_absence_does_not_call_every_gateway_lost(conn):
    await plant(conn)
    await evaluate_communication(conn, at(3600), at(3600))
    assert await service.open_alarms(conn) == []
    await evaluate_communication(conn, at(3616), at(3600))
    assert [a.rule for a in await service.open_alarms(conn)] == ["gateway_lost"]


async def test_after_the_cloud_and_its_gateways_were_away_together_no_device_is_called_stale_before_it_was_polled(conn):
    organisation, *_, devices = await plant(conn, devices=("a", "b"))
    for device in devices:
        await conn.execute(
            "WITH p AS (INSERT INTO point (organisation_id, device_id, name) VALUES (%s, %s, 'power') RETURNING id)"
            " INSERT INTO latest_value (point_id, observed_at, value, quality, received_at)"
            " SELECT id, %s, 1, 0, %s FROM p",
            (organisation, device, at(0), at(0)),
        )

    async def evaluate(second):
        await heard(conn, at(second))
        await evaluate_communication(conn, at(second), at(3600))
        await service.run_timers(conn, at(second))

    await evaluate(3601)
    await evaluate(3630)
    assert await kinds(conn) == []
    await conn.execute(
        "UPDATE latest_value SET observed_at = %s WHERE point_id = (SELECT min(id) FROM point)", (at(3640),)
    )
    for second in (3650, 3661, 3680):
        await evaluate(second)
    assert await kinds(conn) == ["opened"]  # The other one stays silent; its alarm waits out the hold-back.
    await evaluate(3710)
    assert await kinds(conn) == ["opened", "annunciated"]


async def test_the_same_facts_evaluated_again_change_nothing(conn):
    *_, (device,) = await plant(conn)
    await say(conn, device, "offline", at(5))
    await turn(conn, at(8))
    before = await kinds(conn)
    assert await turn(conn, at(8)) == []
    assert await turn(conn, at(20)) == []
    assert await kinds(conn) == before


async def test_staff_of_another_organisation_see_no_alarm(pool):
    async with transaction(pool, SYSTEM) as conn:
        organisation, *_, (device,) = await plant(conn)
        await say(conn, device, "offline", at(5))
        await turn(conn, at(6))
    async with transaction(pool, Scope(kind="staff", organisation_id=organisation)) as conn:
        [alarm] = await service.open_alarms(conn)
    async with transaction(pool, Scope(kind="staff", organisation_id=organisation + 1)) as conn:
        assert await service.open_alarms(conn) == []
        with pytest.raises(service.AlarmNotFound):
            await service.acknowledge(conn, fixed_clock(at(9)), alarm.id, actor="mallory")


async def test_the_journal_cannot_be_changed(pool):
    async with pool.connection() as conn:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await conn.execute("DELETE FROM alarm_journal")


async def test_pages_are_told_which_alarm_changed(pool, database):
    async with await psycopg.AsyncConnection.connect(database.app, autocommit=True) as listener:
        await listener.execute("LISTEN live")
        async with transaction(pool, SYSTEM) as conn:
            await repository.notify_live(conn, [7])
        async for note in listener.notifies(timeout=5, stop_after=1):
            assert json.loads(note.payload) == {"kind": "alarm", "id": 7}
            break
        else:
            pytest.fail("no notification came")
