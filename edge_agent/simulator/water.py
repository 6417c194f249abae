"""The building's water: what people draw while they are there, nothing at night, and what leaks."""

from random import Random
from typing import Any

L_PER_PERSON_H = 4.0  # An office: about 40 litres per person and day.
_FLUSH_L = 6.0  # Water is drawn in cisterns, not in a stream.


class WaterMain:
    """The main water meter: the flow of the present minute and the volume up to its beginning, in whole millilitres."""

    def __init__(self, seed: int) -> None:
        """Make a meter that is not new, with closed taps."""
        self.seed = seed
        self.flow_ml_min = 0
        self.volume_ml = Random(f"{seed}/opening/water").randrange(18_000, 42_000) * 1_000_000

    def begin_minute(self, minute: int, people: int, leak_m3_h: float) -> None:
        """Draw by chance what the people in the building draw on average, and add what leaks."""
        draws = people * L_PER_PERSON_H / 60.0 / _FLUSH_L
        count = _poisson(Random(f"{self.seed}/water/{minute}"), draws) if people else 0
        self.flow_ml_min = round(1000 * _FLUSH_L * count + leak_m3_h * 1_000_000 / 60)

    def end_minute(self) -> None:
        """Count the minute."""
        self.volume_ml += self.flow_ml_min

    def volume_at(self, ms: int) -> int:
        """Return the register in millilitres at `ms` into the minute."""
        return self.volume_ml + self.flow_ml_min * ms // 60_000

    def kept(self) -> dict[str, Any]:
        """Return the counter as JSON."""
        return {"volume_ml": self.volume_ml}

    def take(self, kept: dict[str, Any]) -> None:
        """Go on from a kept counter; a state that was kept before there was a water meter has none."""
        self.volume_ml = kept.get("volume_ml", self.volume_ml)


def _poisson(random: Random, mean: float) -> int:
    """Return how often something happens that happens `mean` times on average (small means; Knuth's method)."""
    limit, product, count = 2.718281828459045**-mean, random.random(), 0
    while product > limit:
        product *= random.random()
        count += 1
    return count
