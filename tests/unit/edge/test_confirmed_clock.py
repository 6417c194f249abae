"""Whose time the agent believes."""

import pytest

from edge_agent.clock import ConfirmedClock, JumpDetector

HOUR_MS = 3_600_000


class Machine:
    def __init__(self) -> None:
        self.wall_ms = 1_764_000_000_000.0
        self.up_s = 100.0

    def now_ms(self) -> int:
        return round(self.wall_ms)

    def monotonic(self) -> float:
        return self.up_s

    def pass_s(self, seconds: float, *, drift_ms: float = 0) -> None:
        self.up_s += seconds
        self.wall_ms += seconds * 1000 + drift_ms


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def clock(machine):
    return ConfirmedClock(machine)


def test_small_corrections_of_a_time_server_are_followed(machine, clock):
    clock.confirm(40)
    for _ in range(100):
        machine.pass_s(10, drift_ms=5)
        assert clock.now_ms() == machine.now_ms()


@pytest.mark.parametrize("jump_ms", [HOUR_MS, -HOUR_MS])
def test_a_jump_away_from_confirmed_time_is_not_followed_and_neither_is_the_way_back(machine, clock, jump_ms):
    clock.confirm(0)
    before = clock.now_ms()
    machine.wall_ms += jump_ms
    machine.pass_s(5)
    assert clock.now_ms() == before + 5000
    machine.wall_ms -= jump_ms
    machine.pass_s(5)
    assert clock.now_ms() == before + 10_000 == machine.now_ms()


def test_before_the_cloud_has_spoken_a_jump_is_followed(machine, clock):
    machine.wall_ms += 50 * 365 * 24 * HOUR_MS
    assert clock.now_ms() == machine.now_ms()


def test_the_cloud_sets_a_clock_that_is_wrong(machine, clock):
    assert clock.confirm(HOUR_MS) is True
    assert clock.now_ms() == machine.now_ms() + HOUR_MS
    machine.pass_s(60)
    assert clock.now_ms() == machine.now_ms() + HOUR_MS
    assert clock.confirm(30) is False


def test_a_machine_put_right_later_is_followed_again(machine, clock):
    clock.confirm(HOUR_MS)
    machine.wall_ms += HOUR_MS + 20
    assert clock.now_ms() == machine.now_ms()


def test_a_jump_of_the_machine_alone_is_seen_as_such(machine, clock):
    clock.confirm(0)
    theirs, ours = JumpDetector(machine), JumpDetector(clock)
    machine.wall_ms += HOUR_MS
    machine.pass_s(2)
    assert (theirs.jump_ms(), ours.jump_ms()) == (HOUR_MS, None)
