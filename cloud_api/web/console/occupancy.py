"""People: how many came, on which floors, and what energy that was per person."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.period import Period, local_day, slots
from cloud_api.leasing import service as leasing
from cloud_api.leasing.service import Site
from cloud_api.metering import analysis
from cloud_api.metering import service as metering
from cloud_api.occupancy import service
from cloud_api.occupancy.privacy import PRIVACY_FLOOR
from cloud_api.web.shared.charts import Series, TimeChart, chart_response
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/occupancy")
NAV = NavItem(group="live", order=50, label=N_("People"), href="/console/occupancy", icon="people")

Day = Annotated[date | None, Query()]
SiteCode = Annotated[str | None, Query(max_length=40)]


@router.get("")
async def show(page: StaffPage, day: Day = None, site: SiteCode = None) -> Response:
    """Show one day: people by floor and by hour, and energy per person."""
    now = page.clock.now()
    where, every = await leasing.shown_site(page.conn, site)
    today = now.astimezone(where.zone).date()
    shown = day or today
    people = await service.people_day(page.conn, where.id, where.zone, shown)
    whole = local_day(shown, where.zone)
    energy = await _main_kwh(page, where, Period(whole.start, max(whole.start, min(whole.end, now))))
    return page.render(
        "console/occupancy.html",
        people=people,
        site=where,
        sites=every,
        now_in=await service.people_now(page.conn, where.id, where.zone, now) if shown == today else None,
        energy_kwh=energy,
        per_person_kwh=energy / people.people if energy is not None and people.people else None,
        tenants=await service.tenants_day(page.conn, where.id, where.zone, shown),
        without_right=await service.entries_without_right(page.conn, where.id, where.zone, now),
        privacy_floor=PRIVACY_FLOOR,
        answer=_answer(people.people),
        before=shown - timedelta(days=1),
        after=shown + timedelta(days=1) if shown < today else None,
    )


@router.get("/hours.json")
async def hours(page: StaffPage, day: Day = None, site: SiteCode = None) -> Response:
    """Return entries by hour; hours with too few people are gaps."""
    where, _every = await leasing.shown_site(page.conn, site)
    shown = day or page.clock.now().astimezone(where.zone).date()
    people = await service.people_day(page.conn, where.id, where.zone, shown)
    found = {hour.starts_at: hour.entries for hour in people.hours}
    whole = local_day(shown, where.zone)
    starts = [slot.start for slot in slots(whole, 60)]
    return chart_response(
        TimeChart(
            zone=where.zone,
            unit=_("entries"),
            instants=starts,
            series=[Series(name=_("Entries"), values=[found.get(at, 0) for at in starts], style="bar")],
            decimals=0,
            start=whole.start,
            end=whole.end,
        )
    )


async def _main_kwh(page: StaffPage, site: Site, period: Period) -> Decimal | None:
    ids = [m.id for m in await analysis.meters(page.conn)
           if m.site_id == site.id and m.use == "main" and m.utility == "electricity"]  # fmt: skip
    found = await metering.energy_by_meter(page.conn, ids, period)
    known = [energy.quantity for energy in found.values() if energy.interval_count]
    return sum(known, Decimal(0)) if known else None


def _answer(people: int | None) -> str:
    if people is None:
        return _("Too few people to be shown.")
    return ngettext("One person was let in.", "{count} different people were let in.", people)
