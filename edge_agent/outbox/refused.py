"""Chunks that the cloud would not take yet: each waits for its next turn, twice as long each time. Pure."""

from collections.abc import Callable, Iterable

PAUSE_S = 1.0  # Doubles with each refusal ...
PAUSE_MAX_S = 300.0  # ... up to this.
DUE_MAX = 500  # Chunks looked up in one go.


class Refused:
    """Who waits until when. A hundred thousand may wait; asking costs nothing while none is due."""

    def __init__(self, uptime_s: Callable[[], float]) -> None:
        self._uptime_s = uptime_s
        self._due_s: dict[int, float] = {}  # Who waits, until when.
        self._times: dict[int, int] = {}  # How often each was refused, also while it is being tried again.
        self._next_due_s = float("inf")

    def __contains__(self, chunk_id: int) -> bool:
        return chunk_id in self._due_s

    def __len__(self) -> int:
        return len(self._due_s)

    def add(self, chunk_id: int) -> None:
        """Make a chunk wait, longer than the last time."""
        times = self._times[chunk_id] = self._times.get(chunk_id, 0) + 1
        due = self._uptime_s() + min(PAUSE_S * 2 ** min(times - 1, 10), PAUSE_MAX_S)
        self._due_s[chunk_id] = due
        self._next_due_s = min(self._next_due_s, due)

    def take(self, chunk_ids: Iterable[int]) -> None:
        """Let chunks be tried again; how often they were refused is remembered."""
        for chunk_id in chunk_ids:
            self._due_s.pop(chunk_id, None)

    def remove(self, chunk_ids: Iterable[int]) -> None:
        """Forget chunks that have left."""
        for chunk_id in chunk_ids:
            self._due_s.pop(chunk_id, None)
            self._times.pop(chunk_id, None)

    def due(self) -> list[int]:
        """Return the oldest chunks whose turn it is."""
        now = self._uptime_s()
        if now < self._next_due_s:
            return []
        ready = sorted(chunk_id for chunk_id, due in self._due_s.items() if due <= now)[:DUE_MAX]
        later = (due for due in self._due_s.values() if due > now)
        self._next_due_s = now if ready else min(later, default=float("inf"))
        return ready

    def clear(self) -> int | None:
        """Let all go; returns the oldest chunk that waited."""
        oldest = min(self._due_s, default=None)
        self._due_s.clear()
        self._times.clear()
        self._next_due_s = float("inf")
        return oldest
