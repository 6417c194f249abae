"""The balance of a branch of the meter tree: main = tenants + common + other + residual."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import MeterId
from cloud_api.kit.period import local_days
from cloud_api.metering import analysis
from cloud_api.metering.balance import Balance, BalanceState, Part, balance
from cloud_api.metering.model import Meter
from cloud_api.web.shared.charts import Series, TimeChart, chart_response
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import Page, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/balance")
NAV = NavItem(group="energy", order=15, label=N_("Energy balance"), href="/console/balance", icon="energy")

Days = Annotated[int, Query(ge=1, le=92)]
MeterChoice = Annotated[int, Query(ge=0)]


@router.get("")
async def show(page: StaffPage, meter: MeterChoice = 0, days: Days = 31) -> Response:
    """Show the equation of the period and of each day."""
    meters = await analysis.meters(page.conn)
    parents = {m.parent_meter_id for m in meters}
    branches = [m for m in meters if m.id in parents]
    if not branches:
        return page.render("console/balance.html", branches=[], branch=None, rows=[], whole=None, days=days)
    branch = next((m for m in branches if m.id == meter), branches[0])
    rows = await _rows(page, branch, days)
    return page.render(
        "console/balance.html",
        branches=branches,
        branch=branch,
        rows=list(reversed(rows)),
        whole=_whole(rows),
        days=days,
        unknown=sum(row.state is BalanceState.UNKNOWN for row in rows),
    )


@router.get("/days.json")
async def chart(page: StaffPage, meter: MeterChoice, days: Days = 31) -> Response:
    """Return the parts by day; a day without a verdict has no residual."""
    branch = await analysis.meter(page.conn, MeterId(meter))
    rows = await _rows(page, branch, days)

    def values(name: str) -> list[float | None]:
        return [None if (v := getattr(row, name)) is None else float(v) for row in rows]

    return chart_response(
        TimeChart(
            zone=branch.zone,
            unit="kWh",
            instants=[row.starts_at for row in rows],
            series=[
                Series(name=_("Tenants"), values=values("tenants"), style="bar", colour="cat-1"),
                Series(name=_("Common and plant"), values=values("common"), style="bar", colour="cat-3"),
                Series(name=_("Other meters"), values=values("other"), style="bar", colour="cat-5"),
                Series(name=_("Residual"), values=values("residual"), style="bar", colour="cat-7"),
            ],
            stacked=True,
        )
    )


async def _rows(page: Page, branch: Meter, days: int) -> list[Balance]:
    today = page.clock.now().astimezone(branch.zone).date()
    period = local_days(today - timedelta(days=days), today, branch.zone)
    return await analysis.branch_balance(page.conn, branch.id, period, by="day")


def _whole(rows: Sequence[Balance]) -> Balance | None:
    """Add up the days that have a verdict; days without one would spoil the equation."""
    known = [row for row in rows if row.state is not BalanceState.UNKNOWN]
    if not known:
        return None
    sums = {
        name: sum((getattr(row, name) for row in known), Decimal(0)) for name in ("main", "tenants", "common", "other")
    }
    parts = [
        Part(meter_id=n, use=use, quantity=sums[name])
        for n, (use, name) in enumerate((("tenant", "tenants"), ("common", "common"), ("floor", "other")))
    ]
    return balance(known[0].starts_at, sums["main"], parts)
