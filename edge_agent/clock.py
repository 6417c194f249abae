"""The machine's two clocks; nothing else in the agent asks them."""

import time
from typing import Protocol


class Clock(Protocol):
    """Time, passed in so that tests decide it."""

    def monotonic(self) -> float:
        """Seconds on a scale that never jumps."""
        ...

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as far as this machine knows."""
        ...


class SystemClock:
    """The real ones."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000


class ConfirmedClock:
    """Follows the machine's wall clock, unless it jumps away from a time that the cloud has confirmed.

    A clock set by hand, or by a time server gone mad, would stamp readings with an hour that never was, and the cloud
    would refuse them. Before the first confirmation a jump is followed: a gateway without a battery starts in the past
    and is put right by its time server.
    """

    def __init__(self, machine: Clock, *, tolerance_ms: int = 2_000) -> None:
        self._machine = machine
        self._tolerance_ms = tolerance_ms
        self._base_ms = self._measure()
        self._is_confirmed = False

    def _measure(self) -> float:
        return self._machine.now_ms() - self._machine.monotonic() * 1000

    def monotonic(self) -> float:
        """Seconds on a scale that never jumps."""
        return self._machine.monotonic()

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        base_ms = self._measure()
        if not self._is_confirmed or abs(base_ms - self._base_ms) <= self._tolerance_ms:
            self._base_ms = base_ms
        return round(self._machine.monotonic() * 1000 + self._base_ms)

    def confirm(self, offset_ms: int) -> bool:
        """Take what must be added to this clock to get the cloud's; returns whether the clock was set by it."""
        self.now_ms()  # Follow what may be followed first.
        self._is_confirmed = True
        if abs(offset_ms) <= self._tolerance_ms:
            return False
        self._base_ms += offset_ms
        return True


class JumpDetector:
    """Notices when the wall clock was set: it then disagrees with the monotonic one."""

    def __init__(self, clock: Clock, *, tolerance_ms: int = 2_000) -> None:
        self._clock = clock
        self._tolerance_ms = tolerance_ms
        self._offset_ms = self._measure()

    def _measure(self) -> float:
        return self._clock.now_ms() - self._clock.monotonic() * 1000

    def jump_ms(self) -> int | None:
        """How far the wall clock jumped since the last call; None when it did not.

        Drift and NTP's slewing (at most 0.5 ms per second) pass unnoticed when called every few seconds.
        """
        offset_ms = self._measure()
        jump = offset_ms - self._offset_ms
        self._offset_ms = offset_ms
        return round(jump) if abs(jump) > self._tolerance_ms else None
