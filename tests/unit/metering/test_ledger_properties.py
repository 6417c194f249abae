"""The ledger keeps every register's energy, in whatever order readings come and whatever people declare."""

from bisect import bisect_left, bisect_right
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_api.metering.ledger import (
    CONTEXT_READINGS,
    FALSE_READINGS_MAX,
    SPLIT_QUANTUM,
    UNIT,
    Reset,
    Rules,
    compute,
    without_false_readings,
)
from cloud_api.metering.model import Quality

MIN = 60_000
EVER = {"start_ms": 0, "end_ms": 10**13}
MODULUS = 1_000 * UNIT
BEGINNING = -(2**63)

minutes_of_an_interval = st.sampled_from([1, 5, 15, 30, 60])
# From a value every few seconds to a silence of many hours.
pauses = st.one_of(st.integers(1, 2 * MIN), st.integers(1, 40 * MIN), st.integers(1, 900 * MIN))


# Other lengths of the intervals, each from a full hour on.
lengths = st.dictionaries(st.integers(1, 90), minutes_of_an_interval, max_size=3).map(
    lambda changes: tuple((hour * 60 * MIN, m * MIN, m * MIN * 3 // 2) for hour, m in sorted(changes.items()))
)


@st.composite
def registers(draw):
    """A register's readings with what was declared about it, and the energy that its displays say was used.

    Each stretch between two readings may hold a declared reset (with or without its last value) or a rollover; false
    values lie between true ones at times.
    """
    minutes = draw(minutes_of_an_interval)
    at, value = draw(st.integers(1, 60)) * MIN, draw(st.integers(0, 999)) * UNIT
    readings, resets, steps = [(at, value)], [], []
    for _ in range(draw(st.integers(1, 25))):
        start, at = at, at + draw(pauses)
        used = draw(st.integers(0, 400 * UNIT))
        event = draw(st.sampled_from(["", "", "", "reset", "unknown reset"]))
        if event and at - start > 1:
            instant = draw(st.integers(start + 1, at))
            stop, begin = value + draw(st.integers(0, 400 * UNIT)), draw(st.integers(0, 500)) * UNIT
            if event == "reset":
                steps.append((start, instant, stop - value))
            resets.append(Reset(at_ms=instant, stop=stop if event == "reset" else None, start=begin))
            start, value = instant, begin
            if instant == at:
                used = 0  # The reading of that very instant is the reset's.
        steps.append((start, at, used))
        value = (value + used) % MODULUS if 2 * used < MODULUS else value + used
        if value >= MODULUS:
            value = draw(st.integers(0, 1)) * UNIT
            resets.append(Reset(at_ms=at, stop=None, start=value))
            steps.pop()
        readings.append((at, value))
    dated = sorted(
        draw(st.dictionaries(st.integers(1, at), st.sampled_from([-1, 40, Fraction(1, 1000), 80]), max_size=3)).items()
    )
    factors = [(BEGINNING, draw(st.sampled_from([1, 60]))), *dated]
    rules = Rules(
        interval_ms=minutes * MIN,
        gap_ms_max=minutes * MIN * 3 // 2,
        modulus=MODULUS,
        resets=tuple(resets),
        multipliers=tuple((since, Decimal(f.numerator) / f.denominator if isinstance(f, Fraction) else Decimal(f)) for since, f in factors),
        closed_at_ms=at,
    )  # fmt: skip
    return readings, rules, steps


def known_energy(steps, rules):
    """Return what the displays say was used, exactly, and how far a step's division may stand beside it."""
    total, play = Fraction(0), Fraction(0)
    changes = [*rules.multipliers, (2**63, Decimal(0))]
    for start, end, used in steps:
        for (since, factor), (until, _) in pairwise(changes):
            part = max(0, min(end, until) - max(start, since))
            if end > start:
                total += Fraction(used * part, (end - start) * UNIT) * Fraction(factor)
        cuts = [(a, b) for (_, a), (at, b) in pairwise(rules.multipliers) if start < at < end]
        play += sum((Fraction(SPLIT_QUANTUM, UNIT) * abs(Fraction(a) - Fraction(b)) for a, b in cuts), Fraction(0))
    return total, play


@settings(max_examples=200, deadline=None)
@given(registers())
def test_intervals_hold_the_register_difference_through_every_kind_of_event(register):
    readings, rules, steps = register
    found = compute(readings, rules, **EVER)
    total, play = known_energy(steps, rules)
    assert abs(sum((Fraction(i.quantity) for i in found), Fraction(0)) - total) <= play
    if len({factor for _, factor in rules.multipliers}) == 1:
        assert sum(i.quantity for i in found) == Decimal(total.numerator) / total.denominator


@settings(max_examples=200, deadline=None)
@given(registers(), lengths)
def test_another_length_of_the_intervals_keeps_what_was_before_and_all_energy(register, changes):
    readings, rules, _ = register
    plain = compute(readings, rules, **EVER)
    changed = replace(rules, lengths=changes)
    found = compute(readings, changed, **EVER)
    assert sum(i.quantity for i in found) == sum(i.quantity for i in plain)
    assert all(one.end_ms <= other.start_ms for one, other in pairwise(found))
    edges = [-(10**13), *(since for since, _, _ in changes), 10**13]
    for since, until in pairwise(edges):
        interval_ms, gap_ms_max = changed.length_at(since)
        alike = compute(readings, replace(rules, interval_ms=interval_ms, gap_ms_max=gap_ms_max), **EVER)
        assert [i for i in found if since <= i.start_ms < until] == [i for i in alike if since <= i.start_ms < until]


@settings(max_examples=100, deadline=None)
@given(registers())
def test_energy_that_nobody_knows_is_said_to_be_missing(register):
    readings, rules, _ = register
    found = {i.start_ms: i for i in compute(readings, rules, **EVER)}
    for reset in rules.resets:
        before = max(
            [*[at for at, _ in readings if at < reset.at_ms], *[r.at_ms for r in rules.resets if r.at_ms < reset.at_ms]]
        )
        if reset.stop is None:
            first, slot = before, rules.interval_ms
            touched = range(first // slot * slot, -(-reset.at_ms // slot) * slot, slot)
            assert {found[start].quality for start in touched} <= {Quality.MISSING}


@settings(max_examples=100, deadline=None)
@given(registers(), st.data())
def test_a_meter_exchanged_at_any_moment_loses_and_invents_nothing(register, data):
    readings, rules, _ = register
    climbing = [(at, n * 10 * UNIT + n) for n, (at, _) in enumerate(readings)]
    plain = {"interval_ms": rules.interval_ms, "gap_ms_max": rules.gap_ms_max}
    at = data.draw(st.integers(climbing[0][0] + 1, climbing[-1][0] + 10 * MIN))
    passed = bisect_right([instant for instant, _ in climbing], at)
    closing = climbing[passed - 1][1] + data.draw(st.integers(0, 10)) * UNIT // 10
    opening = data.draw(st.integers(0, 5)) * UNIT
    old = [*[r for r in climbing if r[0] < at], (at, closing)]
    new = [(at, opening), *[(instant, opening + value) for instant, value in climbing if instant > at]]
    found = [
        *compute(old, Rules(**plain, closed_at_ms=at), **EVER),
        *compute(new, Rules(**plain, closed_at_ms=new[-1][0]), **EVER),
    ]
    used = closing - climbing[0][1] + new[-1][1] - opening
    assert sum(i.quantity for i in found) == Decimal(used).scaleb(-9)


class Worker:
    """Recomputes as the worker does: readings as they come, and around each only what it can touch."""

    def __init__(self, rules):
        self.rules, self.readings, self.ledger = rules, {}, {}

    def take(self, batch):
        for at, value in batch:
            self.readings[at] = max(value, self.readings.get(at, value))
        self.recompute(min(at for at, _ in batch), max(at for at, _ in batch))

    def declare(self, rules, first, last):
        self.rules = rules
        self.recompute(first, last)

    def recompute(self, first, last):
        course = sorted(self.readings.items())
        times = [at for at, _ in course]
        lowest = bisect_left(times, first) - CONTEXT_READINGS
        highest = bisect_right(times, last) + CONTEXT_READINGS - 1
        start = self.edge_before(times[lowest]) if lowest >= 0 else 0
        end = self.edge_before(times[highest], after=1) if highest < len(times) else 10**13
        read_from = max(0, bisect_left(times, start) - CONTEXT_READINGS)
        read_to = bisect_right(times, end) + CONTEXT_READINGS
        self.ledger = {at: i for at, i in self.ledger.items() if not start <= at < end}
        for interval in compute(course[read_from:read_to], self.rules, start_ms=start, end_ms=end):
            self.ledger[interval.start_ms] = interval

    def edge_before(self, at, after=0):
        slot, _ = self.rules.length_at(at)
        return (at // slot + after) * slot


@st.composite
def noisy_courses(draw):
    """A climbing counter with false values among its readings, a few or so many that nothing can be believed."""
    noise = draw(st.sampled_from([0, 10, 60]))
    at, value, course = 0, 10 * UNIT, []
    for pause, used, dice, false in draw(
        st.lists(
            st.tuples(st.integers(1, 90), st.integers(0, 9), st.integers(0, 99), st.integers(0, 99)),
            min_size=40,
            max_size=90,
        )
    ):
        at, value = at + pause * MIN // 20, value + used * UNIT
        course.append((at, false * UNIT if dice < noise else value))
    return course


@settings(max_examples=60, deadline=None)
@given(noisy_courses(), minutes_of_an_interval, lengths, st.randoms(use_true_random=False))
def test_reading_by_reading_in_any_order_and_twice_gives_the_ledger_of_all_at_once(course, minutes, changes, rng):
    last = max(at for at, _ in course)
    rules = Rules(interval_ms=minutes * MIN, gap_ms_max=minutes * MIN * 3 // 2, lengths=changes, closed_at_ms=last)
    batch = {i.start_ms: i for i in compute(course, rules, **EVER)}
    arriving = course + rng.sample(course, len(course) // 3)
    rng.shuffle(arriving)
    worker, n = Worker(rules), 0
    while n < len(arriving):
        size = rng.choice([1, 1, 2, 7, 40])
        worker.take(arriving[n : n + size])
        n += size
    # Where a stretch was computed before its end was known, the register's life was not over.
    assert {at: i for at, i in worker.ledger.items() if at < last} == batch


@settings(max_examples=60, deadline=None)
@given(registers(), st.randoms(use_true_random=False))
def test_what_is_declared_and_taken_back_leaves_no_trace(register, rng):
    """Events come one by one between the readings, in any order, some are undone: the ledger is that of what stands."""
    readings, rules, _ = register
    bare = Rules(interval_ms=rules.interval_ms, gap_ms_max=rules.gap_ms_max, closed_at_ms=rules.closed_at_ms)
    worker, stands = Worker(bare), set()
    worker.take(readings[:1])
    arriving, events = readings[1:], list(range(len(rules.resets)))
    rng.shuffle(arriving)
    while arriving or events:
        if events and (not arriving or rng.random() < 0.5):
            event = rng.choice(events)
            stands ^= {event}
            if event in stands and rng.random() < 0.7:
                events.remove(event)
            at = rules.resets[event].at_ms
            declared = Rules(
                interval_ms=rules.interval_ms, gap_ms_max=rules.gap_ms_max, closed_at_ms=rules.closed_at_ms,
                resets=tuple(rules.resets[n] for n in sorted(stands)),
            )  # fmt: skip
            worker.declare(declared, at, at)
        else:
            worker.take([arriving.pop()])
    assert stands == set(range(len(rules.resets)))
    worker.declare(rules, 0, 10**13)  # The counter's range and the factors concern the whole life.
    assert worker.ledger == {i.start_ms: i for i in compute(readings, rules, **EVER)}


@settings(max_examples=100, deadline=None)
@given(noisy_courses())
def test_never_more_readings_in_a_row_are_called_false_than_their_neighbours_can_judge(course):
    kept = set(without_false_readings(course))
    longest = run = 0
    for reading in course:
        run = 0 if reading in kept else run + 1
        longest = max(longest, run)
    assert longest <= FALSE_READINGS_MAX


@given(
    st.lists(st.tuples(st.integers(1, 200 * MIN), st.integers(0, 50 * UNIT)), min_size=2, max_size=60),
    minutes_of_an_interval,
)
def test_pulses_add_up_to_what_was_counted_after_the_first(pulses, minutes):
    at, readings = 0, []
    for pause, used in pulses:
        at += pause
        readings.append((at, used))
    rules = Rules(interval_ms=minutes * MIN, gap_ms_max=minutes * MIN, is_delta=True, closed_at_ms=at)
    counted = sum(used for _, used in readings[1:])
    assert sum(i.quantity for i in compute(readings, rules, **EVER)) == Decimal(counted).scaleb(-9)
