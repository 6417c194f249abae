"""Do the values of a device make sense together? Pure rules with the words to say what is wrong."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Values = Mapping[str, float]  # Point name → value in the point's unit.

PHASES = ("l1", "l2", "l3")
TOLERANCE = 0.1  # Between quantities that were not measured at the same instant.
POWER_FLOOR_W = 50.0  # Below it the resolution of small meters hides every relation.


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One rule applied to one set of values."""

    rule: str
    passed: bool
    detail: str  # Numbers only; the words are in `RULES`.

    def text(self, language: str) -> str:
        """Say it in `en` or `zh`."""
        return f"{RULES[self.rule][language]}: {self.detail}"


RULES = {
    "voltage": {"en": "voltage in range", "zh": "电压在合理范围"},
    "frequency": {"en": "frequency in range", "zh": "频率在合理范围"},
    "power_factor": {"en": "power factor between -1 and 1", "zh": "功率因数在 -1 与 1 之间"},
    "phase_power": {"en": "P = U·I·PF of each phase", "zh": "各相 P = U·I·PF"},
    "total_power": {"en": "total power = sum of the phases", "zh": "总功率 = 各相之和"},
    "three_phase_power": {"en": "P = √3·U·I·PF", "zh": "P = √3·U·I·PF"},
    "apparent_power": {"en": "S² = P² + Q²", "zh": "S² = P² + Q²"},
    "energy_monotone": {"en": "energy does not run backwards", "zh": "电能读数不倒走"},
}


def verdicts(values: Values, before: Values | None = None) -> list[Verdict]:
    """Apply every rule whose values are there; `before` is an earlier reading of the same device."""
    return [
        *_voltage(values),
        *_frequency(values),
        *_power_factor(values),
        *_phase_power(values),
        *_total_power(values),
        *_three_phase_power(values),
        *_apparent_power(values),
        *_energy(values, before or {}),
    ]


def _voltage(values: Values) -> Iterator[Verdict]:
    # A phase without voltage is possible, and so are low-voltage systems from 100 V to 690 V.
    for name in ("voltage_l1", "voltage_l2", "voltage_l3", "voltage_average"):
        if name in values:
            volts = values[name]
            yield Verdict(rule="voltage", passed=volts == 0 or 80 <= volts <= 420, detail=f"{name} = {volts:g} V")


def _frequency(values: Values) -> Iterator[Verdict]:
    if "frequency" in values:
        hertz = values["frequency"]
        yield Verdict(rule="frequency", passed=hertz == 0 or 45 <= hertz <= 65, detail=f"{hertz:g} Hz")


def _power_factor(values: Values) -> Iterator[Verdict]:
    for name, value in values.items():
        if name.startswith("power_factor"):
            yield Verdict(rule="power_factor", passed=abs(value) <= 1.001, detail=f"{name} = {value:g}")


def _phase_power(values: Values) -> Iterator[Verdict]:
    for phase in PHASES:
        names = [f"{quantity}_{phase}" for quantity in ("active_power", "voltage", "current", "power_factor")]
        if all(name in values for name in names):
            power, volts, amperes, factor = (values[name] for name in names)
            expected = volts * amperes * factor
            passed = _near(abs(power), abs(expected))
            yield Verdict(rule="phase_power", passed=passed, detail=f"{phase}: {power:g} W, U·I·PF = {expected:g} W")


def _total_power(values: Values) -> Iterator[Verdict]:
    names = [f"active_power_{phase}" for phase in PHASES]
    if "active_power_total" in values and all(name in values for name in names):
        total, parts = values["active_power_total"], sum(values[name] for name in names)
        yield Verdict(rule="total_power", passed=_near(total, parts), detail=f"{total:g} W, Σ = {parts:g} W")


def _three_phase_power(values: Values) -> Iterator[Verdict]:
    volts = values.get("voltage_ll_average", values.get("voltage_ll_l1_l2"))
    amperes = values.get("current_average")
    if amperes is None and all(f"current_{phase}" in values for phase in PHASES):
        amperes = sum(values[f"current_{phase}"] for phase in PHASES) / 3
    power, factor = values.get("active_power_total"), values.get("power_factor_total")
    if volts is None or amperes is None or power is None or factor is None:
        return
    expected = math.sqrt(3) * volts * amperes * factor
    # Unbalanced loads deviate honestly; a wrong CT ratio or word order is wrong by far more.
    passed = _near(abs(power), abs(expected), 0.35)
    yield Verdict(rule="three_phase_power", passed=passed, detail=f"{power:g} W, √3·U·I·PF = {expected:g} W")


def _apparent_power(values: Values) -> Iterator[Verdict]:
    names = ("apparent_power_total", "active_power_total", "reactive_power_total")
    if all(name in values for name in names):
        apparent, active, reactive = (abs(values[name]) for name in names)
        expected = math.hypot(active, reactive)
        passed = apparent >= active * 0.95 and _near(apparent, expected, 0.25)
        yield Verdict(rule="apparent_power", passed=passed, detail=f"{apparent:g} VA, √(P²+Q²) = {expected:g} VA")


def _energy(values: Values, before: Values) -> Iterator[Verdict]:
    for name, value in values.items():
        if "energy" not in name:
            continue
        earlier = before.get(name)
        if earlier is not None:
            detail = f"{name}: {earlier:g} → {value:g}"
            yield Verdict(rule="energy_monotone", passed=value >= earlier, detail=detail)
        elif name.startswith("active_energy") and value < 0:
            yield Verdict(rule="energy_monotone", passed=False, detail=f"{name} = {value:g}")


def _near(measured: float, expected: float, tolerance: float = TOLERANCE) -> bool:
    return abs(measured - expected) <= max(POWER_FLOOR_W, tolerance * max(abs(measured), abs(expected)))
