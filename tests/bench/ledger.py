"""How fast the interval ledger is: history of many meters, one late meter-month, live data, charts.

Each figure stands beside a limit measured in the same run: reading the same observations with one plain query.
"""

import argparse
import asyncio
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.db.pool import make_pool, transaction
from cloud_api.kit.clock import Clock
from cloud_api.kit.period import Period
from cloud_api.kit.scope import SYSTEM
from cloud_api.metering import analysis, service
from cloud_api.telemetry import repository as telemetry
from cloud_api.telemetry.columns import Observations

DAY_MS = 86_400_000


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


async def run(app_url: str, arguments) -> None:
    now_ms = int(datetime.now(UTC).timestamp() * 1000) // DAY_MS * DAY_MS
    start_ms = now_ms - arguments.days * DAY_MS
    async with make_pool(app_url, size_max=4) as pool:
        meters, points = await _meters(pool, arguments.meters)
        times = np.arange(start_ms, now_ms + 1, arguments.step_s * 1000)
        await _fill(pool, points, times)
        count = len(times) * len(points)

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

        async with transaction(pool, SYSTEM) as conn:
            await conn.execute(
                "INSERT INTO dirty_range (register_id, starts_at, ends_at)"
                " SELECT min(id), '-infinity', 'infinity' FROM register"
            )
        begin = time.perf_counter()
        await service.recompute_all(pool, Clock())
        print(f"ledger: one late meter-month: {time.perf_counter() - begin:.2f} s")

        cpu = time.process_time()
        begin = time.perf_counter()
        for n in range(3):
            await _fill(
                pool,
                points,
                np.arange(now_ms + n * 900_000 + 1000, now_ms + (n + 1) * 900_000 + 1001, 60_000),
                dirty=True,
            )
            await service.recompute_all(pool, Clock())
        per_quarter_s = (time.perf_counter() - begin) / 3
        print(
            f"ledger: a quarter of an hour of live data of {arguments.meters} meters: {per_quarter_s:.2f} s, so"
            f" {per_quarter_s / arguments.meters * 1000 / 900:.0%} of one core for 1,000 meters"
            f" (of it Python {(time.process_time() - cpu) / 3:.2f} s)"
        )

        month = Period(datetime.fromtimestamp(start_ms / 1000, UTC), datetime.fromtimestamp(now_ms / 1000, UTC))
        for name, ids in ((f"{len(meters)} meters summed", meters), ("one meter", meters[:1])):
            seconds = []
            for _ in range(20):
                begin = time.perf_counter()
                async with transaction(pool, SYSTEM) as conn:
                    await analysis.chart(conn, ids, month, step=timedelta(minutes=30))
                seconds.append(time.perf_counter() - begin)
            print(f"charts: a month of {name}: p95 {sorted(seconds)[18] * 1000:.0f} ms")


async def _meters(pool, count: int) -> tuple[list[int], list[int]]:
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
        points = await insert(
            "INSERT INTO point (organisation_id, device_id, name, scale) SELECT %s, %s, 'p' || n, 3"
            " FROM generate_series(1, %s) n RETURNING id",
            organisation,
            device,
            count,
        )
        meters = await insert(
            "INSERT INTO meter (organisation_id, site_id, code, name_zh, name_en, use) SELECT %s, %s, n::text, 'b', 'b', 'tenant'"
            " FROM generate_series(1, %s) n RETURNING id",
            organisation,
            site,
            count,
        )
        await insert("INSERT INTO register (organisation_id, meter_id, quantity, unit, point_id)"
                     " SELECT %s, m, 'active_energy_import', 'kWh', p FROM unnest(%s::bigint[], %s::bigint[]) t(m, p) RETURNING id",
                     organisation, meters, points)  # fmt: skip
    return meters, points


async def _fill(pool, points: list[int], times, *, dirty: bool = False) -> None:
    rng = np.random.default_rng(int(times[0]) % 1000)
    for point in points:
        mantissa = int(times[0]) // 1000 % 10**9 * 10 + np.cumsum(rng.integers(0, 100, len(times)))
        rows = Observations(
            point_id=np.full(len(times), point), at_ms=times, value=mantissa / 1000.0, mantissa=mantissa,
            quality=np.zeros(len(times), dtype=np.int64), scale=np.full(len(times), 3),
        )  # fmt: skip
        async with transaction(pool, SYSTEM) as conn:
            first, last = (datetime.fromtimestamp(int(t) / 1000, UTC) for t in (times[0], times[-1]))
            await telemetry.ensure_partitions(conn, first, last)
            await telemetry.copy_observations(conn, rows)
            await telemetry.upsert_latest(conn, rows.pick(rows.newest()), last)
            if dirty:
                await service.mark_dirty(conn, *rows.spans(), last)


if __name__ == "__main__":
    main()
