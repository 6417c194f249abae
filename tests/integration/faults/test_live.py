"""Live evaluation follows the stored data and opens alarms; a restart, or a backlog, changes nothing."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cloud_api.alarms import service
from cloud_api.alarms.equipment import evaluate_faults
from cloud_api.faults import bindings, live, settings, tryout
from cloud_api.faults.rules import RuleError

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)
ROLES = {"mat": "°C", "oat": "°C", "rat": "°C", "sf_status": ""}


async def one(conn, query, values=()):
    return (await (await conn.execute(query, values)).fetchone())[0]


@pytest.fixture
async def air_handler(conn):
    """An air handler that serves a leased space, with four points."""
    organisation = await one(
        conn, "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
    )
    site = await one(
        conn,
        "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'Site') RETURNING id",
        (organisation,),
    )
    gateway = await one(
        conn,
        "INSERT INTO gateway (organisation_id, site_id, name) VALUES (%s, %s, 'g') RETURNING id",
        (organisation, site),
    )
    device = await one(
        conn,
        "INSERT INTO device (organisation_id, gateway_id, name) VALUES (%s, %s, 'ahu-3') RETURNING id",
        (organisation, gateway),
    )
    equipment = await one(
        conn,
        "INSERT INTO equipment (organisation_id, site_id, code, name_zh, name_en, brick_class)"
        " VALUES (%s, %s, 'ahu-3', '三号空调箱', 'AHU-3', 'AHU') RETURNING id",
        (organisation, site),
    )
    points = {}
    for role, unit in ROLES.items():
        points[role] = await one(
            conn,
            "INSERT INTO point (organisation_id, device_id, name, unit) VALUES (%s, %s, %s, %s) RETURNING id",
            (organisation, device, role, unit),
        )
        await conn.execute("INSERT INTO equipment_point VALUES (%s, %s, %s)", (equipment, role, points[role]))
    await conn.execute("SELECT app.ensure_observation_partitions(%s, %s)", (T0, T0 + timedelta(days=1)))
    return equipment, points


async def observe(conn, points, minutes, mat):
    for minute in minutes:
        at = T0 + timedelta(minutes=minute)
        for role, value in {"mat": mat, "oat": 10.0, "rat": 22.0, "sf_status": 1.0}.items():
            await conn.execute("INSERT INTO observation VALUES (%s, %s, %s, NULL, 0, NULL)", (points[role], at, value))
            await conn.execute(
                "INSERT INTO latest_value (point_id, observed_at, value, quality, received_at) VALUES (%s, %s, %s, 0, %s)"
                " ON CONFLICT (point_id) DO UPDATE SET observed_at = EXCLUDED.observed_at",
                (points[role], at, value, at),
            )


async def history(conn):
    return await (
        await conn.execute(
            "SELECT a.rule, j.kind, j.at FROM alarm_journal j JOIN alarm a ON a.id = j.alarm_id ORDER BY j.id"
        )
    ).fetchall()


async def test_a_fault_opens_an_alarm_after_its_delay_and_clears_it_when_mended(conn, air_handler):
    equipment, points = air_handler
    await observe(conn, points, range(40), mat=30.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=40))
    [alarm] = await service.open_alarms(conn)
    assert (alarm.rule, alarm.subject) == ("AHU-0028", f"equipment:{equipment}")
    assert alarm.opened_at == T0 + timedelta(minutes=15)
    assert alarm.sentence("en").startswith("AHU-3: mixing box damper fault")
    assert "03-02 09:00" in alarm.sentence("zh")
    await observe(conn, points, range(40, 60), mat=15.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=60))
    rows = await history(conn)
    assert rows[-1] == ("AHU-0028", "cleared", T0 + timedelta(minutes=45))


@pytest.mark.parametrize("step", [4, 60])
async def test_a_backlog_gives_the_same_alarms_as_data_that_came_in_time(conn, air_handler, step):
    _, points = air_handler
    for begin in range(0, 60, step):
        for minute in range(begin, begin + step):
            await observe(conn, points, [minute], mat=30.0 if minute < 40 else 15.0)
        await evaluate_faults(conn, T0 + timedelta(hours=2))
    happened = await history(conn)
    assert [(kind, at) for rule, kind, at in happened if rule == "AHU-0028" and kind in {"opened", "cleared"}] == [
        ("opened", T0 + timedelta(minutes=15)),
        ("cleared", T0 + timedelta(minutes=45)),
    ]


async def test_a_rule_can_be_switched_off_for_one_equipment_and_a_wrong_parameter_is_refused(conn, air_handler):
    equipment, points = air_handler
    with pytest.raises(RuleError, match="no parameter"):
        await settings.set_rule(
            conn, equipment_id=equipment, rule="AHU-0028", is_enabled=True, params={"x": 1}, set_by="lin", set_at=T0
        )
    await settings.set_rule(
        conn, equipment_id=equipment, rule="AHU-0028", is_enabled=False, params={}, set_by="lin", set_at=T0
    )
    await observe(conn, points, range(40), mat=30.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=40))
    assert all(a.rule != "AHU-0028" for a in await service.open_alarms(conn))


async def test_what_cannot_be_judged_is_listed_with_the_missing_roles(conn, air_handler):
    _, points = air_handler
    await observe(conn, points, range(10), mat=15.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=10))
    [row] = await live.applicability(conn)
    assert {"dsp", "dsp_sp", "sf_speed"} <= set(row["missing"]["AHU-0001"])
    assert row["verdicts"]["AHU-0028"] == "ok"


async def test_live_data_beside_a_backlog_are_not_judged_before_the_backlog_is_there(conn, air_handler):
    _, points = air_handler
    await observe(conn, points, range(10), mat=15.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=10))
    await observe(conn, points, range(50, 60), mat=30.0)  # Live data after an outage; the outbox still holds the rest.
    waiting = int((T0 + timedelta(minutes=10)).timestamp() * 1000)
    health = json.dumps({"outbox": {"oldest_stored_at_ms": waiting}})
    await conn.execute("UPDATE gateway SET health = %s, last_seen_at = %s", (health, T0 + timedelta(minutes=60)))
    await evaluate_faults(conn, T0 + timedelta(minutes=60))
    assert await history(conn) == []
    await observe(conn, points, range(10, 50), mat=30.0)
    await observe(conn, points, [60], mat=30.0)
    await conn.execute("UPDATE gateway SET health = '{}', last_seen_at = %s", (T0 + timedelta(minutes=61),))
    await evaluate_faults(conn, T0 + timedelta(minutes=61))
    opened = [at for rule, kind, at in await history(conn) if (rule, kind) == ("AHU-0028", "opened")]
    assert opened == [T0 + timedelta(minutes=25)]


async def test_a_stuck_value_a_command_without_status_and_cycling_are_judged_live_on_points_of_ones_choice(
    conn, air_handler
):
    equipment, points = air_handler
    for rule, params in {
        "PNT-04/oat": {"window": "20 min"},
        "PNT-05/sf_status,mat": {},  # Any two points: the “command” is on, the other says 0.
        "PNT-06/sf_status": {"starts_max": 3},
        "PNT-01/mat": {"limit": 25, "clear_limit": 24},
    }.items():
        assert await settings.set_rule(
            conn, equipment_id=equipment, rule=rule, is_enabled=True, params=params, set_by="a", set_at=T0
        )
    await observe(conn, points, range(60), mat=30.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=60))
    [row] = await live.applicability(conn)
    assert row["verdicts"]["PNT-04/oat"] == "fault"
    assert row["verdicts"]["PNT-01/mat"] == "fault"
    assert row["verdicts"]["PNT-06/sf_status"] == "ok"
    rules = {alarm.rule: alarm.sentence("zh") for alarm in await service.open_alarms(conn)}
    assert "数值长时间不变：室外温度" in rules["PNT-04/oat"]
    tried = await tryout.try_out(
        conn,
        equipment_id=equipment,
        rule_id="PNT-04/oat",
        params={"window": "20 min"},
        start=T0,
        end=T0 + timedelta(hours=1),
    )
    assert [f.is_open for f in tried.findings] == [True]


async def test_a_setting_that_fits_no_more_takes_out_its_rule_alone_and_is_named(conn, air_handler):
    equipment, points = air_handler
    await conn.execute(
        "INSERT INTO fault_rule_setting (equipment_id, rule, organisation_id, is_enabled, params, set_by, set_at)"
        " SELECT id, 'AHU-0027', organisation_id, true, '{\"gone\": 3}', 'a', now() FROM equipment WHERE id = %s",
        (equipment,),
    )
    await conn.execute("UPDATE point SET unit = 'Pa' WHERE id = %s", (points["rat"],))
    found = await live.problems(conn)
    assert any(p.startswith("ahu-3: AHU-0027: no parameter 'gone'") for p in found)
    assert any(p.startswith("ahu-3: rat: Pa is a pressure") for p in found)
    await observe(conn, points, range(40), mat=30.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=40))
    [row] = await live.applicability(conn)
    assert "AHU-0027" not in row["verdicts"]
    assert row["missing"]["AHU-0028"] == ["rat"]  # A point of the wrong unit plays no role.
    assert row["verdicts"]["AHU-0018"] == "no_eval"
    assert len(row["verdicts"]) > 40


async def test_a_unit_that_cannot_be_judged_stops_no_other(conn, air_handler):
    equipment, points = air_handler
    await conn.execute(
        "INSERT INTO equipment (organisation_id, site_id, code, name_zh, name_en, brick_class)"
        " SELECT organisation_id, site_id, 'ahu-0', '坏', 'Broken', 'AHU' FROM equipment WHERE id = %s",
        (equipment,),
    )
    await conn.execute(
        "INSERT INTO equipment_point SELECT (SELECT id FROM equipment WHERE code = 'ahu-0'), role, point_id FROM"
        " equipment_point WHERE equipment_id = %s",
        (equipment,),
    )
    await observe(conn, points, range(5), mat=15.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=5))
    await conn.execute(
        "UPDATE fault_evaluator SET memory = '{\"AHU-0028\": 7}' FROM equipment e WHERE e.id = equipment_id AND code = 'ahu-0'"
    )
    await observe(conn, points, range(5, 40), mat=30.0)
    await evaluate_faults(conn, T0 + timedelta(minutes=40))
    assert [a.subject for a in await service.open_alarms(conn)] == [f"equipment:{equipment}"]


async def test_holidays_of_the_sites_region_are_free_days(conn, air_handler):
    equipment, points = air_handler
    await conn.execute("UPDATE site SET region = 'CN'")
    await conn.execute(
        "INSERT INTO holiday_calendar (region, day, kind, name) VALUES ('CN', '2026-03-02', 'holiday', 'x')"
    )
    await observe(conn, points, range(5), mat=15.0)
    [unit] = await bindings.bound_equipment(conn, equipment)
    _, columns = await bindings.columns_between(conn, unit, T0, T0 + timedelta(minutes=5))
    assert set(columns["day_off"]) == {1.0}  # A Monday.
