"""How long bills take: a run of many tenants, their documents, a tariff tried on a year; printed beside the targets.

    python -m tests.bench.billing [--tenants 500] [--pdfs 500]

500 tenants x 3 meters x one month at 15 minutes: tiers x time of use, common areas by area, VAT.
"""

import argparse
import asyncio
import resource
import tempfile
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg

from cloud_api.billing import documents, rating, running, service, timetable
from cloud_api.billing import inputs as loading
from cloud_api.billing.calendar import built_in
from cloud_api.billing.charge import Slice, Usage
from cloud_api.billing.document.render import bill_pdf
from cloud_api.billing.states import Step
from cloud_api.billing.tariff_file import load_tariff, parse_tariff
from cloud_api.billing.what_if import months
from cloud_api.db.embedded import EmbeddedServer
from cloud_api.db.migrate import bootstrap, migrate
from cloud_api.db.pool import make_pool, transaction
from cloud_api.db.queue import Worker
from cloud_api.kit.clock import fixed_clock
from cloud_api.kit.period import local_days
from cloud_api.kit.scope import SYSTEM

DATABASE = "bench"
CLOCK = fixed_clock(datetime(2026, 11, 10, tzinfo=UTC))
TARIFF = """
tariff: bench
name: {zh: 测, en: Bench}
holiday_calendar: CN
versions:
  - version: v1
    valid_from: 2020-01-01
    windows:
      - {bucket: valley, hours: ["00:00-07:00", "11:00-14:00"]}
      - {bucket: flat, hours: ["07:00-11:00", "14:00-16:00", "23:00-24:00"]}
      - {bucket: peak, hours: ["16:00-23:00"]}
    components:
      - code: energy
        name: {zh: 电量, en: Energy}
        kind: energy
        vat_rate: 0.13
        tiers:
          basis: proportional
          steps:
            - {up_to: 1000, prices: {valley: 0.31, flat: 0.66, peak: 1.07}}
            - {prices: {valley: 0.36, flat: 0.71, peak: 1.12}}
      - {code: funds, name: {zh: 基金, en: Funds}, kind: energy, price: 0.0292, vat_rate: 0.13}
"""

# One statement per kind of row: the site is invented by the database.
BUILD = """
INSERT INTO app.organisation (code, name_zh, name_en) VALUES ('o', '园', 'Park');
INSERT INTO app.tenant (organisation_id, code, name_zh, name_en, is_owner) SELECT id, 'owner', '业主', 'Owner', true FROM app.organisation;
INSERT INTO app.site (organisation_id, code, name_zh, name_en) SELECT id, 's', '园', 'Park' FROM app.organisation;
INSERT INTO app.building (organisation_id, site_id, code, name_zh, name_en) SELECT organisation_id, id, 'b', '楼', 'B' FROM app.site;
INSERT INTO app.floor (organisation_id, building_id, code, level_number, name_zh, name_en)
    SELECT organisation_id, id, 'f', 0, '层', 'F' FROM app.building;
INSERT INTO app.space (organisation_id, floor_id, code, name_zh, name_en)
    SELECT f.organisation_id, f.id, 'r' || n, 'r' || n, 'r' || n FROM app.floor f, generate_series(1, {tenants}) n;
INSERT INTO app.space_area (organisation_id, space_id, area_m2)
    SELECT organisation_id, id, 20 + substr(code, 2)::int %% 50 FROM app.space;
INSERT INTO app.tenant (organisation_id, code, name_zh, name_en)
    SELECT o.id, 't' || n, '租户' || n, 'Tenant ' || n FROM app.organisation o, generate_series(1, {tenants}) n;
INSERT INTO app.lease (organisation_id, tenant_id, number, status, term)
    SELECT organisation_id, id, 'L-' || code, 'active', '[2026-01-01,)' FROM app.tenant WHERE NOT is_owner;
INSERT INTO app.lease_space (organisation_id, tenant_id, lease_id, space_id, term)
    SELECT l.organisation_id, l.tenant_id, l.id, s.id, l.term FROM app.lease l JOIN app.space s ON 'L-t' || substr(s.code, 2) = l.number;
INSERT INTO app.meter (organisation_id, site_id, code, name_zh, name_en, use) SELECT organisation_id, id, 'main', '总', 'Main', 'main' FROM app.site;
INSERT INTO app.meter (organisation_id, site_id, code, name_zh, name_en, use) SELECT organisation_id, id, 'common', '公', 'Common', 'common' FROM app.site;
INSERT INTO app.meter (organisation_id, site_id, code, name_zh, name_en, use)
    SELECT s.organisation_id, s.id, 'm' || n || '-' || k, 'm', 'm', 'tenant' FROM app.site s, generate_series(1, {tenants}) n, generate_series(1, 3) k;
INSERT INTO app.meter_space (meter_id, space_id)
    SELECT m.id, s.id FROM app.meter m JOIN app.space s ON split_part(m.code, '-', 1) = 'm' || substr(s.code, 2) WHERE m.use = 'tenant';
INSERT INTO app.register (organisation_id, meter_id, quantity, unit) SELECT organisation_id, id, 'active_energy_import', 'kWh' FROM app.meter;
SET session_replication_role = replica; -- Without the triggers of millions of rows; the days are packed at once below.
-- A run reads packed days. One register of each use is counted in rows; the other tenants' days are the same bytes.
CREATE TEMP TABLE counted AS SELECT DISTINCT ON (m.use) r.id, m.use FROM app.register r JOIN app.meter m ON m.id = r.meter_id ORDER BY m.use, r.id;
INSERT INTO app.interval (register_id, starts_at, ends_at, quantity, quality, computed_at)
    SELECT c.id, g, g + interval '15 minutes',
           CASE c.use WHEN 'main' THEN {tenants} * 3 * 0.321 + 2.1 WHEN 'common' THEN 2.0 ELSE 0.321 END, 'actual', now()
      FROM counted c, generate_series(timestamptz '2026-09-30 16:00Z', timestamptz '2026-10-31 15:45Z', interval '15 minutes') g;
RESET session_replication_role;
SELECT app.pack_days(array_agg(c.id), array_agg(d::date))
  FROM counted c, generate_series(timestamp '2026-09-30', '2026-10-31', '1 day') d;
INSERT INTO app.interval_pack SELECT r.id, k.day, k.scale, k.minutes, k.mantissas, k.grades
  FROM app.register r JOIN app.meter m ON m.id = r.meter_id AND m.use = 'tenant'
  JOIN counted c ON c.use = m.use AND c.id <> r.id JOIN app.interval_pack k ON k.register_id = c.id;
ANALYZE;
"""


class Watch:
    """Measures the time on the wall and this process's CPU seconds: on a shared machine only the latter say much."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def report(self, what: str, target: float, more: str = "") -> None:
        """Print what was measured since the watch was made."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        ratio = f"target {target:g} s, ratio {wall / target:.2f}"
        print(f"{what:52} {wall:7.2f} s ({cpu:6.2f} s CPU)   {ratio}   {more}", flush=True)


def memory_mib() -> int:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def run_bench(url: str, tenants: int, pdfs: int) -> None:
    """Calculate and issue a run, and make its first documents, as the worker does."""
    async with make_pool(url) as pool:
        async with transaction(pool, SYSTEM) as conn:
            site = await loading.find_site(conn)
            await service.import_tariff(conn, site, parse_tariff(TARIFF).tariff, actor="bench", clock=CLOCK)
            policy = {"common": {"area": 1}, "approval": "automatic"}
            await service.set_policy(conn, site, policy, actor="bench", clock=CLOCK)
        before = memory_mib()
        async with transaction(pool, SYSTEM) as conn:
            watch = Watch()
            run_id = await service.calculate_run(conn, site, "2026-10", actor="bench", clock=CLOCK)
            more = (memory_mib() - before) * 1024 / tenants
            watch.report(
                f"bill run, {tenants} tenants x 3 meters x 1 month",
                5 * tenants / 500,
                f"{memory_mib()} MiB, {more:.0f} KiB more per tenant",
            )
            for step in (Step.REVIEW, Step.APPROVE, Step.ISSUE):
                await service.take_step(conn, run_id, step, actor=service.AUTOMATIC, clock=CLOCK)
        async with transaction(pool, SYSTEM) as conn:
            bills = (await service.get_run(conn, run_id))["bills"]
            first, second = [await service.get_bill(conn, b["id"]) for b in bills[:2]]
            bill_pdf(first)  # Reads the typeface, once per process.
            watch = Watch()
            bill_pdf(second)
            watch.report("one PDF, typeface loaded", 0.5)
            # The job works off what has no document yet: as many as asked for are left.
            kept = [b["id"] for b in bills if b["kind"] == "bill"][pdfs:]
            await conn.execute(
                "INSERT INTO bill_document (bill_id, organisation_id, tenant_id, content, sha256, made_at)"
                " SELECT id, organisation_id, tenant_id, '', '', now() FROM bill WHERE id = ANY(%s)",
                (kept,),
            )
        await documents_bench(Worker(pool=pool, clock=CLOCK, database_url=url), run_id)


async def documents_bench(worker: Worker, run_id: int) -> None:
    """Make the documents of an issued run in the background, and look at the progress meanwhile."""
    watch, seen = Watch(), set[int]()
    job = asyncio.create_task(documents.make_documents(worker, run_id))
    while not job.done():
        async with worker.transaction() as conn:
            seen.add((await running.progress(conn, run_id)).documents)
        await asyncio.wait({job}, timeout=0.5)
    made = await job
    watch.report(
        f"{made} PDFs in the background", 90 * made / 500, f"progress seen {len(seen)} times, {memory_mib()} MiB"
    )


def what_if_bench() -> None:
    """A year of 100 meters: energy per run as the database gives it, rated month by month."""
    folder = Path(service.__file__).parent / "tariffs"
    tariff = load_tariff(folder / "zhejiang-2026-demo.yaml").tariff
    calendar = built_in("CN")
    zone = ZoneInfo("Asia/Shanghai")
    watch = Watch()
    runs = timetable.cut(tariff, calendar, local_days(date(2026, 1, 1), date(2027, 1, 1), zone))
    cycles = months(date(2026, 1, 1), date(2027, 1, 1))
    by_month: dict[int, list[timetable.Run]] = {}
    for run in runs:
        by_month.setdefault(run.start.astimezone(zone).month, []).append(run)
    for _ in range(100):
        for cycle in cycles:
            usage = _usage(by_month[cycle.starts_on.month])
            rating.rate(tariff, cycle, usage)
    watch.report("what-if, 100 meters x 1 year, energy known", 10)


def _usage(runs: list[timetable.Run]) -> Usage:
    return Usage(slices=tuple(Slice(version=r.version, bucket=r.bucket, quantity=Decimal("12.345")) for r in runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=500)
    parser.add_argument("--pdfs", type=int, default=100)
    arguments = parser.parse_args()
    what_if_bench()
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(Path(folder), settings={"fsync": "off", "max_wal_size": "4GB"})
        server.start()
        try:
            addresses = server.addresses(DATABASE)
            bootstrap(server.addresses("postgres").superuser, DATABASE, server.passwords())
            migrate(addresses.owner)
            superuser = server.addresses(DATABASE).superuser
            print(f"building a site of {arguments.tenants} tenants …", flush=True)
            with psycopg.connect(superuser, autocommit=True) as conn:
                conn.execute(BUILD.replace("{tenants}", str(arguments.tenants)).replace("%%", "%").encode())
            asyncio.run(run_bench(addresses.app, arguments.tenants, arguments.pdfs))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
