"""The demo page: break something in the simulated building and see what the product makes of it."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response

from cloud_api.devices import service as devices
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.settings import Settings
from cloud_api.web.shared.demo_control import DemoControl
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage
from cloud_api.web.shared.templates import device_name
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/demo")
NAV = NavItem(group="system", order=90, label=N_("Demo building"), href="/console/demo", icon="plug")


def is_offered(settings: Settings) -> bool:
    """Whether there is a simulated building: only in the demo."""
    return settings.demo_control_url is not None


@router.get("")
async def demo(page: FacilitiesPage) -> Response:
    """Show what is broken and what can be."""
    control = _control(page.request)
    state, kinds = await control.state(), await control.kinds()
    words = {k["name"]: {"name_zh": k["zh"], "name_en": k["en"], "unit": k["unit"]} for k in kinds}
    names = {d["name"]: f"{device_name(d)} · {d['name']}" for d in await devices.devices(page.conn)}
    return page.render(
        "console/demo.html",
        state=state,
        names=names,
        faults=[fault | {"shown": words.get(fault["kind"], _plain(fault["kind"]))} for fault in state["faults"]],
        choices=[(f"{kind['name']} {target}", kind, target) for kind in kinds for target in _targets(kind, state)],
        silent={fault["target"] for fault in state["faults"] if fault["kind"] == "silent"},
    )


@router.post("/break")
async def break_something(
    page: FacilitiesPage,
    target: Annotated[str, Form(max_length=100)],
    kind: Annotated[str, Form(max_length=60)] = "silent",
) -> Response:
    """Break a device or an equipment."""
    await _control(page.request).break_(target, kind)
    return page.redirect("/console/demo", notice=_("{name} is broken now.", name=target))


@router.post("/mend")
async def mend(page: FacilitiesPage, target: Annotated[str, Form(max_length=100)]) -> Response:
    """End every fault of a target."""
    await _control(page.request).mend(target)
    return page.redirect("/console/demo", notice=_("{name} works again.", name=target))


def _control(request: Request) -> DemoControl:
    return DemoControl(url=str(request.app.state.settings.demo_control_url))


def _targets(kind: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    beginnings = tuple(kind["targets"])
    return [device for device in state["devices"] if beginnings and device.startswith(beginnings)]


def _plain(name: str) -> dict[str, str]:
    return {"name_zh": name, "name_en": name, "unit": ""}
