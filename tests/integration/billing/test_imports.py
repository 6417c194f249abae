from datetime import date

import psycopg
import pytest

from cloud_api.leasing import service as leasing
from cloud_api.leasing.import_file import Parsed, parse_leases, parse_tenants, read_rows
from cloud_api.operations.site_import import service as site_import
from tests.integration.billing.conftest import DEMO


async def scalar(conn, statement, *values):
    row = await (await conn.execute(statement, values)).fetchone()
    return row[0] if row else None


def leases(*rows):
    parsed = Parsed()
    header = "lease,tenant,space,first_day,last_day,head_count,version"
    keys = header.split(",")
    parse_leases([dict(zip(keys, row.split(","), strict=True)) for row in rows], parsed)
    return parsed


async def test_importing_the_same_estate_and_leases_twice_changes_nothing(conn, demo, clock):
    async def snapshot():
        tables = (
            "space",
            "meter",
            "register",
            "meter_space",
            "equipment",
            "equipment_serves",
            "expected_point",
            "lease",
            "lease_space",
            "tenant",
            "head_count",
        )
        return {t: await (await conn.execute(f"SELECT * FROM {t} ORDER BY 1, 2")).fetchall() for t in tables}

    before = await snapshot()
    await site_import.import_estate(conn, site_import.read_estate(DEMO / "building.yaml"), actor="test", clock=clock)
    parsed = Parsed()
    parse_tenants(read_rows(DEMO / "tenants.csv"), parsed)
    parse_leases(read_rows(DEMO / "leases.csv"), parsed)
    report = await leasing.import_leases(conn, demo, parsed, source="file", actor="test", clock=clock)
    assert (report.created, report.changed, report.unchanged) == (0, 0, len(parsed.leases))
    assert await snapshot() == before


async def test_the_shares_of_a_meter_sum_to_exactly_one(conn, demo):
    assert (
        await scalar(
            conn, "SELECT count(*) FROM (SELECT 1 FROM meter_space GROUP BY meter_id HAVING sum(share) <> 1) x"
        )
        == 0
    )
    assert await scalar(conn, "SELECT count(*) FROM meter_space") > 20


async def test_points_are_bound_whether_the_gateway_or_the_estate_comes_first(conn, demo):
    organisation, site = await (await conn.execute("SELECT organisation_id, id FROM site")).fetchone()
    gateway = await scalar(
        conn,
        "INSERT INTO gateway (organisation_id, site_id, name) VALUES (%s, %s, 'gw') RETURNING id",
        organisation,
        site,
    )
    device = await scalar(
        conn,
        "INSERT INTO device (organisation_id, gateway_id, name) VALUES (%s, %s, 'meter-main') RETURNING id",
        organisation,
        gateway,
    )
    point = await scalar(
        conn,
        "INSERT INTO point (organisation_id, device_id, name) VALUES (%s, %s, 'active_energy_import') RETURNING id",
        organisation,
        device,
    )
    bound = "SELECT point_id FROM register r JOIN meter m ON m.id = r.meter_id WHERE m.code = 'meter-main' AND r.quantity = 'active_energy_import'"
    assert await scalar(conn, bound) == point
    await conn.execute("UPDATE register SET point_id = NULL")
    await conn.execute("UPDATE expected_point SET point_name = point_name WHERE device_name = 'meter-main'")
    assert await scalar(conn, bound) == point


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("L-X,t-99,2F-01,2026-01-01,,3,", "row 2: lease L-X names the unknown tenant t-99"),
        ("L-X,t-01,9F-01,2026-01-01,,3,", "row 2: there is no space 9F-01"),
        ("L-X,t-01,2F-C,2026-01-01,,3,", "row 2: space 2F-C is common area and cannot be let"),
        ("L-X,t-01,2F-01,2026-01-41,,3,", "row 2: first_day '2026-01-41' is not a day"),
        ("L-X,t-01,2F-01,2026-02-01,2026-01-01,3,", "row 2: last_day 2026-01-01 is before first_day 2026-02-01"),
        ("L-X,t-01,2F-01,2026-11-01,,3,", "row 2: space 2F-01 is held by lease L-2024-003 from 2026-11-01"),
        ("L-X,t-01,2F-01,2026-11-01,,many,", "row 2: head_count 'many' is not a whole number"),
        ("L-X,,2F-01,2026-11-01,,3,", "row 2: tenant missing"),
    ],
)
async def test_a_wrong_row_is_refused_with_its_reason_and_nothing_is_stored(conn, demo, clock, row, words):
    before = await scalar(conn, "SELECT count(*) FROM lease")
    with pytest.raises(leasing.RowsRefused) as refused:
        await leasing.import_leases(conn, demo, leases(row), source="other", actor="test", clock=clock)
    assert words in str(refused.value)
    assert await scalar(conn, "SELECT count(*) FROM lease") == before


async def test_a_lease_in_another_currency_and_one_on_a_space_without_area_are_refused(conn, demo, clock):
    rows = {"tenant": "t-01", "space": "2F-01", "first_day": "2026-11-01", "last_day": ""}
    parsed = Parsed()
    parse_leases([rows | {"lease": "L-E", "currency": "eur"}], parsed)
    with pytest.raises(leasing.RowsRefused, match="row 2: lease L-E is in EUR, the site bills in CNY"):
        await leasing.import_leases(conn, demo, parsed, source="other", actor="test", clock=clock)
    await conn.execute("DELETE FROM space_area WHERE space_id = (SELECT id FROM space WHERE code = '2F-01')")
    with pytest.raises(leasing.RowsRefused, match="row 2: space 2F-01 has no area on 2026-11-01; add area_m2"):
        await leasing.import_leases(
            conn, demo, leases("L-X,t-01,2F-01,2026-11-01,,3,"), source="other", actor="test", clock=clock
        )


async def test_good_rows_can_be_accepted_while_the_rest_is_reported(conn, demo, clock):
    parsed = leases("L-1,t-01,2F-01,2027-01-01,,3,", "L-2,t-02,2F-01,2027-02-01,,3,")
    report = await leasing.import_leases(
        conn, demo, parsed, source="other", actor="test", clock=clock, accept_good_rows=True
    )
    assert report.created == 1
    assert [str(text) for text in report.refused] == ["row 3: space 2F-01 is held by lease L-1 from 2027-02-01"]


async def test_an_older_version_is_refused_and_a_newer_one_replaces(conn, demo, clock):
    async def bring(row):
        return await leasing.import_leases(conn, demo, leases(row), source="erp", actor="test", clock=clock)

    await bring("L-9,t-01,2F-01,2027-01-01,2027-12-31,3,2")
    with pytest.raises(leasing.RowsRefused, match="version 1 is older than 2"):
        await bring("L-9,t-01,2F-01,2027-01-01,2028-12-31,3,1")
    assert (await bring("L-9,t-01,2F-01,2027-01-01,2028-12-31,3,3")).changed == 1


async def test_the_database_itself_refuses_two_leases_on_one_space_and_day(conn, demo):
    with pytest.raises(psycopg.errors.ExclusionViolation, match="one_lease_per_space_and_day"):
        await conn.execute(
            "INSERT INTO lease_space (organisation_id, tenant_id, lease_id, space_id, term)"
            " SELECT organisation_id, tenant_id, lease_id, space_id, term FROM lease_space LIMIT 1"
        )


async def test_what_was_known_before_a_change_can_be_asked_later(pool, database, clock):
    from cloud_api.db.pool import transaction
    from cloud_api.kit.scope import SYSTEM

    async with transaction(pool, SYSTEM) as conn:
        await site_import.import_estate(
            conn, site_import.read_estate(DEMO / "building.yaml"), actor="test", clock=clock
        )
        site = await leasing.find_site(conn)
        parsed = leases("L-1,t-01,2F-01,2026-01-01,,3,")
        parse_tenants([{"tenant": "t-01", "name_zh": "甲"}], parsed)
        await leasing.import_leases(conn, site, parsed, source="erp", actor="test", clock=clock)
    async with transaction(pool, SYSTEM) as conn:
        then = await scalar(conn, "SELECT now()")
    async with transaction(pool, SYSTEM) as conn:
        await leasing.import_leases(
            conn, site, leases("L-1,t-01,2F-02,2026-01-01,,3,"), source="erp", actor="test", clock=clock
        )
    async with transaction(pool, SYSTEM) as conn:
        query = "SELECT s.code, lower(x.term) FROM lease_space_as_known(%s) x JOIN space s ON s.id = x.space_id"
        assert await (await conn.execute(query, (then,))).fetchall() == [("2F-01", date(2026, 1, 1))]
        now = await scalar(conn, "SELECT now()")
        assert await (await conn.execute(query, (now,))).fetchall() == [("2F-02", date(2026, 1, 1))]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("area_m2: 310,", "", "space 2F-01 can be let and needs area_m2"),
        ("serves: [2F-01]", "serves: [2X-01]", "names the unknown space 2X-01"),
        ("serves: [2F-01]", "serves: []", "is a tenant meter and serves no space: name it under serves"),
        ("code: meter-f2\n", "code: meter-f1\n", "meter meter-f1 stands there twice"),
        ("parent: meter-main", "parent: meter-nowhere", "hangs under the unknown meter meter-nowhere"),
        ("level_number: 2", "level_number: two", "buildings.0.floors.2.level_number"),
        ("time_zone: Asia/Shanghai", "time_zone: Asia/Hangzhou", "unknown time zone 'Asia/Hangzhou'"),
    ],
)
def test_a_broken_estate_file_is_refused_with_the_place_and_the_remedy(tmp_path, old, new, words):
    text = (DEMO / "building.yaml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "building.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(site_import.EstateInvalid) as refused:
        site_import.read_estate(file)
    assert words in str(refused.value)
