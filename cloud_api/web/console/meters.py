"""Meters and their ledger: every quarter hour with its quality, and what people decided about it."""

from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Response, UploadFile

from cloud_api.billing import corrections as billing
from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import NotFound
from cloud_api.kit.i18n import format_short_day
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import MeterId, RegisterId
from cloud_api.kit.period import Period, local_day, local_days
from cloud_api.metering import analysis, corrections, exchanges, exports, formulas, service
from cloud_api.metering.analysis import DaySum
from cloud_api.metering.corrections import Author, Cause, Undoable
from cloud_api.metering.exchanges import Photo, Side
from cloud_api.metering.model import Meter
from cloud_api.operations import interval_length
from cloud_api.web.shared.charts import CategoryChart, HeatChart, Series, TimeChart, chart_response
from cloud_api.web.shared.forms import decimal, local_date, local_instant, optional_decimal
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/meters")
NAV = NavItem(group="energy", order=10, label=N_("Meters"), href="/console/meters", icon="meter")

Text = Annotated[str, Form(max_length=500)]
Short = Annotated[str, Form(max_length=60)]
_WEEKS = 27
_HOUR = timedelta(hours=1)
_STATES = {"actual": "ok", "estimated": "info", "edited": "warning", "missing": "critical"}
_WORDS = {"actual": N_("actual"), "estimated": N_("estimated"), "edited": N_("edited"), "missing": N_("missing")}


@router.get("")
async def list_meters(page: StaffPage) -> Response:
    """List the meter tree with the energy of this month and how complete it is."""
    virtual = {f.meter_id for f in await formulas.formulas(page.conn)}
    meters = [m for m in await analysis.meters(page.conn) if m.id not in virtual]
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
    period = local_day(shown, found.zone)
    formula = await formulas.formula(page.conn, found.id)
    if formula is not None and formula.kind == "ratio":
        return await _ratio_page(page, found, formula, shown)
    intervals = await service.intervals(page.conn, [r.id for r in energy_registers], period)
    computed = await analysis.virtual_intervals(page.conn, found.id, period) if formula else intervals
    names = {r.id: r for r in registers}
    return page.render(
        "console/meter.html",
        fragment="day_now",
        meter=found,
        day=shown,
        before=shown - timedelta(days=1),
        after=shown + timedelta(days=1),
        registers=registers,
        current=next((r for r in energy_registers if r.closed_at is None), None),
        intervals=[{"interval": i, "register": names[i.register_id]} for i in intervals],
        total=sum((i.quantity for i in computed), Decimal(0)) if computed else None,
        states=_STATES,
        words={quality: _(word) for quality, word in _WORDS.items()},
        qualities=Counter(i.quality for i in computed),
        formula=formula,
        computed=computed if formula else [],
        used_by=await formulas.used_by(page.conn, found.id),
        bills=await billing.bills_touched(
            page.conn, page.viewer.organisation_id, [(found.code, period.start, period.end)]
        ),
        sees_bills=page.viewer.has_any(frozenset({Role.FINANCE, Role.MANAGER})),
        decisions=await corrections.decisions(page.conn, found.id),
        lengths=(await analysis.lengths_behind(page.conn, found.id)).changes,
        unit=energy_registers[0].unit if energy_registers else "kWh",
    )


@router.get("/{meter_id}/day.json")
async def day_chart(page: StaffPage, meter_id: int, day: Annotated[str, Query(max_length=10)]) -> Response:
    """Return one day's average power by interval, estimated and edited ones apart; what is not known stays a gap."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    shown = local_day(local_date("day", day, page.clock.now().date()), found.zone)
    intervals = {i.starts_at: i for i in await analysis.virtual_intervals(page.conn, found.id, shown)}
    slots = list((await analysis.lengths_behind(page.conn, found.id)).slots(shown))

    def power(slot: Period, quality: str) -> float | None:
        known = intervals.get(slot.start)
        if known is None or known.quality != quality:
            return None
        return float(known.quantity * (_HOUR // slot.duration))

    def values(quality: str) -> list[float | None]:
        return [power(slot, quality) for slot in slots]

    series = [Series(name=_("actual"), values=values("actual"), style="bar")]
    for name, quality, colour in ((_("estimated"), "estimated", "cat-2"), (_("edited"), "edited", "cat-5")):
        if any(v is not None for v in values(quality)):
            series.append(Series(name=name, values=values(quality), style="bar", colour=colour))
    return chart_response(
        TimeChart(
            zone=found.zone,
            unit="kW",
            instants=[s.start for s in slots],
            series=series,
            stacked=True,
            start=shown.start,
            end=shown.end,
        )
    )


@router.get("/{meter_id}/days.json")
async def calendar_chart(page: StaffPage, meter_id: int) -> Response:
    """Return half a year by day: a column per week, a row per weekday."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    today = page.clock.now().astimezone(found.zone).date()
    first = today - timedelta(days=today.weekday() + 7 * (_WEEKS - 1))
    days = await formulas.days(page.conn, found.id, first, today + timedelta(days=1))
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
    reason: Text, multiplier: Short = "", modulus: Short = "", photo_old: UploadFile | None = None,
    photo_new: UploadFile | None = None,
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
        modulus=optional_decimal("modulus", modulus),
        photos=(*await _photos("old", photo_old), *await _photos("new", photo_new)),
    )
    notice = _("The meter is exchanged; the ledger follows within seconds.")
    return await _back(page, found, notice, local_instant("at", at, found.zone))


@router.get("/{meter_id}/photos/{photo_id}")
async def photo(page: StaffPage, meter_id: int, photo_id: int) -> Response:
    """Return a photograph of an exchange."""
    await analysis.meter(page.conn, MeterId(meter_id))
    content, media_type = await exchanges.photo(page.conn, photo_id)
    return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/{meter_id}/readings")
async def readings(
    page: StaffPage,
    meter_id: int,
    register: Annotated[int, Query(ge=1)],
    first: Annotated[str, Query(max_length=40)],
    last: Annotated[str, Query(max_length=40)],
) -> Response:
    """Show the readings behind a stretch, and let a wrong one be excluded or corrected."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    registers = await corrections.registers_of_meter(page.conn, found.id)
    counter = next((r for r in registers if r.id == register), None)
    if counter is None:
        raise corrections.RegisterNotFound
    since, until = local_instant("first", first, found.zone), local_instant("last", last, found.zone)
    lines = await service.readings_between(page.conn, counter.id, since, until)
    return page.render(
        "console/readings.html", meter=found, register=counter, lines=lines, since=since, until=until,
        day=since.astimezone(found.zone).date(),
    )  # fmt: skip


@router.post("/{meter_id}/exclusions")
async def exclude_reading(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], at: Short, reason: Text, value: Short = ""
) -> Response:
    """Declare a reading wrong, and enter the right one where it is known."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    taken_at = local_instant("at", at, found.zone)
    await corrections.exclude_reading(
        page.conn,
        _author(page, reason),
        RegisterId(register_id),
        taken_at=taken_at,
        correct_value=optional_decimal("value", value),
    )
    notice = _("The reading no longer counts; the ledger follows within seconds.")
    return await _back(page, found, notice, taken_at)


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
    notice = _("The reading is stored; the ledger follows within seconds.")
    return await _back(page, found, notice, local_instant("at", at, found.zone))


@router.post("/{meter_id}/multiplier")
async def change_multiplier(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], at: Short, reason: Text,
    multiplier: Short = "", cause: Annotated[Cause, Form()] = "ratio",
) -> Response:  # fmt: skip
    """Apply another factor from an instant on: transformer ratio, reversed transformer, unit, wiring."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    await corrections.change_multiplier(
        page.conn,
        _author(page, reason),
        RegisterId(register_id),
        at=local_instant("at", at, found.zone),
        multiplier=optional_decimal("multiplier", multiplier),
        cause=cause,
    )
    notice = _("The ratio applies; the ledger follows within seconds.")
    return await _back(page, found, notice, local_instant("at", at, found.zone), page.clock.now())


@router.post("/{meter_id}/modulus")
async def set_modulus(
    page: FacilitiesPage, meter_id: int, register_id: Annotated[int, Form()], reason: Text, modulus: Short = ""
) -> Response:
    """Say at which value the counter starts again at zero."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    await corrections.set_modulus(
        page.conn, _author(page, reason), RegisterId(register_id), modulus=optional_decimal("modulus", modulus)
    )
    return await _back(page, found, _("The counter's range is known; the ledger follows within seconds."))


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
    notice = _("The reset is known; the ledger follows within seconds.")
    return await _back(page, found, notice, local_instant("at", at, found.zone))


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
    return await _back(page, found, _("The interval is edited; the ledger follows within seconds."), starts_at)


@router.post("/{meter_id}/length")
async def change_length(
    page: FacilitiesPage, meter_id: int, at: Short, minutes: Annotated[int, Form()], reason: Text
) -> Response:
    """Change the length of the meter's intervals from an instant on."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    since = local_instant("at", at, found.zone)
    await interval_length.change(page.conn, _author(page, reason), found.id, at=since, minutes=minutes)
    notice = _("The intervals have another length from then on; the ledger follows within seconds.")
    return await _back(page, found, notice, since, max(since, page.clock.now()))


@router.post("/{meter_id}/undo")
async def undo(
    page: FacilitiesPage,
    meter_id: int,
    kind: Annotated[Undoable | Literal["exchange", "length"], Form()],
    decision_id: Annotated[int, Form()],
    reason: Text,
    register_id: Annotated[int, Form()] = 0,
) -> Response:
    """Take a decision back."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    author = _author(page, reason)
    if kind == "length":
        await interval_length.undo(page.conn, author, found.id, decision_id)
    elif kind == "exchange":
        await exchanges.undo(page.conn, author, decision_id)
    else:
        await corrections.undo(page.conn, author, RegisterId(register_id), kind=kind, decision_id=decision_id)
    return await _back(page, found, _("The decision is undone; the ledger follows within seconds."))


def _author(page: Page[StaffViewer], reason: str) -> Author:
    return Author(viewer=page.viewer, clock=page.clock, reason=reason)


async def _photos(side: Side, upload: UploadFile | None) -> tuple[Photo, ...]:
    if upload is None or not upload.filename:
        return ()
    content = await upload.read(exchanges.PHOTO_BYTES_MAX + 1)
    return (Photo(side=side, media_type=upload.content_type or "", content=content),)


async def _back(
    page: Page[StaffViewer], meter: Meter, notice: str, at: datetime | None = None, until: datetime | None = None
) -> Response:
    """Go back to the day that was changed, and say how many bills were made from it."""
    day = at.astimezone(meter.zone).date() if at else None
    if day:
        stretch = local_day(day, meter.zone)
        touched = await billing.bills_touched(
            page.conn, page.viewer.organisation_id, [(meter.code, stretch.start, until or stretch.end)]
        )
        if touched:
            notice += " " + ngettext("It touches one bill.", "It touches {count} bills.", len(touched))
    return page.redirect(f"/console/meters/{meter.id}" + (f"?day={day}" if day else ""), notice=notice)


async def _ratio_page(page: Page[StaffViewer], meter: Meter, formula: formulas.Formula, day: date) -> Response:
    rows = await formulas.ratios(page.conn, formula, day - timedelta(days=30), day + timedelta(days=1))
    return page.render("console/ratio.html", meter=meter, formula=formula, rows=list(reversed(rows)))


@router.get("/{meter_id}/ratio.json")
async def ratio_chart(page: StaffPage, meter_id: int) -> Response:
    """Return a ratio meter's last month by day."""
    found = await analysis.meter(page.conn, MeterId(meter_id))
    formula = await formulas.formula(page.conn, found.id)
    if formula is None or formula.kind != "ratio":
        raise NotFound
    today = page.clock.now().astimezone(found.zone).date()
    rows = await formulas.ratios(page.conn, formula, today - timedelta(days=30), today)
    return chart_response(
        CategoryChart(
            unit="",
            decimals=3,
            categories=[format_short_day(r.starts_at.astimezone(found.zone).date()) for r in rows],
            series=[Series(name=_("Ratio"), values=[None if r.value is None else float(r.value) for r in rows])],
            from_zero=False,
        )
    )


def _depths(meters: list[Meter]) -> dict[MeterId, int]:
    depths: dict[MeterId, int] = {}
    for meter in meters:  # Parents stand before their children.
        depths[meter.id] = depths.get(meter.parent_meter_id, -1) + 1 if meter.parent_meter_id else 0
    return depths


def _cell(day: DaySum, first: date) -> tuple[int, int, float | None]:
    offset = (day.day - first).days
    return offset // 7, offset % 7, float(day.quantity) if not day.missing_count else None
