"""Old data go when they are old enough and nobody needs them; what bills rest on stays and says the same."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.operations.storage import service as storage
from cloud_api.operations.storage.model import KeepRefused
from cloud_api.telemetry import repository as telemetry
from cloud_api.telemetry.columns import Observations
from tests.integration.metering.conftest import NOW, client, edge, meters, site  # noqa: F401

HOUR_MS = 3_600_000
EVER = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
START = datetime(2026, 3, 1, 0, 30, tzinfo=UTC)
LATER = fixed_clock(START + timedelta(days=600))


async def fill(pool, point, *, exact, first=START, hours=24 * 45):
    first_ms = int(first.timestamp() * 1000)
    times = first_ms + np.arange(hours) * HOUR_MS
    mantissa = np.arange(hours) * 125
    rows = Observations(
        point_id=np.full(hours, point), at_ms=times, value=mantissa / 1000.0,
        mantissa=mantissa if exact else np.zeros(hours, dtype=np.int64), quality=np.zeros(hours, dtype=np.int64),
        scale=np.full(hours, 3 if exact else -1),
    )  # fmt: skip
    async with transaction(pool, SYSTEM) as conn:
        await telemetry.ensure_partitions(conn, first, first + timedelta(hours=hours))
        await telemetry.copy_observations(conn, rows)


@pytest.fixture
async def points(edge, meters):  # noqa: F811
    await edge.announce()
    return await meters.point(), await meters.point("meter-1/active_power")


async def summed(pool):
    """What the worker does with the marks of the series; here there is nothing but them to hold the raw data."""
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute("DELETE FROM series_mark")


async def count(pool, table):
    async with transaction(pool, SYSTEM) as conn:
        return (await (await conn.execute(f"SELECT count(*) FROM {table}")).fetchone())[0]


async def test_register_readings_outlive_the_other_observations_and_the_ledger_stays_the_same(pool, points, meters):  # noqa: F811
    energy, power = points
    register = await meters.register(await meters.meter(interval_minutes=60), point_id=energy)
    await fill(pool, energy, exact=True)
    await fill(pool, power, exact=False)
    await meters.recompute()
    before = await meters.ledger(register)
    readings = await meters.execute("SELECT taken_at, value FROM register_reading ORDER BY taken_at")
    assert sum(i.quantity for i in before) == Decimal("0.125") * (24 * 45 - 1) - Decimal(
        "0.0625"
    )  # The last is not over.

    deeds = await storage.tend(pool, LATER)

    assert await count(pool, "observation") == 0
    assert await count(pool, "observation_kept") == 24 * 45
    assert sum(d.row_count for d in deeds if d.action == "drop") == 2 * 24 * 45
    assert sum(d.row_count for d in deeds if d.action == "move") == 24 * 45
    assert await meters.execute("SELECT taken_at, value FROM register_reading ORDER BY taken_at") == readings
    await meters.execute("INSERT INTO dirty_range (register_id, starts_at, ends_at) VALUES (%s, '-infinity', 'infinity')",
                         register)  # fmt: skip
    await meters.recompute()
    assert await meters.ledger(register) == before


async def test_nothing_goes_before_its_time(pool, points, meters):  # noqa: F811
    await fill(pool, points[1], exact=False)
    last = START + timedelta(hours=24 * 45)
    await storage.tend(pool, fixed_clock(START + timedelta(days=399)))
    assert await count(pool, "observation") == 24 * 45
    await storage.tend(pool, fixed_clock(last + timedelta(days=440)))
    assert await count(pool, "observation") == 0


async def test_observations_that_no_chart_has_summed_yet_stay(pool, points):
    await fill(pool, points[1], exact=False)
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO series_mark (point_ids, first_at, last_at) VALUES (%s, %s, %s)", ([points[1]], START, START)
        )
    await storage.tend(pool, LATER)
    assert await count(pool, "observation") == 24 * 45
    await summed(pool)
    await storage.tend(pool, LATER)
    assert await count(pool, "observation") == 0


async def test_readings_go_at_last_and_what_was_billed_from_them_is_not_computed_again(pool, points, meters):  # noqa: F811
    register = await meters.register(await meters.meter(interval_minutes=60), point_id=points[0])
    await fill(pool, points[0], exact=True)
    await meters.recompute()
    before = await meters.ledger(register)
    async with transaction(pool, SYSTEM) as conn:
        await storage.keep(conn, "registers", 500, actor="test", clock=LATER)
    await storage.tend(pool, fixed_clock(START + timedelta(days=1500)))
    assert await count(pool, "observation_kept") == 0
    await meters.execute(
        "INSERT INTO register_multiplier (register_id, valid, multiplier, reason, actor, created_at)"
        " VALUES (%s, '(,)', 40, 'CT ratio', 'test', now())",
        register,
    )
    await meters.recompute()
    assert await meters.ledger(register) == before


@pytest.mark.parametrize("what", ["ledger", "open run", "never billed"])
async def test_readings_that_an_open_ledger_or_an_open_bill_needs_are_held(pool, points, meters, what):  # noqa: F811
    register = await meters.register(await meters.meter(interval_minutes=60), point_id=points[0])
    await fill(pool, points[0], exact=True)
    await meters.recompute()
    statement = {
        "ledger": f"INSERT INTO dirty_range (register_id, starts_at, ends_at) VALUES ({register}, '2026-03-01', '2026-03-01')",
        "open run": "INSERT INTO bill_run (organisation_id, site_id, utility, period, state, prepared_by, created_at)"
        f" VALUES ({meters.organisation_id}, {meters.site_id}, 'electricity', '[2026-03-01,2026-04-01)', 'approved', 'x', now())",
        "never billed": "INSERT INTO site_tariff (organisation_id, site_id, utility, payer, tariff_code)"
        f" VALUES ({meters.organisation_id}, {meters.site_id}, 'electricity', 'tenants', 't')",
    }[what]  # fmt: skip
    if what == "never billed":
        await meters.execute(
            "WITH b AS (INSERT INTO building (organisation_id, site_id, code, name_zh, name_en)"
            "  VALUES (%(o)s, %(s)s, 'b', 'b', 'b') RETURNING id),"
            " f AS (INSERT INTO floor (organisation_id, building_id, code, level_number, name_zh, name_en)"
            "  SELECT %(o)s, id, 'f', 0, 'f', 'f' FROM b RETURNING id),"
            " p AS (INSERT INTO space (organisation_id, floor_id, code, name_zh, name_en)"
            "  SELECT %(o)s, id, 'r', 'r', 'r' FROM f RETURNING id),"
            " t AS (INSERT INTO tenant (organisation_id, code, name_zh, name_en) VALUES (%(o)s, 't', 't', 't') RETURNING id),"
            " l AS (INSERT INTO lease (organisation_id, tenant_id, number, status, term)"
            "  SELECT %(o)s, id, 'L', 'active', '[2026-03-01,)' FROM t RETURNING id, tenant_id)"
            " INSERT INTO lease_space (organisation_id, tenant_id, lease_id, space_id, term)"
            " SELECT %(o)s, l.tenant_id, l.id, p.id, '[2026-03-01,)' FROM l, p"
            .replace("%(o)s", str(meters.organisation_id)).replace("%(s)s", str(meters.site_id))
        )  # fmt: skip
    await meters.execute(statement)
    async with transaction(pool, SYSTEM) as conn:
        await storage.keep(conn, "registers", 500, actor="test", clock=LATER)
    much_later = fixed_clock(START + timedelta(days=1500))
    await storage.tend(pool, much_later)
    assert await count(pool, "exact_observation") == 24 * 45
    async with transaction(pool, SYSTEM) as conn:
        report = await storage.report(conn, LATER)
    [kept] = [t for t in report.tables if t.name == "observation_kept"]
    assert [h.reason for h in kept.holds] == [
        {"ledger": "ledger", "open run": "open_run", "never billed": "not_billed"}[what]
    ]
    release = {
        "ledger": "DELETE FROM dirty_range",
        "open run": "UPDATE bill_run SET state = 'issued'",
        "never billed": "DELETE FROM site_tariff",
    }[what]
    await meters.execute(release)
    await storage.tend(pool, much_later)
    assert await count(pool, "exact_observation") == 0


async def test_late_data_of_a_dropped_time_are_kept_as_well(pool, points):
    energy = points[0]
    await fill(pool, energy, exact=True, hours=24)
    await storage.tend(pool, LATER)
    assert await count(pool, "observation") == 0
    await fill(pool, energy, exact=True, first=START + timedelta(hours=24), hours=24)
    await storage.tend(pool, LATER)
    assert await count(pool, "observation") == 0
    assert await count(pool, "observation_kept") == 48


async def test_events_are_deleted_after_their_time(pool, edge, meters):  # noqa: F811
    await edge.announce()
    event = {"kind": "door.access", "device": "door-1", "data": {}}
    at_ms = int(NOW.timestamp() * 1000)
    await edge.send(events=[event | {"seq": n, "at_ms": at_ms, "received_at_ms": at_ms} for n in (1, 2)])
    await meters.execute("UPDATE event SET occurred_at = occurred_at - INTERVAL '500 days' WHERE id = 1")
    deeds = await storage.tend(pool, fixed_clock(NOW + timedelta(days=700)))
    assert [d.row_count for d in deeds if d.kind == "events"] == [1]
    assert await meters.execute("SELECT occurred_at FROM event") == [(NOW,)]


async def test_room_is_made_before_the_data_come(pool, request):
    moment = fixed_clock(datetime(2027, 12, 31, 15, 59, tzinfo=UTC))
    deeds = await storage.tend(pool, moment)
    async with transaction(pool, SYSTEM) as conn:
        again = await telemetry.ensure_partitions(conn, moment.now(), moment.now() + timedelta(days=62))
    assert again == 0
    if request.config.getoption("--database") == "embedded":
        assert [d.row_count for d in deeds if d.action == "create"] == [4 + 2]  # December to March; two years.
    assert await storage.tend(pool, moment) == []


@pytest.mark.parametrize(
    "instant",
    ["2026-02-28T23:59:59.999Z", "2026-03-01T00:00:00Z", "2026-03-08T07:30:00Z", "2026-10-25T00:59:59.999Z",
     "2026-10-25T01:00:00Z", "2026-12-31T23:59:59.999999Z", "2027-01-01T00:00:00Z"],
)  # fmt: skip
async def test_the_edge_of_a_month_a_year_or_a_clock_change_has_a_place(pool, points, instant):
    at = datetime.fromisoformat(instant)
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute("SET LOCAL timezone TO 'America/New_York'")
        await telemetry.ensure_partitions(conn, at, at)
        await conn.execute("INSERT INTO observation (point_id, observed_at, value, quality) VALUES (%s, %s, 1, 0)",
                           (points[1], at))  # fmt: skip
        await conn.execute("SELECT ensure_year_partitions('observation_kept', %s, %s)", (at, at))
        await conn.execute("INSERT INTO observation_kept VALUES (%s, %s, 1, 0, 0)", (points[0], at))
        found = await (
            await conn.execute("SELECT starts_at, ends_at FROM storage_pieces() WHERE row_count = 1")
        ).fetchall()
    assert len(found) == 2
    assert all(starts <= at < ends for starts, ends in found)


async def test_a_kind_can_be_kept_longer_but_not_for_a_week(conn):
    await storage.keep(conn, "raw", 900, actor="someone", clock=LATER)
    report = await storage.report(conn, LATER)
    assert {t.keep_days for t in report.tables if t.kind == "raw"} == {900}
    assert (report.journal[0].action, report.journal[0].note) == ("keep", "400 → 900, someone")
    with pytest.raises(KeepRefused, match="35"):
        await storage.keep(conn, "raw", 7, actor="someone", clock=LATER)
    with pytest.raises(KeepRefused, match="registers"):
        await storage.keep(conn, "ledger", 100, actor="someone", clock=LATER)


async def test_the_report_tells_rows_bytes_and_the_next_drop(pool, points):
    await fill(pool, points[1], exact=False)
    async with transaction(pool, SYSTEM) as conn:
        report = await storage.report(conn, LATER)
    [raw] = [t for t in report.tables if t.name == "observation"]
    assert raw.row_count == 24 * 45
    assert 50 < raw.bytes_per_row < 400
    assert raw.oldest_at <= START
    assert raw.newest_at >= START + timedelta(days=44)
    assert raw.next_drop_at == raw.oldest_at + (raw.next_drop_at - raw.oldest_at)
    assert raw.next_drop_at > START + timedelta(days=400)


async def test_the_licence_decides_whether_chunks_are_compressed(conn, request):
    report = await storage.report(conn, LATER)
    if request.config.getoption("--database") == "embedded":
        assert report.licence is None
    else:
        assert report.licence in {"apache", "timescale"}
    assert report.compresses is (report.licence == "timescale")
    compressed = await (await conn.execute("SELECT count(*) FROM set_up_columnstore('14 days')")).fetchone()
    assert compressed == ((3,) if report.compresses else (0,))
