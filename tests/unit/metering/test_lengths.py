from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from cloud_api.kit.period import Period
from cloud_api.metering.lengths import MINUTES, Lengths
from cloud_api.metering.model import MeterInterval
from cloud_api.metering.virtual import combine

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
QUARTERS_THEN_HOURS = Lengths(((datetime.min.replace(tzinfo=UTC), 15), (NOON, 60)))

some_lengths = st.dictionaries(st.integers(1, 23), st.sampled_from(MINUTES), max_size=4).map(
    lambda changes: Lengths(
        (
            (datetime.min.replace(tzinfo=UTC), 15),
            *((NOON + (hour - 12) * HOUR, minutes) for hour, minutes in sorted(changes.items())),
        )
    )
)
DAY = Period(NOON - 12 * HOUR, NOON + 12 * HOUR)


def test_a_day_in_which_the_length_changes_has_intervals_of_both():
    assert QUARTERS_THEN_HOURS.count(DAY) == 48 + 12
    assert [QUARTERS_THEN_HOURS.at(NOON - timedelta(minutes=1)), QUARTERS_THEN_HOURS.at(NOON)] == [15, 60]


@given(some_lengths)
def test_the_intervals_of_a_day_follow_each_other_without_a_gap(lengths):
    slots = list(lengths.slots(DAY))
    assert [slots[0].start, *(s.end for s in slots)] == [*(s.start for s in slots), slots[-1].end]
    assert (slots[0].start, slots[-1].end, len(slots)) == (DAY.start, DAY.end, lengths.count(DAY))


@given(some_lengths, some_lengths)
def test_a_sum_of_meters_with_other_lengths_loses_nothing_and_has_the_longest_of_them(one, other):
    measured = [
        MeterInterval(meter_id=n, starts_at=s.start, ends_at=s.end, quantity=Decimal(10) ** n, quality="actual")
        for n, lengths in enumerate((one, other), start=1)
        for s in lengths.slots(DAY)
    ]
    both = combine(9, {1: Decimal(1), 2: Decimal(-1)}, measured)
    assert sum(i.quantity for i in both) == 10 * one.count(DAY) - 100 * other.count(DAY)
    assert [Period(i.starts_at, i.ends_at) for i in both] == list(Lengths.longest([one, other]).slots(DAY))


def test_an_interval_that_one_meter_does_not_cover_wholly_is_not_there():
    hour = MeterInterval(meter_id=1, starts_at=NOON, ends_at=NOON + HOUR, quantity=Decimal(4), quality="actual")
    quarters = [
        MeterInterval(
            meter_id=2, starts_at=NOON + n * HOUR / 4, ends_at=NOON + (n + 1) * HOUR / 4, quantity=Decimal(1),
            quality="actual",
        )
        for n in range(4)
    ]  # fmt: skip
    factors = {1: Decimal(1), 2: Decimal(1)}
    assert [i.quantity for i in combine(9, factors, [hour, *quarters])] == [8]
    assert combine(9, factors, [hour, *quarters[:3]]) == []
