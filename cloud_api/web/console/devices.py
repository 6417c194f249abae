"""Gateways and devices: who answers, who does not, and what each says now."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from cloud_api.alarms import limit_settings
from cloud_api.devices import commands, service
from cloud_api.identity.model import StaffViewer
from cloud_api.kit.errors import NotFound
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.kit.ids import DeviceId, PointId
from cloud_api.kit.period import Period
from cloud_api.operations.overview import service as overview
from cloud_api.operations.overview.model import DevicePoint
from cloud_api.telemetry import series
from cloud_api.telemetry.course import Course, Silence
from cloud_api.telemetry.model import SeriesStep
from cloud_api.web.shared.charts import Series, TimeChart, chart_response
from cloud_api.web.shared.live import LiveValue, live_url
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import Page, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/devices")
NAV = NavItem(group="live", order=40, label=N_("Devices"), href="/console/devices", icon="device")

# Three heartbeats of ten seconds: what is older is shown as silent.
GATEWAY_SILENT_AFTER = timedelta(seconds=30)
CHART_HOURS = (1, 6, 24, 168, 720, 8760)
HOURS_MAX = 8760
COURSE_STEPS = 400
GAPS_SHOWN = 20
SILENCES = {
    Silence.OFFLINE: N_("the device did not answer"),
    Silence.INVALID: N_("the device answered with something that cannot be read"),
    Silence.LOST: N_("lost: the gateway's memory was full"),
    Silence.WAITING: N_("the gateway is not heard; it may still have the values"),
    Silence.UNKNOWN: N_("no value came; the reason is not known"),
}


GATEWAYS_SHOWN = 20  # The others are a click away.
DEVICES_PER_PAGE = 100
NAMES_SHOWN = 3


@router.get("")
async def list_devices(
    page: StaffPage,
    state: Annotated[str, Query(pattern="^(|online|offline|unknown)$")] = "",
    gateway: Annotated[str, Query(max_length=100)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=10_000)] = 1,
) -> Response:
    """List gateways with their health, and devices with their state; what is silent stands first."""
    found = [d for d in await service.devices(page.conn) if d["retired_at"] is None]
    gateways = [gateway_health(g, page.clock.now()) for g in await service.gateways(page.conn)]
    shown = [d for d in found if (not state or d["state"] == state) and (not gateway or d["gateway_name"] == gateway)]
    shown.sort(key=lambda d: (d["state"] == "online", d["gateway_name"], d["bus"], d["name"]))
    return page.render(
        "console/devices.html",
        fragment="devices",
        gateways=sorted(gateways, key=lambda g: (not g["is_enabled"], g["is_heard"], g["name"])),
        gateways_shown=GATEWAYS_SHOWN,
        devices=shown[DEVICES_PER_PAGE * (number - 1) : DEVICES_PER_PAGE * number],
        number=number,
        pages=max(1, -(-len(shown) // DEVICES_PER_PAGE)),
        answer=_answer(found, gateways),
        state=state,
        gateway=gateway,
    )


@router.get("/{device_id}")
async def device(page: StaffPage, device_id: int) -> Response:
    """Show one device with the latest value of each point."""
    shown = await _device(page, device_id)
    points = await overview.device_points(page.conn, DeviceId(device_id))
    now = page.clock.now()
    rows = [
        {
            "point": point,
            "value": LiveValue(parts=[point], now=now, decimals=_decimals(point), stale_after_s=point.stale_after_s),
        }
        for point in points
    ]
    return page.render(
        "console/device.html",
        fragment="commands",
        device=shown,
        rows=rows,
        writable=[_settable(point) for point in await commands.writable_points(page.conn, DeviceId(device_id))],
        commands=await commands.commands(page.conn, now, device_id=DeviceId(device_id)),
        stream=live_url("/console/live", [row["value"] for row in rows]),
    )


@router.get("/{device_id}/points/{point_id}")
async def point(
    page: StaffPage, device_id: int, point_id: int, hours: Annotated[int, Query(ge=1, le=HOURS_MAX)] = 24
) -> Response:
    """Show the course of one point."""
    device, found = await _point(page, device_id, point_id)
    course = await _course(page, device, PointId(point_id), hours)
    return page.render(
        "console/point.html",
        device=device,
        point=found,
        hours=hours,
        choices=CHART_HOURS,
        gaps=course.gaps[::-1][:GAPS_SHOWN],
        gap_count=len(course.gaps),
        reasons=SILENCES,
        limits=await limit_settings.limits(page.conn, PointId(point_id)),
    )


@router.get("/{device_id}/points/{point_id}/course.json")
async def course(
    page: StaffPage, device_id: int, point_id: int, hours: Annotated[int, Query(ge=1, le=HOURS_MAX)] = 24
) -> Response:
    """Return the course of one point with its range per step; a silence stays a gap."""
    device, point = await _point(page, device_id, point_id)
    shown = await _course(page, device, PointId(point_id), hours)
    return chart_response(
        TimeChart(
            zone=page.zone,
            unit=point.unit,
            instants=[step.starts_at for step in shown.steps],
            series=[
                Series(name=_("Lowest"), values=[s.low for s in shown.steps], style="band-low", colour="cat-1"),
                Series(name=_("Range"), values=[_spread(s) for s in shown.steps], style="band-high", colour="cat-1"),
                Series(name=_("Mean"), values=[s.mean for s in shown.steps]),
            ],
            decimals=2,
            from_zero=False,
            start=shown.steps[0].starts_at,
            end=page.clock.now(),
        )
    )


async def _course(page: Page[StaffViewer], device: Mapping[str, Any], point_id: PointId, hours: int) -> Course:
    end = page.clock.now()
    # A step shorter than two polls would make a gap of every pause between them.
    steps_max = min(COURSE_STEPS, max(2, int(hours * 3600 / (2 * (device["poll_s"] or 1)))))
    period = Period(end - timedelta(hours=hours), end)
    return await series.course(page.conn, point_id, period, now=end, steps_max=steps_max)


def _decimals(point: DevicePoint) -> int:
    """Return 0 for counts, states and codes; a factor has no unit either, but decimals."""
    return 2 if point.unit or "factor" in point.quantity else 0


def _answer(found: list[dict[str, Any]], gateways: list[dict[str, Any]]) -> str:
    """Say in one sentence whether all is well; what is not known is not called well."""
    silent = [g["label"] or g["name"] for g in gateways if g["is_enabled"] and not g["is_heard"]]
    states = Counter(d["state"] for d in found)
    if silent:
        names = ", ".join(silent[:NAMES_SHOWN])
        if len(silent) > NAMES_SHOWN:
            names = _("{names} and {count} more", names=names, count=len(silent) - NAMES_SHOWN)
        return _("Gateway {names} is not heard; what its devices do now is not known.", names=names)
    if states["offline"]:
        return ngettext(
            "One of {total} devices does not answer.",
            "{count} of {total} devices do not answer.",
            states["offline"],
            total=len(found),
        )
    if states["unknown"]:
        return _(
            "{known} of {total} devices answer; the others have not been heard yet.",
            known=states["online"],
            total=len(found),
        )
    return _("All {total} devices answer.", total=len(found))


def gateway_health(gateway: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Say whether a gateway is heard, and what its agent reports."""
    seen = gateway["last_seen_at"]
    heard = seen is not None and now - seen <= GATEWAY_SILENT_AFTER
    return gateway | {"is_heard": heard, "waiting": _waiting(gateway["health"].get("outbox"))}


def _waiting(outbox: Any) -> int | None:
    """Count what the agent has not sent yet; None when it does not say (an agent of another kind)."""
    waiting = outbox.get("waiting") if isinstance(outbox, dict) else None
    if not isinstance(waiting, dict):
        return None
    counts = [*waiting.values(), outbox.get("buffered")]
    return sum(count for count in counts if isinstance(count, int))


def _settable(point: dict[str, Any]) -> dict[str, Any]:
    """Add what the form shows: the words of the states that may be chosen, and the decimals of the range."""
    limits = point["write_limits"]
    words = [
        (code, word)
        for code, word in sorted(point["labels"].items())
        if code.isdecimal() and limits["low"] <= int(code) <= limits["high"]
    ]
    is_whole = all(float(limits[end]).is_integer() for end in ("low", "high"))
    return point | {"words": words, "decimals": 0 if is_whole else 1}


async def _device(page: Page[StaffViewer], device_id: int) -> dict[str, Any]:
    found = next((d for d in await service.devices(page.conn) if d["id"] == device_id), None)
    if found is None:
        raise NotFound
    return found


async def _point(page: Page[StaffViewer], device_id: int, point_id: int) -> tuple[dict[str, Any], DevicePoint]:
    device = await _device(page, device_id)
    points = await overview.device_points(page.conn, DeviceId(device_id))
    found = next((p for p in points if p.point_id == point_id), None)
    if found is None:
        raise NotFound
    return device, found


def _spread(step: SeriesStep) -> float | None:
    return step.high - step.low if step.high is not None and step.low is not None else None
