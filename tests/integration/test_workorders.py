"""From an alarm to a repair that the system itself confirms."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from cloud_api.alarms import service as alarms
from cloud_api.alarms.model import Report
from cloud_api.db.pool import transaction
from cloud_api.faults.model import Verdict
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.errors import Invalid
from cloud_api.kit.scope import SYSTEM, Scope
from cloud_api.workorders import service, upkeep
from cloud_api.workorders.model import Action

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)


def clock(hours=0.0):
    return fixed_clock(T0 + timedelta(hours=hours))


async def one(conn, query, values=()):
    return (await (await conn.execute(query, values)).fetchone())[0]


@pytest.fixture
async def place(conn):
    organisation = await one(
        conn, "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
    )
    site = await one(
        conn,
        "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'Site') RETURNING id",
        (organisation,),
    )
    equipment = await one(
        conn,
        "INSERT INTO equipment (organisation_id, site_id, code, name_zh, name_en, brick_class)"
        " VALUES (%s, %s, 'ahu-3', '三号', 'AHU-3', 'AHU') RETURNING id",
        (organisation, site),
    )
    return organisation, site, equipment


async def fault(conn, place, hours, verdict=Verdict.FAULT):
    organisation, site, equipment = place
    report = Report(
        organisation_id=organisation,
        site_id=site,
        subject=f"equipment:{equipment}",
        rule="AHU-0014",
        severity=2,
        verdict=verdict,
        at=T0 + timedelta(hours=hours),
        params={"sentence_zh": "冷水阀内漏", "sentence_en": "cooling valve leaks"},
    )
    return (await alarms.report(conn, [report], T0 + timedelta(hours=hours)))[0]


async def mend(conn, order, hours):
    await service.act(conn, clock(hours), order, Action.ASSIGN, actor="lin", assignee="wang")
    await service.act(conn, clock(hours), order, Action.START, actor="wang")
    await service.act(conn, clock(hours), order, Action.COMPLETE, actor="wang")


async def test_an_alarm_becomes_one_order_with_its_playbook_as_checklist(conn, place):
    alarm = await fault(conn, place, 0)
    order = await service.from_alarm(conn, clock(), alarm, actor="lin")
    assert await service.from_alarm(conn, clock(), alarm, actor="lin") == order
    found = await service.details(conn, order)
    assert found["order"]["due_at"] == T0 + timedelta(hours=24)
    assert [s["number"] for s in found["steps"]] == [1, 2, 3]
    assert "阀" in found["steps"][0]["text_zh"]


async def test_a_repair_is_confirmed_when_the_fault_stays_away(conn, place):
    order = await service.from_alarm(conn, clock(), await fault(conn, place, 0), actor="lin")
    await fault(conn, place, 1, Verdict.OK)
    await mend(conn, order, 2)
    await service.confirm_repairs(conn, clock(20))
    assert (await service.order(conn, order))["state"] == "done"
    await service.confirm_repairs(conn, clock(26.1))
    assert (await service.order(conn, order))["state"] == "confirmed"
    assert await service.confirm_repairs(conn, clock(30)) == 0


async def test_a_fault_that_comes_back_reopens_the_order(conn, place):
    order = await service.from_alarm(conn, clock(), await fault(conn, place, 0), actor="lin")
    await fault(conn, place, 1, Verdict.OK)
    await mend(conn, order, 2)
    await fault(conn, place, 10)
    await fault(conn, place, 11, Verdict.OK)
    await service.confirm_repairs(conn, clock(26.1))
    found = await service.order(conn, order)
    assert (found["state"], found["reopened_count"]) == ("open", 1)


async def test_steps_out_of_order_are_refused(conn, place):
    order = await service.from_alarm(conn, clock(), await fault(conn, place, 0), actor="lin")
    with pytest.raises(service.ActionNotAllowed, match="open"):
        await service.act(conn, clock(), order, Action.COMPLETE, actor="lin")
    with pytest.raises(Invalid, match="who"):
        await service.act(conn, clock(), order, Action.ASSIGN, actor="lin", assignee=" ")
    with pytest.raises(Invalid, match="reason"):
        await service.act(conn, clock(), order, Action.REJECT, actor="lin")


async def test_checklist_parts_comments_and_photos_are_kept(conn, place):
    order = await service.from_alarm(conn, clock(), await fault(conn, place, 0), actor="lin")
    await service.tick(conn, clock(1), order, 2, actor="wang", is_done=True)
    await service.add_part(conn, order, name="valve", quantity=Decimal(1), cost=Decimal("260.00"))
    await service.comment(conn, clock(1), order, "seat is worn", actor="wang")
    await service.add_photo(conn, clock(1), order, b"\xff\xd8\xff", "image/jpeg", actor="wang")
    found = await service.details(conn, order)
    assert [s["done_by"] for s in found["steps"]] == [None, "wang", None]
    assert found["parts"][0]["cost"] == Decimal("260.00")
    photo = next(e for e in found["entries"] if e["kind"] == "photo")
    assert await service.photo(conn, order, photo["id"]) == (b"\xff\xd8\xff", "image/jpeg")
    with pytest.raises(Invalid, match="5 MB"):
        await service.add_photo(conn, clock(1), order, b"x" * 5_000_001, "image/jpeg", actor="wang")


async def test_in_a_maintenance_window_alarms_are_silent_and_sound_after_it(conn, place):
    alarm = await fault(conn, place, 0)
    start = T0 - timedelta(hours=1)
    await upkeep.maintain(
        conn, equipment_id=place[2], start=start, end=T0 + timedelta(hours=4), reason="coil cleaning", actor="lin"
    )
    await upkeep.apply_windows(conn, clock(0.01))
    assert await alarms.open_alarms(conn) == []
    await alarms.run_timers(conn, T0 + timedelta(hours=4, minutes=1))
    assert [a.id for a in await alarms.open_alarms(conn)] == [alarm]


async def test_a_preventive_plan_makes_one_order_and_a_window_on_its_day(conn, place):
    await upkeep.add_plan(
        conn, equipment_id=place[2], title_zh="清洗滤网", title_en="Clean filter", every_days=30, next_on=T0.date()
    )
    assert await upkeep.run_plans(conn, clock()) == 1
    assert await upkeep.run_plans(conn, clock(1)) == 0
    [order] = await service.orders(conn)
    assert (order["kind"], order["title_en"]) == ("preventive", "Clean filter")


async def test_a_tenant_sees_its_own_request_and_nobody_elses(pool):
    async with transaction(pool, SYSTEM) as conn:
        organisation = await one(
            conn, "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
        )
        site = await one(
            conn,
            "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'Site') RETURNING id",
            (organisation,),
        )
        tenants = [
            await one(
                conn,
                "INSERT INTO tenant (organisation_id, code, name_zh, name_en) VALUES (%s, %s, %s, %s) RETURNING id",
                (organisation, c, c, c),
            )
            for c in "ab"
        ]
    scopes = [Scope(kind="tenant", organisation_id=organisation, tenant_id=t) for t in tenants]
    async with transaction(pool, scopes[0]) as conn:
        mine = await service.request(
            conn, clock(), site_id=site, title="too warm", description="", actor="a", tenant_id=tenants[0]
        )
        assert [o["id"] for o in await service.orders(conn)] == [mine]
    async with transaction(pool, scopes[1]) as conn:
        assert await service.orders(conn) == []
        with pytest.raises(service.WorkOrderNotFound):
            await service.order(conn, mine)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await service.request(
                conn, clock(), site_id=site, title="x", description="", actor="b", tenant_id=tenants[0]
            )


async def test_a_window_that_is_ended_early_lets_the_alarm_sound_again(conn, place):
    _, _, equipment = place
    alarm = await fault(conn, place, 0)
    await upkeep.maintain(
        conn, equipment_id=equipment, start=T0, end=T0 + timedelta(hours=8), reason="filters", actor="lin"
    )
    await upkeep.apply_windows(conn, clock(0.1))
    assert (await alarms.alarm(conn, alarm)).suppression == "out_of_service"
    [window] = await upkeep.windows(conn, clock(0.2))
    await upkeep.cancel_window(conn, clock(0.2), window["id"], actor="lin")
    assert (await alarms.alarm(conn, alarm)).suppression == "none"
    assert await upkeep.windows(conn, clock(0.3)) == []
    [past] = await upkeep.windows(conn, clock(0.3), past=True)
    assert past["cancelled_at"] is not None
    await upkeep.apply_windows(conn, clock(0.4))
    assert (await alarms.alarm(conn, alarm)).suppression == "none"


async def test_an_impossible_plan_or_window_is_refused_saying_why(conn, place):
    _, _, equipment = place
    with pytest.raises(Invalid, match="at most 30 days"):
        await upkeep.maintain(
            conn, equipment_id=equipment, start=T0, end=T0 + timedelta(days=31), reason="x", actor="lin"
        )
    with pytest.raises(Invalid, match="every 1 to 3650 days"):
        await upkeep.add_plan(
            conn, equipment_id=equipment, title_zh="保养", title_en="Service", every_days=0, next_on=T0.date()
        )
    with pytest.raises(Invalid, match="both languages"):
        await upkeep.add_plan(
            conn, equipment_id=equipment, title_zh="保养", title_en="", every_days=9, next_on=T0.date()
        )


async def test_a_confirmed_repair_without_data_claims_no_saving(conn, place):
    alarm = await fault(conn, place, 0)
    order = await service.from_alarm(conn, clock(), alarm, actor="lin")
    await mend(conn, order, 1)
    await fault(conn, place, 1.1, Verdict.OK)
    assert await service.confirm_repairs(conn, clock(26)) == 1
    [saved] = await service.verified_savings(conn)
    assert (saved["measured_how"], saved["saved_money_per_day"]) == ("too_little_data", None)
