"""A device on a bus as the poller sees it: what to ask, what it said of itself, whether it is there."""

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from device_profiles.model import Function, ModbusPoint, ModbusProfile
from edge_agent.drivers.modbus.badges import BadgeReader
from edge_agent.drivers.modbus.codec import Value
from edge_agent.drivers.modbus.device import (
    BILLING,
    Group,
    Request,
    device_groups,
    device_limits,
    device_points,
    factors_of,
    mismatch,
)
from edge_agent.drivers.modbus.learned import Learned, LearnedKey, LearnedRanges
from edge_agent.drivers.modbus.read_plan import Bisection, Block, Span
from edge_agent.model import DeviceState, Event, Quality
from edge_agent.schedule import Cycle, Patience
from edge_agent.settings import Bus, ModbusDevice, default_timeout_s

BACKOFF_FIRST_S = 2.0  # The first pause of a silent device, or its period when that is shorter.
ASK_AGAIN_S = 86_400  # What a device refused is asked for again so often: wiring and settings of meters change.
ASK_AGAIN_SPREAD_S = 3_600  # Devices do so at different times.


@dataclass(slots=True, kw_only=True, eq=False)
class DeviceCycle(Cycle):
    """A cycle and how far it has come."""

    device: "PolledDevice"
    group_name: str
    pending: deque[Request] = field(default_factory=deque)
    busy_count: int = 0
    has_run: bool = False

    @property
    def group(self) -> Group:
        """The points to read, from the table that the device was found to serve."""
        return next(group for group in self.device.groups if group.name == self.group_name)

    @property
    def identifies(self) -> bool:
        """Whether it reads what the device says about itself."""
        return self.device.is_identifying(self.group)


@dataclass(slots=True)
class DeviceStats:
    """Counters since the start."""

    answers: int = 0
    failures: int = 0
    invalid_values: int = 0
    refused_ranges: int = 0
    lost_badges: int = 0  # Shown between two reads; the sequence number told.


class PolledDevice:
    """One device of the site file with its profile compiled to requests."""

    def __init__(
        self,
        bus: Bus,
        config: ModbusDevice,
        profile: ModbusProfile,
        *,
        now: float,
        learned: LearnedRanges | None = None,
        on_texts: Callable[[], None] = lambda: None,
        privacy_key: bytes = b"",
    ) -> None:
        self.config = config
        self.profile = profile
        self.limits = device_limits(profile, config, bus)
        self.stats = DeviceStats()
        self.state = DeviceState.UNKNOWN
        self.state_since_ms = 0
        self.error = ""
        self.texts: dict[str, str] = {}
        self.factors: dict[str, Fraction] = {}
        self.identity_error: str | None = None
        self.response_timeout_s = config.response_timeout_s or max(
            bus.response_timeout_s, profile.limits.timeout_ms / 1000
        )
        delays = (config.request_delay_ms, bus.request_delay_ms, profile.limits.pause_ms)
        self.request_delay_s = next((delay for delay in delays if delay is not None), 0.0) / 1000
        self.key = LearnedKey(
            device=config.name, profile_revision=profile.revision, address=f"{bus.endpoint}/{config.unit}"
        )
        self._learned = learned
        known = learned.load(self.key) if learned else Learned()
        self.barriers: list[Span] = list(known.ranges)
        self.refused_tables: set[Function] = set(known.tables)
        self._ask_again_at = now + ASK_AGAIN_S + zlib.crc32(config.name.encode()) % ASK_AGAIN_SPREAD_S
        self._plans: dict[str, list[Request]] = {}
        self.bisection = Bisection()
        self._use_tables()
        ordinary = [group.period_s for group in self.groups if group.name != BILLING]
        self.poll_s = min(ordinary, default=60.0)
        offline_after_s = config.timeout_s or default_timeout_s(self.poll_s)
        self.patience = Patience(
            base_s=min(self.poll_s, BACKOFF_FIRST_S), offline_after_s=offline_after_s, last_answer_at=now
        )
        self._on_texts = on_texts
        self.badges = [BadgeReader(config.name, rule, privacy_key) for rule in profile.events]
        self._shown: list[dict[str, Any]] = []
        self._identity_values: dict[str, Value] = {}
        self._wanted = frozenset(name for point in self.points for name in point.factor_names)
        read = {point.name for point in self.points}
        self._identity = frozenset(identity.point for identity in profile.identity) & read
        self.is_identified = not self._identity

    def __repr__(self) -> str:
        return f"PolledDevice({self.config.name})"

    def _use_tables(self) -> None:
        """Choose where each point is read, and plan anew."""
        points = device_points(self.profile, self.config)
        self.points = [_elsewhere(point) if point.function in self.refused_tables else point for point in points]
        self.groups = device_groups(self.profile, self.config, self.points)
        self._plans.clear()
        self.bisection = Bisection()

    def inherit(self, old: "PolledDevice") -> None:
        """Go on where the same device stood before the site file changed."""
        self.state, self.state_since_ms, self.error = old.state, old.state_since_ms, old.error
        self.stats = old.stats
        for name in ("last_answer_at", "failures", "retry_at"):
            setattr(self.patience, name, getattr(old.patience, name))
        if self.key == old.key:
            self.texts, self.factors = old.texts, old.factors
            self.badges = old.badges
            self.is_identified, self.identity_error = old.is_identified, old.identity_error

    def cycles(self, first_due: float, boundary: float) -> list[DeviceCycle]:
        """List the recurring reads of this device. What others depend on comes first."""
        cycles = [
            DeviceCycle(
                patience=self.patience,
                period_s=group.period_s,
                due=boundary if group.name == BILLING else first_due,
                is_billing=group.name == BILLING,
                device=self,
                group_name=group.name,
            )
            for group in self.groups
        ]
        return sorted(cycles, key=lambda cycle: not self.is_identifying(cycle.group))

    def must_identify(self) -> None:
        """Trust no further data before the device has said again what it is."""
        self.is_identified = not self._identity

    def is_identifying(self, group: Group) -> bool:
        """Whether this group carries identity or factors of other points."""
        return group.name != BILLING and any(
            point.name in self._identity or point.name in self._wanted for point in group.points
        )

    def requests(self, group: Group) -> list[Request]:
        """Return the planned requests of a group, compiled once."""
        if group.name not in self._plans:
            plan = group.plan(self.limits, self.barriers)
            self._plans[group.name] = [group.request(block) for block in plan.blocks]
        return self._plans[group.name]

    def unreadable(self) -> list[str]:
        """Points that the device was found not to serve."""
        return sorted(
            {
                point.name
                for group in self.groups
                for span in group.plan(self.limits, self.barriers).unreadable
                for point in group.spans()[span]
            }
        )

    def refused(self, group: Group, block: Block) -> list[Request]:
        """Note that the device does not serve this block; returns what to ask instead."""
        self.stats.refused_ranges += 1
        return [group.request(part) for part in self.bisection.refused(block)]

    def learn(self) -> bool:
        """Take over what bisection has found, and keep it; returns whether there was anything."""
        found = self.bisection.found - set(self.barriers)
        self.bisection = Bisection()
        if not found:
            return False
        self.barriers = sorted({*self.barriers, *found})
        self._plans.clear()
        for function in {span.function for span in found}:
            moved = {_span(point) for point in self.points if point.function is function and point.also}
            if moved and moved <= set(self.barriers):  # All that it refuses may stand in the other table.
                self.use_other_table(function)
        self._save()
        return True

    def use_other_table(self, function: Function) -> bool:
        """Read from the other table what the profile says stands there too; False when there is none, or it was tried.

        Devices of one model answer function 03, or 04, or both, by firmware.
        """
        if function in self.refused_tables or not any(p.function is function and p.also for p in self.points):
            return False
        self.refused_tables.add(function)
        self.barriers = [span for span in self.barriers if span.function is not function]
        self._use_tables()
        self._save()
        return True

    def ask_again(self, now: float) -> bool:
        """Forget once a day what the device refused to serve; returns whether there was anything. Gaps stay known."""
        if now < self._ask_again_at:
            return False
        self._ask_again_at = now + ASK_AGAIN_S
        values = {_span(point) for point in self.points}
        kept = [span for span in self.barriers if span not in values]
        if len(kept) == len(self.barriers) and not self.refused_tables:
            return False
        self.barriers = kept
        self.refused_tables.clear()
        self._use_tables()
        self._save()
        return True

    def _save(self) -> None:
        if self._learned is not None:
            self._learned.save(self.key, Learned(ranges=tuple(self.barriers), tables=frozenset(self.refused_tables)))

    def decode(self, request: Request, words: Sequence[int]) -> tuple[tuple[Value, ...], tuple[Quality, ...]] | None:
        """Values of an answer in the order of `request.names`; None while the device is not the expected one."""
        values, qualities = request.decoder(words, self.factors)
        if self._wanted:
            self.factors.update(factors_of(request, values, self._wanted))
        if self._identity:
            self._identify(request, values)
        if self.badges:
            self._look_for_badges(request, values)
        if len(request.published) < len(values):
            self._keep_texts(request, values)
            values = tuple(values[position] for position in request.published)
            qualities = tuple(qualities[position] for position in request.published)
        return None if self.identity_error else (values, qualities)

    def _identify(self, request: Request, values: Sequence[Value]) -> None:
        told = {point.name: value for point, value in zip(request.points, values, strict=True)}
        seen = {name: told[name] for name in self._identity & told.keys()}
        if seen:
            self._identity_values.update(seen)
            self.identity_error = mismatch(self.profile, self._identity_values)

    def _look_for_badges(self, request: Request, values: Sequence[Value]) -> None:
        if self.identity_error:
            return
        told = {point.name: value for point, value in zip(request.points, values, strict=True)}
        self._shown += [shown for badge in self.badges if (shown := badge.seen(told)) is not None]
        self.stats.lost_badges = sum(badge.lost_count for badge in self.badges)

    def take_events(self, at_ms: int) -> list[Event]:
        """Return the badges that the last answer has shown, once."""
        shown, self._shown = self._shown, []
        return [
            Event(kind="door.access", device=self.config.name, at_ms=at_ms, received_at_ms=at_ms, data=data)
            for data in shown
        ]

    def to_clear(self) -> list[tuple[BadgeReader, ModbusPoint]]:
        """Points to set to 0, because the badge they announce was taken; then tell the reader's follower."""
        return [(badge, point) for badge in self.badges if (point := badge.to_clear) is not None]

    def _keep_texts(self, request: Request, values: Sequence[Value]) -> None:
        told = {
            point.name: value
            for point, value in zip(request.points, values, strict=True)
            if point.is_text and isinstance(value, str) and not point.is_secret
        }
        if any(self.texts.get(name) != value for name, value in told.items()):
            self.texts.update(told)
            self._on_texts()


def _elsewhere(point: ModbusPoint) -> ModbusPoint:
    return point if point.also is None else replace(point, function=point.also, also=None)


def _span(point: ModbusPoint) -> Span:
    return Span(point.function, point.address, point.end)
