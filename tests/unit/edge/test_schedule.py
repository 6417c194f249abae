from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import JumpDetector
from edge_agent.schedule import Cycle, Patience, Schedule, ms_to_quarter, phases


def patience(base_s: float = 2.0) -> Patience:
    return Patience(base_s=base_s, offline_after_s=15, last_answer_at=0)


def cycle(due: float, period_s: float = 10, **more) -> Cycle:
    return Cycle(patience=patience(), period_s=period_s, due=due, **more)


def test_the_earliest_due_is_read_first_and_nothing_before_it_is_due():
    first, second = cycle(1), cycle(2)
    schedule = Schedule([second, first])
    assert schedule.pop(0.5) is None
    assert schedule.pop(3) is first
    assert schedule.pop(3) is second
    assert schedule.wake_at() is None


def test_billing_goes_before_what_has_been_waiting_longer():
    late, billing = cycle(1), cycle(5, is_billing=True)
    schedule = Schedule([late, billing])
    assert schedule.pop(6) is billing


def test_a_late_cycle_does_not_move_the_grid_and_counts_what_it_missed():
    one = cycle(0)
    schedule = Schedule([one])
    schedule.finish(schedule.pop(0) or one, 34.0, 900)
    assert one.due == 40
    assert one.missed == 3


def test_a_cycle_finished_in_time_misses_nothing():
    one = cycle(0)
    schedule = Schedule([one])
    schedule.finish(schedule.pop(0) or one, 9.9, 900)
    assert (one.due, one.missed) == (10, 0)


def test_one_lost_answer_is_repeated_before_the_device_is_doubted():
    device = patience()
    assert device.failed(100.0)
    assert device.retry_at == 100.0
    assert not device.failed(100.5)
    assert device.retry_at == 102.5


def test_the_pause_of_a_dead_device_doubles_up_to_half_a_minute():
    device = patience()
    now, pauses = 0.0, []
    for _ in range(9):
        device.failed(now)
        pauses.append(device.retry_at - now)
        now = device.retry_at
    assert pauses == [0, 2, 4, 8, 16, 30, 30, 30, 30]
    device.answered(now)
    assert device.failed(now)


def test_a_device_in_back_off_is_not_offered_and_holds_nobody_up():
    dead, alive = cycle(0), cycle(1)
    dead.patience.retry_at = 50
    schedule = Schedule([dead, alive])
    assert schedule.pop(2) is alive
    assert schedule.pop(2) is None
    assert schedule.wake_at() == 50
    assert schedule.pop(50) is dead


def test_a_cycle_brought_forward_is_offered_once():
    one, other = cycle(100), cycle(90)
    schedule = Schedule([one, other])
    schedule.hasten(one, 5)
    assert schedule.pop(5) is one
    assert schedule.pop(95) is other
    assert schedule.pop(1000) is None


def test_after_a_jump_of_the_clock_billing_is_due_at_the_new_quarter_hour():
    billing = cycle(500, is_billing=True)
    schedule = Schedule([billing])
    schedule.realign(40)
    assert schedule.pop(39) is None
    assert schedule.pop(40) is billing


@given(st.integers(0, 4_102_444_800_000))
def test_the_next_quarter_hour_is_ahead_by_at_most_a_quarter_hour(now_ms):
    ahead = ms_to_quarter(now_ms)
    assert 0 < ahead <= 900_000
    assert (now_ms + ahead) % 900_000 == 0


@given(st.lists(st.tuples(st.floats(0.1, 60), st.floats(0, 60)), min_size=1, max_size=20), st.integers(1, 200))
def test_no_device_starves_however_slow_the_bus_is(devices, rounds):
    """With a bus that always takes a second, every device is read before any other is read three times more."""
    cycles = [cycle(due, period_s=period) for period, due in devices]
    schedule, now = Schedule(cycles), 61.0
    counts = dict.fromkeys(map(id, cycles), 0)
    for _ in range(rounds):
        one = schedule.pop(now)
        if one is None:
            now = schedule.wake_at() or now
            continue
        counts[id(one)] += 1
        now += 1.0
        schedule.finish(one, now, 1e9)
    if rounds >= 3 * len(cycles) and all(one.period_s <= len(cycles) for one in cycles):
        assert min(counts.values()) >= 1


def test_first_reads_are_spread_over_the_period_in_bursts_that_all_buses_share():
    assert phases(4, 10) == [0, 2, 5, 7]
    assert phases(4, 2, now=100.1) == [101, 101, 102, 102]
    assert phases(4, 0.5, now=100.1) == [100.5, 100.5, 100.5, 100.5]
    assert phases(0, 10) == []


class Clock:
    def __init__(self) -> None:
        self.mono, self.wall_ms = 100.0, 1_764_000_000_000

    def monotonic(self) -> float:
        return self.mono

    def now_ms(self) -> int:
        return self.wall_ms

    def pass_s(self, seconds: float, wall_s: float | None = None) -> None:
        self.mono += seconds
        self.wall_ms += round(1000 * (seconds if wall_s is None else wall_s))


def test_a_clock_that_is_set_is_noticed_once_with_how_far():
    clock = Clock()
    detector = JumpDetector(clock)
    clock.pass_s(2)
    assert detector.jump_ms() is None
    clock.pass_s(2, wall_s=3602)
    assert detector.jump_ms() == 3_600_000
    clock.pass_s(2)
    assert detector.jump_ms() is None
    clock.pass_s(2, wall_s=-3598)
    assert detector.jump_ms() == -3_600_000


def test_slow_slewing_is_no_jump():
    clock = Clock()
    detector = JumpDetector(clock)
    for _ in range(1000):
        clock.pass_s(2, wall_s=2.001)
        assert detector.jump_ms() is None
