"""The first page: what the building does now, for the wall and the desk."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response

from cloud_api.alarms import service as alarms
from cloud_api.alarms.model import AlarmId
from cloud_api.devices import service as devices
from cloud_api.identity.model import StaffViewer
from cloud_api.kit.errors import NotFound
from cloud_api.kit.i18n import format_number
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import after_hours
from cloud_api.occupancy import service as occupancy
from cloud_api.operations.overview import service
from cloud_api.operations.overview.model import MeterNow, PointNow, RoomNow, Site, TenantNow, Today
from cloud_api.operations.overview.money import figures
from cloud_api.web.console.devices import gateway_health
from cloud_api.web.shared.charts import Limit, Series, TimeChart, chart_response
from cloud_api.web.shared.live import STALE_AFTER_S, LiveValue, live_url
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console")
NAV = NavItem(group="live", order=10, label=N_("Overview"), href="/console", icon="home")

KILO = 0.001  # Points speak in W, pages in kW.
CO2_HIGH_PPM = 1000.0  # GB/T 18883-2022: the limit for indoor air.
ALARMS_SHOWN = 6
ROOMS_SHOWN = 10
GATEWAYS_SHOWN = 5  # The silent ones first.


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a list: a thing and its moving value."""

    thing: MeterNow | TenantNow
    value: LiveValue


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRow:
    """A room with its air."""

    thing: RoomNow
    temperature: LiveValue | None
    co2: LiveValue | None


@router.get("")
async def overview(page: StaffPage) -> Response:
    """Show the page; without a site, what to do to get one."""
    now = page.clock.now()
    try:
        shown = await service.overview(page.conn, now)
    except NotFound:
        return page.render("console/no_site.html")
    today = await service.today(page.conn, now)
    total = _live([m.power for m in shown.meters_of("main")], now)
    floors = [Row(thing=m, value=_live([m.power], now)) for m in shown.meters_of("floor")]
    tenants = _by_power([Row(thing=t, value=_live(t.power, now)) for t in shown.tenants])
    rooms = _stuffiest_first([_room(room, now) for room in shown.rooms])
    outdoor = _live([shown.outdoor_temperature], now, factor=1)
    in_rooms = [value for room in rooms for value in (room.temperature, room.co2)]
    return page.render(
        "console/overview.html",
        overview=shown,
        today=today,
        comparison=_comparison(today),
        total=total,
        floors=floors,
        tenants=tenants,
        rooms=rooms,
        outdoor=outdoor,
        co2_high=CO2_HIGH_PPM,
        rooms_shown=ROOMS_SHOWN,
        figures=await figures(page.conn, shown.site, shown.meters_of("main"), now),
        booked=await after_hours.booked(page.conn, page.viewer.organisation_id, now),
        stream=live_url("/console/live", [total, outdoor, *(r.value for r in (*floors, *tenants)), *in_rooms]),
        **await health(page, shown.site),
        **await alarm_strip(page),
    )


@router.get("/overview/alarms")
async def overview_alarms(page: StaffPage) -> Response:
    """Draw the alarm list anew when one changes."""
    return page.render("console/overview_alarms.html", **await alarm_strip(page))


@router.get("/overview/health")
async def overview_health(page: StaffPage) -> Response:
    """Draw people and device health anew."""
    return page.render("console/overview_health.html", **await health(page, await service.site(page.conn)))


@router.post("/overview/alarms/{alarm_id}/acknowledge")
async def acknowledge(page: FacilitiesPage, alarm_id: int) -> Response:
    """Record that the viewer has seen an alarm; htmx gets the list, others the page."""
    await alarms.acknowledge(page.conn, page.clock, AlarmId(alarm_id), actor=page.viewer.login)
    if "HX-Request" in page.request.headers:
        return page.render("console/overview_alarms.html", **await alarm_strip(page))
    return page.redirect("/console")


@router.get("/overview/today.json")
async def today_chart(page: StaffPage) -> Response:
    """Return today's curve over the band of similar days."""
    where = await service.site(page.conn)
    today = await service.today(page.conn, page.clock.now())
    slots = today.slots if today else ()
    with_band = [slot.low_kw is not None and slot.high_kw is not None for slot in slots]
    low = [slot.low_kw if known else None for slot, known in zip(slots, with_band, strict=True)]
    height = [
        slot.high_kw - slot.low_kw if slot.high_kw is not None and slot.low_kw is not None else None for slot in slots
    ]
    contract = where.contract_demand_kw
    return chart_response(
        TimeChart(
            zone=where.zone,
            unit="kW",
            instants=[slot.starts_at for slot in slots],
            series=[
                Series(name=_("Similar days, lowest"), values=low, style="band-low", colour="cat-8"),
                Series(name=_("Similar days"), values=height, style="band-high", colour="cat-8"),
                Series(name=_("Today"), values=[slot.power_kw for slot in slots], colour="cat-1"),
            ],
            limits=[Limit(name=_("Contract"), value=float(contract))] if contract else (),
        )
    )


async def alarm_strip(page: Page[StaffViewer]) -> dict[str, Any]:
    """Return what the alarm list shows: the worst first, and the counts by severity."""
    counts = await alarms.open_counts(page.conn)
    return {
        "alarms": await alarms.open_alarms(page.conn, limit=ALARMS_SHOWN),
        "alarm_counts": counts,
        "alarm_count": sum(counts.values()),
    }


async def health(page: Page[StaffViewer], where: Site) -> dict[str, Any]:
    """Return who is in, and which gateways and devices answer."""
    now = page.clock.now()
    gateways = [gateway_health(g, now) for g in await devices.gateways(page.conn)]
    return {
        "people": await occupancy.people_now(page.conn, where.id, where.zone, now),
        "gateways": sorted(gateways, key=lambda g: g["is_heard"])[:GATEWAYS_SHOWN],
        "gateways_more": max(0, len(gateways) - GATEWAYS_SHOWN),
        "gateways_heard": sum(g["is_heard"] for g in gateways),
        "devices_total": sum(g["device_count"] for g in gateways),
        "devices_silent": sum(g["offline_count"] for g in gateways),
    }


def _comparison(today: Today | None) -> tuple[str, str] | None:
    """Return today's energy against similar days: the share in per cent, and whether it is more, less or the same."""
    if today is None or today.energy_kwh is None or not today.similar_energy_kwh:
        return None
    share = today.energy_kwh / today.similar_energy_kwh - 1
    percent = format_number(abs(share) * 100)
    return percent, "same" if percent == "0" else "more" if share > 0 else "less"


def _live(points: Sequence[PointNow | None], now: datetime, *, factor: float = KILO) -> LiveValue:
    known = [point for point in points if point is not None]
    stale_after_s = max((point.stale_after_s for point in known), default=STALE_AFTER_S)
    return LiveValue(parts=known, now=now, factor=factor, stale_after_s=stale_after_s)


def _by_power(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -(row.value.amount or 0.0))


def _stuffiest_first(rooms: list[RoomRow]) -> list[RoomRow]:
    known = [row for row in rooms if (row.co2 and row.co2.parts) or (row.temperature and row.temperature.parts)]
    return sorted(known, key=lambda row: -((row.co2.amount if row.co2 else None) or 0.0))


def _room(room: RoomNow, now: datetime) -> RoomRow:
    values = {role: _live([point], now, factor=1) for role, point in room.points.items()}
    return RoomRow(thing=room, temperature=values.get("zone_temp"), co2=values.get("co2"))
