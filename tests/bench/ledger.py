"""How fast the interval ledger is: history of many meters, one late meter-month, live data, charts; and what it stores.

Each figure stands beside its limit, or beside reading the same observations with one plain query, in the same run.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.db.pool import make_pool, transaction
from cloud_api.kit.clock import Clock, fixed_clock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import analysis, service
from cloud_api.operations.storage import service as storage
from cloud_api.telemetry import repository as telemetry
from cloud_api.telemetry import series
from cloud_api.telemetry.columns import Observations

DAY_MS = 86_400_000
MINUTE_MS = 60_000
LIVE_METERS = 1_000
YEAR_METERS = 500
# Sums by local day as the ledger keeps them: what a chart of a year reads, without a year of readings behind it.
YEAR = """
INSERT INTO interval_day (register_id, day, quantity, interval_count, estimated_count, missing_count)
SELECT id, d::date, 12.345 + id, 96, 0, 0
  FROM register, generate_series(timestamp '2025-01-01', '2025-12-31', '1 day') d
 WHERE meter_id = ANY (%s::bigint[])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, default=50)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--step-s", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder) / "postgres")
        server.start()
        try:
            bootstrap(server.addresses("postgres").superuser, "bench", server.passwords())
            migrate(server.addresses("bench").owner)
            asyncio.run(run(server.addresses("bench").app, arguments))
        finally:
            server.stop()


def report(what: str, measured: float, limit: float, unit: str) -> None:
    print(f"{what:62} {measured:8.1f} {unit:4} limit {limit:g} {unit:4} ratio {measured / limit:.2f}", flush=True)


async def run(app_url: str, arguments) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000) // DAY_MS * DAY_MS
    start_ms = now_ms - arguments.days * DAY_MS
    async with make_pool(app_url, size_max=4) as pool:
        site = await _site(pool)
        meters, points = await _meters(pool, site, arguments.meters, "m")
        times = np.arange(start_ms, now_ms + 1, arguments.step_s * 1000)
        await _fill(pool, points, times)
        await _history(pool, arguments, len(times) * len(points))
        await _late(pool)
        await _charts(pool, meters, points, start_ms, now_ms)
        year_meters, _ = await _meters(pool, site, YEAR_METERS, "y")
        await _year(pool, year_meters)
        _, live_points = await _meters(pool, site, LIVE_METERS, "live")
        await _live(pool, live_points, now_ms)
        await _stored(pool)


async def _history(pool, arguments, count: int) -> None:
    begin = time.perf_counter()
    async with transaction(pool, SYSTEM) as conn:
        await (await conn.execute("SELECT count(mantissa), sum(mantissa) FROM observation")).fetchone()
    read_s = time.perf_counter() - begin
    begin = time.perf_counter()
    intervals = await service.recompute_all(pool, Clock())
    whole_s = time.perf_counter() - begin
    print(
        f"ledger: {arguments.meters} meters x {arguments.days} days at {arguments.step_s} s: {count:,} readings,"
        f" {intervals:,} intervals: {whole_s:.1f} s, {whole_s / read_s:.0f} x one plain scan of the same readings"
    )


async def _late(pool) -> None:
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(
            "INSERT INTO dirty_range (register_id, starts_at, ends_at)"
            " SELECT min(id), '-infinity', 'infinity' FROM register"
        )
    begin = time.perf_counter()
    await service.recompute_all(pool, Clock())
    report("ledger: one late meter-month", time.perf_counter() - begin, 1, "s")


async def _live(pool, points: list[int], now_ms: int) -> None:
    """Two quarters of an hour of a reading a minute; the ledger is followed every minute, as the worker does."""
    await service.recompute_all(pool, Clock())
    spent = 0.0
    minutes = range(31)
    for minute in minutes:
        await _fill(pool, points, np.array([now_ms + minute * MINUTE_MS]), dirty=True)
        begin = time.perf_counter()
        await service.recompute_all(pool, Clock())
        spent += time.perf_counter() - begin
    share = spent / (len(minutes) * 60) * 100
    report(f"ledger: live data of {len(points):,} meters, a reading a minute", share, 20, "%")


async def _charts(pool, meters: list[int], points: list[int], start_ms: int, now_ms: int) -> None:
    month = Period(datetime.fromtimestamp(start_ms / 1000, UTC), datetime.fromtimestamp(now_ms / 1000, UTC))
    quarter = timedelta(minutes=15)

    async def chart(conn, ids):
        await analysis.chart(conn, ids, month, step=quarter)

    async def course(conn):
        await series.course(conn, points[0], month, now=month.end)

    report(
        f"charts: a month of {len(meters)} meters summed, p95", await _p95(pool, lambda c: chart(c, meters)), 100, "ms"
    )
    report("charts: a month of one meter, p95", await _p95(pool, lambda c: chart(c, meters[:1])), 20, "ms")
    raw_ms = await _p95(pool, course)
    async with transaction(pool, SYSTEM) as conn:
        first, last = month.start, month.end
        await conn.execute("UPDATE series_state SET summed_until = %s", (first,))
        begin = time.perf_counter()
        while await series.sum_due(conn, fixed_clock(last + timedelta(minutes=30))):
            pass
        summed_s = time.perf_counter() - begin
    print(
        f"charts: a month of one point from observations {raw_ms:.0f} ms; {len(points)} points summed in {summed_s:.1f} s"
    )
    report("charts: a month of one point from sums, p95", await _p95(pool, course), 20, "ms")


async def _year(pool, meters: list[int]) -> None:
    async with transaction(pool, SYSTEM) as conn:
        await conn.execute(YEAR, (meters,))

    async def chart(conn):
        await analysis.chart_by_day(conn, meters, date(2025, 1, 1), date(2026, 1, 1))

    report(f"charts: a year of {len(meters)} meters by day, p95", await _p95(pool, chart), 200, "ms")


async def _p95(pool, query: Callable[..., Awaitable[None]]) -> float:
    """Return the 95th percentile of 20 calls, each in a transaction of its own, in milliseconds."""
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        async with transaction(pool, SYSTEM) as conn:
            await query(conn)
        seconds.append(time.perf_counter() - begin)
    return sorted(seconds)[18] * 1000


async def _stored(pool) -> None:
    async with transaction(pool, SYSTEM) as conn:
        tables = (await storage.report(conn, Clock())).tables
    for table in tables:
        if table.bytes_per_row and table.name in {"observation", "observation_series", "interval", "interval_pack"}:
            print(f"storage: {table.name}: {table.row_count:,} rows, {table.bytes_per_row:.0f} bytes each with indexes")


async def _site(pool) -> tuple[int, int, int]:
    async with transaction(pool, SYSTEM) as conn:

        async def insert(statement, *values):
            return [row[0] for row in await (await conn.execute(statement, values)).fetchall()]

        [organisation] = await insert(
            "INSERT INTO organisation (code, name_zh, name_en) VALUES ('b','b','b') RETURNING id"
        )
        [site] = await insert(
            "INSERT INTO site (organisation_id, code, name_zh, name_en) VALUES (%s,'b','b','b') RETURNING id",
            organisation,
        )
        [gateway] = await insert(
            "INSERT INTO gateway (organisation_id, site_id, name) VALUES (%s, %s, 'b') RETURNING id", organisation, site
        )
        [device] = await insert(
            "INSERT INTO device (organisation_id, gateway_id, name) VALUES (%s, %s, 'b') RETURNING id",
            organisation,
            gateway,
        )
    return organisation, site, device


async def _meters(pool, site: tuple[int, int, int], count: int, prefix: str) -> tuple[list[int], list[int]]:
    organisation, site_id, device = site
    async with transaction(pool, SYSTEM) as conn:

        async def insert(statement, *values):
            return [row[0] for row in await (await conn.execute(statement, values)).fetchall()]

        points = await insert(
            "INSERT INTO point (organisation_id, device_id, name, scale) SELECT %s, %s, %s || '-' || n, 3"
            " FROM generate_series(1, %s) n RETURNING id",
            organisation,
            device,
            prefix,
            count,
        )
        meters = await insert(
            "INSERT INTO meter (organisation_id, site_id, code, name_zh, name_en, use) SELECT %s, %s, %s || n, 'b', 'b', 'tenant'"
            " FROM generate_series(1, %s) n RETURNING id",
            organisation,
            site_id,
            prefix,
            count,
        )
        await insert("INSERT INTO register (organisation_id, meter_id, quantity, unit, point_id)"
                     " SELECT %s, m, 'active_energy_import', 'kWh', p FROM unnest(%s::bigint[], %s::bigint[]) t(m, p) RETURNING id",
                     organisation, meters, points)  # fmt: skip
    return meters, points


async def _fill(pool, points: list[int], times, *, dirty: bool = False) -> None:
    if len(times) == 1:
        await _store(pool, np.array(points), times.repeat(len(points)), dirty=dirty)
        return
    for point in points:
        await _store(pool, np.full(len(times), point), times, dirty=dirty)


async def _store(pool, points, times, *, dirty: bool) -> None:
    # A counter that rises by a unit a second, the same whenever it is read.
    mantissa = times // 1000
    rows = Observations(
        point_id=points, at_ms=times, value=mantissa / 1000.0, mantissa=mantissa,
        quality=np.zeros(len(times), dtype=np.int64), scale=np.full(len(times), 3),
    )  # fmt: skip
    async with transaction(pool, SYSTEM) as conn:
        first, last = (datetime.fromtimestamp(int(t) / 1000, UTC) for t in (times[0], times[-1]))
        await telemetry.ensure_partitions(conn, first, last)
        await telemetry.copy_observations(conn, rows)
        await telemetry.move_latest(conn, rows.pick(rows.newest()), last)
        if dirty:
            await service.mark_dirty(conn, *rows.spans(), last)


if __name__ == "__main__":
    main()
