"""Fault rules: the catalogue, what each says about each equipment, trying one on history, setting one."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from cloud_api.alarms import detail
from cloud_api.api.auth import FacilitiesCall, StaffCall
from cloud_api.faults import live
from cloud_api.faults.rules import RuleError, RuleSpec, catalogue
from cloud_api.kit.errors import Invalid, NotFound

router = APIRouter(prefix="/faults", tags=["faults"])

Params = Annotated[dict[str, str | float | bool], Field(max_length=20)]


class TryOut(BaseModel):
    """Which rule to try on which equipment, over how many of the last days, with which parameters."""

    equipment_id: int
    rule: str
    days: Annotated[int, Field(ge=1, le=31)] = 30
    params: Params = {}


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
        tried = await detail.try_out(
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


@router.put("/settings/{equipment_id}/{rule}", status_code=204)
async def set_rule(call: FacilitiesCall, equipment_id: int, rule: str, setting: Setting) -> None:
    """Switch a rule on or off for an equipment, or change its parameters."""
    try:
        done = await live.set_rule(
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
