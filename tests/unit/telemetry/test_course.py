from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_api.kit.period import Period
from cloud_api.telemetry.course import STEPS_MAX, Gap, Said, Silence, fill, gaps, plan
from cloud_api.telemetry.model import SeriesStep

START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SILENT = Said(overflows=(), offline=(), last_seen_at=START + timedelta(days=2))
LATER = START + timedelta(days=1)


def steps(counts, **of):
    """Steps of a minute with so many observations each; `of` gives other counts by index."""
    return [
        SeriesStep(starts_at=START + n * MINUTE, mean=None, low=None, high=None, count=count,
                   **{name: values.get(n, 0) for name, values in of.items()})
        for n, count in enumerate(counts)
    ]  # fmt: skip


def at(minute):
    return START + minute * MINUTE


@pytest.mark.parametrize(
    ("of", "said", "reason"),
    [
        ({}, SILENT, Silence.UNKNOWN),
        ({"unanswered_count": {3: 1}}, SILENT, Silence.OFFLINE),
        ({"unanswered_count": {1: 1}}, SILENT, Silence.OFFLINE),  # In the step that still has values.
        ({}, Said(overflows=(), offline=(at(1.5),), last_seen_at=at(9)), Silence.OFFLINE),
        ({"invalid_count": {2: 1}}, SILENT, Silence.INVALID),
        ({}, Said(overflows=(at(30),), offline=(), last_seen_at=at(9)), Silence.LOST),
        ({}, Said(overflows=(at(-30),), offline=(), last_seen_at=at(9)), Silence.UNKNOWN),
    ],
)
def test_an_empty_stretch_is_a_gap_with_the_reason_that_the_gateway_gave(of, said, reason):
    found = gaps(steps([1, 1, 0, 0, 1], **of), MINUTE, said, LATER)
    assert found == [Gap(starts_at=at(2), ends_at=at(4), reason=reason)]


def test_what_a_silent_gateway_may_still_have_is_waited_for():
    unheard = Said(overflows=(), offline=(), last_seen_at=at(2))
    assert [g.reason for g in gaps(steps([1, 1, 0, 0]), MINUTE, unheard, at(4.5))] == [Silence.WAITING]
    heard = Said(overflows=(), offline=(), last_seen_at=at(4))
    assert [g.reason for g in gaps(steps([1, 1, 0, 0]), MINUTE, heard, at(4.5))] == [Silence.UNKNOWN]


def test_a_step_that_is_not_over_is_no_gap():
    assert gaps(steps([1, 1, 0]), MINUTE, SILENT, at(2.5)) == []


def test_zero_is_a_value_and_not_a_gap():
    zero = [SeriesStep(starts_at=at(n), mean=0.0, low=0.0, high=0.0, count=1) for n in range(3)]
    assert gaps(zero, MINUTE, SILENT, LATER) == []


@given(
    st.timedeltas(min_value=timedelta(minutes=1), max_value=timedelta(days=4000)),
    st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=400)),
    st.integers(2, 3000),
    st.booleans(),
)
def test_a_chart_has_no_more_steps_than_are_drawn_and_covers_its_period(length, offset, steps_max, is_dropped):
    period = Period(START + offset, START + offset + length)
    cut = plan(period, steps_max, START + timedelta(days=5000) if is_dropped else None)
    filled = fill(cut, [])
    assert len(filled) <= min(steps_max, STEPS_MAX) + (1 if steps_max == 2 else 0)
    assert cut.start <= period.start
    assert filled[0].starts_at == cut.start
    assert filled[-1].starts_at + cut.step >= period.end
    if is_dropped:
        assert cut.level is not None


def test_sums_are_read_from_the_coarsest_level_that_fits():
    day = plan(Period(START, START + timedelta(days=1)), 2000, None)
    month = plan(Period(START, START + timedelta(days=31)), 2000, None)
    year = plan(Period(START, START + timedelta(days=365)), 2000, None)
    assert (day.step, day.level) == (timedelta(minutes=1), None)
    assert (month.step, month.level) == (timedelta(minutes=30), timedelta(minutes=15))
    assert (year.step, year.level) == (timedelta(hours=6), timedelta(hours=1))
