"""One site, building, floor or space by period: what it is called and part of, and whether it is in service."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from cloud_api.identity.model import Role, StaffViewer
from cloud_api.kit.errors import DomainError, NotFound
from cloud_api.kit.i18n import current_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.leasing import service as leasing
from cloud_api.leasing.service import Site
from cloud_api.operations.places import service
from cloud_api.operations.places.service import Kind, Wanted
from cloud_api.operations.tenancy.repository import Row
from cloud_api.operations.tenancy.words import split_list
from cloud_api.web.console.lease_steps import Fields, fields_of
from cloud_api.web.shared.page import LeasingPage, Page, StaffPage
from cloud_api.web.shared.templates import gettext as _

router = APIRouter(prefix="/console/places")
SiteCode = Annotated[str | None, Query(max_length=40)]
_NONE = "-"  # Of the choice of a space around it; an empty choice leaves it as it is.
KINDS: dict[Kind, str] = {"site": N_("Site"), "building": N_("Building"), "floor": N_("Floor"), "space": N_("Space")}


@router.get("/{kind}/{code}")
async def show(page: StaffPage, kind: Kind, code: str, site: SiteCode = None) -> Response:
    """Show one place period by period."""
    return await _show(page, kind, code, site)


async def _show(
    page: Page[StaffViewer], kind: Kind, code: str, site: str | None, problem: DomainError | None = None
) -> Response:
    where, _all = await leasing.shown_site(page.conn, site)
    today = page.clock.now().astimezone(where.zone).date()
    periods = [dated(p) for p in await service.history(page.conn, where, kind, code, None)]
    now = next((p for p in periods if _holds(p, today)), None)
    last = now or periods[-1]
    every = await service.tree(page.conn, where, today)
    return page.render(
        "console/place.html",
        status=200 if problem is None else problem.status,
        problem=problem,
        kind=kind,
        kind_word=KINDS[kind],
        code=code,
        site=where,
        today=today,
        periods=periods,
        now=now,
        last=last,
        corrected=[dated(p) for p in await service.corrected(page.conn, where, kind, code)],
        choices={
            "building": [("", _("unchanged")), *_choices(every, "building", code)],
            "floor": [("", _("unchanged")), *_choices(every, "floor", code)],
            "space": [("", _("unchanged")), (_NONE, _("none")), *_choices(every, "space", code)],
        },
        parts=[p for p in every if kind != "site" and _is_part(p, kind, code)],
        answer=_("In service today.") if now else _("Not in service today."),
        may_change=page.viewer.has_any(frozenset({Role.LEASING, Role.FINANCE, Role.MANAGER})),
    )


@router.post("/{kind}/{code}/{step}")
async def take_step(page: LeasingPage, kind: Kind, code: str, step: str, site: SiteCode = None) -> Response:
    """Change, correct, split, take out of service or bring back."""
    fields = await fields_of(page.request)
    where, _all = await leasing.shown_site(page.conn, site)
    if step not in STEPS:
        raise NotFound
    try:
        async with page.conn.transaction():
            await STEPS[step](page, where, kind, code, fields)
    except DomainError as error:
        return await _show(page, kind, code, site, error)
    return page.redirect(f"/console/places/{kind}/{code}?site={where.code}", notice=_("Recorded."))


def dated(period: Row) -> Row:
    """Return a period with its last day, as people say it."""
    return period | {"last_day": period["ends_on"] and period["ends_on"] - timedelta(days=1)}


def _choices(every: Sequence[Row], kind: Kind, code: str) -> list[tuple[str, str]]:
    name = "name_zh" if current_language() == "zh" else "name_en"
    return [(p["code"], f"{p['code']} · {p[name]}") for p in every if p["kind"] == kind and p["code"] != code]


def _holds(period: Mapping[str, Any], day: date) -> bool:
    starts, ends = period["starts_on"], period["ends_on"]
    return (starts is None or starts <= day) and (ends is None or day < ends)


def _is_part(place: Mapping[str, Any], kind: Kind, code: str) -> bool:
    """Tell whether a place is directly part of another."""
    if kind == "floor" and place["inside"] is not None:
        return False
    return place[{"building": "building", "floor": "floor", "space": "inside"}[kind]] == code


def _optional(fields: Fields, name: str) -> str | None:
    return fields.text(name) or None


async def _change(page: Page[StaffViewer], site: Site, kind: Kind, code: str, fields: Fields) -> None:
    inside = _optional(fields, "inside")
    wanted = Wanted(
        name_zh=_optional(fields, "name_zh"),
        name_en=_optional(fields, "name_en"),
        building=_optional(fields, "building"),
        floor=_optional(fields, "floor"),
        inside="" if inside == _NONE else inside,
        area_m2=fields.number("area", _("Area")),
    )
    who = {"actor": page.viewer.login, "clock": page.clock}
    await service.change(page.conn, site, kind, code, wanted, from_day=fields.day("from_day"), **who)


async def _correct(page: Page[StaffViewer], site: Site, kind: Kind, code: str, fields: Fields) -> None:
    wanted = Wanted(
        name_zh=_optional(fields, "name_zh"),
        name_en=_optional(fields, "name_en"),
        area_m2=fields.number("area", _("Area")),
    )
    who = {"actor": page.viewer.login, "clock": page.clock}
    await service.correct(page.conn, site, kind, code, wanted, on_day=fields.day("on_day"), **who)


async def _take_out(page: Page[StaffViewer], site: Site, kind: Kind, code: str, fields: Fields) -> None:
    who = {"actor": page.viewer.login, "clock": page.clock}
    await service.take_out(page.conn, site, kind, code, from_day=fields.day("from_day"), **who)


async def _bring_back(page: Page[StaffViewer], site: Site, kind: Kind, code: str, fields: Fields) -> None:
    who = {"actor": page.viewer.login, "clock": page.clock}
    await service.bring_back(page.conn, site, kind, code, from_day=fields.day("from_day"), **who)


async def _split(page: Page[StaffViewer], site: Site, _kind: Kind, code: str, fields: Fields) -> None:
    await service.split_floor(
        page.conn,
        site,
        code,
        new_code=fields.text("new_code"),
        name_zh=fields.text("name_zh"),
        name_en=fields.text("name_en"),
        spaces=split_list(fields.text("spaces")),
        area_m2=fields.number("area", _("Area")),
        from_day=fields.day("from_day"),
        actor=page.viewer.login,
        clock=page.clock,
    )


Step = Callable[[Page[StaffViewer], Site, Kind, str, Fields], Awaitable[None]]
STEPS: Mapping[str, Step] = {
    "change": _change,
    "correct": _correct,
    "take-out": _take_out,
    "bring-back": _bring_back,
    "split": _split,
}
