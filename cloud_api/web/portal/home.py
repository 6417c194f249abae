"""The tenant's first page: the month so far, its days, power now."""

from datetime import date, timedelta
from decimal import Decimal

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from cloud_api.billing import service as billing
from cloud_api.db.pool import transaction
from cloud_api.db.request import clock_of, pool_of
from cloud_api.kit.i18n import format_about, format_day, format_number, format_short_day, in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.period import local_day, slots
from cloud_api.leasing import after_hours, notices
from cloud_api.operations.prepaid import service as prepaid
from cloud_api.operations.tenant_usage import service
from cloud_api.operations.tenant_usage.model import Month
from cloud_api.web.shared.charts import CategoryChart, Series, TimeChart, chart_response
from cloud_api.web.shared.live import LiveValue, stream
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.notice_kinds import KINDS
from cloud_api.web.shared.page import LiveTenant, PortalPage, zone_of
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/portal")
NAV = NavItem(group="portal", order=10, label=N_("Home"), href="/portal", icon="home")

DAY_MINUTES = 15
NOTICES_SHOWN = 3
REASONS = {
    "calendar": N_("more or fewer working days"),
    "office_hours": N_("office hours of working days"),
    "nights": N_("evenings and nights of working days"),
    "days_off": N_("weekends and holidays"),
}


@router.get("")
async def home(page: PortalPage) -> Response:
    """Show what the tenant's people came for: the month so far and where it is heading."""
    now = page.clock.now()
    today = now.astimezone(page.zone).date()
    month = await service.access_month(page.conn, page.viewer, now, page.zone)
    power = await service.access_power(page.conn, page.viewer, now, page.zone)
    why = await service.access_reasons(page.conn, page.viewer, now, page.zone)
    viewer = page.viewer
    booked = await after_hours.booked(page.conn, viewer.organisation_id, now, 36, tenant_id=viewer.tenant_id)
    bills = await billing.bills_of_tenant(page.conn, viewer.tenant_id)
    return page.render(
        "portal/home.html",
        tenant=await service.access_tenant(page.conn, page.viewer, today),
        month=month,
        answers=_answers(month),
        bill=next((b for b in bills if b["kind"] != "credit_note"), None),
        reasons=[(REASONS[r.code], r.energy_kwh) for r in why],
        notices=await notices.shown_on(page.conn, viewer.organisation_id, today, limit=NOTICES_SHOWN),
        kinds=KINDS,
        booked=booked,
        prepaid=await prepaid.account(page.conn, page.viewer.tenant_id, today),
        power=LiveValue(parts=power, now=now, factor=0.001),
        yesterday=today - timedelta(days=1),
        today=today,
    )


@router.get("/live")
async def live(request: Request, viewer: LiveTenant) -> StreamingResponse:
    """Stream the power of the tenant's own meters, and nothing else."""
    async with transaction(pool_of(request), viewer.scope) as conn:
        own = await service.access_power(conn, viewer, clock_of(request).now(), zone_of(request))
    return stream(request, frozenset(point.point_id for point in own), ())


@router.get("/usage/days.json")
async def days_chart(page: PortalPage) -> Response:
    """Return the month's days as bars."""
    month = await service.access_month(page.conn, page.viewer, page.clock.now(), page.zone)
    return chart_response(
        CategoryChart(
            unit="kWh",
            categories=[format_short_day(day.day) for day in month.days],
            series=_by_period(month) or [_whole(month)],
            stacked=True,
        )
    )


@router.get("/usage/{day}")
async def day(page: PortalPage, day: date) -> Response:
    """Show one day by quarter hours."""
    rows = await service.access_day(page.conn, page.viewer, day, page.zone)
    return page.render(
        "portal/day.html",
        day=day,
        energy_kwh=sum((row.energy_kwh for row in rows), Decimal(0)) if rows else None,
        is_estimated=any(row.is_estimated for row in rows),
        before=day - timedelta(days=1),
        after=day + timedelta(days=1) if day < page.clock.now().astimezone(page.zone).date() else None,
    )


@router.get("/usage/{day}/course.json")
async def day_chart(page: PortalPage, day: date) -> Response:
    """Return one day's quarter hours; what is not known stays a gap."""
    rows = {r.starts_at: r for r in await service.access_day(page.conn, page.viewer, day, page.zone)}
    whole = local_day(day, page.zone)
    starts = [slot.start for slot in slots(whole, DAY_MINUTES)]
    values = [float(rows[at].energy_kwh) if at in rows and rows[at].is_known else None for at in starts]
    return chart_response(
        TimeChart(
            zone=page.zone,
            unit="kWh",
            instants=starts,
            series=[Series(name=format_day(day), values=values, style="bar")],
            decimals=2,
            start=whole.start,
            end=whole.end,
        )
    )


def _by_period(month: Month) -> list[Series]:
    return [
        Series(
            name=in_language(zh, en),
            values=[float(day.by_period.get(code, 0)) for day in month.days],
            style="bar",
            colour=f"tou-{code}",
        )
        for code, (zh, en) in month.period_names.items()
        if any(code in day.by_period for day in month.days)
    ]


def _whole(month: Month) -> Series:
    return Series(name=_("Energy"), values=[float(day.energy_kwh) for day in month.days], style="bar")


def _answers(month: Month) -> list[str]:
    """Say where the month is heading and how it compares."""
    found = []
    if month.cost_low is not None and month.cost_high is not None:
        low, high = format_about(month.cost_low), format_about(month.cost_high)
        found.append(_("heading for {low} to {high}", low=low, high=high))
    if month.cost is not None:
        found.append(_("{energy} kWh so far", energy=format_number(month.energy_kwh)))
    elif month.low_kwh is not None and month.high_kwh is not None:
        low, high = format_number(month.low_kwh), format_number(month.high_kwh)
        found.append(_("heading for {low}–{high} kWh", low=low, high=high))
    if month.before_kwh:
        share = month.until_yesterday_kwh / month.before_kwh - 1
        percent = f"{format_number(abs(share) * 100)} %"
        if share >= 0:
            found.append(_("{share} more than last month until yesterday", share=percent))
        else:
            found.append(_("{share} less than last month until yesterday", share=percent))
    return found
