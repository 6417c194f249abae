"""Fault rules: the catalogue, what each says about each equipment, trying one on history, setting one."""

from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.alarms import service as alarms
from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.faults import history, live, pricing, settings, tryout
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.rules import RuleError, RuleSpec
from cloud_api.kit.errors import Invalid, NotFound

router = APIRouter(prefix="/faults", tags=["faults"])

Params = Annotated[dict[str, str | float | bool], Field(max_length=20)]


class TryOut(BaseModel):
    """Which rule to try on which equipment, over how many of the last days, with which parameters."""

    equipment_id: int
    rule: str
    days: Annotated[int, Field(ge=1, le=31)] = 30
    params: Params = {}


class Lesson(BaseModel):
    """The days a unit is known to have been in good order; none for the quiet days of the last fortnight."""

    days: Annotated[list[date] | None, Field(min_length=history.DAYS_MIN, max_length=history.DAYS_MAX)] = None


class Setting(BaseModel):
    """Whether a rule is on for an equipment, and with which parameters."""

    is_enabled: bool = True
    params: Params = {}


@router.get("/rules")
async def rules(call: StaffCall, family: str | None = None) -> list[RuleSpec]:
    """Return the rules, all or of one equipment family."""
    assert call.viewer
    try:
        chosen = catalogue().family(family) if family else list(catalogue().rules.values())
    except RuleError as error:
        raise Invalid("the rule cannot be set like this: {problem}", problem=error) from error
    return [r.spec for r in chosen]


@router.get("/applicability")
async def applicability(call: StaffCall) -> list[dict[str, Any]]:
    """Return per equipment each rule's verdict, and the missing roles of those that cannot be judged."""
    return await live.applicability(call.conn)


@router.post("/try")
async def try_out(call: StaffCall, wanted: TryOut) -> dict[str, Any]:
    """Say what a rule would have found, without switching it on."""
    end = call.clock.now()
    try:
        tried = await tryout.try_out(
            call.conn,
            equipment_id=wanted.equipment_id,
            rule_id=wanted.rule,
            params=wanted.params,
            start=end - timedelta(days=wanted.days),
            end=end,
        )
    except RuleError as error:
        raise Invalid("the rule cannot be set like this: {problem}", problem=error) from error
    return {"missing": tried.missing, "judged_share": tried.judged_share, "findings": tried.findings}


@router.get("/problems")
async def problems(call: StaffCall) -> list[str]:
    """Return which rules, bindings or settings were left out, with the reason; everything else works on."""
    return await live.problems(call.conn)


@router.get("/costly")
async def costly(call: StaffCall) -> list[dict[str, Any]]:
    """Return the open faults that have a price, the dearest first: kWh or m³ and money per day, tenants, confidence."""
    found = await alarms.open_alarms(call.conn, limit=500)
    keys = (
        "kwh_per_day",
        "m3_per_day",
        "money_per_day",
        "currency",
        "impact",
        "confidence",
        "tenants_zh",
        "tenants_en",
    )
    priced = [a for a in found if a.params.get("kwh_per_day") or a.params.get("m3_per_day")]
    priced.sort(key=lambda a: pricing.dearest(a.params))
    return [
        {"alarm_id": a.id, "rule": a.rule, "sentence_zh": a.sentence("zh"), "sentence_en": a.sentence("en")}
        | {key: a.params.get(key) for key in keys}
        for a in priced
    ]


@router.get("/learned/{equipment_id}")
async def learned(call: StaffCall, equipment_id: int) -> dict[str, Any]:
    """Return what a unit has learned to be normal for it."""
    found = await history.model(call.conn, equipment_id)
    if found is None:
        raise NotFound
    return found


@router.post("/learned/{equipment_id}")
async def learn(call: FacilitiesCall, equipment_id: int, lesson: Lesson) -> dict[str, Any]:
    """Let a unit learn from the named days, or from the quiet days of the last fortnight."""
    done = await history.learn(
        call.conn, equipment_id=equipment_id, days=lesson.days, by=call.viewer.login, now=call.clock.now()
    )
    return {"days": done.days, "constants": done.learned.constants, "baselines": len(done.learned.baselines)}


@router.delete("/learned/{equipment_id}", status_code=204)
async def forget(call: FacilitiesCall, equipment_id: int) -> None:
    """Give up what a unit has learned."""
    if not await history.forget(call.conn, equipment_id):
        raise NotFound


@router.put("/settings/{equipment_id}/{rule:path}", status_code=204)
async def set_rule(call: FacilitiesCall, equipment_id: int, rule: str, setting: Setting) -> None:
    """Switch a rule on or off for an equipment, or change its parameters.

    A rule of any family can be placed on roles of this equipment: PNT-04/sat (stuck value), PNT-05/sf_cmd,sf_status
    (command and status), PNT-06/comp_status (short cycling), SYS-0005/oat,oat_reference (two sensors).
    """
    try:
        done = await settings.set_rule(
            call.conn,
            equipment_id=equipment_id,
            rule=rule,
            is_enabled=setting.is_enabled,
            params=setting.params,
            set_by=call.viewer.login,
            set_at=call.clock.now(),
        )
    except RuleError as error:
        raise Invalid("the rule cannot be set like this: {problem}", problem=error) from error
    if not done:
        raise NotFound
