"""When which device is read next. Pure: time comes in as a number of seconds that never jumps."""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

QUARTER_HOUR_MS = 900_000
BACKOFF_MAX_S = 30.0  # A dead device is probed at least this often, so that its return is seen soon.
BACKOFF_MIN_S = 1.0
BURST_S = 1.0


@dataclass(slots=True, kw_only=True, eq=False)
class Patience:
    """How one device has been answering; decides when it may be asked again."""

    base_s: float  # Its fastest period: the first pause after it fell silent.
    offline_after_s: float
    last_answer_at: float
    failures: int = 0
    retry_at: float = 0.0

    def answered(self, now: float) -> None:
        """Forget all failures."""
        self.last_answer_at = now
        self.failures = 0
        self.retry_at = 0.0

    def failed(self, now: float, *, pause_s: float = 0.0) -> bool:
        """Note a silent request; returns whether to ask the same once more in this cycle, after `pause_s`.

        One lost frame is not a lost device: the first failure is repeated. From the second on the pause doubles, so
        that a dead device costs the others one timeout per probe.
        """
        self.failures += 1
        if self.failures == 1:
            self.retry_at = now + pause_s
            return True
        pause = max(BACKOFF_MIN_S, self.base_s) * 2 ** min(self.failures - 2, 10)
        self.retry_at = now + max(pause_s, min(pause, BACKOFF_MAX_S))
        return False

    def lost_at(self) -> float:
        """When the device counts as offline unless it answers before."""
        return self.last_answer_at + self.offline_after_s


@dataclass(slots=True, kw_only=True, eq=False)
class Cycle:
    """One recurring read of one device. `due` moves on its own grid: a late cycle does not delay the next."""

    patience: Patience
    period_s: float
    due: float
    is_billing: bool = False  # Due at the wall clock's quarter hours, and before all others.
    missed: int = 0  # Periods that passed without being started.


class Schedule:
    """The cycles of one bus, earliest due first, billing before all others."""

    def __init__(self, cycles: Iterable[Cycle] = ()) -> None:
        self._order = count()
        self._billing: list[tuple[float, int, Cycle]] = []
        self._ordinary: list[tuple[float, int, Cycle]] = []
        for cycle in cycles:
            self.add(cycle, cycle.due)

    def add(self, cycle: Cycle, at: float) -> None:
        """Offer the cycle from `at` on."""
        heapq.heappush(self._billing if cycle.is_billing else self._ordinary, (at, next(self._order), cycle))

    def pop(self, now: float) -> Cycle | None:
        """Take the cycle to work on now, None when nothing is due. Cycles of a device in back-off are put off."""
        for heap in (self._billing, self._ordinary):
            while heap and heap[0][0] <= now:
                cycle = heapq.heappop(heap)[2]
                if cycle.patience.retry_at <= now:
                    return cycle
                self.add(cycle, cycle.patience.retry_at)
        return None

    def resume(self, cycle: Cycle, at: float | None = None) -> None:
        """Give an unfinished cycle back: it goes on as soon as nothing more urgent is due, or at `at`."""
        self.add(cycle, cycle.due if at is None else at)

    def finish(self, cycle: Cycle, now: float, boundary: float) -> None:
        """Plan the next round; `boundary` is the next quarter hour of the wall clock."""
        if cycle.is_billing:
            cycle.due = boundary
        else:
            passed = int((now - cycle.due) // cycle.period_s)
            cycle.missed += max(0, passed)
            cycle.due += cycle.period_s * (passed + 1)
        self.add(cycle, cycle.due)

    def hasten(self, cycle: Cycle, at: float) -> None:
        """Bring a waiting cycle forward."""
        heap = self._billing if cycle.is_billing else self._ordinary
        for index, (_, _, waiting) in enumerate(heap):
            if waiting is cycle:
                heap[index] = heap[-1]
                heap.pop()
                heapq.heapify(heap)
                cycle.due = at
                self.add(cycle, at)
                return

    def realign(self, boundary: float) -> None:
        """Move all billing cycles after the wall clock jumped."""
        cycles = [cycle for _, _, cycle in self._billing]
        self._billing.clear()
        for cycle in cycles:
            cycle.due = boundary
            self.add(cycle, boundary)

    def wake_at(self) -> float | None:
        """When the next cycle becomes due; None when there is none."""
        return min((heap[0][0] for heap in (self._billing, self._ordinary) if heap), default=None)


def ms_to_quarter(now_ms: int) -> int:
    """Milliseconds to the next quarter hour; all civil time zones in use share its grid."""
    return QUARTER_HOUR_MS - now_ms % QUARTER_HOUR_MS


def phases(number: int, period_s: float, now: float = 0.0) -> list[float]:
    """Spread the first reads of `number` devices over one period, in bursts on a grid that all buses share.

    A wake-up costs several times the CPU of a read (the processor's caches belong to others by then), so reads that may
    go together do: one burst each BURST_S rather than one wake-up per device.
    """
    grid_s = min(BURST_S, period_s) or BURST_S
    first = math.ceil(now / grid_s) * grid_s
    return [first + period_s * index / number // grid_s * grid_s for index in range(number)]
