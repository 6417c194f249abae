"""The sentence of an alarm, in Chinese and English as equals."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from cloud_api.alarms import communication

_SENTENCES: dict[str, tuple[str, str]] = {
    communication.GATEWAY_LOST: (
        "网关 {name} 自 {since} 起没有心跳",
        "gateway {name} has not been heard since {since}",
    ),
    communication.BUS_SILENT: (
        "总线 {name} 上的全部 {count} 台设备自 {since} 起没有应答",
        "none of the {count} devices on bus {name} has answered since {since}",
    ),
    communication.DEVICE_SILENT: ("{name} 自 {since} 起没有应答", "{name} has not answered since {since}"),
    communication.DEVICE_STALE: (
        "{name} 自 {since} 起没有新数据送达",
        "no data of {name} have arrived since {since}",
    ),
}


def sentences(rule: str, params: Mapping[str, Any], opened_at: datetime, zone: ZoneInfo) -> tuple[str, str]:
    """Return the sentence in zh and en; times are the site's."""
    zh, en = params.get("sentence_zh"), params.get("sentence_en")
    if not (isinstance(zh, str) and isinstance(en, str)):
        zh, en = _SENTENCES.get(rule, ("{name}: {rule}", "{name}: {rule}"))
    since = params.get("since")
    began = datetime.fromisoformat(since) if isinstance(since, str) else opened_at
    words = {k: v for k, v in params.items() if isinstance(v, str | int | float)} | {"rule": rule}
    words["since"] = _local(began, zone)
    return _fill(zh, words), _fill(en, words)


def _local(instant: datetime, zone: ZoneInfo) -> str:
    return instant.astimezone(zone).strftime("%m-%d %H:%M")


class _Words(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return f"({key})"


def _fill(template: str, words: Mapping[str, Any]) -> str:
    return template.format_map(_Words(words))
