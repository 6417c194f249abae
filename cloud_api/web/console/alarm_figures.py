"""The figures of the alarm system: whether people can live with it, and what makes them not."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud_api.alarms import detail, figures
from cloud_api.web.shared.charts import CategoryChart, Series, chart_response
from cloud_api.web.shared.page import StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/alarm-figures")


@router.get("")
async def show(page: StaffPage, days: Annotated[int, Query(ge=1, le=366)] = 30) -> Response:
    """Show the figures of ISA-18.2 / IEC 62682 with their limits, and the most frequent alarms."""
    end = page.clock.now()
    found = await figures.report(page.conn, end - timedelta(days=days), end)
    over = sum(f.state in {"warning", "critical"} for f in found.figures)
    answer = (
        ngettext("One figure is beyond its limit.", "{count} figures are beyond their limits.", over)
        if over
        else _("All figures are within their limits.")
    )
    rules = {rule for rule, _name, _count, _share in found.top} | {cost.rule for cost in found.dearest}
    titles = {rule: detail.title_of(rule, page.language) for rule in rules}
    return page.render(
        "console/alarm_figures.html", found=found, days=days, answer=answer, labels=_labels(), titles=titles
    )


@router.get("/by-day.json")
async def by_day(page: StaffPage, days: Annotated[int, Query(ge=1, le=366)] = 30) -> Response:
    """Return how many alarms were announced per day."""
    end = page.clock.now()
    found = await figures.report(page.conn, end - timedelta(days=days), end)
    return chart_response(
        CategoryChart(
            unit="",
            categories=[at.astimezone(page.zone).strftime("%m-%d") for at, _count in found.by_day],
            series=[Series(name=_("Alarms"), values=[count for _at, count in found.by_day], style="bar")],
            decimals=0,
        )
    )


def _labels() -> dict[str, str]:
    return {
        "per_day": _("Alarms per day"),
        "per_hour": _("Alarms per hour"),
        "per_ten_minutes": _("Alarms per 10 minutes"),
        "hours_above_30": _("Hours with more than 30 alarms"),
        "slots_above_10": _("10-minute periods with more than 10 alarms"),
        "peak": _("Most alarms in 10 minutes"),
        "in_flood": _("Time in flood"),
        "top_share": _("Share of the 10 most frequent"),
        "chattering": _("Chattering alarms"),
        "stale": _("Active for more than 24 hours"),
        "to_acknowledge": _("Time to acknowledge (median)"),
        "to_clear": _("Time to repair (median)"),
    }
