"""Sets of sequence numbers as sorted, disjoint, inclusive ranges."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

Range = tuple[int, int]


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Sort ranges and join those that overlap or touch; ranges that end before they start are dropped."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if last < first:
            continue
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def within(ranges: Sequence[Range], first: int, last: int) -> list[Range]:
    """Return the part of merged ranges that lies in `first..last`."""
    index = max(bisect_right(ranges, (first, first)) - 1, 0)
    found: list[Range] = []
    for start, end in ranges[index:]:
        if start > last:
            break
        if end >= first:
            found.append((max(start, first), min(end, last)))
    return found


def missing(ranges: Sequence[Range], first: int, last: int) -> list[Range]:
    """Return the part of `first..last` that merged ranges do not cover."""
    gaps: list[Range] = []
    expected = first
    for start, end in within(ranges, first, last):
        if start > expected:
            gaps.append((expected, start - 1))
        expected = end + 1
    if expected <= last:
        gaps.append((expected, last))
    return gaps


def count(ranges: Iterable[Range]) -> int:
    """Return how many numbers merged ranges hold."""
    return sum(last - first + 1 for first, last in ranges)
