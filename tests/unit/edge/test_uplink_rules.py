"""Back-off and the clock's offset, without a network."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.uplink.backoff import Backoff, retry_after_s
from edge_agent.uplink.clock_offset import ClockOffset

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def test_waits_double_up_to_the_limit_and_start_anew_after_a_success():
    backoff = Backoff(first_s=1, max_s=8, share=lambda: 1.0)
    assert [backoff.failed() for _ in range(5)] == [1, 2, 4, 8, 8]
    backoff.succeeded()
    assert backoff.failed() == 1


@given(st.floats(0, 1), st.integers(0, 1000), st.floats(0, 3600))
def test_a_wait_is_jittered_bounded_and_never_shorter_than_asked(share, failures, asked):
    backoff = Backoff(first_s=0.5, max_s=60, share=lambda: share)
    backoff.failures = failures
    wait = backoff.failed(at_least_s=asked)
    assert asked <= wait <= max(60, asked * 1.25)
    assert wait >= 0.25


def test_retry_after_is_read_as_seconds_or_as_a_date_and_is_bounded():
    assert retry_after_s("7", NOW) == 7
    assert retry_after_s("Mon, 02 Mar 2026 08:00:30 GMT", NOW) == 30
    assert retry_after_s("Mon, 02 Mar 2026 07:00:00 GMT", NOW) == 0
    assert retry_after_s("999999999", NOW) == 3600
    assert [retry_after_s(text, NOW) for text in (None, "", "soon", "nan", "-5")] == [0, 0, 0, 0, 0]


def test_the_shortest_round_trip_tells_the_offset():
    clock = ClockOffset()
    assert clock.offset_ms is None
    clock.sample(sent_at_ms=1000, received_at_ms=3000, server_time_ms=62_900)
    clock.sample(sent_at_ms=5000, received_at_ms=5020, server_time_ms=65_010)
    assert clock.offset_ms == 60_000


def test_a_clock_set_back_during_the_exchange_is_no_sample():
    clock = ClockOffset()
    clock.sample(sent_at_ms=5000, received_at_ms=5020, server_time_ms=5010)
    clock.sample(sent_at_ms=9000, received_at_ms=4000, server_time_ms=9000)
    assert clock.offset_ms is None
