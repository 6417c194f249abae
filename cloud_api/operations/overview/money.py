"""What the building's energy costs today and how high its demand was this month: figures of the first page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from psycopg import AsyncConnection

from cloud_api.kit.period import Period, local_day, local_days
from cloud_api.metering import analysis
from cloud_api.metering import service as metering
from cloud_api.operations.overview.model import MeterNow, Site
from cloud_api.operations.tenant_usage.model import UsedInterval
from cloud_api.operations.tenant_usage.pricing import load_pricing


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Cost of the main meters today by the tenants' tariff, and the highest demand of the month; None: unknown."""

    cost_today: Decimal | None
    demand_kw: Decimal | None
    demand_at: datetime | None
    contract_kw: Decimal | None

    @property
    def of_contract(self) -> Decimal | None:
        """Return the month's demand as a share of the contract."""
        return self.demand_kw / self.contract_kw if self.demand_kw is not None and self.contract_kw else None


async def figures(conn: AsyncConnection, site: Site, mains: Sequence[MeterNow], now: datetime) -> Figures:
    """Return the figures of a site."""
    today = now.astimezone(site.zone).date()
    ids = [meter.id for meter in mains]
    month = Period(local_days(today.replace(day=1), today, site.zone).start, now)
    peaks = (await analysis.demand(conn, ids, month)).values()
    highest = max((p for p in peaks if p.power_kw is not None), key=lambda p: p.power_kw or 0, default=None)
    return Figures(
        cost_today=await _cost(conn, ids, Period(local_day(today, site.zone).start, now)),
        demand_kw=None if highest is None else highest.power_kw,
        demand_at=None if highest is None else highest.starts_at,
        contract_kw=site.contract_demand_kw,
    )


async def _cost(conn: AsyncConnection, ids: Sequence[int], period: Period) -> Decimal | None:
    pricing = await load_pricing(conn, period)
    found = await metering.meter_intervals(conn, list(ids), period)  # pyright: ignore[reportArgumentType]
    if pricing is None or not found:
        return None
    by_start: dict[datetime, UsedInterval] = {}
    for one in found:
        before = by_start.get(one.starts_at)
        by_start[one.starts_at] = UsedInterval(
            starts_at=one.starts_at,
            ends_at=one.ends_at,
            energy_kwh=one.quantity + (before.energy_kwh if before else 0),
            is_known=True,
            is_estimated=False,
        )
    return pricing.cost_of([by_start[at] for at in sorted(by_start)])
