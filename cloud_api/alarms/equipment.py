"""Faults of equipment become alarms: one sentence with where, since when, what it costs and whom it affects."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection

from cloud_api.alarms import repository, service, topology, wording
from cloud_api.alarms.model import Alarm, AlarmId, Report
from cloud_api.alarms.price import price_per_unit
from cloud_api.faults import bindings, causes, live
from cloud_api.faults.live import Change
from cloud_api.faults.model import Verdict

_LINGER = timedelta(minutes=30)


async def evaluate_faults(conn: AsyncConnection, now: datetime) -> list[AlarmId]:
    """Judge what has arrived and let the alarms follow, in the same transaction; returns the alarms that changed."""
    changes = await live.evaluate(conn)
    if not changes:
        return []
    ids = sorted({c.equipment.id for c in changes if c.verdict is Verdict.FAULT})
    contexts = {row["id"]: row for row in await _contexts(conn, ids, now)} if ids else {}
    wanted = {(c.equipment.site_id, c.rule.spec.resource) for c in changes if c.waste_rate}
    prices = {key: await price_per_unit(conn, key[0], now, key[1]) for key in wanted}
    reports = [
        _report(c, contexts.get(c.equipment.id), prices.get((c.equipment.site_id, c.rule.spec.resource)))
        for c in changes
    ]
    changed = await service.report(conn, reports, now)
    return list(dict.fromkeys(changed + await explain_causes(conn, now)))


async def explain_causes(conn: AsyncConnection, now: datetime) -> list[AlarmId]:
    """Suppress alarms that another fault explains (a stuck damper, a chiller that fails), and release them after.

    Which rule explains which is said by the rules; what supplies what, by the model of the building.
    """
    rows = await repository.rows(conn, repository.queries.open_fault_alarms, {"now": now})
    alarms = [repository.alarm_from_row(row) for row in rows]
    if not any(causes.explained_by(alarm.rule) for alarm in alarms):
        return []
    supply, feeders = await bindings.sources(conn)
    by_subject: dict[str, list[Alarm]] = defaultdict(list)
    for alarm in alarms:
        by_subject[alarm.subject].append(alarm)
    changed = []
    for alarm in alarms:
        found, equipment_id = causes.explained_by(alarm.rule), int(alarm.subject.partition(":")[2])
        reasons = [a.state for a in by_subject[alarm.subject] if a.rule in found.own and a.id != alarm.id]
        for places, rules in ((supply, found.supply), (feeders, found.feeder)):
            near = [a for i in places.get(equipment_id, ()) for a in by_subject.get(f"equipment:{i}", ())]
            reasons += [a.state for a in near if a.rule in rules]
        explained = any(topology.hides(cause, alarm.state, now, _LINGER) for cause in reasons)
        if await service.set_explained(conn, alarm, now, is_explained=explained):
            changed.append(alarm.id)
    return changed


def _report(change: Change, context: Mapping[str, Any] | None, price: Decimal | None) -> Report:
    return Report(
        organisation_id=change.equipment.organisation_id,
        site_id=change.equipment.site_id,
        subject=f"equipment:{change.equipment.id}",
        rule=change.rule.id,
        severity=change.rule.spec.severity,
        verdict=change.verdict,
        at=change.at,
        params=_params(change, context, price) if context else {},
    )


def _params(change: Change, context: Mapping[str, Any], price: Decimal | None) -> dict[str, Any]:
    spec = change.rule.spec
    zh = f"{context['name_zh']}：{spec.title.zh}，自 {{since}} 起"
    en = f"{context['name_en']}: {wording.lower_first(spec.title.en)} since {{since}}"
    params: dict[str, Any] = {
        "name": context["code"],
        "name_zh": context["name_zh"],
        "name_en": context["name_en"],
        "since": change.onset.isoformat(),
        "evidence": dict(change.evidence),
        "confidence": _confidence(change),
        "impact": spec.impact,
    }
    if change.waste_rate:
        daily = round(change.waste_rate * spec.hours_per_day, 1)
        unit, key = ("m³", "m3") if spec.resource == "water" else ("kWh", "kwh")
        params |= {"waste_rate": change.waste_rate, f"{key}_per_day": daily}
        if price is not None:
            money = round(daily * float(price), 2)
            params |= {"money_per_day": money, "currency": context["currency"], f"price_per_{key}": str(price)}
            unbilled = spec.impact == "unbilled"
            zh += f"，约 {money:.0f} {_currency_zh(context['currency'])}/天" + ("未计费" if unbilled else "")
            en += f", about {context['currency']} {money:.0f} a day" + (" not billed" if unbilled else "")
        else:
            zh += f"，约 {daily:.0f} {unit}/天"
            en += f", about {daily:.0f} {unit} a day"
    if context["tenants_zh"]:
        params |= {"tenants_zh": context["tenants_zh"], "tenants_en": context["tenants_en"]}
        zh += f"，影响 {wording.names(context['tenants_zh'], '、', '等')}"
        en += f", affects {wording.names(context['tenants_en'], ', ', ' and others')}"
    return params | {"sentence_zh": zh, "sentence_en": en, "floors": context["floors"]}


def _confidence(change: Change) -> str:
    """Say how sure a verdict is: a learned band is softer than a proof by command and status."""
    if change.rule.spec.reference.startswith("learned") or change.rule.spec.severity > 3:
        return "medium"
    return "high" if change.rule.spec.severity <= 2 else "medium"


def _currency_zh(currency: str) -> str:
    return "元" if currency == "CNY" else currency


async def _contexts(conn: AsyncConnection, ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    values = {"ids": list(ids), "day": now.date()}
    return await repository.rows(conn, repository.queries.equipment_context, values)
