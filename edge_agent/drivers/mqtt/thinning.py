"""Keep fewer values of points that a device publishes more often than the site file wants them. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from edge_agent.model import Frame, Quality

EARLY_S = 0.5  # A device's own period wavers: a value that is so little early is not left out.


class Thinning:
    """`periods_s` is the site file's `poll_s` by point; other points pass."""

    def __init__(self, periods_s: Mapping[str, float]) -> None:
        self.left_out = 0
        self._periods_s = periods_s
        self._kept: dict[str, tuple[int, Quality]] = {}

    def forget(self) -> None:
        """Let the next value of each point pass: the device was lost, and its points are without a value."""
        self._kept.clear()

    def keep(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return the frames without the values that come too early; a change of quality is always kept."""
        if not self._periods_s:
            return list(frames)
        return [kept for frame in frames if (kept := self._thinned(frame)) is not None]

    def _thinned(self, frame: Frame) -> Frame | None:
        places = list(self._wanted(frame))
        self.left_out += len(frame.points) - len(places)
        if len(places) == len(frame.points):
            return frame
        if not places:
            return None
        return Frame(
            device=frame.device,
            observed_at_ms=frame.observed_at_ms,
            points=tuple(frame.points[place] for place in places),
            values=tuple(frame.values[place] for place in places),
            qualities=tuple(frame.qualities[place] for place in places),
            is_billing=frame.is_billing,
        )

    def _wanted(self, frame: Frame) -> Iterator[int]:
        for place, (name, quality) in enumerate(zip(frame.points, frame.qualities, strict=True)):
            period_s = self._periods_s.get(name)
            if period_s is not None:
                at_ms, before = self._kept.get(name, (None, None))
                early_ms = 1000 * max(period_s - EARLY_S, period_s / 2)
                if at_ms is not None and quality is before and 0 <= frame.observed_at_ms - at_ms < early_ms:
                    continue
                self._kept[name] = frame.observed_at_ms, quality
            yield place
