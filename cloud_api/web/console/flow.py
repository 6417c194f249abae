"""Energy flow: from the main meter to floors, tenants, common areas and plant."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Response

from cloud_api.kit.i18n import format_number
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.period import Period, local_days
from cloud_api.operations.energy_flow import service
from cloud_api.operations.energy_flow.flow import Flow
from cloud_api.web.shared.charts import FlowChart, chart_response
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import named

router = APIRouter(prefix="/console/flow")
NAV = NavItem(group="energy", order=20, label=N_("Energy flow"), href="/console/flow", icon="flow")

Span = Annotated[Literal["today", "yesterday", "week", "month"], Query()]
SPANS = {"today": N_("Today"), "yesterday": N_("Yesterday"), "week": N_("Last 7 days"), "month": N_("This month")}
# One colour per use of a meter, the same in every chart.
COLOURS = {"main": "muted", "floor": "cat-8", "tenant": "cat-1", "common": "cat-2", "plant": "cat-3", "check": "cat-4"}


@router.get("")
async def show(page: StaffPage, span: Span = "yesterday") -> Response:
    """Show where the energy went, and what does not add up."""
    found = await service.energy_flow(page.conn, _period(span, page.clock.now(), page.zone))
    return page.render("console/flow.html", span=span, spans=SPANS, flow=found, answer=_answer(found))


@router.get("/chart.json")
async def chart(page: StaffPage, span: Span = "yesterday") -> Response:
    """Return the flows as a Sankey chart."""
    found = await service.energy_flow(page.conn, _period(span, page.clock.now(), page.zone))
    nodes: dict[str, str | None] = {}
    links = []
    for link in found.links:
        source, target = named(link.source), named(link.to) if link.to else _("Losses and unmetered")
        nodes.setdefault(source, COLOURS.get(link.source.use))
        nodes.setdefault(target, COLOURS.get(link.to.use) if link.to else "line-strong")
        links.append((source, target, float(link.energy_kwh)))
    return chart_response(FlowChart(unit="kWh", nodes=list(nodes.items()), links=links))


def _period(span: str, now: datetime, zone: ZoneInfo) -> Period:
    """Cut the wanted local days; today ends with the last whole quarter hour."""
    today = now.astimezone(zone).date()
    first, after = {
        "today": (today, today),
        "yesterday": (today - timedelta(days=1), today),
        "week": (today - timedelta(days=7), today),
        "month": (today.replace(day=1), today),
    }[span]
    period = local_days(first, after, zone)
    if span not in {"today", "month"}:
        return period
    quarter = now.replace(minute=now.minute - now.minute % 15, second=0, microsecond=0)
    return Period(period.start, max(period.start, quarter))


def _answer(found: Flow) -> str:
    if found.total_kwh is None:
        return _("The ledger has nothing for this period yet.")
    share = f"{format_number(100 * found.lost_kwh / found.total_kwh, 1)} %" if found.total_kwh else "–"
    return _(
        "{total} kWh came in; {share} of it is losses or what no meter counts.",
        total=format_number(found.total_kwh),
        share=share,
    )
