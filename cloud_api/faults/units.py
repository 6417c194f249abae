"""Units that trends of other systems come in, brought to the canonical unit of a role."""

from dataclasses import dataclass


class UnitError(ValueError):
    """A unit is not known, or measures something else than the role; the text lists what fits."""


@dataclass(frozen=True, slots=True)
class Unit:
    """canonical = value * factor + offset; `kind` groups the units that convert into each other."""

    kind: str
    factor: float = 1.0
    offset: float = 0.0


UNITS: dict[str, Unit] = {
    "degC": Unit("temperature"),
    "degF": Unit("temperature", 1 / 1.8, -32 / 1.8),
    "kelvin": Unit("temperature", 1.0, -273.15),
    "K": Unit("difference"),
    "delta_degF": Unit("difference", 1 / 1.8),
    "%": Unit("percent"),
    "fraction": Unit("percent", 100.0),
    "1": Unit("number"),
    "percent_as_number": Unit("number", 0.01),
    "bool": Unit("boolean"),
    "Pa": Unit("pressure"),
    "kPa": Unit("pressure", 1000.0),
    "bar": Unit("pressure", 100_000.0),
    "psi": Unit("pressure", 6894.757293168),
    "inH2O": Unit("pressure", 249.08891),
    "L/s": Unit("flow"),
    "m3/h": Unit("flow", 1 / 3.6),
    "m3/s": Unit("flow", 1000.0),
    "cfm": Unit("flow", 0.47194745),
    "gpm": Unit("flow", 0.0630901964),
    "W": Unit("power", 0.001),
    "kW": Unit("power"),
    "MW": Unit("power", 1000.0),
    "BTU/h": Unit("power", 0.00029307107),
    "tons": Unit("power", 3.5168528),
    "hp": Unit("power", 0.745699872),
    "kWh": Unit("energy"),
    "MWh": Unit("energy", 1000.0),
    "V": Unit("voltage"),
    "kV": Unit("voltage", 1000.0),
    "A": Unit("current"),
    "var": Unit("reactive power", 0.001),
    "kvar": Unit("reactive power"),
    "VA": Unit("apparent power", 0.001),
    "kVA": Unit("apparent power"),
    "Hz": Unit("frequency"),
    "ppm": Unit("concentration"),
    "s": Unit("time"),
    "min": Unit("time", 60.0),
    "h": Unit("time", 3600.0),
    "d": Unit("time", 86_400.0),
    "1/h": Unit("rate"),
    "K/h": Unit("slope"),
    "K/min": Unit("slope", 60.0),
    "m3": Unit("volume"),
    "any": Unit("any"),
}

_SPELLINGS = {
    "°C": "degC", "C": "degC", "℃": "degC", "deg C": "degC", "celsius": "degC",
    "°F": "degF", "F": "degF", "℉": "degF", "deg F": "degF", "fahrenheit": "degF",
    "0-100": "%", "percent": "%", "pct": "%", "0..100": "%",
    "0-1": "fraction", "0–1": "fraction", "0..1": "fraction", "ratio": "fraction",
    "": "1", "in. w.c.": "inH2O", "inwc": "inH2O", "inWC": "inH2O", "in.w.c.": "inH2O", "in H2O": "inH2O",
    "iwc": "inH2O",
    "L/S": "L/s", "l/s": "L/s", "m³/h": "m3/h", "m³/s": "m3/s", "CFM": "cfm", "GPM": "gpm",
    "boolean": "bool", "on/off": "bool", "binary": "bool", "0/1": "bool", "m³": "m3",
    "Btu/h": "BTU/h", "ton": "tons", "RT": "tons", "minutes": "min", "hours": "h", "seconds": "s", "starts/h": "1/h",
}  # fmt: skip


def unit_named(name: str) -> str:
    """Return the canonical spelling of a unit; raises UnitError with the known ones."""
    spelled = name.strip()
    known = spelled if spelled in UNITS else _SPELLINGS.get(spelled, _SPELLINGS.get(spelled.lower(), ""))
    if not known:
        raise UnitError(f"unknown unit {name!r}; known: {', '.join(sorted(UNITS))}")
    return known


def conversion(given: str, wanted: str) -> Unit:
    """Return factor and offset that bring a value from unit `given` to unit `wanted`."""
    given, wanted = unit_named(given), unit_named(wanted)
    # A fraction is a plain number, a share of 100 or a position, depending on who asks.
    given = {("%", "1"): "percent_as_number", ("fraction", "1"): "1", ("1", "%"): "fraction"}.get(
        (given, wanted), given
    )
    if wanted == "K" and given == "degF":
        given = "delta_degF"
    elif wanted == "K" and given in {"degC", "kelvin"}:
        given = "K"
    a, b = UNITS[given], UNITS[wanted]
    if "any" in {a.kind, b.kind} or b.kind == "boolean":
        return Unit(b.kind)
    if a.kind != b.kind:
        fitting = ", ".join(name for name, unit in UNITS.items() if unit.kind == b.kind)
        raise UnitError(f"{given} is a {a.kind}, but a {b.kind} is needed (one of {fitting})")
    return Unit(b.kind, a.factor / b.factor, (a.offset - b.offset) / b.factor)


def quantity(text: str | float, wanted: str) -> float:
    """Read '25 Pa', '30 min' or a bare number (already in `wanted`) as a number in `wanted`."""
    if isinstance(text, bool):
        return float(text)
    if isinstance(text, int | float):
        return float(text)
    number, _, unit = text.strip().partition(" ")
    try:
        value = float(number)
    except ValueError:
        raise UnitError(f"{text!r} does not start with a number") from None
    if not unit:
        return value
    how = conversion(unit, wanted)
    return value * how.factor + how.offset
