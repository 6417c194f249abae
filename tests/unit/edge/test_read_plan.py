from hypothesis import given
from hypothesis import strategies as st

from device_profiles.model import Function, Limits
from edge_agent.drivers.modbus.read_plan import Bisection, Block, Span, count_limit, plan_reads

H = Function.HOLDING


def span(start: int, count: int = 2, function: Function = H) -> Span:
    return Span(function, start, start + count)


def ranges(values, **kwargs) -> list[tuple[int, int]]:
    plan = plan_reads(values, Limits(**kwargs))
    return [(block.span.start, block.span.end) for block in plan.blocks]


def test_neighbours_and_small_gaps_are_read_in_one_request():
    assert ranges([span(0), span(2), span(10)]) == [(0, 12)]


def test_a_gap_wider_than_the_limit_starts_a_new_request():
    assert ranges([span(0), span(19)], gap_max=16) == [(0, 2), (19, 21)]


def test_a_request_never_exceeds_what_the_device_takes_nor_splits_a_value():
    assert ranges([span(address, 4) for address in range(0, 24, 4)], registers_per_read=10) == [
        (0, 8),
        (8, 16),
        (16, 24),
    ]


def test_tables_are_never_mixed_and_bits_have_their_own_limit():
    plan = plan_reads([span(0), span(2, 1, Function.COIL), span(900, 1, Function.COIL)], Limits(gap_max=1000))
    assert [(block.span.function, len(block.span)) for block in plan.blocks] == [(Function.COIL, 899), (H, 2)]


def test_a_value_beyond_the_last_address_is_unreadable():
    assert plan_reads([span(65535)], Limits()).unreadable == (span(65535),)


def test_a_cut_without_width_is_not_crossed():
    plan = plan_reads([span(0), span(2)], Limits(), [Span(H, 2, 2)])
    assert [len(block.span) for block in plan.blocks] == [2, 2]


spans = st.builds(
    span,
    st.integers(0, 300),
    st.integers(1, 8),
    st.sampled_from([H, Function.INPUT, Function.COIL]),
)
limits = st.builds(Limits, registers_per_read=st.integers(8, 125), gap_max=st.integers(0, 125))


@given(st.lists(spans, max_size=60), limits)
def test_every_value_is_in_exactly_one_request_that_the_device_takes(values, limits):
    plan = plan_reads(values, limits)
    assert not plan.unreadable
    planned = [value for block in plan.blocks for value in block.values]
    assert sorted(planned) == sorted(set(values))
    for block in plan.blocks:
        assert len(block.span) <= count_limit(limits, block.span.function)
        assert all(block.span.start <= value.start and value.end <= block.span.end for value in block.values)


class Device:
    """Refuses requests that touch a hole or ask for too much, as devices.md, section 11, tells of real ones."""

    def __init__(self, holes: set[int], count_max: int) -> None:
        self.holes, self.count_max, self.requests = holes, count_max, 0

    def refuses(self, span: Span) -> bool:
        self.requests += 1
        return len(span) > self.count_max or any(address in self.holes for address in range(span.start, span.end))


def learn(values: list[Span], limits: Limits, device: Device) -> tuple[list[Span], set[Span]]:
    """Poll until a cycle goes without refusals; returns the values of that cycle and what was learnt."""
    barriers: set[Span] = set()
    for _ in range(200):
        bisection, got, refusals = Bisection(), [], 0
        pending: list[Block] = list(plan_reads(values, limits, sorted(barriers)).blocks)
        while pending:
            block = pending.pop(0)
            if device.refuses(block.span):
                refusals += 1
                pending[:0] = bisection.refused(block)
            else:
                bisection.answered(block)
                got += block.values
        if not refusals:
            return got, barriers
        assert bisection.found, "a cycle with refusals must teach something"
        barriers |= bisection.found
    raise AssertionError("never settles")


@given(st.lists(spans, min_size=1, max_size=40), st.sets(st.integers(0, 310), max_size=40), st.integers(8, 125))
def test_bisection_finds_every_readable_value_and_settles(values, holes, count_max):
    device = Device(holes, count_max)
    got, _ = learn(values, Limits(registers_per_read=125, gap_max=40), device)
    # Values that overlap a refused one share its fate; all others must be read.
    clusters = [cluster for block in plan_reads(values, Limits(gap_max=0)).blocks for cluster in block.clusters()]
    for value in set(values):
        home = next(
            c for c in clusters if c.function is value.function and c.start <= value.start and value.end <= c.end
        )
        if not holes & set(range(home.start, home.end)) and len(home) <= count_max:
            assert value in got


def test_one_hole_costs_one_barrier_and_the_rest_stays_together():
    device = Device({50}, 125)
    got, barriers = learn([span(address) for address in (0, 2, 4, 48, 52, 54)], Limits(gap_max=64), device)
    assert barriers == {Span(H, 50, 52)}
    assert len(got) == 6
    assert device.requests < 12
