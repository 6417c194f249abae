"""Limits on points: one fold for live and stored data, and columns that agree with it."""

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from cloud_api.alarms.limits import FAULT, NO_EVAL, OK, Kind, Limit, LimitSet, Memory, fold
from cloud_api.alarms.states import Policy
from cloud_api.telemetry.columns import Observations

T0 = datetime(2026, 3, 2, 1, tzinfo=UTC)
T0_MS = int(T0.timestamp() * 1000)


def limit(kind=Kind.ABOVE, value=30.0, clear=28.0, point=1, number=1):
    if kind in {Kind.EQUALS, Kind.STEP}:
        clear = value
    return Limit(
        id=number, organisation_id=1, site_id=1, gateway_id=1, point_id=point, kind=kind, severity=3, value=value,
        clear_value=clear, policy=Policy(), valid_from=T0,
    )  # fmt: skip


def rows(*values, point=1, start=1):
    count = len(values)
    return Observations(
        point_id=np.full(count, point),
        at_ms=T0_MS + 1000 * (start + np.arange(count)),
        value=np.array([np.nan if v is None else v for v in values], dtype=float),
        mantissa=np.zeros(count, dtype=np.int64),
        quality=np.array([2 if v is None else 0 for v in values]),
        scale=np.full(count, -1),
    )


def verdicts(which, *values):
    return [
        v
        for _, v in fold(
            which, Memory(), [(n, np.nan if x is None else x, 2 if x is None else 0) for n, x in enumerate(values)]
        )
    ]


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Kind.ABOVE, (30.0, 30.1, 29.0, 28.0, 27.9), [FAULT, OK]),
        (Kind.BELOW, (30.0, 29.9, 31.0, 32.1), [FAULT, OK]),
        (Kind.EQUALS, (0, 30.0, 0), [OK, FAULT, OK]),
        (Kind.STEP, (0, 30, 61, 61), [OK, FAULT, OK]),
    ],
)
def test_a_limit_raises_beyond_its_value_and_ends_beyond_its_clear_value(kind, values, said):
    assert verdicts(limit(kind, clear=28.0 if kind is Kind.ABOVE else 32.0), *values) == said


def test_an_unusable_value_says_nothing_and_the_next_one_is_judged_anew():
    assert verdicts(limit(), 31.0, None, 29.0, 31.0) == [FAULT, NO_EVAL, FAULT]


def test_a_value_inside_the_band_keeps_what_was_said_before():
    assert verdicts(limit(), 29.0, 29.5) == []
    assert verdicts(limit(), 27.0, 29.5, 30.5, 29.5) == [OK, FAULT]


@pytest.mark.parametrize("seed", range(20))
def test_columns_cut_anywhere_say_what_the_fold_says(seed):
    random_ = random.Random(seed)
    limits = [
        limit(kind, value=30.0, clear={Kind.ABOVE: 28.0, Kind.BELOW: 31.0}.get(kind, 30.0), point=p, number=4 * p + n)
        for p in range(5)
        for n, kind in enumerate(Kind)
    ]
    stream = LimitSet(limits)
    series = {p: [random_.choice((None, 25.0, 29.0, 30.0, 30.5, 62.0)) for _ in range(60)] for p in range(5)}
    got = []
    first = 0
    while first < 60:
        size = random_.randint(1, 20)
        parts = [rows(*series[p][first : first + size], point=p, start=first + 1) for p in range(5)]
        batch = parts[0]
        for part in parts[1:]:
            batch = Observations(**{
                name: np.concatenate([getattr(batch, name), getattr(part, name)])
                for name in ("point_id", "at_ms", "value", "mantissa", "quality", "scale")
            })  # fmt: skip
        shuffled = np.array(random_.sample(range(len(batch)), len(batch)))
        taken = stream.take(batch.pick(shuffled))
        assert not taken.late
        got += [(stream.limits[n].id, at, verdict) for n, at, verdict in taken.changes]
        first += size
    expected = []
    for which in limits:
        values = series[which.point_id]
        history = [
            (T0_MS + 1000 * (n + 1), np.nan if v is None else v, 2 if v is None else 0) for n, v in enumerate(values)
        ]
        changes = [(which.id, at, verdict) for at, verdict in fold(which, Memory(), history)]
        first_fault = next((n for n, change in enumerate(changes) if change[2] == FAULT), len(changes))
        expected += changes[first_fault:]  # Before there is an alarm, "fine" need not be said.
    assert sorted(got) == sorted(expected)


def test_an_older_value_is_reported_as_late_only_when_it_could_change_something():
    stream = LimitSet([limit()])
    stream.take(rows(20.0, 20.0, start=10))
    assert stream.take(rows(21.0, start=5)).late == {}
    assert stream.take(rows(35.0, start=6)).late == {0: T0_MS + 6000}
    assert stream.take(rows(35.0, start=20)).changes == [(0, T0_MS + 20_000, FAULT)]
    assert stream.take(rows(21.0, start=15)).late == {0: T0_MS + 15_000}


def test_what_was_observed_before_the_limit_was_set_is_not_judged():
    stream = LimitSet([limit()])
    assert stream.take(rows(35.0, start=-5)).changes == []


def test_points_without_limits_cost_nothing_and_say_nothing():
    stream = LimitSet([limit(point=7)])
    taken = stream.take(rows(99.0, point=8))
    assert (taken.changes, taken.late) == ([], {})
    assert LimitSet([]).take(rows(99.0)).changes == []
    assert timedelta(0) == stream.limits[0].policy.on_delay
