"""Alarms: the list, one alarm with its evidence, and what a person does about it."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response

from cloud_api.alarms import detail, service
from cloud_api.alarms.model import AlarmId, OpenAlarm
from cloud_api.faults import pricing
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.charts import Series, TimeChart, chart_response
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/alarms")
NAV = NavItem(group="live", order=20, label=N_("Alarms"), href="/console/alarms", icon="alarm")

SHELF_HOURS = (1, 8, 24, 72, 168)
_UNIT_LABELS = {"degC": "°C", "K": "K", "1": "", "bool": N_("On (1) or off (0)"), "any": ""}


@router.get("")
async def list_alarms(
    page: StaffPage, show: Annotated[str, Query(pattern="^(open|suppressed|money)$")] = "open"
) -> Response:
    """List what needs someone, worst first; the suppressed ones, or those that cost most, on request."""
    alarms = await service.open_alarms(page.conn, with_suppressed=show == "suppressed", limit=service.OPEN_MAX)
    if show == "suppressed":
        alarms = [a for a in alarms if a.suppression != "none"]
    if show == "money":
        alarms = sorted(alarms, key=lambda a: pricing.dearest(a.params))
    counts = await service.open_counts(page.conn)
    return page.render(
        "console/alarms.html", fragment="alarms", alarms=alarms, counts=counts, show=show, answer=_answer(counts)
    )


@router.get("/{alarm_id}")
async def show_alarm(page: StaffPage, alarm_id: int) -> Response:
    """Show one alarm: its sentence, the data behind it, what to check first, and its history."""
    alarm = await service.alarm(page.conn, AlarmId(alarm_id))
    rule = detail.rule_of(alarm)
    now = page.clock.now()
    blocks = await detail.evidence(page.conn, alarm, now)
    return page.render(
        "console/alarm.html",
        fragment="alarm",
        alarm=alarm,
        rule=rule.spec if rule else None,
        playbook=detail.playbook(alarm, page.language),
        subject_href=_subject_href(alarm),
        meters=await detail.metered_by(page.conn, alarm, now, now.astimezone(page.zone).date()),
        units=[(number, _unit_label(b.unit)) for number, b in enumerate(blocks)],
        journal=await service.journal(page.conn, alarm.id),
        occurrences=await service.occurrences(page.conn, alarm.id),
        shelf_hours=SHELF_HOURS,
    )


def _unit_label(unit: str) -> str:
    label = _UNIT_LABELS.get(unit, unit)
    return _(label) if label else ""


def _subject_href(alarm: OpenAlarm) -> str | None:
    """Return the page of what an alarm is about; None when it has none of its own."""
    kind, _colon, key = alarm.subject.partition(":")
    match kind:
        case "device":
            return f"/console/devices/{key}"
        case "equipment":
            return f"/console/fault-rules/{key}"
        case "gateway":
            return f"/console/gateways/{key}"
        case "panel":
            return f"/console/meters/{key}"
        case "bus":
            return f"/console/gateways/{key.partition('/')[0]}"
        case _:
            return None


@router.get("/{alarm_id}/evidence/{number}.json")
async def evidence(page: StaffPage, alarm_id: int, number: int) -> Response:
    """Return one chart of the data behind an alarm."""
    alarm = await service.alarm(page.conn, AlarmId(alarm_id))
    blocks = await detail.evidence(page.conn, alarm, page.clock.now())
    if not 0 <= number < len(blocks):
        raise service.AlarmNotFound
    block = blocks[number]
    zh = page.language.startswith("zh")
    return chart_response(
        TimeChart(
            zone=page.zone,
            unit=_unit_label(block.unit),
            instants=block.instants,
            series=[Series(name=spec.zh if zh else spec.en, values=values) for spec, values in block.series],
            from_zero=False,
            direct_labels=True,
        )
    )


@router.post("/{alarm_id}/acknowledge")
async def acknowledge(page: FacilitiesPage, alarm_id: int) -> Response:
    """Record that the viewer has seen the alarm."""
    await service.acknowledge(page.conn, page.clock, AlarmId(alarm_id), actor=page.viewer.login)
    return page.redirect(f"/console/alarms/{alarm_id}", notice=_("Acknowledged."))


@router.post("/{alarm_id}/shelve")
async def shelve(
    page: FacilitiesPage,
    alarm_id: int,
    hours: Annotated[int, Form(ge=1, le=720)],
    reason: Annotated[str, Form(max_length=500)],
) -> Response:
    """Put the alarm aside for some hours, with a reason."""
    until = page.clock.now() + timedelta(hours=hours)
    await service.shelve(page.conn, page.clock, AlarmId(alarm_id), until=until, reason=reason, actor=page.viewer.login)
    return page.redirect(f"/console/alarms/{alarm_id}", notice=_("Shelved."))


@router.post("/{alarm_id}/unshelve")
async def unshelve(page: FacilitiesPage, alarm_id: int) -> Response:
    """End the shelf now."""
    await service.unshelve(page.conn, page.clock, AlarmId(alarm_id), actor=page.viewer.login)
    return page.redirect(f"/console/alarms/{alarm_id}", notice=_("Back in the list."))


def _answer(counts: dict[int, int]) -> str:
    total: Any = sum(counts.values())
    if not total:
        return _("Nothing needs you.")
    if counts[1]:
        return ngettext(
            "{critical} critical of one open alarm.",
            "{critical} critical of {count} open alarms.",
            total,
            critical=counts[1],
        )
    return ngettext("One alarm is open, none critical.", "{count} alarms are open, none critical.", total)


@router.post("/{alarm_id}/reset")
async def reset(page: FacilitiesPage, alarm_id: int) -> Response:
    """Release the latch of an alarm whose cause has gone."""
    await service.reset(page.conn, page.clock, AlarmId(alarm_id), actor=page.viewer.login)
    return page.redirect(f"/console/alarms/{alarm_id}", notice=_("Done."))
