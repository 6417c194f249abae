"""The sentence of an alarm, in Chinese and English as equals."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from cloud_api.alarms import communication
from device_profiles.vocabulary import QUANTITIES

_NAMES_MAX = 3
_PLACE = re.compile(r"\{([a-z_]+)\}")

_SENTENCES: dict[str, tuple[str, str]] = {
    communication.GATEWAY_LOST: (
        "网关 {name} 自 {since} 起没有心跳",
        "gateway {name} has not been heard since {since}",
    ),
    communication.BUS_SILENT: (
        "总线 {name} 上的全部 {count} 台设备自 {since} 起没有应答",
        "none of the {count} devices on bus {name} has answered since {since}",
    ),
    communication.PANEL_SILENT: (
        "配电回路 {name_zh} 的全部 {count} 台表自 {since} 起没有应答，可能失电",
        "none of the {count} meters on the feeder {name_en} has answered since {since}; it may have lost power",
    ),
    communication.DEVICE_SILENT: ("{called_zh}自 {since} 起没有应答", "{called_en} has not answered since {since}"),
    communication.DEVICE_STALE: (
        "{called_zh}自 {since} 起没有新数据送达",
        "no data of {called_en} have arrived since {since}",
    ),
}


def sentences(rule: str, params: Mapping[str, Any], opened_at: datetime, zone: ZoneInfo) -> tuple[str, str]:
    """Return the sentence in zh and en; times are the site's."""
    zh, en = params.get("sentence_zh"), params.get("sentence_en")
    if not (isinstance(zh, str) and isinstance(en, str)):
        zh, en = _SENTENCES.get(rule, ("{name}: {rule}", "{name}: {rule}"))
    began = began_at(params, opened_at)
    words = {k: v for k, v in params.items() if isinstance(v, str | int | float)} | {"rule": rule}
    words["since"] = _local(began, zone)
    name = str(params.get("name", "(name)"))
    words["called_zh"] = called(params.get("label_zh"), name, zh=True)
    words["called_en"] = called(params.get("label_en"), name)
    return _fill(zh, words), _fill(en, words)


def called(label: str | None, name: str, *, zh: bool = False) -> str:
    """Return a device as people call it, with the name by which its gateway knows it."""
    if not label or label == name:
        return f"{name} " if zh else name
    return f"{label}（{name}）" if zh else f"{label} ({name})"


def began_at(params: Mapping[str, Any], opened_at: datetime) -> datetime:
    """Return since when the condition holds: what its rule says, else when it opened."""
    since = params.get("since")
    return datetime.fromisoformat(since) if isinstance(since, str) else opened_at


_LIMITS = {
    "above": ("高于上限 {limit}", "is above its limit of {limit}"),
    "below": ("低于下限 {limit}", "is below its limit of {limit}"),
    "equals": ("处于报警状态", "signals an alarm"),
    "step": ("变化超过 {limit}", "changed by more than {limit}"),
}


def limit_params(kind: str, limit: float, since: datetime, point: Mapping[str, Any]) -> dict[str, Any]:
    """Return what fills the sentence of a limit on a point: which point, where, since when and whom it affects."""
    equipment = point["equipment"]
    unit = f" {point['unit']}" if point["unit"] else ""
    what_zh, what_en = (text.format(limit=f"{limit:g}{unit}") for text in _LIMITS[kind])
    where_zh = equipment["name_zh"] if equipment else point["label_zh"] or point["device"]
    where_en = equipment["name_en"] if equipment else point["label_en"] or point["device"]
    zh = f"{where_zh} {quantity_name(point, 'zh')}{what_zh}，自 {{since}} 起"
    en = f"{where_en}: {quantity_name(point, 'en')} {what_en} since {{since}}"
    params: dict[str, Any] = {"name": f"{point['device']}/{point['point']}", "since": since.isoformat(), "limit": limit}
    if equipment and equipment["tenants_zh"]:
        params |= {"tenants_zh": equipment["tenants_zh"], "tenants_en": equipment["tenants_en"]}
        zh += f"，影响 {names(equipment['tenants_zh'], '、', '等')}"
        en += f", affects {names(equipment['tenants_en'], ', ', ' and others')}"
    if equipment:
        params["floors"] = equipment["floors"]
    return params | {"sentence_zh": zh, "sentence_en": en, "point_id": point["point_id"]}


def names(found: Sequence[str], comma: str, more: str) -> str:
    """Return the first three names of a list in a sentence."""
    return comma.join(found[:_NAMES_MAX]) + (more if len(found) > _NAMES_MAX else "")


def quantity_name(point: Mapping[str, Any], language: str) -> str:
    """Return what people call a point's quantity; its own name where the dictionary has none."""
    quantity = QUANTITIES.get(point["quantity"])
    if quantity is None:
        return str(point["point"])
    return quantity.zh if language == "zh" else lower_first(quantity.en)


def lower_first(title: str) -> str:
    """Return a title as it stands inside a sentence; abbreviations keep their capitals."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def _local(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).strftime("%m-%d %H:%M")


def _fill(template: str, words: Mapping[str, Any]) -> str:
    # Names come from people and devices: braces in them are text, and a word that is missing stays visible.
    return _PLACE.sub(lambda match: str(words.get(match[1], f"({match[1]})")), template)
