"""What answers on a bus, and which profiles would explain it."""

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace

from device_profiles.catalog import load_profile, profile_files
from device_profiles.lined_yaml import ProfileError
from device_profiles.model import Function, ModbusPoint, ModbusProfile
from edge_agent.commissioning.ranking import Fit, judge, read_points
from edge_agent.drivers.modbus.client import Line
from edge_agent.drivers.modbus.errors import ModbusError, NoAnswer, Refused
from edge_agent.drivers.modbus.read_plan import Span, plan_reads

# Any answer, also a refusal, proves that somebody is there.
KNOCKS = (Span(Function.HOLDING, 0, 1), Span(Function.INPUT, 0, 2))
BLOCKS_PER_PROFILE = 3
FITS_SHOWN = 3
EVIDENCE_HALF = 4  # So many telling values are half of a proof.

Known = dict[tuple[Span, int], tuple[int, ...] | None]  # What was read at which words per address; None: refused.


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One unit id that answered."""

    unit: int
    fits: tuple[Fit, ...]  # `label` is the profile's name; best first.


async def scan(
    line: Line, units: Iterable[int], profiles: list[ModbusProfile], *, timeout_s: float
) -> AsyncIterator[tuple[int, Found | None]]:
    """Knock at each unit id; yields each with what was found, None where nobody answers."""
    for unit in units:
        if not await _is_there(line, unit, timeout_s):
            yield unit, None
            continue
        known: Known = {}
        fits = [await _fit(line, unit, profile, timeout_s, known) for profile in profiles]
        ranked = sorted((fit for fit in fits if fit is not None), key=lambda fit: -fit.score)
        yield unit, Found(unit=unit, fits=tuple(ranked[:FITS_SHOWN]))


def modbus_profiles() -> list[ModbusProfile]:
    """Load every register map of the catalogue; broken ones are left out, `edge-agent profiles check` names them."""
    found: list[ModbusProfile] = []
    for name in profile_files():
        try:
            profile = load_profile(name)
        except ProfileError:
            continue
        if isinstance(profile, ModbusProfile):
            found.append(profile)
    return found


async def _is_there(line: Line, unit: int, timeout_s: float) -> bool:
    for knock in KNOCKS:
        try:
            await line.read(unit, knock, timeout_s=timeout_s)
        except NoAnswer as error:
            if "exception" in str(error):
                return False  # The gateway knows that nobody is there.
            continue
        except ModbusError:
            return True
        return True
    return False


async def _fit(line: Line, unit: int, profile: ModbusProfile, timeout_s: float, known: Known) -> Fit | None:
    """Judge how well a profile explains the first few blocks it would read; what other profiles read is reused."""
    wanted = [point for point in profile.points if not point.is_optional] or list(profile.points)
    blocks = plan_reads({_span(point) for point in wanted}, profile.limits).blocks[:BLOCKS_PER_PROFILE]
    raw: dict[Span, tuple[int, ...]] = {}
    for block in blocks:
        asked = (block.span, profile.limits.words_per_address)
        if asked not in known:
            known[asked] = await _try(line, unit, *asked, timeout_s)
        words = known[asked]
        if words is None:
            continue
        for span in block.values:
            start = span.start - block.span.start
            raw[span] = words[start : start + len(span)]
    expected = [point for point in wanted if any(_span(point) in block.values for block in blocks)]
    if not raw or not expected:
        return None
    fit = judge(profile.name, read_points(expected, raw))
    # Zeros fit everything: only values that say something count, and the more of them agree the better.
    telling = sum(any(reading.words) for reading in fit.readings)
    evidence = telling / len(expected) * telling / (telling + EVIDENCE_HALF)
    return replace(fit, score=fit.score * evidence * _identity(profile, fit))


async def _try(line: Line, unit: int, span: Span, width: int, timeout_s: float) -> tuple[int, ...] | None:
    try:
        return tuple(await line.read(unit, span, timeout_s=timeout_s, words_per_address=width))
    except (Refused, ModbusError):
        return None


def _identity(profile: ModbusProfile, fit: Fit) -> float:
    """Raise profiles whose device says its name, bury those whose name is another."""
    values = {reading.point.name: reading.value for reading in fit.readings}
    told = 1.0
    for identity in profile.identity:
        value = values.get(identity.point)
        if value is None:
            continue
        matches = identity.matches is None or re.fullmatch(identity.matches, str(value)) is not None
        told = 1.5 if matches and (not identity.one_of or value in identity.one_of) else 0.1
    return told


def _span(point: ModbusPoint) -> Span:
    return Span(point.function, point.address, point.end)
