"""The packed days of the ledger say what its rows say, whoever wrote them."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloud_api.db.pool import transaction
from cloud_api.kit.ids import RegisterId
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import analysis, packs

FIRST = datetime(2026, 3, 28, 22, tzinfo=UTC)
WRITE = (
    "INSERT INTO interval (register_id, starts_at, ends_at, quantity, quality, computed_at)"
    " SELECT %s, t.at, t.at + interval '15 minutes', t.quantity, t.quality, now()"
    "   FROM unnest(%s::timestamptz[], %s::numeric[], %s::text[]) AS t(at, quantity, quality)"
    " ON CONFLICT (register_id, starts_at) DO UPDATE SET quantity = EXCLUDED.quantity, quality = EXCLUDED.quality"
)


def at(n):
    return FIRST + n * timedelta(minutes=15)


async def write(meters, register, intervals):
    times, quantities, qualities = zip(*intervals, strict=True)
    await meters.execute(WRITE, register, list(times), list(quantities), list(qualities))


async def unpacked(meters, registers, period):
    async with transaction(meters.pool, SYSTEM) as conn:
        return [
            (register, datetime.fromtimestamp(start, UTC), packs.to_decimal(mantissa, columns.scale), packs.GRADES[grade])
            async for columns in packs.read(conn, [RegisterId(r) for r in registers], period)
            for register, start, mantissa, grade in zip(
                columns.registers.tolist(), columns.starts_s.tolist(), columns.mantissas.tolist(),
                columns.grades.tolist(), strict=True,
            )
        ]  # fmt: skip


async def rows(meters, registers, period):
    found = await meters.execute(
        "SELECT register_id, starts_at, quantity, quality FROM interval"
        " WHERE register_id = ANY (%s::bigint[]) AND starts_at >= %s AND starts_at < %s ORDER BY 1, 2",
        registers, period.start, period.end,
    )  # fmt: skip
    return [tuple(row) for row in found]


@pytest.mark.parametrize("seed", range(5))
async def test_packed_days_equal_the_rows_after_any_writes(meters, seed):
    chance = random.Random(seed)
    registers = [await meters.register(await meters.meter(f"m{n}")) for n in range(3)]
    for _ in range(12):
        register = chance.choice(registers)
        some = chance.sample(range(400), chance.randint(1, 80))
        match chance.randint(0, 3):
            case 0:
                await meters.execute(
                    "DELETE FROM interval WHERE register_id = %s AND starts_at = ANY (%s::timestamptz[])",
                    register,
                    [at(n) for n in some],
                )
            case _:
                quality = ["actual", "estimated", "edited", "missing"]
                await write(
                    meters,
                    register,
                    [
                        (at(n), Decimal(chance.randint(-(10**6), 10**6)).scaleb(-chance.randint(0, 9)), chance.choice(quality))
                        for n in some
                    ],
                )  # fmt: skip
    whole = Period(at(0), at(400))
    assert await unpacked(meters, registers, whole) == await rows(meters, registers, whole)
    inside = Period(at(37), at(219))
    assert await unpacked(meters, registers, inside) == await rows(meters, registers, inside)
    emptied = [r for r in registers if not await rows(meters, [r], whole)]
    for register in emptied:
        assert await meters.execute("SELECT count(*) FROM interval_pack WHERE register_id = %s", register) == [(0,)]


async def test_a_quantity_beyond_64_bits_is_read_from_the_rows(meters):
    register = await meters.register(await meters.meter())
    huge = Decimal("12345678901234567890123456789.123456789")
    await write(
        meters,
        register,
        [(at(0), Decimal("0.5"), "actual"), (at(96), huge, "estimated"), (at(200), Decimal(1), "actual")],
    )
    whole = Period(at(0), at(400))
    assert await unpacked(meters, [register], whole) == await rows(meters, [register], whole)
    assert (await rows(meters, [register], whole))[1][2] == huge


async def test_a_sum_beyond_64_bits_is_exact(meters):
    register = await meters.register(await meters.meter())
    await write(meters, register, [(at(n), Decimal("9000000000.000000001"), "actual") for n in range(60)])
    async with transaction(meters.pool, SYSTEM) as conn:
        [meter] = await meters.execute("SELECT meter_id FROM register WHERE id = %s", register)
        steps = await analysis.chart(conn, meter, Period(at(0), at(60)), step=timedelta(hours=15))
    assert [s.quantity for s in steps] == [Decimal("9000000000.000000001") * 60]


async def test_local_days_follow_any_write_of_the_ledger(meters):
    register = await meters.register(await meters.meter())
    await write(meters, register, [(at(n), 1, "actual" if n else "missing") for n in range(96)])
    days = "SELECT day::text, quantity, interval_count, missing_count FROM interval_day WHERE register_id = %s ORDER BY day"
    assert await meters.execute(days, register) == [("2026-03-29", 72, 72, 1), ("2026-03-30", 24, 24, 0)]
    await meters.execute("DELETE FROM interval WHERE register_id = %s AND starts_at < %s", register, at(72))
    assert await meters.execute(days, register) == [("2026-03-30", 24, 24, 0)]


@pytest.mark.parametrize(
    ("mantissa", "scale", "micro"),
    [(5, 7, 1), (-5, 7, -1), (4, 7, 0), (-4, 7, 0), (15, 7, 2), (3, 0, 3_000_000), (10**30, 9, 10**27)],
)
def test_a_sum_is_rounded_to_millionths_as_the_database_rounds(mantissa, scale, micro):
    assert packs.to_micro(mantissa, scale) == micro
