"""Every limit of ingest in one place; reaching one is answered with a reason and counted."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Defaults sized for one gateway of 20,000 points and for eight batches at work in a process."""

    compressed_bytes_max: int = 8 * 1024**2
    body_bytes_max: int = 48 * 1024**2
    observations_max: int = 50_000
    events_max: int = 5_000
    points_max: int = 20_000
    event_bytes_max: int = 16 * 1024
    future_tolerance: timedelta = timedelta(minutes=10)
    oldest_ms: int = 946_684_800_000  # 2000-01-01: no gateway of ours is older, and partitions stay countable.
    rejections_kept_per_stream: int = 1_000
    gateways_remembered: int = 10_000
    points_remembered: int = 1_000_000


LIMITS = Limits()


@dataclass(slots=True)
class RateLimiter:
    """A token bucket per gateway; the clock's seconds are passed in."""

    per_second: float
    burst: float
    keys_max: int
    _buckets: dict[int, tuple[float, float]] = field(default_factory=dict)

    def wait_s(self, key: int, cost: float, now_s: float) -> float:
        """Take `cost` tokens and return 0, or take none and return the seconds until they are there."""
        tokens, since = self._buckets.pop(key, (self.burst, now_s))
        tokens = min(self.burst, tokens + max(0.0, now_s - since) * self.per_second)
        cost = min(cost, self.burst)
        wait = 0.0 if tokens >= cost else (cost - tokens) / self.per_second
        self._buckets[key] = (tokens if wait else tokens - cost, now_s)
        if len(self._buckets) > self.keys_max:
            self._buckets.pop(next(iter(self._buckets)))  # The gateway that has been silent longest.
        return wait


counters: Counter[str] = Counter()
"""What this process accepted and refused, and why; each process counts for itself."""
