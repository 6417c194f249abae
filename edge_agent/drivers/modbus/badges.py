"""Badge readers that are polled: a sequence number in a register says that a card was shown. Pure.

Only such readers are fit for an access log: a jump of more than one tells how many badges were missed.
"""

from collections.abc import Mapping
from typing import Any

from device_profiles.model import EventRule
from edge_agent.drivers.modbus.codec import Value
from edge_agent.drivers.mqtt.privacy import hash_credential

NUMBERS = 65_536  # The sequence number is one register and starts again at 0.
JUMP_MAX = 1_000  # More badges than this between two reads: the reader was restarted or exchanged.


class BadgeReader:
    """Follows the sequence number of one event rule of a register map."""

    def __init__(self, device: str, rule: EventRule, key: bytes) -> None:
        self.lost_count = 0
        self._device = device
        self._rule = rule
        self._key = key
        self._last: int | None = None

    def seen(self, values: Mapping[str, Value]) -> dict[str, Any] | None:
        """Return the canonical door event when an answer shows a new badge; `values` are those of one answer.

        The badge that stands in the registers at the first read was shown before, and counts for nothing.
        """
        number = values.get(self._rule.sequence or "")
        if not isinstance(number, int):
            return None
        before, self._last = self._last, number
        jump = 0 if before is None else (number - before) % NUMBERS
        if jump == 0 or jump > JUMP_MAX:
            return None
        self.lost_count += jump - 1
        said = {**self._rule.constants, **{key: values.get(str(name)) for key, name in self._rule.fields.items()}}
        return {
            "door": str(said.get("door") or self._device),
            "direction": said.get("direction", "unknown"),
            "result": said.get("result", "unknown"),
            "method": said.get("method", "unknown"),
            "credential": hash_credential(str(said.get("credential") or ""), self._key),
            "sequence": number,
            "device_at_ms": None,
            **({"missed": jump - 1} if jump > 1 else {}),
        }
