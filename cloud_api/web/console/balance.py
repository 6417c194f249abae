"""The balance of a branch of the meter tree: main = tenants + common + other + residual."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud_api.kit.i18n import format_short_day
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import MeterId
from cloud_api.kit.period import Period, local_days
from cloud_api.metering import analysis
from cloud_api.metering.balance import (
    BLOCK_NEGATIVE_SHARE,
    BLOCK_SHARE,
    WARN_SHARE,
    Balance,
    BalanceState,
    Part,
    balance,
)
from cloud_api.metering.model import Meter
from cloud_api.web.shared.charts import CategoryChart, Limit, Series, chart_response
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
    by_id = {m.id: m for m in meters}
    found = await analysis.branch_suspects(page.conn, branch.id, _period(page, branch, days))
    return page.render(
        "console/balance.html",
        branches=branches,
        branch=branch,
        rows=list(reversed(rows)),
        whole=_whole(rows),
        days=days,
        suspects=[{"suspect": s, "meter": by_id[MeterId(s.meter_id)]} for s in found],
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
        CategoryChart(
            unit="kWh",
            categories=_days(branch, rows),
            series=[
                Series(name=_("Tenants"), values=values("tenants"), style="bar", colour="cat-1"),
                Series(name=_("Common and plant"), values=values("common"), style="bar", colour="cat-3"),
                Series(name=_("Other meters"), values=values("other"), style="bar", colour="cat-5"),
                Series(name=_("Residual"), values=values("residual"), style="bar", colour="cat-7"),
            ],
            stacked=True,
        )
    )


@router.get("/trend.json")
async def trend(page: StaffPage, meter: MeterChoice, days: Days = 31) -> Response:
    """Return the residual as a share of the main meter by day, with the limits it is judged by."""
    branch = await analysis.meter(page.conn, MeterId(meter))
    rows = await _rows(page, branch, days)
    shares = [None if row.share is None else float(row.share * 100) for row in rows]
    limits = ((_("look at it"), WARN_SHARE), (_("does not balance"), BLOCK_SHARE), (_("lowest"), BLOCK_NEGATIVE_SHARE))
    return chart_response(
        CategoryChart(
            unit="%",
            decimals=2,
            categories=_days(branch, rows),
            series=[Series(name=_("Residual"), values=shares, colour="cat-1")],
            limits=[Limit(name=name, value=float(share * 100)) for name, share in limits],
            from_zero=False,
        )
    )


def _days(branch: Meter, rows: Sequence[Balance]) -> list[str]:
    """Return the local days of the site: a day is a name here, not an instant."""
    return [format_short_day(row.starts_at.astimezone(branch.zone).date()) for row in rows]


async def _rows(page: Page, branch: Meter, days: int) -> list[Balance]:
    return await analysis.branch_balance(page.conn, branch.id, _period(page, branch, days), by="day")


def _period(page: Page, branch: Meter, days: int) -> Period:
    today = page.clock.now().astimezone(branch.zone).date()
    return local_days(today - timedelta(days=days), today, branch.zone)


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
