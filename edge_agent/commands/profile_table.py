"""A profile as a table for people and as JSON for programs."""

import json
from fractions import Fraction
from typing import Any

from device_profiles.model import BaseProfile, ModbusPoint, ModbusProfile, MqttPoint, MqttProfile, Profile
from edge_agent.commands.decode_answer import fraction_text


def as_text(profile: Profile) -> str:
    """Write head lines and one line per point."""
    lines = [
        f"{profile.name} — {profile.label_en} / {profile.label_zh}",
        f"products    {', '.join(profile.products)}",
        f"source      {' '.join(profile.source.split())}",
        f"confidence  {profile.confidence}      revision {profile.revision}",
        *_wire(profile),
    ]
    if profile.notes:
        lines.append(f"notes       {' '.join(profile.notes.split())}")
    lines.append("")
    rows = [_row(point, profile) for point in profile.points]
    if rows:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
    if isinstance(profile, MqttProfile):
        events = [(message, event) for message in profile.messages for event in message.events]
        lines += [f"{message.topic}  event {event.kind}: {', '.join(event.fields)}" for message, event in events]
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


def _wire(profile: BaseProfile) -> list[str]:
    if isinstance(profile, MqttProfile):
        return [f"parameters  {', '.join(profile.parameters)}"]
    if not isinstance(profile, ModbusProfile):
        return []
    limits, serial = profile.limits, profile.serial
    pause = f", pause {limits.pause_ms} ms" if limits.pause_ms else ""
    alone = ", one point per request" if limits.single_point else ""
    alone += ", 32 bits at each address" if limits.words_per_address > 1 else ""
    return [
        f"limits      {limits.registers_per_read} registers per read, gaps to {limits.gap_max}{pause}{alone}",
        f"serial      {serial.baud} baud, parity {serial.parity}, {serial.stop_bits} stop bits",
        *(f"identity    {i.point} = {i.matches or ' or '.join(map(str, i.one_of))}" for i in profile.identity),
    ]


def _row(point: ModbusPoint | MqttPoint, profile: Profile) -> tuple[str, ...]:
    name = f"{point.name}?" if point.is_optional else point.name
    exact = f"exact {point.scale}" if point.exact else ""
    return (_where(point, profile), name, _factor(point), point.unit, exact, point.rate, point.brick, _details(point))


def _factor(point: ModbusPoint | MqttPoint) -> str:
    """Write what one raw count is worth, in the published unit."""
    names = (*point.multiply_by, *(n for n in (point.exponent,) if n)) if isinstance(point, ModbusPoint) else ()
    own = "" if point.multiplier == 1 else f"×{fraction_text(point.multiplier)}"
    offset = "" if not point.offset else f"{'+' if point.offset > 0 else ''}{fraction_text(point.offset)}"
    return own + "".join(f"×{'10^' if n == getattr(point, 'exponent', None) else ''}{n}" for n in names) + offset


def _details(point: ModbusPoint | MqttPoint) -> str:
    parts: list[str] = []
    if isinstance(point, ModbusPoint):
        if point.doc_address:
            parts.append(f"document {point.doc_address}")
        if point.sentinels:
            parts.append("no value " + " or ".join("".join(f"{word:04X}" for word in s) for s in point.sentinels))
    if point.states:
        parts.append(", ".join(f"{code} {word}" for code, word in point.states.items()))
    if point.write is not None:
        step = f" step {_plain(point.write.step)}" if point.write.step else ""
        parts.append(f"writable {_plain(point.write.low)} to {_plain(point.write.high)}{step}")
    return "; ".join(parts)


def _plain(value: Fraction | None) -> str:
    return "" if value is None else fraction_text(value)


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
        "optional": point.is_optional,
        "writable": None if point.write is None else [_plain(point.write.low), _plain(point.write.high)],
    }


def _where(point: ModbusPoint | MqttPoint, profile: Profile) -> str:
    if isinstance(point, ModbusPoint):
        orders = f" {point.word_order} words" if point.word_order == "little" and point.count > 1 else ""
        orders += " swapped bytes" if point.byte_order == "little" else ""
        bits = "" if point.mask is None else f" bit {point.shift}" if point.mask >> point.shift == 1 else " bits"
        return f"{point.function} {point.wire_address} (0x{point.wire_address:04X}) {point.type}{orders}{bits}"
    topic = profile.messages[point.message].topic if isinstance(profile, MqttProfile) else ""
    if not point.path:
        return topic
    path = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in point.path)
    return f"{topic} {path}"
