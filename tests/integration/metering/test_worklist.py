from datetime import timedelta
from decimal import Decimal

import pytest
from psycopg.types.json import Jsonb

from cloud_api.db.pool import transaction
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import Scope
from cloud_api.metering import analysis, checks, corrections, tasks, worklist
from cloud_api.metering.corrections import CorrectionRefused
from tests.integration.ingest.conftest import NOW, NOW_MS
from tests.integration.metering.conftest import ENERGY
from tests.integration.metering.test_corrections import author, staff  # noqa: F401

HOUR = 3_600_000


@pytest.fixture
async def register(edge, meters):
    """Ten days of 1 kWh per interval in the day and 0.25 at night, with a silence on the last full day."""
    await edge.announce()
    register = await meters.register(await meters.meter(), point_id=await meters.point())
    start, value, rows = NOW_MS - 10 * 24 * HOUR, 0, []
    for n in range(10 * 96 + 1):
        at = start + n * HOUR // 4
        hour = (at // HOUR + 8) % 24
        if not start + 9 * 24 * HOUR - 24 * HOUR // 2 < at < start + 9 * 24 * HOUR - 6 * HOUR:
            rows.append((n + 1, ENERGY, at, value))
        value += (1000 if 8 <= hour < 20 else 250) + n % 11
    await edge.send(rows)
    await meters.recompute()
    return register


async def test_a_silence_comes_on_the_list_and_is_estimated_after_like_days(meters, register, author):  # noqa: F811
    before = sum(i.quantity for i in await meters.ledger(register))
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        [entry] = await worklist.entries(conn)
        assert entry.check_name == "estimated"
        assert await worklist.re_estimate(conn, author, entry.id) == "profile"
    await meters.recompute()
    ledger = await meters.ledger(register)
    assert sum(i.quantity for i in ledger) == before
    gap = [i for i in ledger if i.method == "profile"]
    assert {i.quality for i in gap} == {"estimated"}
    assert len({i.quantity for i in gap}) > 1
    async with staff(meters) as conn:
        assert await worklist.entries(conn) == []
        assert await worklist.counts(conn) == {"estimated": 1}


async def test_a_finding_is_accepted_with_a_reason_and_does_not_come_back(meters, register, author):  # noqa: F811
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        [entry] = await worklist.entries(conn)
        await worklist.accept(conn, author, entry.id)
        await checks.check(conn, fixed_clock(NOW), days=3)
        assert await worklist.entries(conn) == []
        [accepted] = await worklist.entries(conn, state="accepted")
    assert (accepted.settled_by, accepted.reason) == ("li", "old meter is broken")


async def test_a_finding_that_late_readings_settle_leaves_the_list(edge, meters, register):
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        [entry] = await worklist.entries(conn)
    start = int(entry.starts_at.timestamp() * 1000)
    [(low,)] = await meters.execute("SELECT max(mantissa) FROM observation WHERE observed_at <= %s", entry.starts_at)
    await edge.send([(5000 + n, ENERGY, start + n * HOUR // 4, low + n * 10) for n in range(1, 30)])
    await meters.recompute()
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        assert "estimated" not in [e.check_name for e in await worklist.entries(conn)]


async def test_another_organisation_sees_an_empty_list(meters, register, author):  # noqa: F811
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
    async with transaction(meters.pool, Scope(kind="staff", organisation_id=meters.organisation_id + 1)) as conn:
        assert await worklist.entries(conn) == []


async def test_an_edit_spreads_the_total_exactly(meters, register, author):  # noqa: F811
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        [entry] = await worklist.entries(conn)
        await worklist.edit(conn, author, entry.id, total=Decimal("10.000001"))
    await meters.recompute()
    assert sum(i.quantity for i in await meters.ledger(register) if i.quality == "edited") == Decimal("10.000001")


async def test_charts_demand_balance_gaps_and_formulas_read_the_same_ledger(meters, register):
    [(main,)] = await meters.execute("SELECT id FROM meter")
    virtual = await meters.meter("v", use="check")
    period = Period(NOW - timedelta(days=3), NOW)
    async with staff(meters) as conn:
        steps = await analysis.chart(conn, [main], period, step=timedelta(hours=1))
        days = await analysis.chart_by_day(conn, [main], period.start.date(), period.end.date())
        demand = await analysis.demand(conn, [main], period)
        [gap] = await analysis.gaps(
            conn, register, Period(NOW - timedelta(days=9), NOW), longer_than=timedelta(hours=1)
        )
        await analysis.set_formula(conn, virtual, {main: Decimal(-2)})
        computed = await analysis.virtual_intervals(conn, virtual, period)
        balance = await analysis.branch_balance(conn, main, period, by="day")
    ledger = [i for i in await meters.ledger(register) if i.starts_at >= period.start]
    assert sum(s.quantity for s in steps) == sum(i.quantity for i in ledger)
    assert len(steps) == 72
    assert len(days) == 3
    assert demand[main].power_kw == max(i.quantity for i in ledger if i.quality == "actual") * 4
    assert gap.silent_to - gap.silent_from == timedelta(hours=6)
    assert [i.quantity for i in computed] == [-2 * i.quantity for i in ledger]
    assert all(b.residual == b.main for b in balance if b.main is not None)


async def test_nothing_is_invented_where_nothing_is_known(edge, meters, author):  # noqa: F811
    await edge.announce()
    await meters.register(await meters.meter(), point_id=await meters.point())
    day = NOW_MS - 36 * HOUR
    await edge.send([(1, ENERGY, day, 9_000_000), (2, ENERGY, day + HOUR // 4, 9_001_000), (3, ENERGY, day + 3 * HOUR, 5),
                     (4, ENERGY, day + 30 * HOUR, 1000)])  # fmt: skip
    await meters.recompute()
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        [entry] = [e for e in await worklist.entries(conn) if e.check_name == "missing"]
        with pytest.raises(CorrectionRefused, match="enter a quantity"):
            await worklist.re_estimate(conn, author, entry.id)


async def _checked(meters, **attributes):
    """Return what the checks say of the meter as a whole, in this state of its device."""
    await meters.execute("UPDATE meter SET attributes = %s", Jsonb(attributes))
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        return [e for e in await worklist.entries(conn) if e.check_name in {"clock", "ratio"}]


async def test_transformers_that_differ_from_the_registry_are_one_finding(meters, register, author):  # noqa: F811
    [(device,)] = await meters.execute("SELECT device_id FROM point p JOIN register r ON r.point_id = p.id")
    point = await meters.insert(
        "point",
        {"organisation_id": meters.organisation_id, "device_id": device, "name": "ct_ratio", "kind": "parameter"},
    )
    await meters.insert(
        "latest_value", {"point_id": point, "observed_at": NOW, "value": 60, "quality": 0, "received_at": NOW}
    )
    [found] = await _checked(meters, ct_ratio=40)
    assert found.detail == {"device_ratio": "60", "factor": "1", "registry_ratio": "40"}
    [again] = await _checked(meters, ct_ratio=40)
    assert again.id == found.id
    async with staff(meters) as conn:
        await worklist.accept(conn, author, found.id)
    assert await _checked(meters, ct_ratio=40) == []
    [other] = await _checked(meters, ct_ratio=30)  # Another difference is another question.
    assert other.detail["registry_ratio"] == "30"
    assert await _checked(meters, ct_ratio=60) == []


async def test_a_gateway_whose_clock_is_wrong_casts_doubt_on_its_meters(meters, register):
    await meters.execute("UPDATE gateway SET clock_offset_ms = 250000, last_seen_at = %s", NOW)
    [found] = await _checked(meters)
    assert (found.check_name, found.detail["drift_min"]) == ("clock", 4)
    await meters.execute("UPDATE gateway SET clock_offset_ms = 20")
    assert await _checked(meters) == []
    await edge_event(meters, {"jump_ms": -600_000, "machine_jump_ms": 0})
    [found] = await _checked(meters)
    assert found.detail["drift_min"] == -10


async def edge_event(meters, data):
    [(gateway,)] = await meters.execute("SELECT id FROM gateway")
    await meters.insert(
        "event",
        {"organisation_id": meters.organisation_id, "gateway_id": gateway, "kind": "clock.jump",
         "occurred_at": NOW - timedelta(hours=2), "received_at": NOW, "data": Jsonb(data)},
    )  # fmt: skip


async def test_sub_meters_that_do_not_add_up_come_on_the_worklist(edge, meters, register):
    [(main,)] = await meters.execute("SELECT id FROM meter")
    part = await meters.meter("part", parent_meter_id=main)
    counter = await meters.register(part)
    day = NOW - timedelta(hours=44)  # Midnight in Shanghai.
    for hour, shown in ((-1, 0), (25, 1)):
        await meters.execute(
            "INSERT INTO reading (register_id, taken_at, value, source, received_at) VALUES (%s, %s, %s, 'import', %s)",
            counter, day + timedelta(hours=hour), shown, NOW,
        )  # fmt: skip
    await meters.execute("UPDATE meter SET gap_minutes = 10000 WHERE id = %s", part)
    await meters.recompute()
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=3)
        [found] = [e for e in await worklist.entries(conn) if e.check_name == "balance"]
    assert found.meter_id == main
    assert found.starts_at == day
    assert Decimal(found.detail["share_pct"]) > 90


async def test_a_change_further_back_than_the_last_days_is_checked_again(edge, meters, register, author):  # noqa: F811
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=1)
        before = await worklist.entries(conn)
        start = NOW - timedelta(days=8)
        await corrections.edit_interval(conn, author, register, starts_at=start, quantity=Decimal(-5))
    await meters.recompute()
    async with staff(meters) as conn:
        since, _ = await tasks._changed(conn, 0)
        assert since == {register: start}
        await checks.check(conn, fixed_clock(NOW), days=1, since=since)
        assert "negative" in {e.check_name for e in await worklist.entries(conn)} - {e.check_name for e in before}


MIDNIGHT = NOW - timedelta(hours=20)  # In Shanghai, of the day that is not over.
DAY = timedelta(days=1)


async def _pulses(meters, register, quantities, start):
    """Hand in what a pulse register counted in each quarter of an hour from `start` on."""
    await meters.execute(
        "INSERT INTO reading (register_id, taken_at, value, source, received_at)"
        " SELECT %s, %s + n * interval '15 minutes', v, 'import', %s"
        "   FROM unnest(%s::numeric[]) WITH ORDINALITY AS t(v, n)",
        register, start, NOW, quantities,
    )  # fmt: skip
    await meters.recompute()


async def _found(meters, check, days=3):
    async with staff(meters) as conn:
        await checks.check(conn, fixed_clock(NOW), days=days)
        return [e for e in await worklist.entries(conn) if e.check_name == check]


async def test_a_channel_that_falls_silent_beside_its_meter_comes_on_the_list_until_its_data_arrive(meters, register):
    [(meter,)] = await meters.execute("SELECT id FROM meter")
    reactive = {"quantity": "reactive_energy_import", "unit": "kvarh", "is_delta": True}
    sibling = await meters.register(meter, **reactive)
    assert await _found(meters, "sibling") == []  # It never counted: nothing is expected of it yet.
    await _pulses(meters, sibling, [Decimal("0.1")] * 96 * 2, MIDNIGHT - 4 * DAY)
    silent = await _found(meters, "sibling")
    assert [(f.starts_at, f.detail["channels"]) for f in silent] == [
        (MIDNIGHT - 2 * DAY, ["reactive_energy_import"]), (MIDNIGHT - DAY, ["reactive_energy_import"]),
    ]  # fmt: skip
    assert {f.register_id for f in silent} == {register}
    await _pulses(meters, sibling, [Decimal("0.1")] * 96 * 2, MIDNIGHT - 2 * DAY)
    assert await _found(meters, "sibling") == []


@pytest.fixture
async def pulses(meters):
    """Six days of a pulse meter of which no two are alike."""
    register = await meters.register(await meters.meter("pulses"), is_delta=True)
    quantities = [Decimal(200 + n * n * 7919 % 997) / 100 for n in range(6 * 96)]
    await _pulses(meters, register, [Decimal(1), *quantities], MIDNIGHT - 6 * DAY - DAY / 96)
    return register, quantities


async def test_a_day_that_was_imported_once_more_four_days_later_is_named_whatever_stretch_is_checked(meters, pulses):
    register, quantities = pulses
    assert await _found(meters, "duplicate", days=6) == []
    await meters.execute("UPDATE reading SET value = v FROM unnest(%s::numeric[]) WITH ORDINALITY AS t(v, n)"
                         " WHERE register_id = %s AND taken_at = %s + n * interval '15 minutes'",
                         quantities[96:192], register, MIDNIGHT - DAY)  # fmt: skip
    await meters.execute("INSERT INTO dirty_range (register_id, starts_at, ends_at) VALUES (%s, %s, %s)",
                         register, MIDNIGHT - DAY, MIDNIGHT)  # fmt: skip
    await meters.recompute()
    for days in (6, 3, 1):
        [copy] = await _found(meters, "duplicate", days=days)
        assert (copy.starts_at, copy.ends_at) == (MIDNIGHT - DAY, MIDNIGHT)
        assert copy.detail == {"intervals": 96, "hours_before": "96"}


async def test_a_day_whose_energy_came_at_once_is_held_for_electricity_only(meters):
    flat = [Decimal(1 + n % 5) / 1000 for n in range(4 * 96)]
    flat[3 * 96 + 40] = Decimal(90)
    for code, quantity, unit in (("e", "active_energy_import", "kWh"), ("w", "water_volume", "m3")):
        register = await meters.register(await meters.meter(code), is_delta=True, quantity=quantity, unit=unit)
        await _pulses(meters, register, [Decimal(1), *flat], MIDNIGHT - 4 * DAY - DAY / 96)
    [found] = await _found(meters, "load_factor")
    assert (found.code, found.starts_at, found.detail["limit"]) == ("e", MIDNIGHT - DAY, "0.03")
