"""Badge readers that are polled: a number, or a flag, in a register says that a card was shown. Pure.

Only readers with a number are fit for an access log: a jump of more than one tells how many badges were missed. A
reader with a flag keeps one badge until the flag is cleared, and says nothing of those that came meanwhile.
"""

from collections.abc import Mapping
from typing import Any

from device_profiles.model import EventRule, ModbusPoint
from edge_agent.drivers.modbus.codec import Value
from edge_agent.drivers.mqtt.privacy import hash_credential

NUMBERS = 65_536  # The sequence number is one register and starts again at 0.
JUMP_MAX = 1_000  # More badges than this between two reads: the reader was restarted or exchanged.


class BadgeReader:
    """Follows the sequence number, or the flag, of one event rule of a register map."""

    def __init__(self, device: str, rule: EventRule, key: bytes) -> None:
        self.lost_count = 0
        self._device = device
        self._rule = rule
        self._key = key
        self._last: int | None = None
        self._new = 0  # Badges that were announced and not yet told; the last of them is in the registers.
        self._told: dict[str, Value] = {}

    @property
    def to_clear(self) -> ModbusPoint | None:
        """The point to set to 0 now: its badge was told, and the reader waits until it is taken."""
        return self._rule.clear if self._last and not self._new else None

    def cleared(self) -> None:
        """Note that the reader was told: a flag that stands from now on is another badge."""
        self._last = 0

    def seen(self, values: Mapping[str, Value]) -> dict[str, Any] | None:
        """Return the canonical door event when a new badge is complete; `values` are those of one answer.

        Number and card may come in different answers, the number first.
        """
        number = values.get(self._rule.sequence or "")
        if isinstance(number, int):
            new = self._count(number)
            if new:
                self._new, self._told = new, {}
        wanted = {str(name) for name in self._rule.fields.values()}
        self._told.update((name, values[name]) for name in wanted & values.keys())
        if not self._new or wanted - self._told.keys():
            return None
        missed, self._new = self._new - 1, 0
        self.lost_count += missed
        return self._event(missed)

    def _count(self, number: int) -> int:
        """Tell how many badges are new."""
        before, self._last = self._last, number
        if self._rule.clear is not None:
            return int(bool(number) and not before)  # A flag that stands at the first read was never taken.
        # The badge that stands in the registers at the first read was shown before, and counts for nothing.
        jump = 0 if before is None else (number - before) % NUMBERS
        return jump if jump <= JUMP_MAX else 0

    def _event(self, missed: int) -> dict[str, Any]:
        fields = {key: self._told.get(str(name)) for key, name in self._rule.fields.items()}
        said: dict[str, Any] = {**self._rule.constants, **fields}
        return {
            "door": str(said.get("door") or self._device),
            "direction": said.get("direction", "unknown"),
            "result": said.get("result", "unknown"),
            "method": said.get("method", "unknown"),
            "credential": hash_credential(str(said.get("credential") or ""), self._key),
            "sequence": self._last if self._rule.clear is None else None,
            "device_at_ms": None,
            **({"missed": missed} if missed else {}),
        }
