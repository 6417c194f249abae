"""Which latest values are held in memory, and what comes out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.telemetry.columns import Observations
from cloud_api.telemetry.latest import AT_ONCE, HOLD_S, ROWS_MAX, STREAMS_MAX, Held


def rows(*of):
    """Return one row per (point, at_ms, value)."""
    points, at_ms, values = (np.array(column) for column in zip(*of, strict=True))
    none = np.full(len(of), -1)
    return Observations(
        point_id=points, at_ms=at_ms, value=values * 1.0, mantissa=none * 0, quality=none * 0, scale=none
    )


def told(found):
    return list(zip(found.point_id.tolist(), found.at_ms.tolist(), found.value.tolist(), strict=True))


def test_a_stream_that_sends_twice_a_second_always_moves_its_values_at_once():
    held = Held()
    assert not any(held.admits(1, n * HOLD_S) for n in range(100))


def test_a_burst_leaves_its_values_after_the_first_batches_until_they_are_taken():
    held = Held()
    assert [held.admits(1, 0.0) for _ in range(AT_ONCE + 2)] == [False] * AT_ONCE + [True] * 2
    held.add(1, rows((7, 100, 1)))
    assert held.admits(1, 0.9)  # Something of the stream is still here: a later row must not overtake it.
    held.add(1, rows((7, 300, 3)))
    assert told(held.take(1.0)) == [(7, 300, 3.0)]
    assert not held
    assert held.admits(1, 1.0 + HOLD_S / 2)
    assert not held.admits(1, 1.0 + HOLD_S)
    assert held.admits(1, 1.0 + HOLD_S)


def test_streams_do_not_wait_for_each_other():
    held = Held()
    assert [held.admits(1, 0.0) for _ in range(AT_ONCE + 1)][-1]
    assert not held.admits(2, 0.0)


def test_rows_given_back_are_older_than_what_came_since():
    held = Held()
    held.add(1, rows((7, 100, 1), (8, 100, 1)))
    taken = held.take(0.0)
    held.add(1, rows((7, 100, 2)))
    held.give_back(taken)
    assert told(held.take(1.0)) == [(7, 100, 2.0), (8, 100, 1.0)]


def test_nothing_more_is_held_when_too_much_is():
    held = Held()
    assert [held.admits(1, 0.0) for _ in range(AT_ONCE + 1)][-1]
    held.add(1, rows(*((point, 1, 1) for point in range(ROWS_MAX))))
    assert not held.admits(1, 0.1)


def test_the_streams_that_moved_longest_ago_are_forgotten():
    held = Held()
    for stream in range(STREAMS_MAX + 1):
        assert not any(held.admits(stream, 0.0) for _ in range(AT_ONCE))
    assert [held.admits(stream, 0.0) for stream in (STREAMS_MAX, 1, 0)] == [True, True, False]


@given(st.lists(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5), st.integers(0, 9)), min_size=1), min_size=1))
def test_what_is_taken_is_the_newest_of_each_point_whatever_came_when(batches):
    held = Held()
    newest = {}
    for batch in batches:
        held.add(1, rows(*batch))
        for point, at_ms, value in batch:
            if at_ms >= newest.get(point, (0, 0))[0]:
                newest[point] = (at_ms, float(value))
    assert told(held.take(0.0)) == [(point, *newest[point]) for point in sorted(newest)]
