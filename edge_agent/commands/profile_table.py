"""A profile as a table for people and as JSON for programs."""

import json
from typing import Any

from device_profiles.model import ModbusPoint, MqttPoint, MqttProfile, Profile


def as_text(profile: Profile) -> str:
    """Write head lines and one line per point."""
    lines = [
        f"{profile.name} — {profile.label_en} / {profile.label_zh}",
        f"products    {', '.join(profile.products)}",
        f"source      {' '.join(profile.source.split())}",
        f"confidence  {profile.confidence}      revision {profile.revision}",
    ]
    if profile.notes:
        lines.append(f"notes       {profile.notes}")
    lines.append("")
    for point in profile.points:
        decimals = f"exact {point.scale}" if point.exact else ""
        writable = "writable" if point.write else ""
        lines.append(
            f"{_where(point, profile):44} {point.name:40} {point.unit:6} {decimals:8} {point.rate:7} {writable:9} "
            f"{point.brick}".rstrip()
        )
    return "\n".join(lines)


def as_json(profile: Profile) -> str:
    """Write the same with everything a program may want."""
    return json.dumps(
        {
            "name": profile.name,
            "kind": profile.kind,
            "category": profile.category,
            "label": {"en": profile.label_en, "zh": profile.label_zh},
            "products": list(profile.products),
            "source": profile.source,
            "confidence": profile.confidence,
            "revision": profile.revision,
            "rates": dict(profile.rates),
            "points": [_point(point, profile) for point in profile.points],
        },
        ensure_ascii=False,
        indent=1,
    )


def _point(point: ModbusPoint | MqttPoint, profile: Profile) -> dict[str, Any]:
    return {
        "name": point.name,
        "at": _where(point, profile),
        "label": {"en": point.label_en, "zh": point.label_zh},
        "quantity": point.quantity,
        "kind": point.kind,
        "unit": point.unit,
        "brick": point.brick,
        "scale": point.scale,
        "cumulative": point.is_cumulative,
        "rate": point.rate,
        "states": {str(code): word for code, word in point.states.items()},
        "writable": point.write is not None,
    }


def _where(point: ModbusPoint | MqttPoint, profile: Profile) -> str:
    if isinstance(point, ModbusPoint):
        number = f"{point.function} {point.address} (0x{point.address:04X}) {point.type}"
        return f"{number} bit {point.shift}" if point.mask is not None else number
    topic = profile.messages[point.message].topic if isinstance(profile, MqttProfile) else ""
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in point.path)
    return f"{topic} {path}"
