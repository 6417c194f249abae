"""Which modbus registers are read together in one request. Pure: no I/O, no clock."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from device_profiles.model import Function, Limits

ADDRESSES = 65_536
REGISTERS_MAX = 125  # Modbus Application Protocol 1.1b3, section 6.3: the byte count is one byte.
BITS_MAX = 2000


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The addresses `[start, end)` of one table: of one value, of a request, or of a gap that must not be read."""

    function: Function
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Block:
    """One request, and the values it carries."""

    span: Span
    values: tuple[Span, ...]

    def clusters(self) -> list[Span]:
        """Merge the values that overlap: between clusters the block may be cut, inside one it may not."""
        merged: list[Span] = []
        for value in self.values:
            if merged and value.start < merged[-1].end:
                merged[-1] = Span(value.function, merged[-1].start, max(merged[-1].end, value.end))
            else:
                merged.append(value)
        return merged


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests of one cycle, and the values that cannot be had."""

    blocks: tuple[Block, ...]
    unreadable: tuple[Span, ...]  # Refused by the device before, or larger than a request.


def plan_reads(values: Iterable[Span], limits: Limits, barriers: Sequence[Span] = ()) -> Plan:
    """Cover all values with as few requests as possible.

    A value is never split over two requests: its registers belong to one instant. `barriers` are address ranges that
    the device refuses; an empty one (start = end) is a cut that no request may cross.
    """
    barriers = [*barriers, *(Span(function, first, last + 1) for function, first, last in limits.holes)]
    addresses = ADDRESSES * limits.words_per_address
    blocks: list[Block] = []
    unreadable: list[Span] = []
    pending: list[Span] = []
    start, end = 0, 0
    for value in sorted(set(values)):
        count_max = count_limit(limits, value.function)
        if len(value) > count_max or value.end > addresses or _crosses(value, barriers):
            unreadable.append(value)
            continue
        grown = Span(value.function, start, max(end, value.end))
        if (
            pending
            and pending[0].function is value.function
            and not limits.single_point
            and len(grown) <= count_max
            and value.start - end <= limits.gap_max
            and not _crosses(grown, barriers)
        ):
            end = grown.end
        else:
            blocks += _block(pending)
            pending, start, end = [], value.start, value.end
        pending.append(value)
    blocks += _block(pending)
    return Plan(tuple(blocks), tuple(unreadable))


def count_limit(limits: Limits, function: Function) -> int:
    """How many addresses of a table fit in one request to this device."""
    if function.is_bits:
        return min(limits.bits_per_read, BITS_MAX)
    return min(limits.registers_per_read, REGISTERS_MAX)


def split_at_widest_gap(block: Block) -> tuple[Block, Span, Block] | None:
    """Cut a refused block where a refused address is most likely; None when it holds a single value.

    The widest gap first; without a gap, in the middle: then the device takes fewer registers than it was asked for.
    """
    clusters = block.clusters()
    if len(clusters) == 1:
        return None
    middle = (block.span.start + block.span.end) / 2
    cuts = [Span(left.function, left.end, right.start) for left, right in pairwise(clusters)]
    gap = max(cuts, key=lambda cut: (len(cut), -abs(cut.start - middle)))
    left = [value for value in block.values if value.end <= gap.start]
    right = [value for value in block.values if value.start >= gap.end]
    return _block(left)[0], gap, _block(right)[0]


class Bisection:
    """Learns from refusals (exceptions 02 and 03) which ranges a device does not serve.

    A gap is blamed only when both sides of it answered while the whole was refused, so a barrier is never the guess of
    an unlucky order; a value that is refused alone is itself a barrier.
    """

    def __init__(self) -> None:
        self.found: set[Span] = set()
        self._splits: dict[Block, tuple[Span, list[bool]]] = {}

    def refused(self, block: Block) -> tuple[Block, ...]:
        """Note a refusal; returns the blocks to try instead, none when the block was a single value."""
        self._settle(block, answered=False)
        parts = split_at_widest_gap(block)
        if parts is None:
            self.found.add(block.span)
            return ()
        left, gap, right = parts
        split: tuple[Span, list[bool]] = (gap, [])
        self._splits[left] = self._splits[right] = split
        return left, right

    def answered(self, block: Block) -> None:
        """Note that a block was answered."""
        if self._splits:
            self._settle(block, answered=True)

    def abandon(self) -> None:
        """Forget what is half known: the device went away during the search."""
        self._splits.clear()

    def _settle(self, block: Block, *, answered: bool) -> None:
        gap, outcomes = self._splits.pop(block, (None, []))
        if gap is None:
            return
        outcomes.append(answered)
        if outcomes == [True, True]:
            self.found.add(gap)


def _block(values: list[Span]) -> list[Block]:
    if not values:
        return []
    end = max(value.end for value in values)
    return [Block(Span(values[0].function, values[0].start, end), tuple(values))]


def _crosses(span: Span, barriers: Sequence[Span]) -> bool:
    # The same comparison serves a cut without width: it is crossed by a span that begins before and ends after it.
    return any(
        barrier.function is span.function and span.start < barrier.end and barrier.start < span.end
        for barrier in barriers
    )
