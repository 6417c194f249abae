"""Meters and their ledger: every quarter hour with its quality, and what people decided about it."""

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Response

from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import local_day, local_days, slots
from cloud_api.metering import analysis, corrections, exchanges, exports, service
from cloud_api.metering.analysis import DaySum
from cloud_api.metering.corrections import Author, Undoable
from cloud_api.metering.model import Meter
from cloud_api.web.shared.charts import HeatChart, Series, TimeChart, chart_response
from cloud_api.web.shared.forms import decimal, local_date, local_instant, optional_decimal
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/meters")
NAV = NavItem(group="energy", order=10, label=N_("Meters"), href="/console/meters", icon="meter")

Text = Annotated[str, Form(max_length=500)]
Short = Annotated[str, Form(max_length=60)]
_WEEKS = 27


@router.get("")
async def list_meters(page: StaffPage) -> Response:
    """List the meter tree with the energy of this month and how complete it is."""
    meters = await analysis.meters(page.conn)
    today = page.clock.now().astimezone(page.zone).date()
    month = local_days(today.replace(day=1), today, page.zone)
    energy = await service.energy_by_meter(page.conn, [m.id for m in meters], month)
    depth = _depths(meters)
    rows = [{"meter": m, "depth": depth[m.id], "energy": energy[m.id]} for m in meters]
    missing = sum(row["energy"].missing_count for row in rows)
    return page.render("console/meters.html", rows=rows, month=today, missing=missing)


@router.get("/{meter_id}")
async def meter(page: StaffPage, meter_id: int, day: Annotated[str, Query(max_length=10)] = "") -> Response:
    """Show a meter: half a year by day, one day by interval, registers, and what people decided."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    shown = local_date("day", day, page.clock.now().astimezone(found.zone).date())
    registers = await corrections.registers_of_meter(page.conn, found.id)
    energy_registers = [r for r in registers if r.quantity == analysis.ENERGY]
    intervals = await service.intervals(page.conn, [r.id for r in energy_registers], local_day(shown, found.zone))
    names = {r.id: r for r in registers}
    return page.render(
        "console/meter.html",
        meter=found,
        day=shown,
        before=shown - timedelta(days=1),
        after=shown + timedelta(days=1),
        registers=registers,
        current=next((r for r in energy_registers if r.closed_at is None), None),
        intervals=[{"interval": i, "register": names[i.register_id]} for i in intervals],
        total=sum((i.quantity for i in intervals), Decimal(0)) if intervals else None,
        qualities=Counter(i.quality for i in intervals),
        decisions=await corrections.decisions(page.conn, found.id),
        unit=energy_registers[0].unit if energy_registers else "kWh",
    )


@router.get("/{meter_id}/day.json")
async def day_chart(page: StaffPage, meter_id: int, day: Annotated[str, Query(max_length=10)]) -> Response:
    """Return one day's average power by interval, estimated and edited ones apart; what is not known stays a gap."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    shown = local_day(local_date("day", day, page.clock.now().date()), found.zone)
    intervals = {i.starts_at: i for i in await service.meter_intervals(page.conn, [found.id], shown)}
    factor = Decimal(60) / found.interval_minutes
    instants = [slot.start for slot in slots(shown, found.interval_minutes)]

    def values(*qualities: str) -> list[float | None]:
        return [
            float(intervals[at].quantity * factor) if at in intervals and intervals[at].quality in qualities else None
            for at in instants
        ]

    series = [Series(name=_("actual"), values=values("actual"), style="bar")]
    for name, quality, colour in ((_("estimated"), "estimated", "cat-2"), (_("edited"), "edited", "cat-5")):
        if any(v is not None for v in values(quality)):
            series.append(Series(name=name, values=values(quality), style="bar", colour=colour))
    return chart_response(
        TimeChart(
            zone=found.zone, unit="kW", instants=instants, series=series, stacked=True, start=shown.start, end=shown.end
        )
    )


@router.get("/{meter_id}/days.json")
async def calendar_chart(page: StaffPage, meter_id: int) -> Response:
    """Return half a year by day: a column per week, a row per weekday."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    today = page.clock.now().astimezone(found.zone).date()
    first = today - timedelta(days=today.weekday() + 7 * (_WEEKS - 1))
    days = await analysis.chart_by_day(page.conn, [found.id], first, today + timedelta(days=1))
    weekdays = [_("Mon"), _("Tue"), _("Wed"), _("Thu"), _("Fri"), _("Sat"), _("Sun")]
    return chart_response(
        HeatChart(
            unit="kWh",
            columns=[(first + timedelta(weeks=week)).strftime("%m-%d") for week in range(_WEEKS)],
            rows=weekdays,
            cells=[_cell(d, first) for d in days],
        )
    )


@router.get("/{meter_id}/export.{form}")
async def download(
    page: StaffPage,
    meter_id: int,
    form: exports.Format,
    day: Annotated[str, Query(max_length=10)] = "",
    days: Annotated[int, Query(ge=1, le=366)] = 31,
) -> Response:
    """Return the intervals of the days up to and including `day` as a file."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    last = local_date("day", day, page.clock.now().astimezone(found.zone).date())
    period = local_days(last - timedelta(days=days - 1), last + timedelta(days=1), found.zone)
    intervals = await analysis.virtual_intervals(page.conn, found.id, period)
    name = f"{found.code}-{last}.{form}"
    return Response(
        exports.export(found, intervals, form),
        media_type=exports.MEDIA_TYPES[form],
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"},
    )


@router.post("/{meter_id}/exchange")
async def exchange(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], at: Short, closing: Short, opening: Short,
    reason: Text, multiplier: Short = "",
) -> Response:  # fmt: skip
    """Close the register and open its successor."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    await exchanges.exchange(
        page.conn,
        _author(page, reason),
        RegisterId(register_id),
        at=local_instant("at", at, found.zone),
        closing=decimal("closing", closing),
        opening=decimal("opening", opening),
        multiplier=optional_decimal("multiplier", multiplier),
    )
    return _back(page, found, _("The meter is exchanged; the ledger follows within seconds."))


@router.post("/{meter_id}/readings")
async def add_reading(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], at: Short, value: Short, reason: Text
) -> Response:
    """Enter a reading taken by hand."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    await corrections.add_reading(
        page.conn,
        _author(page, reason),
        RegisterId(register_id),
        taken_at=local_instant("at", at, found.zone),
        value=decimal("value", value),
    )
    return _back(page, found, _("The reading is stored; the ledger follows within seconds."))


@router.post("/{meter_id}/multiplier")
async def change_multiplier(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], at: Short, multiplier: Short, reason: Text
) -> Response:
    """Apply another transformer ratio from an instant on."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    await corrections.change_multiplier(
        page.conn,
        _author(page, reason),
        RegisterId(register_id),
        at=local_instant("at", at, found.zone),
        multiplier=decimal("multiplier", multiplier),
    )
    return _back(page, found, _("The ratio applies; the ledger follows within seconds."))


@router.post("/{meter_id}/reset")
async def declare_reset(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], at: Short, start: Short, reason: Text,
    stop: Short = "",
) -> Response:  # fmt: skip
    """Say that the counter was set anew."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    await corrections.declare_reset(
        page.conn,
        _author(page, reason),
        RegisterId(register_id),
        at=local_instant("at", at, found.zone),
        stop=optional_decimal("stop", stop),
        start=decimal("start", start),
    )
    return _back(page, found, _("The reset is known; the ledger follows within seconds."))


@router.post("/{meter_id}/intervals")
async def edit_interval(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], at: Short, quantity: Short, reason: Text
) -> Response:
    """Decide one interval's quantity."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    starts_at = local_instant("at", at, found.zone)
    await corrections.edit_interval(
        page.conn,
        _author(page, reason),
        RegisterId(register_id),
        starts_at=starts_at,
        quantity=decimal("quantity", quantity),
    )
    return _back(
        page,
        found,
        _("The interval is edited; the ledger follows within seconds."),
        starts_at.astimezone(found.zone).date(),
    )


@router.post("/{meter_id}/undo")
async def undo(
    page: FacilitiesPage,
    meter_id: int,
    register_id: Annotated[int, Form()],
    kind: Annotated[Undoable, Form()],
    decision_id: Annotated[int, Form()],
    reason: Text,
) -> Response:
    """Take a decision back."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    await corrections.undo(
        page.conn, _author(page, reason), RegisterId(register_id), kind=kind, decision_id=decision_id
    )
    return _back(page, found, _("The decision is undone; the ledger follows within seconds."))


def _author(page: Page, reason: str) -> Author:
    return Author(viewer=page.viewer, clock=page.clock, reason=reason)


def _back(page: Page, meter: Meter, notice: str, day: date | None = None) -> Response:
    return page.redirect(f"/console/meters/{meter.id}" + (f"?day={day}" if day else ""), notice=notice)


def _depths(meters: list[Meter]) -> dict[MeterId, int]:
    depths: dict[MeterId, int] = {}
    for meter in meters:  # Parents stand before their children.
        depths[meter.id] = depths.get(meter.parent_meter_id, -1) + 1 if meter.parent_meter_id else 0
    return depths


def _cell(day: DaySum, first: date) -> tuple[int, int, float | None]:
    offset = (day.day - first).days
    return offset // 7, offset % 7, float(day.quantity) if not day.missing_count else None
