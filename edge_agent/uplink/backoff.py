"""How long to wait after a failure: doubling, with jitter so that a thousand gateways do not come back as one."""

import random
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_MAX_S = 3_600.0


class Backoff:
    """Waits between half of and the whole of `first_s`, then twice that, up to `max_s`."""

    def __init__(
        self, *, first_s: float = 0.5, max_s: float = 60.0, share: Callable[[], float] = random.random
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._share = share
        self.failures = 0

    def failed(self, *, at_least_s: float = 0.0) -> float:
        """Count a failure and return the seconds to wait; never less than the cloud asked for."""
        whole = min(self._first_s * 2 ** min(self.failures, 30), self._max_s)
        self.failures += 1
        # The cloud's own figure gets jitter on top, or all gateways that it held off return in the same second.
        return max(whole * (0.5 + self._share() / 2), at_least_s * (1 + self._share() / 4))

    def succeeded(self) -> None:
        """Start anew with the next failure."""
        self.failures = 0


def retry_after_s(header: str | None, now: datetime) -> float:
    """Return the seconds that a Retry-After header asks for (a number or an HTTP date), within an hour; else 0."""
    if not header:
        return 0.0
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - now).total_seconds()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S) if seconds == seconds else 0.0  # noqa: PLR0124  # NaN
