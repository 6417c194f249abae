"""Messages that come twice: known by the device's own number, or by the broker's repeat flag. Pure.

What was seen is a short text that travels with the data into the outbox (a cursor), so that a crash between the data
and the acknowledgement to the broker leads neither to a loss nor to a second event.
"""

import hashlib
from collections import deque

import orjson

REMEMBERED = 64
MISSED_MAX = 10_000  # A larger jump is a new count, not a loss.


class Repeats:
    """The last numbers of one topic of one device."""

    def __init__(self, cursor: str | None = None) -> None:
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        if cursor is not None:
            try:
                self._seen.extend(str(entry) for entry in orjson.loads(cursor))
            except (orjson.JSONDecodeError, TypeError):
                self._seen.clear()

    def is_repeat(self, sequence: str | None, payload: bytes, *, is_resent: bool) -> bool:
        """Tell whether the message was taken before; remembers it if not.

        Without a number of its own only a message that the broker marks as sent again can be a repeat: two equal
        payloads in a row are two measurements.
        """
        mark = f"#{sequence}" if sequence is not None else hashlib.blake2s(payload, digest_size=8).hexdigest()
        if mark in self._seen and (sequence is not None or is_resent):
            return True
        if mark not in self._seen:
            self._seen.append(mark)
        return False

    def missed(self, sequence: int | None) -> int:
        """Return how many numbers lie between this one and the one before it; call before `is_repeat`."""
        if sequence is None:
            return 0
        for mark in reversed(self._seen):
            if mark.startswith("#") and mark[1:].isdecimal():
                gap = sequence - int(mark[1:]) - 1
                return gap if 0 < gap <= MISSED_MAX else 0
        return 0

    def cursor(self) -> str:
        """Return what must be stored together with the data."""
        return orjson.dumps(list(self._seen)).decode()
