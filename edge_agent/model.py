"""Values that travel through the agent: frozen, without I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any


class Quality(IntEnum):
    """How far a value may be trusted; the number is the code on the wire (ARCHITECTURE.md, section 9)."""

    GOOD = 0
    UNCERTAIN = 1
    INVALID = 2
    NO_ANSWER = 3


class DeviceState(StrEnum):
    """Whether a device answers."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What one device said at one instant: one Modbus response, or one MQTT message.

    `points`, `values` and `qualities` have the same length. A value is an integer mantissa where the catalogue gives
    the point a scale (value = mantissa × 10^-scale), a float elsewhere, and None
    unless the quality is good or uncertain.
    """

    device: str
    observed_at_ms: int  # Milliseconds since 1970-01-01 UTC, when the answer arrived.
    points: tuple[str, ...]
    values: tuple[float | int | None, ...]
    qualities: tuple[Quality, ...]
    is_billing: bool = False  # Billing registers leave the outbox last when it overflows.


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened once: a badge at a door, a device lost."""

    kind: str
    device: str
    at_ms: int  # When it happened, by the device's clock if it has one.
    received_at_ms: int  # When the agent learnt of it.
    data: Mapping[str, Any]
