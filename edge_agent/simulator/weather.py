"""The weather of Hangzhou, made up but plausible: any instant can be asked for, and one seed gives one weather."""

import math
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from random import Random

# Monthly means of Hangzhou, 1991-2020 normals rounded to half a kelvin; each stands at the middle of its month.
MEAN_C = (5.0, 7.0, 11.0, 17.0, 22.0, 25.0, 29.5, 29.0, 25.0, 19.5, 13.5, 7.5)
MEAN_RELATIVE_HUMIDITY = (0.74, 0.74, 0.73, 0.72, 0.72, 0.80, 0.76, 0.77, 0.78, 0.74, 0.75, 0.72)
LATITUDE = math.radians(30.27)
# Solar noon is 12 h by the zone's meridian (120° E), which is Hangzhou's own.
CLEAR_SKY_W_M2 = 950.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """Outdoor conditions at one instant."""

    temperature_c: float
    relative_humidity: float  # 0…1
    solar_w_m2: float  # On a horizontal plane.

    @property
    def moisture_g_kg(self) -> float:
        """Water in the air, grams per kilogram of dry air, at sea level."""
        return moisture_g_kg(self.temperature_c, self.relative_humidity)


class Climate:
    """Weather as a function of (seed, day, second of the day)."""

    def __init__(self, seed: int) -> None:
        """Make the climate of one seed."""
        self.seed = seed
        self._day = lru_cache(maxsize=128)(self._make_day)

    def at(self, day: date, second: float) -> Weather:
        """Conditions at `second` of the local day (the zone has no summer time)."""
        before, today, after, declination_sin, declination_cos = self._curve(day)
        hour = second / 3600.0
        # The anomaly of a day is that of its noon; the hours between two noons lie between the two anomalies.
        share = (hour - 12.0) / 24.0
        near = after if share >= 0 else before
        share = abs(share)
        anomaly = today[0] + (near[0] - today[0]) * share
        cloud = today[1] + (near[1] - today[1]) * share
        mean = today[2] + (near[2] - today[2]) * share
        # Coldest at 6 h, warmest at 15 h: a cosine with its peak at 15 h and a touch of second harmonic.
        angle = (hour - 15.0) * math.pi / 12.0
        swing = (1.0 - 0.65 * cloud) * (math.cos(angle) + 0.15 * math.cos(2.0 * angle + 0.6))
        temperature = mean + anomaly + 4.6 * swing
        humidity = today[3] + 0.12 * (cloud - 0.5) - 0.11 * swing
        height = declination_sin + declination_cos * math.cos((hour - 12.0) * math.pi / 12.0)
        solar = CLEAR_SKY_W_M2 * height**1.15 * (1.0 - 0.72 * cloud) if height > 0 else 0.0
        return Weather(temperature_c=temperature, relative_humidity=min(0.99, max(0.25, humidity)), solar_w_m2=solar)

    @lru_cache(maxsize=16)  # noqa: B019  # A process has one climate.
    def _curve(self, day: date) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...], float, float]:
        one = timedelta(days=1)
        declination = math.radians(-23.44) * math.cos(2.0 * math.pi * (day.timetuple().tm_yday + 10) / 365.25)
        return (
            self._day(day - one),
            self._day(day),
            self._day(day + one),
            math.sin(LATITUDE) * math.sin(declination),
            math.cos(LATITUDE) * math.cos(declination),
        )

    def _make_day(self, day: date) -> tuple[float, float, float, float]:
        """(anomaly K, cloud 0…1, mean °C, mean relative humidity) of one day's noon."""
        # Fronts pass every four to five days: mix the draws of neighbouring days, so that anomalies have memory.
        draws = [Random(f"{self.seed}/weather/{(day + timedelta(days=k)).isoformat()}") for k in (-2, -1, 0, 1, 2)]
        parts = [(draw.gauss(0.0, 1.0), draw.random()) for draw in draws]
        weights = (0.25, 0.6, 1.0, 0.6, 0.25)
        norm = math.sqrt(sum(weight * weight for weight in weights))
        anomaly = 2.9 * sum(weight * part[0] for weight, part in zip(weights, parts, strict=True)) / norm
        cloud = min(1.0, max(0.0, 0.55 * parts[2][1] + 0.35 * parts[1][1] + 0.35 * parts[3][1] - 0.06))
        return anomaly, cloud, _by_month(MEAN_C, day), _by_month(MEAN_RELATIVE_HUMIDITY, day)


def _by_month(values: tuple[float, ...], day: date) -> float:
    """Straight line between the middles of two months."""
    position = day.month - 1 + (day.day - 15) / 30.4
    low = math.floor(position)
    share = position - low
    return values[low % 12] * (1 - share) + values[(low + 1) % 12] * share


def moisture_g_kg(temperature_c: float, relative_humidity: float) -> float:
    """Grams of water per kilogram of dry air at 101.3 kPa (Magnus formula)."""
    pressure = relative_humidity * 6.112 * math.exp(17.62 * temperature_c / (243.12 + temperature_c))
    return 622.0 * pressure / (1013.25 - pressure)


def relative_humidity(temperature_c: float, moisture: float) -> float:
    """Relative humidity (0…1) of air with `moisture` g/kg; the inverse of `moisture_g_kg`."""
    pressure = moisture * 1013.25 / (622.0 + moisture)
    return min(0.99, pressure / (6.112 * math.exp(17.62 * temperature_c / (243.12 + temperature_c))))
