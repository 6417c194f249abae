"""What may be shown of few people: a pure rule.

A number below the floor is hidden. When exactly one number of a list is hidden and their sum is known, it could be
found by subtraction; then the smallest shown number is hidden as well.
"""

from collections.abc import Sequence

PRIVACY_FLOOR = 5


def hide_few(counts: Sequence[int], *, sum_is_known: bool, floor: int = PRIVACY_FLOOR) -> list[int | None]:
    """Return the counts with those hidden that must not be shown; zero is no person and stays."""
    shown: list[int | None] = [None if 0 < count < floor else count for count in counts]
    hidden = [i for i, count in enumerate(shown) if count is None]
    if sum_is_known and len(hidden) == 1:
        others = [(count, i) for i, count in enumerate(shown) if count]
        if others:
            shown[min(others)[1]] = None
    return shown
