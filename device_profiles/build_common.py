"""What register maps and payload shapes have in common: quantity, unit, scale, labels, states."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from device_profiles import model, schema
from device_profiles.lined_yaml import Location
from device_profiles.vocabulary import CONVERSIONS, QUANTITIES, Quantity, conversion, quantity_of

DEFAULT_RATES: Mapping[str, int] = {"fast": 5, "normal": 10, "slow": 60, "setup": 3600}
FLOAT_DECIMALS = 3
DECIMALS_MAX = 9

_QUALIFIERS = {
    "total": ("total", "合计"),
    "average": ("average", "平均"),
    "maximum": ("maximum", "最大"),
    "sum": ("sum", "合计"),
    "n": ("neutral", "中性线"),
    "partial": ("partial", "可清零"),
    "spike": ("spike tariff", "尖"),
    "peak": ("peak tariff", "峰"),
    "flat": ("flat tariff", "平"),
    "valley": ("valley tariff", "谷"),
    "active": ("active", "当前"),
    "limit": ("limit", "限值"),
    "supply": ("supply", "送风侧"),
    "cooling": ("cooling", "制冷"),
    "heating": ("heating", "制热"),
    "outdoor": ("outdoor", "室外"),
    "return": ("return", "回风"),
    "air": ("air", ""),
    "mode": ("mode", "模式"),
    "evaporator": ("evaporator", "蒸发器"),
    "condenser": ("condenser", "冷凝器"),
}


@dataclass(slots=True)
class Findings:
    """Mistakes found while building, each at a location of the merged document."""

    found: list[tuple[Location, str, str]] = field(default_factory=list)

    def add(self, location: Location, what: str, remedy: str) -> None:
        """Note one mistake."""
        self.found.append((location, what, remedy))


def head_values(file: schema.HeadFile, revision: str) -> dict[str, Any]:
    """Return what every profile says first."""
    return {
        "name": file.profile,
        "revision": revision,
        "category": file.category,
        "label_en": file.label.en,
        "label_zh": file.label.zh,
        "products": tuple(f"{product.brand} {product.model}" for product in file.products),
        "source": file.source,
        "confidence": file.confidence,
        "notes": file.notes.strip(),
        "rates": {**DEFAULT_RATES, **file.rates},
    }


def common_values(
    entry: schema.PointFile, location: Location, to: Findings, base_name: str, *, is_float: bool
) -> dict[str, Any]:
    """Return what every point has, in the unit of its quantity."""
    quantity = _quantity(entry, location, to, base_name)
    factor = Fraction(1)
    if entry.device_unit is not None:
        found = conversion(entry.device_unit, quantity.unit)
        if found is None:
            known = [source for source, target in CONVERSIONS if target == quantity.unit]
            what = f"cannot convert {entry.device_unit} to {quantity.unit or 'a plain number'}"
            remedy = f"use one of: {', '.join([quantity.unit, *known])}" if quantity.unit else "remove it"
            to.add((*location, "device_unit"), what, remedy)
        factor = found or factor
    if not entry.scale:
        to.add((*location, "scale"), "a scale of 0 would lose every value", "correct the scale")
    multiplier = entry.scale * factor
    exact = quantity.is_billing if entry.exact is None else entry.exact
    en, zh = _labels(entry, quantity, base_name)
    low, high = entry.range or (quantity.low, quantity.high)
    return {
        "name": entry.name,
        "quantity": quantity.name,
        "unit": quantity.unit,
        "brick": entry.brick or quantity.brick,
        "kind": entry.kind or quantity.kind,
        "label_en": en,
        "label_zh": zh,
        "rate": entry.rate or quantity.rate,
        "is_cumulative": quantity.is_cumulative,
        "exact": exact,
        "scale": _decimals(entry, multiplier, entry.offset * factor, is_float=is_float) if exact else None,
        "multiplier": multiplier,
        "offset": entry.offset * factor,
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
        "is_optional": entry.optional,
    }


def _quantity(entry: schema.PointFile, location: Location, to: Findings, base_name: str) -> Quantity:
    wanted = entry.quantity or base_name
    found = QUANTITIES.get(wanted) if entry.quantity else quantity_of(base_name)
    if found is None:
        near = get_close_matches(wanted, QUANTITIES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see device_profiles/vocabulary.py"
        key = "quantity" if entry.quantity else "name"
        to.add((*location, key), f"“{wanted}” is not a known quantity", f"give `quantity:`; {hint}")
        return QUANTITIES["status_code"]
    return found


def _decimals(entry: schema.PointFile, multiplier: Fraction, offset: Fraction, *, is_float: bool) -> int:
    if entry.decimals is not None:
        return entry.decimals
    floats = is_float or getattr(entry, "exponent", None) or getattr(entry, "unit_code", None)
    if not floats:
        for decimals in range(DECIMALS_MAX + 1):
            if all((number * 10**decimals).denominator == 1 for number in (multiplier, offset)):
                return decimals
    return FLOAT_DECIMALS


def _labels(entry: schema.PointFile, quantity: Quantity, base_name: str) -> tuple[str, str]:
    if entry.label is not None:
        return entry.label.en, entry.label.zh
    prefix = re.match(r"^(.*?_\d+_)", entry.name.removesuffix(base_name)) if entry.name != base_name else None
    copy = prefix.group(1).replace("_", " ") if prefix else ""
    rest = base_name.removeprefix(quantity.name).strip("_")
    words = [_QUALIFIERS.get(word, (word.upper() if len(word) <= 3 else word,) * 2) for word in rest.split("_") if word]
    en = " ".join([f"{copy}{quantity.en}", *(word[0] for word in words)])
    return en, "".join([f"{copy}{quantity.zh}", *(f" {word[1]}" for word in words if word[1])])


def states_of(
    given: Mapping[Any, str] | None, quantity: Quantity, location: Location, to: Findings
) -> tuple[dict[int, str], dict[Any, int]]:
    """Return published code → word, and raw → published code."""
    if given is None:
        return dict(quantity.states), {code: code for code in quantity.states}
    if not quantity.states:
        if all(isinstance(raw, int) for raw in given):
            return dict(given), {raw: raw for raw in given}
        numbered = {word: number for number, word in enumerate(dict.fromkeys(given.values()))}
        return {number: word for word, number in numbered.items()}, {raw: numbered[word] for raw, word in given.items()}
    numbers = {word: code for code, word in quantity.states.items()}
    codes: dict[Any, int] = {}
    for raw, word in given.items():
        if word in numbers:
            codes[raw] = numbers[word]
        else:
            known = ", ".join(numbers)
            to.add((*location, "states", raw), f"“{word}” is not a state of {quantity.name}", f"use one of: {known}")
    return {code: word for code, word in quantity.states.items() if code in codes.values()}, codes


def check_names(points: Iterable[model.Point], to: Findings) -> None:
    """Find names that are used twice."""
    seen: set[str] = set()
    for index, point in enumerate(points):
        if point.name in seen:
            to.add(("points", index, "name"), f"“{point.name}” is used twice", "give every point its own name")
        seen.add(point.name)
