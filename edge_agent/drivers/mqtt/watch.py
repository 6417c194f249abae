"""Whether the devices behind a broker are there: by their last will, by what they send, by their silence. Pure."""

from dataclasses import dataclass, field

from edge_agent.model import DeviceState, Event, Frame, Quality


@dataclass(slots=True, kw_only=True)
class Watched:
    """One device behind a broker. Instants in milliseconds are wall clock, `heard_at_s` is uptime."""

    name: str
    points: tuple[str, ...]
    silent_after_s: float | None  # None: it speaks on change only, silence means nothing.
    state: DeviceState = DeviceState.UNKNOWN
    since_ms: int = 0
    error: str = ""
    heard_at_s: float = 0.0
    messages: int = 0
    problems: dict[str, int] = field(default_factory=dict)

    def heard(self, now_ms: int, uptime_s: float) -> list[Event]:
        """Take note of a message: a device that speaks is there."""
        self.messages += 1
        self.heard_at_s = uptime_s
        return self.turn(DeviceState.ONLINE, now_ms, "")

    def turn(self, state: DeviceState, now_ms: int, error: str) -> list[Event]:
        """Change the state; returns the event of a change, nothing when there was none."""
        if state is self.state:
            return []
        self.state, self.since_ms, self.error = state, now_ms, error
        data = {"state": state.value, "error": error}
        return [Event(kind="device.state", device=self.name, at_ms=now_ms, received_at_ms=now_ms, data=data)]

    def silence(self, now_ms: int, uptime_s: float) -> list[Event]:
        """Call it lost when it has been silent for longer than it may be."""
        if self.silent_after_s is None or uptime_s - self.heard_at_s < self.silent_after_s:
            return []
        return self.turn(DeviceState.OFFLINE, now_ms, f"no message for {self.silent_after_s:g} s")

    def no_answer(self, now_ms: int) -> list[Frame]:
        """Return the frame that ends every point of a lost device: once per loss, not per message missed."""
        if not self.points:
            return []
        return [
            Frame(
                device=self.name,
                observed_at_ms=now_ms,
                points=self.points,
                values=(None,) * len(self.points),
                qualities=(Quality.NO_ANSWER,) * len(self.points),
            )
        ]
