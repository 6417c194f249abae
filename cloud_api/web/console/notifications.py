"""Notifications: channels, who is told of what, and what was delivered."""

from typing import Annotated

from fastapi import APIRouter, Form, Response

from cloud_api.alarms import rota, routing
from cloud_api.identity.model import Role
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.notify import letters, service
from cloud_api.notify.channels import ChannelRefused
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import AdminPage, FacilitiesPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/notifications")
_HOUR = "^([0-9]|1[0-9]|2[0-3])?$"
NAV = NavItem(
    group="system",
    order=70,
    label=N_("Notifications"),
    href="/console/notifications",
    icon="notice",
    roles=frozenset({Role.FACILITIES, Role.MANAGER}),
)


@router.get("")
async def show(page: FacilitiesPage) -> Response:
    """Show channels, routes and the delivery log."""
    channels = await service.list_channels(page.conn)
    failing = sum(bool(c["last_error"]) for c in channels)
    answer = ngettext("One channel fails.", "{count} channels fail.", failing) if failing else _("All channels work.")
    return page.render(
        "console/notifications.html",
        channels=channels,
        routes=await routing.routes(page.conn),
        rotas=await rota.rotas(page.conn, page.clock),
        sites=await routing.sites(page.conn),
        systems=_systems(),
        deliveries=await service.deliveries(page.conn),
        may_set_sender=Role.ADMIN in page.viewer.roles,
        sender=letters.shown(await letters.sender(page.conn, page.viewer.organisation_id)),
        answer=answer if channels else _("Nobody is told of alarms yet: add a channel and a route."),
    )


@router.post("/channels")
async def add_channel(
    page: FacilitiesPage,
    name: Annotated[str, Form(min_length=1, max_length=100)],
    address: Annotated[str, Form(min_length=1, max_length=1000)],
    language: Annotated[str, Form(pattern="^(zh|en)$")] = "zh",
    per_minute: Annotated[int, Form(ge=1, le=600)] = 20,
) -> Response:
    """Add a channel."""
    try:
        await service.add_channel(
            page.conn,
            organisation_id=page.viewer.organisation_id,
            name=name,
            address=address,
            language=language,
            per_minute=per_minute,
        )
    except ChannelRefused as error:
        raise Invalid("the address cannot be used: {problem}", problem=error) from error
    return page.redirect("/console/notifications", notice=_("Saved."))


@router.post("/sender")
async def set_sender(page: AdminPage, sender: Annotated[str, Form(min_length=1, max_length=1000)]) -> Response:
    """Set the mail account that bills and other letters to tenants leave from."""
    who = {"organisation_id": page.viewer.organisation_id, "actor": page.viewer.login, "clock": page.clock}
    await letters.set_sender(page.conn, address=sender.strip(), **who)
    return page.redirect("/console/notifications", notice=_("Saved."))


@router.post("/channels/{channel_id}/test")
async def test(page: FacilitiesPage, channel_id: int) -> Response:
    """Send a test message."""
    await service.send_test(page.conn, page.clock, channel_id)
    return page.redirect("/console/notifications", notice=_("A test message is on its way; the log says how it went."))


@router.post("/channels/{channel_id}/enabled")
async def enable(
    page: FacilitiesPage,
    channel_id: int,
    is_enabled: Annotated[bool, Form()],  # A form field.
) -> Response:
    """Switch a channel on or off."""
    await service.enable_channel(page.conn, channel_id, is_enabled=is_enabled)
    return page.redirect("/console/notifications", notice=_("Saved."))


@router.post("/routes")
async def add_route(
    page: FacilitiesPage,
    target: Annotated[str, Form(pattern="^(channel|rota):[0-9]+$")],
    severity_max: Annotated[int, Form(ge=1, le=4)] = 3,
    rule_prefix: Annotated[str, Form(max_length=20)] = "",
    after_minutes: Annotated[int, Form(ge=0, le=10080)] = 0,
    quiet_from: Annotated[str, Form(pattern=_HOUR)] = "",
    quiet_to: Annotated[str, Form(pattern=_HOUR)] = "",
    hours_from: Annotated[str, Form(pattern=_HOUR)] = "",
    hours_to: Annotated[str, Form(pattern=_HOUR)] = "",
    days: Annotated[str, Form(pattern="^(all|workdays|restdays)$")] = "all",
    repeat_minutes: Annotated[int, Form(ge=5, le=10080)] = 240,
    site_id: Annotated[str, Form(pattern="^[0-9]*$")] = "",
    fallback_channel_id: Annotated[str, Form(pattern="^[0-9]*$")] = "",
) -> Response:
    """Add a route to a channel or a rota."""
    kind, _colon, target_id = target.partition(":")
    await routing.add_route(
        page.conn,
        organisation_id=page.viewer.organisation_id,
        channel_id=int(target_id) if kind == "channel" else None,
        rota_id=int(target_id) if kind == "rota" else None,
        site_id=_number(site_id),
        fallback_channel_id=_number(fallback_channel_id),
        hours_from=_number(hours_from),
        hours_to=_number(hours_to),
        days=days,
        repeat_minutes=repeat_minutes,
        severity_max=severity_max,
        rule_prefix=rule_prefix.strip(),
        after_minutes=after_minutes,
        quiet_from=_number(quiet_from),
        quiet_to=_number(quiet_to),
    )
    return page.redirect("/console/notifications", notice=_("Saved."))


@router.post("/routes/{route_id}/remove")
async def remove_route(page: FacilitiesPage, route_id: int) -> Response:
    """Remove a route."""
    await routing.remove_route(page.conn, route_id)
    return page.redirect("/console/notifications", notice=_("Removed."))


def _number(text: str) -> int | None:
    return int(text) if text else None


def _systems() -> dict[str, str]:
    """Return the systems that a route can be limited to, by the beginning of their rules."""
    return {
        "": _("everything"),
        "gateway_": _("gateways"),
        "device_": _("devices"),
        "bus_": _("buses"),
        "PNT-": _("limits on points"),
        "MTR-": _("meters"),
        "AHU-": _("air handlers"),
        "VAV-": _("VAV boxes"),
        "FCU-": _("fan coils"),
        "VRF-": _("VRF"),
        "CHW-": _("chilled water"),
        "HW-": _("hot water"),
        "PMP-": _("pumps"),
        "TOWER-": _("cooling towers"),
        "HP-": _("heat pumps"),
    }
