"""Fault rules per equipment: what each says now, what cannot be judged, and a rule tried on last month's data."""

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Response

from cloud_api.alarms import service as alarms
from cloud_api.faults import bindings, history, live, pricing, settings, tryout
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.rules import RuleError, roles
from cloud_api.kit.errors import Invalid, NotFound
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.navigation import NavItem
from cloud_api.web.shared.page import FacilitiesPage, StaffPage
from cloud_api.web.shared.templates import gettext as _
from cloud_api.web.shared.templates import ngettext

router = APIRouter(prefix="/console/fault-rules")
NAV = NavItem(group="system", order=60, label=N_("Fault rules"), href="/console/fault-rules", icon="settings")
_PARAMS_MAX = 20
_COSTLY_MAX = 10
# Rules of any point, in the order in which people ask for them: stuck, command against status, cycling, pace, pairs.
_PLACEABLE = ("PNT-04", "PNT-05", "PNT-06", "PNT-03", "PNT-01", "PNT-02", "SYS-0005")


@router.get("")
async def list_equipment(page: StaffPage) -> Response:
    """List the equipment that rules judge, with how many speak and how many lack roles."""
    rows = await live.applicability(page.conn)
    rows.sort(key=lambda row: -list(row["verdicts"].values()).count("fault"))  # What is in fault comes first.
    found = sum(1 for row in rows for verdict in row["verdicts"].values() if verdict == "fault")
    answer = (
        ngettext("One fault is present.", "{count} faults are present.", found) if found else _("No fault is present.")
    )
    costly = sorted(
        (
            a
            for a in await alarms.open_alarms(page.conn, limit=500)
            if a.params.get("money_per_day") or a.params.get("kwh_per_day") or a.params.get("m3_per_day")
        ),
        key=lambda a: pricing.dearest(a.params),
    )
    return page.render(
        "console/fault_rules.html",
        rows=rows,
        answer=answer,
        costly=costly[:_COSTLY_MAX],
        problems=await live.problems(page.conn),
        rule_count=len(catalogue().rules),
    )


@router.get("/{equipment_id}")
async def show_equipment(
    page: StaffPage,
    equipment_id: int,
    rule: Annotated[str, Query(max_length=200)] = "",
    on: Annotated[list[str] | None, Query(max_length=3)] = None,
    days: Annotated[int, Query(ge=1, le=31)] = 30,
    params: Annotated[str, Query(max_length=500)] = "",
) -> Response:
    """Show an equipment's rules; with `rule`, what it would have found in the last days, also with other parameters."""
    found = await bindings.bound_equipment(page.conn, equipment_id)
    row = next((r for r in await live.applicability(page.conn) if r["equipment_id"] == equipment_id), None)
    if not found:
        raise NotFound
    tried = None
    placed = [role for role in on or () if role]
    if rule and placed:
        rule = f"{rule}/{','.join(placed)}"
    if rule:
        end = page.clock.now()
        try:
            tried = await tryout.try_out(
                page.conn,
                equipment_id=equipment_id,
                rule_id=rule,
                params=parse_params(params),
                start=end - timedelta(days=days),
                end=end,
            )
        except RuleError as error:
            raise Invalid("the rule cannot be set like this: {problem}", problem=error) from error
    rules, unfit = await settings.rules_of(page.conn, found[0])
    return page.render(
        "console/fault_rule.html",
        equipment=found[0],
        rules=rules,
        problems=(*found[0].problems, *unfit),
        placeable=[catalogue().rules[name] for name in _PLACEABLE],
        verdicts=row["verdicts"] if row else {},
        missing=row["missing"] if row else {},
        tried=tried,
        model=await history.model(page.conn, equipment_id),
        can_learn=history.can_learn(found[0]),
        role_names=roles(),
        rule=rule,
        days=days,
        params=params,
    )


@router.post("/{equipment_id}/learn/{what}")
async def learn(page: FacilitiesPage, equipment_id: int, what: Literal["fit", "forget"]) -> Response:
    """Let a unit learn what is normal for it from its last quiet days, or forget it."""
    if what == "forget":
        if not await history.forget(page.conn, equipment_id):
            raise NotFound
        return page.redirect(f"/console/fault-rules/{equipment_id}", notice=_("Forgotten."))
    lesson = await history.learn(
        page.conn, equipment_id=equipment_id, days=None, by=page.viewer.login, now=page.clock.now()
    )
    notice = ngettext("Learned from one quiet day.", "Learned from {count} quiet days.", len(lesson.days))
    return page.redirect(f"/console/fault-rules/{equipment_id}", notice=notice)


@router.post("/{equipment_id}/{rule:path}")
async def set_rule(
    page: FacilitiesPage,
    equipment_id: int,
    rule: str,
    is_enabled: Annotated[bool, Form()],  # A form field.
    params: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Switch a rule on or off for this equipment, or keep other parameters."""
    try:
        done = await settings.set_rule(
            page.conn,
            equipment_id=equipment_id,
            rule=rule,
            is_enabled=is_enabled,
            params=parse_params(params),
            set_by=page.viewer.login,
            set_at=page.clock.now(),
        )
    except RuleError as error:
        raise Invalid("the rule cannot be set like this: {problem}", problem=error) from error
    if not done:
        raise NotFound
    return page.redirect(f"/console/fault-rules/{equipment_id}", notice=_("Saved."))


def parse_params(text: str) -> dict[str, str | float | bool]:
    """Read 'sensor_tolerance=3 K; delay=20 min' as parameters."""
    found: dict[str, str | float | bool] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, equals, value = part.partition("=")
        if not equals or not value.strip():
            raise Invalid("Write parameters as name=value; name=value.")
        found[name.strip()] = value.strip()
    if len(found) > _PARAMS_MAX:
        raise Invalid("Too many parameters.")
    return found
