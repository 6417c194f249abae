"""The bounds of the outbox: what leaves unsent when it is too big or too old, and who is told.

Policy: the oldest raw telemetry leaves first, then the oldest events, billing registers last.
"""

from collections.abc import Callable
from typing import Any

import orjson
import structlog

from edge_agent.model import Event
from edge_agent.outbox.model import ChunkClass, Limits, Stats
from edge_agent.outbox.picking import Picker
from edge_agent.outbox.queries import queries
from edge_agent.outbox.ranges import Range, merge
from edge_agent.outbox.ranges import count as count_of
from edge_agent.outbox.store import Store

log = structlog.get_logger()

DROP_ORDER = (ChunkClass.TELEMETRY, ChunkClass.EVENT, ChunkClass.BILLING)
CHUNKS_PER_STEP = 200
TARGET_SHARE = 0.97  # Evict a little more than needed, not one chunk per commit.
PRESSED_SHARE = 0.95  # What stays in the file when the disk is full and memory fills up.
TELL_EVERY_S = 60.0
AGE_CHECK_EVERY_S = 60.0
CLOCK_DOUBT_S = 3_600.0  # A wall clock that disagrees with the uptime by more has jumped: no eviction by age.
RANGES_TOLD_MAX = 100


class Guard:
    """Watches size and age. `check` is called after each commit."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        stats: Stats,
        now_ms: Callable[[], int],
        uptime_s: Callable[[], float],
    ) -> None:
        self._store = store
        self._limits = limits
        self._stats = stats
        self._now_ms = now_ms
        self._uptime_s = uptime_s
        self._wall_minus_uptime_s = now_ms() / 1000 - uptime_s()
        self._is_warned = False
        self._untold: list[Range] = []
        self._untold_count = 0
        self._told_at_s = float("-inf")
        self._age_checked_at_s = float("-inf")

    def use_limits(self, limits: Limits) -> None:
        """Hold other limits from the next check on."""
        self._limits = limits
        self._age_checked_at_s = float("-inf")

    def check(self, picker: Picker) -> list[Event]:
        """Evict what is beyond the bounds; return the events that say so."""
        used = self._store.used_bytes()
        if used > self._limits.bytes_max:
            self.shrink(picker, int(self._limits.bytes_max * TARGET_SHARE))
            used = self._store.used_bytes()
        self._evict_old(picker)
        return [*self._crossed(used), *self._dropped()]

    def make_room(self, picker: Picker, *, is_pressed: bool) -> bool:
        """Evict after a write found no room; tell whether trying again makes sense.

        When the disk is full because of others, data stay in the file and in memory until memory is `is_pressed`.
        """
        used = self._store.used_bytes()
        if used <= self._limits.bytes_max * TARGET_SHARE and not is_pressed:
            return False
        self.shrink(picker, min(int(self._limits.bytes_max * TARGET_SHARE), int(used * PRESSED_SHARE)))
        return self._store.used_bytes() < used

    def shrink(self, picker: Picker, target_bytes: int) -> None:
        """Evict by the policy until the file uses no more than `target_bytes`."""
        for kind in DROP_ORDER:
            while self._store.used_bytes() > target_bytes:
                rows = self._store.rows(queries.oldest_of_class, **{"class": int(kind), "limit": CHUNKS_PER_STEP})
                if not self._drop(picker, kind, rows.fetchall(), target_bytes):
                    break

    def _evict_old(self, picker: Picker) -> None:
        uptime = self._uptime_s()
        if uptime < self._age_checked_at_s + AGE_CHECK_EVERY_S:
            return
        self._age_checked_at_s = uptime
        now_ms = self._now_ms()
        if abs(now_ms / 1000 - uptime - self._wall_minus_uptime_s) > CLOCK_DOUBT_S:
            return
        parameters = {"before": now_ms - self._limits.age_max_ms, "limit": CHUNKS_PER_STEP}
        for kind in DROP_ORDER:
            rows = self._store.rows(queries.older_than, **{"class": int(kind), **parameters}).fetchall()
            while self._drop(picker, kind, rows):
                rows = self._store.rows(queries.older_than, **{"class": int(kind), **parameters}).fetchall()

    def _drop(
        self, picker: Picker, kind: ChunkClass, rows: list[tuple[Any, ...]], target_bytes: int | None = None
    ) -> bool:
        """Delete chunks that nobody is sending, oldest first; tell whether there was one."""
        free = [row for row in rows if not picker.is_leased(row[0])]
        step = max(len(free) // 4, 1) if target_bytes is not None else len(free)
        dropped = False
        for start in range(0, len(free), max(step, 1)):
            if target_bytes is not None and self._store.used_bytes() <= target_bytes:
                break
            part = free[start : start + step]
            count = sum(row[2] - (count_of(orjson.loads(row[3])) if row[3] else 0) for row in part)
            name = kind.name.lower()
            with self._store.transaction() as db:
                db.execute(queries.delete_chunks, {"ids": orjson.dumps([row[0] for row in part]).decode()})
                db.execute(queries.add_counter, {"name": f"dropped_{name}", "by": count})
            picker.removed({kind: count})
            self._stats.dropped[name] += count
            self._untold += [(row[1], row[1] + row[2] - 1) for row in part]
            self._untold_count += count
            dropped = True
        return dropped

    def _crossed(self, used: int) -> list[Event]:
        share = used / self._limits.bytes_max
        if not self._is_warned and share >= self._limits.warn_share:
            self._is_warned = True
            log.warning("outbox_nearly_full", used_bytes=used, bytes_max=self._limits.bytes_max)
            return [self._event({"state": "warning", "used_bytes": used, "bytes_max": self._limits.bytes_max})]
        if self._is_warned and share < self._limits.clear_share:
            self._is_warned = False
            return [self._event({"state": "normal", "used_bytes": used, "bytes_max": self._limits.bytes_max})]
        return []

    def _dropped(self) -> list[Event]:
        uptime = self._uptime_s()
        if not self._untold or uptime < self._told_at_s + TELL_EVERY_S:
            return []
        self._told_at_s = uptime
        told = merge(self._untold)
        data = {
            "state": "dropping",
            "dropped_count": self._untold_count,
            "dropped": told[:RANGES_TOLD_MAX],
            "is_complete": len(told) <= RANGES_TOLD_MAX,
        }
        log.error("outbox_dropped", **data)
        self._untold, self._untold_count = [], 0
        return [self._event(data)]

    def _event(self, data: dict[str, Any]) -> Event:
        now = self._now_ms()
        return Event(kind="outbox.overflow", device="", at_ms=now, received_at_ms=now, data=data)
