"""Ask one device everything its profile knows, and keep the raw words."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from device_profiles.model import Limits, ModbusPoint, ModbusProfile
from edge_agent.commissioning.ranking import Fit, PointReading, judge, rank_orders, read_points
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.device import device_limits, device_points
from edge_agent.drivers.modbus.errors import Busy, ModbusError, NoAnswer, Refused
from edge_agent.drivers.modbus.read_plan import Bisection, Block, Span, plan_reads
from edge_agent.settings import Bus, ModbusDevice

SECOND_LOOK_S = 1.0  # Between the two readings that show whether energy runs forwards.
ATTEMPTS = 3
GOOD_ENOUGH = 0.9  # Below it, other orders are tried.


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one device answered."""

    device: str
    profile: ModbusProfile
    fit: Fit
    alternatives: tuple[Fit, ...]  # Orders that make more sense than the profile's, best first.
    refused: tuple[ModbusPoint, ...]
    requests: int
    seconds: float


@asynccontextmanager
async def open_line(bus: Bus) -> AsyncIterator[Line]:
    """Open a connection for a technician: closed in any case."""
    line = Line(bus)
    try:
        yield line
    finally:
        await line.close()


async def probe_device(line: Line, device: ModbusDevice, profile: ModbusProfile) -> Probe:
    """Read all points twice and judge them. Raises a ModbusError when the device does not answer at all."""
    points = device_points(profile, device)
    limits = device_limits(profile, device, line.bus)
    timeout_s = device.response_timeout_s or max(line.bus.response_timeout_s, profile.limits.timeout_ms / 1000)
    loop = asyncio.get_running_loop()
    started, asked = loop.time(), line.stats.requests
    first = await read_raw(line, device.unit, points, limits, timeout_s)
    requests, seconds = line.stats.requests - asked, loop.time() - started
    before = _numbers(read_points(points, first))
    if any("energy" in name for name in before):
        await asyncio.sleep(SECOND_LOOK_S)
        counters = [point for point in points if point.is_cumulative or point.rate == "setup"]
        second = await read_raw(line, device.unit, counters, limits, timeout_s)
        fit = judge("profile", read_points(points, {**first, **second}), before)
    else:
        fit = judge("profile", read_points(points, first))
    better = [other for other in rank_orders(points, first) if other.label != "profile" and other.score > fit.score]
    return Probe(
        device=device.name,
        profile=profile,
        fit=fit,
        alternatives=tuple(better[:3]) if fit.score < GOOD_ENOUGH else (),
        refused=tuple(p for p in points if Span(p.function, p.address, p.end) not in first),
        requests=requests,
        seconds=seconds,
    )


async def read_raw(
    line: Line, unit: int, points: Iterable[ModbusPoint], limits: Limits, timeout_s: float
) -> dict[Span, tuple[int, ...]]:
    """Return the words of every value the device serves; what it refuses is left out. Raises NoAnswer and its like."""
    spans = {Span(point.function, point.address, point.end) for point in points}
    bisection = Bisection()
    pending = list(plan_reads(spans, limits).blocks)
    raw: dict[Span, tuple[int, ...]] = {}
    while pending:
        block = pending.pop(0)
        try:
            words = await patiently(line, unit, block, limits, timeout_s)
        except Refused as error:
            if error.blames_address:
                pending[:0] = bisection.refused(block)
            continue
        bisection.answered(block)
        for span in block.values:
            start = span.start - block.span.start
            raw[span] = tuple(words[start : start + len(span)])
    return raw


async def patiently(line: Line, unit: int, block: Block, limits: Limits, timeout_s: float) -> list[int]:
    """Read one block; busy and lost answers are tried again a few times."""
    clusters = block.clusters()
    prefixes = [cluster.end - block.span.start for cluster in clusters[:-1]]
    error: ModbusError = NoAnswer("not asked")
    for attempt in range(ATTEMPTS):
        try:
            words = await line.read(
                unit,
                block.span,
                timeout_s=timeout_s,
                delay_s=limits.pause_ms / 1000,
                prefixes=prefixes,
                words_per_address=limits.words_per_address,
            )
            return list(words)
        except Refused:
            raise
        except ModbusError as failed:
            error = failed
            await asyncio.sleep(0.2 * 2**attempt if isinstance(failed, Busy) else line.reconnect_in_s())
    raise error


def _numbers(readings: Iterable[PointReading]) -> dict[str, float]:
    return {reading.point.name: number for reading in readings if (number := reading.number) is not None}
