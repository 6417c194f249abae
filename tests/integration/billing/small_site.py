"""A small site with known truth: every kWh of every quarter of an hour is chosen here, and written as readings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from cloud_api.billing import service as billing
from cloud_api.billing.inputs import find_site
from cloud_api.billing.tariff_file import parse_tariff
from cloud_api.kit.clock import Clock, fixed_clock
from cloud_api.leasing import service as leasing
from cloud_api.leasing.import_file import Parsed, parse_leases, parse_tenants
from cloud_api.metering.recompute import recompute_due
from cloud_api.operations.site_import import service as site_import
from cloud_api.operations.site_import.model import EstateFile

ZONE = ZoneInfo("Asia/Shanghai")
CLOCK = fixed_clock(datetime(2026, 11, 10, 2, 0, tzinfo=UTC))
QUARTER = timedelta(minutes=15)
Truth = Callable[[str, datetime], Decimal]

TARIFF = """
tariff: test-tou
name: {zh: 测试电价, en: Test tariff}
holiday_calendar: CN
versions:
  - version: v1
    valid_from: 2020-01-01
    day_types: [{code: off, when: {kind: [weekend, holiday]}}, {code: work}]
    windows:
      - {day_type: work, bucket: valley, hours: ["00:00-08:00"]}
      - {day_type: work, bucket: peak, hours: ["08:00-24:00"]}
      - {day_type: off, bucket: valley, hours: ["00:00-24:00"]}
    components:
      - {code: energy, name: {zh: 电量, en: Energy}, kind: energy, prices: {valley: 0.31, peak: 1.07}, vat_rate: 0.13}
      - {code: funds, name: {zh: 基金, en: Funds}, kind: energy, price: 0.0292, vat_rate: 0.13}
"""


def estate(
    tenant_meters: dict[str, list[str]], *, areas: dict[str, int], nested: dict[str, str] | None = None
) -> EstateFile:
    """One building with one floor; `meter -> spaces it serves`, a main and a common meter."""

    def meter(code, role, serves, parent="main"):
        registers = {"active_energy_import": {"point": f"{code}/active_energy_import", "unit": "kWh"}}
        name = {"zh": code, "en": code}
        return {"code": code, "name": name, "role": role, "serves": serves, "parent": parent, "registers": registers}

    spaces: list[dict[str, Any]] = [
        {"code": c, "kind": "tenant", "name": {"zh": c, "en": c}, "area_m2": a} for c, a in areas.items()
    ]
    spaces.append({"code": "hall", "kind": "common", "name": {"zh": "大堂", "en": "Hall"}, "area_m2": 50})
    meters = [meter("main", "main", [], None), meter("common", "common", ["hall"])]
    meters += [meter(c, "tenant", s, (nested or {}).get(c, "main")) for c, s in tenant_meters.items()]
    floor = {"code": "1F", "level_number": 0, "name": {"zh": "一层", "en": "Ground"}, "spaces": spaces}
    return EstateFile.model_validate({
        "organisation": {"code": "park", "name": {"zh": "园区", "en": "Park"}},
        "site": {"code": "park", "name": {"zh": "园区", "en": "Park"}},
        "buildings": [{"code": "b1", "name": {"zh": "一号楼", "en": "Building 1"}, "floors": [floor]}],
        "meters": meters,
    })  # fmt: skip


@dataclass
class SmallSite:
    conn: AsyncConnection
    site: Any = None
    truth: dict[tuple[str, datetime], Decimal] = field(default_factory=dict)

    async def build(
        self, file: EstateFile, leases: list[tuple[str, str, str, str, str]], *, tariff: str = TARIFF, **policy: Any
    ) -> None:
        await site_import.import_estate(self.conn, file, actor="test", clock=CLOCK)
        site = await leasing.find_site(self.conn)
        parsed = Parsed()
        codes = sorted({row[1] for row in leases})
        parse_tenants([{"tenant": c, "name_zh": f"租户{c}", "name_en": f"Tenant {c}"} for c in codes], parsed)
        keys = ("lease", "tenant", "space", "first_day", "last_day")
        parse_leases([dict(zip(keys, row, strict=True)) for row in leases], parsed)
        await leasing.import_leases(self.conn, site, parsed, source="test", actor="test", clock=CLOCK)
        self.site = await find_site(self.conn)
        await billing.import_tariff(self.conn, self.site, parse_tariff(tariff).tariff, actor="test", clock=CLOCK)
        await billing.set_policy(self.conn, self.site, {"approval": "automatic"} | policy, actor="test", clock=CLOCK)

    async def meter(
        self,
        code: str,
        first: str,
        after: str,
        kwh: Callable[[datetime], Decimal],
        *,
        start: str = "1000",
        skip=lambda at: False,
    ) -> None:
        """Write a register's readings every quarter of an hour from local `first` to `after`, and remember the truth."""
        at = datetime.fromisoformat(first).replace(tzinfo=ZONE).astimezone(UTC)
        stop = datetime.fromisoformat(after).replace(tzinfo=ZONE).astimezone(UTC)
        value = Decimal(start)
        instants, values = [at], [value]
        while at < stop:
            quantity = kwh(at)
            self.truth[code, at] = quantity
            at += QUARTER
            value += quantity
            if not skip(at):
                instants.append(at)
                values.append(value)
        await self.conn.execute(
            "INSERT INTO reading (register_id, taken_at, value, source, received_at)"
            " SELECT r.id, t.at, t.value, 'import', t.at FROM register r JOIN meter m ON m.id = r.meter_id,"
            " unnest(%s::timestamptz[], %s::numeric[]) AS t(at, value) WHERE m.code = %s AND r.open_period @> t.at",
            (instants, values, code),
        )

    async def main_is_sum_of(
        self, codes: list[str], first: str, after: str, *, loss: Decimal = Decimal("0.02")
    ) -> None:
        """The main meter counts the others and a loss per quarter."""
        await self.meter(
            "main", first, after, lambda at: sum((self.truth.get((c, at), Decimal(0)) for c in codes), loss)
        )

    async def settle(self, clock: Clock = CLOCK) -> None:
        while (await recompute_due(self.conn, clock)).registers:
            pass

    async def run(self, month: str = "2026-10", *, issue: bool = False) -> dict[str, Any]:
        await self.settle()
        step = billing.run_and_issue if issue else billing.calculate_run
        run_id = await step(self.conn, self.site, month, actor="preparer", clock=CLOCK)
        return await billing.get_run(self.conn, run_id)

    async def bill(self, run: dict[str, Any], tenant: str) -> dict[str, Any]:
        (row,) = [b for b in run["bills"] if b["tenant_code"] == tenant]
        return await billing.get_bill(self.conn, row["id"])


def day(text: str) -> date:
    return date.fromisoformat(text)


def brute_force(
    site: SmallSite,
    code: str,
    first: str,
    after: str,
    *,
    work=(Decimal("0.31"), Decimal("1.07")),
    share=Decimal(1),
    holidays=(),
) -> dict[str, Decimal]:
    """Price the truth quarter by quarter, by rules written down again from the tariff's text; bucket → kWh."""
    at = datetime.fromisoformat(first).replace(tzinfo=ZONE)
    stop = datetime.fromisoformat(after).replace(tzinfo=ZONE)
    found = {"valley": Decimal(0), "peak": Decimal(0)}
    while at < stop:
        is_off = (at.weekday() >= 5 or at.date() in holidays) and at.date() != day("2026-10-10")
        bucket = "valley" if is_off or at.hour < 8 else "peak"
        found[bucket] += site.truth.get((code, at.astimezone(UTC)), Decimal(0)) * share
        at += QUARTER
    return found
