"""What an alarm's page shows beside its sentence: the data behind the verdict, what to check, the same fault before."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from cloud_api.alarms import repository
from cloud_api.alarms.communication import BUS_SILENT, DEVICE_SILENT, DEVICE_STALE, GATEWAY_LOST, PANEL_SILENT
from cloud_api.alarms.model import OpenAlarm
from cloud_api.faults import bindings
from cloud_api.faults.catalogue import catalogue
from cloud_api.faults.evaluation import Evaluator
from cloud_api.faults.rules import RoleSpec, Rule, bind, roles

BEFORE = timedelta(hours=3)
SPAN_MAX = timedelta(hours=12)
CHART_STEPS_MAX = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The roles that a rule looks at, in one unit, around an alarm; unknown is None."""

    unit: str
    instants: tuple[datetime, ...]
    series: tuple[tuple[RoleSpec, tuple[float | None, ...]], ...]


def rule_of(alarm: OpenAlarm) -> Rule | None:
    """Return the fault rule behind an alarm; None for communication losses."""
    return catalogue().rules.get(alarm.rule.partition("/")[0])


def title_of(rule_id: str, language: str) -> str:
    """Return what a rule is called; communication losses have short names of their own."""
    rule = catalogue().rules.get(rule_id.partition("/")[0])
    zh = language.startswith("zh")
    if rule is None:
        return _TITLES.get(rule_id, (rule_id, rule_id))[0 if zh else 1]
    return rule.spec.title.zh if zh else rule.spec.title.en


def playbook(alarm: OpenAlarm, language: str) -> tuple[str, ...]:
    """Return what to check, most likely cause first, in the reader's language."""
    return _steps(alarm.rule, language)


def first_step(rule_id: str, language: str) -> str:
    """Return what to check first."""
    return _steps(rule_id, language)[0]


def _steps(rule_id: str, language: str) -> tuple[str, ...]:
    rule = catalogue().rules.get(rule_id.partition("/")[0])
    zh = language.startswith("zh")
    if rule is None:
        steps = _COMMUNICATION_ZH if zh else _COMMUNICATION_EN
        first = {PANEL_SILENT: (_PANEL_ZH if zh else _PANEL_EN)}.get(rule_id, ())
        return (*first, *steps)
    return rule.spec.playbook.zh if zh else rule.spec.playbook.en


async def metered_by(conn: AsyncConnection, alarm: OpenAlarm, now: datetime, today: date) -> list[dict[str, Any]]:
    """Return the meters that a silent device reads, with the tenants whose energy is not being read; else nothing."""
    kind, _, device_id = alarm.subject.partition(":")
    if kind != "device":
        return []
    values = {"device_id": int(device_id), "now": now, "today": today}
    return await repository.rows(conn, repository.queries.metered_by_device, values)


async def evidence(conn: AsyncConnection, alarm: OpenAlarm, now: datetime) -> list[Evidence]:
    """Return the data behind an equipment's alarm, one block per unit; empty when there is none."""
    rule = rule_of(alarm)
    if rule is None or not alarm.subject.startswith("equipment:"):
        return []
    found = await bindings.bound_equipment(conn, int(alarm.subject.partition(":")[2]))
    if not found:
        return []
    start = alarm.opened_at - BEFORE
    end = min(alarm.cleared_at or now, start + SPAN_MAX)
    span = (end - start).total_seconds()
    step = max(bindings.TICK_S, int(span / CHART_STEPS_MAX) // bindings.TICK_S * bindings.TICK_S)
    seconds, columns = await bindings.columns_between(conn, found[0], start, end, step)
    evaluator = Evaluator(rules=[rule], available=frozenset(columns), tick_s=bindings.TICK_S, zone=found[0].zone)
    shown = evaluator.inputs(bind(rule, frozenset(columns)).roles)
    constants = frozenset(found[0].constants)
    return _blocks(seconds.tolist(), {n: v.tolist() for n, v in columns.items() if n in shown and n not in constants})


def _blocks(seconds: list[int], columns: Mapping[str, list[float]]) -> list[Evidence]:
    instants = tuple(datetime.fromtimestamp(s, UTC) for s in seconds)
    by_unit: dict[str, list[tuple[RoleSpec, tuple[float | None, ...]]]] = {}
    for name, values in columns.items():
        spec = roles()[name]
        known = tuple(None if np.isnan(v) else round(v, 2) for v in values)
        by_unit.setdefault(spec.unit, []).append((spec, known))
    return [Evidence(unit=unit, instants=instants, series=tuple(series)) for unit, series in by_unit.items()]


_TITLES = {
    GATEWAY_LOST: ("网关失联", "Gateway lost"),
    BUS_SILENT: ("总线无应答", "Bus silent"),
    PANEL_SILENT: ("配电回路无应答", "Feeder silent"),
    DEVICE_SILENT: ("设备无应答", "Device silent"),
    DEVICE_STALE: ("数据未送达", "No new data"),
}
_PANEL_EN = ("Check whether the panel has voltage: breaker, fuses, upstream supply",)
_PANEL_ZH = ("检查配电箱是否有电：断路器、熔断器、上级电源",)
_COMMUNICATION_EN = (
    "Check that the device has power and its communication light blinks",
    "Check cable, terminals and the bus termination",
    "Check whether its address or baud rate was changed; restart the gateway last",
)
_COMMUNICATION_ZH = (
    "检查设备是否通电、通信指示灯是否闪烁",
    "检查线缆、接线端子与总线终端电阻",
    "检查地址或波特率是否被改动，最后再重启网关",
)
