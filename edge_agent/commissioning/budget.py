"""Will this bus carry what the site file asks of it? Pure: bytes, baud and periods in, seconds out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from device_profiles.model import Limits, ModbusProfile
from edge_agent.drivers.modbus.device import BILLING, Group, device_groups, device_limits, device_points
from edge_agent.drivers.modbus.read_plan import Block
from edge_agent.settings import Bus, ModbusDevice, RtuBus, RtuOverTcpBus

# What a device takes to think, where nobody has measured it: many meters answer in 10 to 30 ms.
TURNAROUND_S = 0.02
NETWORK_S = 0.005
SILENCE_CHARACTERS = 3.5
UTILISATION_MAX = 0.8  # Above it one lost answer makes the bus late for minutes.
SLOW_PERIOD_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCost:
    """What one device asks of the bus in one period."""

    device: str
    group: str
    period_s: float
    seconds: float
    requests: int
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The bus-time budget of one bus."""

    bus: str
    endpoint: str
    costs: tuple[GroupCost, ...]
    slower: tuple[tuple[str, int, float], ...]  # (profile, points that could be read every minute, share it would save)

    @property
    def utilisation(self) -> float:
        """The share of time in which the bus is busy, if nothing goes wrong; above 1 it cannot keep up."""
        return sum(cost.seconds / cost.period_s for cost in self._ordinary)

    @property
    def cycle_s(self) -> float:
        """Seconds for one read of the fastest points of all devices."""
        return sum(cost.seconds for cost in self._fastest)

    @property
    def asked_s(self) -> float:
        """The period asked for these."""
        return min((cost.period_s for cost in self._ordinary), default=0.0)

    @property
    def billing_s(self) -> float:
        """Seconds to read all billing registers at a quarter hour."""
        return sum(cost.seconds for cost in self.costs if cost.group == BILLING)

    @property
    def requests_per_cycle(self) -> tuple[int, int]:
        """Requests without and with coalescing, for one read of everything."""
        return sum(cost.points for cost in self._ordinary), sum(cost.requests for cost in self._ordinary)

    @property
    def fits(self) -> bool:
        """Whether the bus can carry it with some reserve."""
        return self.utilisation <= UTILISATION_MAX

    @property
    def period_that_fits_s(self) -> float:
        """The period, for the fastest points, at which the bus would fit; infinite when even then it would not."""
        fast = sum(cost.seconds / cost.period_s for cost in self._fastest)
        rest = self.utilisation - fast
        return self.asked_s * fast / (UTILISATION_MAX - rest) if rest < UTILISATION_MAX else float("inf")

    @property
    def _ordinary(self) -> list[GroupCost]:
        return [cost for cost in self.costs if cost.group != BILLING]

    @property
    def _fastest(self) -> list[GroupCost]:
        first: dict[str, GroupCost] = {}
        for cost in sorted(self._ordinary, key=lambda cost: cost.period_s):
            first.setdefault(cost.device, cost)
        return list(first.values())


def bus_budget(bus: Bus, profiles: Mapping[str, ModbusProfile], *, turnaround_s: float = TURNAROUND_S) -> Budget:
    """Add up what the devices of a bus ask of it; `profiles` by device name."""
    costs: list[GroupCost] = []
    savings: dict[str, tuple[int, float]] = {}
    for device in bus.devices:
        profile = profiles[device.name]
        limits = device_limits(profile, device, bus)
        groups = device_groups(profile, device, device_points(profile, device))
        costs += [_cost(bus, device, group, limits, turnaround_s) for group in groups]
        saved = _saving(bus, device, groups, limits, turnaround_s)
        if saved is not None:
            points, share = savings.get(profile.name, (0, 0.0))
            savings[profile.name] = (max(points, saved[0]), share + saved[1])
    slower = sorted(((name, points, share) for name, (points, share) in savings.items()), key=lambda s: -s[2])
    return Budget(bus=bus.name, endpoint=bus.endpoint, costs=tuple(costs), slower=tuple(slower))


def request_seconds(bus: Bus, block: Block, limits: Limits, device: ModbusDevice, turnaround_s: float) -> float:
    """How long one request keeps the bus: question, thinking, answer, and the silence around them."""
    count = len(block.span)
    data = (count + 7) // 8 if block.span.function.is_bits else 2 * count
    characters = 8 + 5 + data + 2 * SILENCE_CHARACTERS
    configured = (device.request_delay_ms, bus.request_delay_ms, limits.pause_ms)
    pause_s = next((delay for delay in configured if delay is not None), 0.0) / 1000
    return characters * character_seconds(bus) + turnaround_s + pause_s + _network_s(bus)


def character_seconds(bus: Bus) -> float:
    """How long one character takes on the line of this bus; 0 on a network."""
    if isinstance(bus, RtuBus):
        return (1 + bus.data_bits + (bus.parity != "none") + bus.stop_bits) / bus.baud
    return 10 / bus.baud if isinstance(bus, RtuOverTcpBus) else 0.0


def _network_s(bus: Bus) -> float:
    return 0.0 if isinstance(bus, RtuBus) else NETWORK_S


def _cost(bus: Bus, device: ModbusDevice, group: Group, limits: Limits, turnaround_s: float) -> GroupCost:
    blocks = group.plan(limits, ()).blocks
    return GroupCost(
        device=device.name,
        group=group.name,
        period_s=group.period_s,
        seconds=sum(request_seconds(bus, block, limits, device, turnaround_s) for block in blocks),
        requests=len(blocks),
        points=len(group.points),
    )


def _saving(
    bus: Bus, device: ModbusDevice, groups: Sequence[Group], limits: Limits, turnaround_s: float
) -> tuple[int, float] | None:
    """Tell what it would save to read the ordinary points of the fastest group once a minute."""
    fastest = groups[0]
    keep = tuple(point for point in fastest.points if point.rate == "fast" or point.is_billing)
    moved = len(fastest.points) - len(keep)
    if not moved or fastest.period_s >= SLOW_PERIOD_S:
        return None
    before = _cost(bus, device, fastest, limits, turnaround_s).seconds
    kept = Group(name="kept", period_s=fastest.period_s, points=keep)
    after = _cost(bus, device, kept, limits, turnaround_s).seconds
    share = before / fastest.period_s - after / fastest.period_s - before / SLOW_PERIOD_S
    return (moved, share) if share > 0 else None
