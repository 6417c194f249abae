"""How far the agent's clock is from the cloud's, estimated from the times in answers."""

from collections import deque

SAMPLES = 16
OFFSET_MAX_MS = 2**31 - 1  # A clock that never was set is off by decades; the wire carries 24 days.


class ClockOffset:
    """`offset_ms` is what must be added to the agent's time to get the cloud's; None until the first answer.

    The cloud's time is taken to lie in the middle of the round trip; the sample with the shortest round trip is the
    least wrong one (the rule of NTP's clock filter, RFC 5905 section 10).
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=SAMPLES)

    def sample(self, *, sent_at_ms: int, received_at_ms: int, server_time_ms: int) -> None:
        """Take one exchange; a clock that was set back in between is no sample."""
        round_trip = received_at_ms - sent_at_ms
        if round_trip < 0:
            self._samples.clear()
            return
        self._samples.append((round_trip, server_time_ms - (sent_at_ms + received_at_ms) // 2))

    def forget(self) -> None:
        """Drop the samples: the clock was set."""
        self._samples.clear()

    @property
    def offset_ms(self) -> int | None:
        """The estimate; its error is at most half of the shortest round trip."""
        if not self._samples:
            return None
        return max(-OFFSET_MAX_MS, min(min(self._samples)[1], OFFSET_MAX_MS))
