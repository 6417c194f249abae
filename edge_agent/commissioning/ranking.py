"""Which byte order, word order or profile would make sense of the words that came. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from device_profiles.model import ModbusPoint, Order
from edge_agent.commissioning.plausibility import Verdict, verdicts
from edge_agent.drivers.modbus.codec import decode_point, factor_of
from edge_agent.drivers.modbus.read_plan import Span
from edge_agent.model import Quality

TINY = 1e-20

Raw = Mapping[Span, tuple[int, ...]]  # The words of each value, as they arrived.


@dataclass(frozen=True, slots=True, kw_only=True)
class PointReading:
    """One point as it was read."""

    point: ModbusPoint
    words: tuple[int, ...]
    value: float | int | str | None
    quality: Quality

    @property
    def number(self) -> float | None:
        """The value in the point's unit as people read it, not exact; None for texts and invalid values."""
        if self.value is None or isinstance(self.value, str):
            return None
        return float(self.value) / 10 ** (self.point.scale or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How well one reading of the words makes sense: 1 is perfect."""

    label: str
    score: float
    readings: tuple[PointReading, ...]
    verdicts: tuple[Verdict, ...]


def read_points(points: Iterable[ModbusPoint], raw: Raw) -> list[PointReading]:
    """Decode all points whose words are there; factors first, as other points need them."""
    factors = {}
    readings: list[PointReading] = []
    for point in sorted(points, key=lambda point: len(point.factor_names)):
        words = raw.get(Span(point.function, point.address, point.end))
        if words is None:
            continue
        value, quality = decode_point(point, words, factors)
        factor = factor_of(point, value)
        if factor is not None:
            factors[point.name] = factor
        readings.append(PointReading(point=point, words=words, value=value, quality=quality))
    return sorted(readings, key=lambda reading: (reading.point.function.value, reading.point.address))


def judge(label: str, readings: Iterable[PointReading], before: Mapping[str, float] | None = None) -> Fit:
    """Score one way of reading: the share of values in range, and of rules between them that hold."""
    readings = tuple(readings)
    numbers = {reading.point.name: number for reading in readings if (number := reading.number) is not None}
    found = verdicts(numbers, before)
    in_range = [_is_sound(reading) for reading in readings if _tells(reading)]
    rules = [verdict.passed for verdict in found]
    parts = [sum(part) / len(part) for part in (in_range, rules) if part]
    return Fit(label=label, score=sum(parts) / len(parts) if parts else 0.0, readings=readings, verdicts=tuple(found))


def rank_orders(points: Iterable[ModbusPoint], raw: Raw) -> list[Fit]:
    """Try every word and byte order, best first; the order of the profile wins a draw."""
    points = list(points)
    fits = [judge("profile", read_points(points, raw))]
    for word, byte in product(Order, Order):
        turned = [_turned(point, word, byte) for point in points]
        if turned != points:
            fits.append(judge(f"word_order: {word}, byte_order: {byte}", read_points(turned, raw)))
    return sorted(fits, key=lambda fit: -fit.score)


def _turned(point: ModbusPoint, word: Order, byte: Order) -> ModbusPoint:
    if point.is_text or (point.word_order is word and point.byte_order is byte):
        return point
    return replace(point, word_order=word, byte_order=byte)


def _tells(reading: PointReading) -> bool:
    """Whether a value says something about the order of its words: zeros and lone small integers do not."""
    return any(reading.words) and not reading.point.is_text


def _is_sound(reading: PointReading) -> bool:
    """Whether the value is in its range; a float as small as no quantity ever is comes from swapped words."""
    number = reading.number
    return reading.quality is Quality.GOOD and number is not None and (number == 0 or abs(number) > TINY)
