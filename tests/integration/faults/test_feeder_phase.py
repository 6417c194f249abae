"""A phase lost on a feeder: one alarm, and none for the meters behind it that miss the same phase."""

from datetime import timedelta

from cloud_api.alarms import service
from cloud_api.alarms.equipment import explain_causes
from cloud_api.alarms.model import Report
from cloud_api.faults.model import Verdict
from tests.integration.test_alarms import T0, one


async def feeder(conn):
    """A feeder's meter with one meter behind it, each an equipment of its own; returns site and equipment by code."""
    organisation = await one(
        conn, "INSERT INTO organisation (code, name_zh, name_en) VALUES ('p', '园区', 'Park') RETURNING id"
    )
    site = await one(
        conn,
        "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s, 's', '站', 'S') RETURNING id",
        (organisation,),
    )
    above, equipment = None, {}
    for code, use in (("floor", "floor"), ("office", "tenant")):
        above = await one(
            conn,
            "INSERT INTO meter (organisation_id, site_id, parent_meter_id, code, name_zh, name_en, use)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (organisation, site, above, code, code, code, use),
        )
        equipment[code] = await one(
            conn,
            "INSERT INTO equipment (organisation_id, site_id, code, name_zh, name_en, brick_class)"
            " VALUES (%s, %s, %s, %s, %s, 'Electrical_Meter') RETURNING id",
            (organisation, site, code, code, code),
        )
    return organisation, site, equipment


async def test_a_phase_lost_on_a_feeder_is_one_alarm_and_a_fault_of_its_own_stays_one(conn):
    organisation, site, equipment = await feeder(conn)

    async def says(code, rule, verdict, at):
        report = Report(
            organisation_id=organisation,
            site_id=site,
            subject=f"equipment:{equipment[code]}",
            rule=rule,
            severity=2,
            verdict=verdict,
            at=at,
            params={"name": code},
        )
        await service.report(conn, [report], at)

    for code, rule in (("floor", "MTR-04"), ("office", "MTR-04"), ("office", "MTR-06"), ("office", "MTR-09")):
        await says(code, rule, Verdict.FAULT, T0)
    await explain_causes(conn, T0 + timedelta(seconds=5))
    shown = {(a.subject, a.rule) for a in await service.open_alarms(conn) if a.suppression == "none"}
    floor, office = (f"equipment:{equipment[code]}" for code in ("floor", "office"))
    assert shown == {(floor, "MTR-04"), (office, "MTR-09")}

    await says("floor", "MTR-04", Verdict.OK, T0 + timedelta(minutes=10))
    later = T0 + timedelta(hours=2)
    await explain_causes(conn, later)
    shown = {(a.subject, a.rule) for a in await service.open_alarms(conn) if a.suppression == "none" and a.active}
    assert (office, "MTR-04") in shown
