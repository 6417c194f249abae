"""From a profile and a line of the site file to the requests of one device. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from device_profiles.model import Limits, ModbusPoint, ModbusProfile, Order
from edge_agent.drivers.modbus.codec import BlockDecoder, Value, compile_decoder, factor_of
from edge_agent.drivers.modbus.read_plan import Block, Plan, Span, plan_reads
from edge_agent.settings import Bus, ModbusDevice, RtuBus, RtuOverTcpBus

BILLING = "billing"
GAP_MAX_TCP = 64  # On a network a request costs more than a hundred registers.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One read and how its answer becomes values."""

    block: Block
    decoder: BlockDecoder
    prefixes: tuple[int, ...]  # Shorter reads at the same address, to find the place again after a timeout.
    published: tuple[int, ...]  # Positions of the decoded values that go into a frame, all but the texts.
    names: tuple[str, ...]  # Their names.
    points: tuple[ModbusPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Points that are read together, every `period_s` seconds; billing registers at the quarter hours."""

    name: str
    period_s: float
    points: tuple[ModbusPoint, ...]

    def spans(self) -> dict[Span, list[ModbusPoint]]:
        """Collect the registers of each value; points that share their registers share a span."""
        spans: dict[Span, list[ModbusPoint]] = {}
        for point in self.points:
            spans.setdefault(Span(point.function, point.address, point.end), []).append(point)
        return spans

    def plan(self, limits: Limits, barriers: Sequence[Span]) -> Plan:
        """Plan the requests of one cycle."""
        return plan_reads(self.spans(), limits, barriers)

    def request(self, block: Block) -> Request:
        """Compile one block of the plan."""
        spans = self.spans()
        points = [point for value in block.values for point in spans[value]]
        published = tuple(position for position, point in enumerate(points) if not point.is_text)
        clusters = block.clusters()
        return Request(
            block=block,
            decoder=compile_decoder(points, block.span.start, len(block.span)),
            prefixes=tuple(cluster.end - block.span.start for cluster in clusters[:-1]),
            published=published,
            names=tuple(points[position].name for position in published),
            points=tuple(points),
        )


def device_limits(profile: ModbusProfile, device: ModbusDevice, bus: Bus) -> Limits:
    """Tell what one request may ask: the profile's word, made stricter by the site file."""
    limits = profile.limits
    if device.registers_max is not None:
        limits = replace(limits, registers_per_read=min(device.registers_max, limits.registers_per_read))
    if device.gap_max is not None:
        return replace(limits, gap_max=device.gap_max)
    is_serial = isinstance(bus, (RtuBus, RtuOverTcpBus))
    if limits.gap_max == Limits().gap_max and not is_serial:
        return replace(limits, gap_max=GAP_MAX_TCP)
    return limits


def device_points(profile: ModbusProfile, device: ModbusDevice) -> list[ModbusPoint]:
    """List the points that are read, in the device's own word and byte order."""
    points: list[ModbusPoint] = []
    for point in profile.points:
        override = device.points.get(point.name)
        if override is not None and not override.enabled:
            continue
        if device.word_order is not None and not point.is_text:
            point = replace(point, word_order=Order(device.word_order))  # noqa: PLW2901
        if device.byte_order is not None and not point.is_text:
            point = replace(point, byte_order=Order(device.byte_order))  # noqa: PLW2901
        points.append(point)
    return points


def device_groups(profile: ModbusProfile, device: ModbusDevice, points: Iterable[ModbusPoint]) -> list[Group]:
    """Sort points by period, shortest first; what others depend on (setup) is always read first of all.

    `poll_s` of the device is the period of fast and normal points; slow and setup points keep their profile's.
    Billing registers are read once more at each quarter hour, alone, so that all meters fit into a second.
    """
    by_period: dict[float, list[ModbusPoint]] = {}
    billing: list[ModbusPoint] = []
    for point in points:
        by_period.setdefault(_period_s(profile, device, point), []).append(point)
        if point.is_billing:
            billing.append(point)
    groups = [
        Group(name=f"{period:g} s", period_s=period, points=tuple(members))
        for period, members in sorted(by_period.items())
    ]
    if billing:
        groups.append(Group(name=BILLING, period_s=900, points=tuple(billing)))
    return groups


def _period_s(profile: ModbusProfile, device: ModbusDevice, point: ModbusPoint) -> float:
    override = device.points.get(point.name)
    if override is not None and override.poll_s is not None:
        return override.poll_s
    suggested = float(profile.rates[point.rate])
    if device.poll_s is None:
        return suggested
    return max(suggested, device.poll_s) if point.rate in {"slow", "setup"} else device.poll_s


def mismatch(profile: ModbusProfile, values: Mapping[str, Value]) -> str | None:
    """Why a device is not the one its profile describes; None when it is, or says nothing about itself."""
    for identity in profile.identity:
        value = values.get(identity.point)
        if value is None:
            continue
        if identity.matches is not None and not re.fullmatch(identity.matches, str(value)):
            return f"{identity.point} is “{value}”, expected {identity.matches}"
        if identity.one_of and value not in identity.one_of:
            expected = " or ".join(str(code) for code in identity.one_of)
            return f"{identity.point} is {value}, expected {expected}"
    return None


def factors_of(request: Request, values: Sequence[Value], wanted: frozenset[str]) -> dict[str, Fraction]:
    """Pick the values in an answer that multiply points of other requests."""
    found: dict[str, Fraction] = {}
    for point, value in zip(request.points, values, strict=True):
        if point.name in wanted and (factor := factor_of(point, value)) is not None:
            found[point.name] = factor
    return found
