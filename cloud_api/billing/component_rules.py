"""What holds for every priced component of a tariff version: prices, steps, demand rules, percentages. Pure."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import pairwise

from cloud_api.billing.power_factor import STANDARDS
from cloud_api.billing.tariff import Component, Version, bucket_name
from cloud_api.kit.i18n import Named, Text

_PRICED_PER_UNIT = {"energy", "demand", "capacity", "fixed", "per_day"}
MONTHS_BACK_MAX = 36  # Of a ratchet: each month is measured anew in every run.
Path = tuple[str | int, ...]
At = tuple[Text, Path]
"""What is wrong, and the key within the component."""


def check(version: Version) -> Iterator[tuple[Text, Path, bool]]:
    """Yield (what is wrong, which key of the version, whether it is an error) for every component."""
    if not version.components:
        yield Text("there are no components: nothing would be charged"), ("components",), True
    seen: set[str] = set()
    for index, component in enumerate(version.components):
        found = [*_place(component, seen), *_one_component(version, component)]
        errors = [(text, key, True) for text, key in found]
        for text, key, is_error in [*errors, *((text, key, False) for text, key in _odd(component))]:
            words = Text("component {component}: {problem}", component=component.code, problem=text)
            yield words, ("components", index, *key), is_error
        seen.add(component.code)


def _place(component: Component, seen: set[str]) -> Iterator[At]:
    if component.code in seen:
        yield Text("the code stands there twice"), ("code",)
    for code in (c for c in component.base_codes if c not in seen):
        yield Text("base code {code} is not a component above it", code=code), ("base_codes",)


def _odd(component: Component) -> Iterator[At]:
    prices = [p for p in (component.price, *component.prices.values()) if p is not None]
    if any(p < 0 for p in prices):
        yield Text("has a negative price"), ("price",)


def _one_component(version: Version, component: Component) -> Iterator[At]:
    kind = component.kind
    yield from _limits(component)
    if kind in _PRICED_PER_UNIT:
        yield from _prices(version, component)
    if kind in {"percent_of", "tax"} and component.percent is None:
        yield Text("needs `percent` (5 means 5 %)"), ("percent",)
    if kind in {"percent_of", "tax", "pf", "min"} and not component.base_codes:
        yield Text("needs `base_codes`: the components it is reckoned from"), ("base_codes",)
    if kind == "pf" and component.pf_standard not in STANDARDS:
        standards = ", ".join(str(s) for s in STANDARDS)
        yield Text("pf_standard is one of {standards}", standards=standards), ("pf_standard",)
    if kind == "min" and component.price is None and component.guaranteed_quantity is None:
        yield Text("needs `price` (the minimum per month) or `guaranteed_quantity`"), ("price",)
    if kind == "demand" and component.demand:
        yield from _demand(version, component)
    if kind not in {"energy", "demand"} and (component.floats or component.prices):
        yield Text("only energy and demand have prices per bucket"), ("kind",)


def _limits(component: Component) -> Iterator[At]:
    if component.vat_rate >= 1 or component.vat_rate < 0:
        text = Text(
            "the VAT rate of {percent} % is not from 0 to below 100 %; in a file write 0.13 for 13 %",
            percent=f"{component.vat_rate.scaleb(2):f}",
        )
        yield text, ("vat_rate",)
    if component.rounding <= 0:
        yield Text("rounding {rounding} has to be positive, such as 0.01", rounding=component.rounding), ("rounding",)
    for month in (m for m in component.months if not 1 <= m <= 12):
        yield Text("there is no month {month}", month=month), ("months",)


def _prices(version: Version, component: Component) -> Iterator[At]:
    forms = [component.price is not None, bool(component.prices), component.tiers is not None]
    if sum(forms) != 1:
        yield Text("needs exactly one of price, prices (per bucket) and tiers"), ("price",)
    known = set(version.bucket_codes())
    for code in (c for c in component.buckets if c not in known):
        yield Text("bucket {bucket} has no window", bucket=_bucket(version, code)), ("buckets",)
    used = known & set(component.buckets) if component.buckets else known
    if component.prices:
        needed = set(component.demand.buckets) if component.demand else set[str]()
        yield from _bucket_prices(version, used, component.prices, needed or used)
    if component.floats and component.prices:
        text = Text("floats multiplies one price by each bucket's ratio; use price instead of prices")
        yield text, ("floats",)
    if component.tiers is not None:
        if component.kind != "energy":
            yield Text("only energy has tiers"), ("tiers",)
        yield from _tiers(version, used, component)


def _bucket_prices(version: Version, used: set[str], prices: Iterable[str], needed: set[str]) -> Iterator[At]:
    given = set(prices)
    for code in sorted(needed - given):
        yield Text("has no price for bucket {bucket}", bucket=_bucket(version, code)), ("prices", code)
    for code in sorted(given - used):
        text = Text("has a price for bucket {bucket}, which no window names", bucket=_bucket(version, code))
        yield text, ("prices", code)


def _bucket(version: Version, code: str) -> Text:
    name = bucket_name(version, code)
    return Named(name.zh, name.en)


def _tiers(version: Version, used: set[str], component: Component) -> Iterator[At]:
    steps = component.tiers.steps if component.tiers else ()
    if not steps:
        yield Text("has no tier steps"), ("tiers",)
        return
    limits = [step.up_to for step in steps[:-1]]
    if any(limit is None for limit in limits):
        yield Text("only the last tier has no up_to"), ("tiers", "steps", limits.index(None), "up_to")
    elif any(later <= earlier for earlier, later in pairwise([Decimal(0), *(x for x in limits if x is not None)])):
        yield Text("the tiers' up_to have to rise from above 0"), ("tiers", "steps", 0, "up_to")
    last: Path = ("tiers", "steps", len(steps) - 1)
    if steps[-1].up_to is not None:
        text = Text(
            "the last tier ends at {up_to}; leave out its up_to, or use above it has no price", up_to=steps[-1].up_to
        )
        yield text, (*last, "up_to")
    for number, step in enumerate(steps, 1):
        at: Path = ("tiers", "steps", number - 1)
        if (step.price is None) == (not step.prices):
            yield Text("tier {number} needs either price or prices (per bucket)", number=number), (*at, "price")
        elif step.prices:
            for problem, key in _bucket_prices(version, used, step.prices, used):
                yield Text("tier {number} {problem}", number=number, problem=problem), (*at, *key)


def _demand(version: Version, component: Component) -> Iterator[At]:
    demand = component.demand
    if demand is None:
        return
    used = set(version.bucket_codes())
    for code in (c for c in demand.buckets if c not in used):
        yield Text("demand bucket {bucket} has no window", bucket=_bucket(version, code)), ("demand", "buckets")
    if (demand.rule == "ratchet") != (demand.ratchet is not None):
        yield Text("rule ratchet and the section `ratchet` go together"), ("demand", "rule")
    if demand.ratchet and not 0 <= demand.ratchet.percent <= 100:
        text = Text("ratchet.percent is a percentage from 0 to 100 (80 means 80 %)")
        yield text, ("demand", "ratchet", "percent")
    if demand.ratchet and not 1 <= demand.ratchet.months_back <= MONTHS_BACK_MAX:
        text = Text("ratchet.months_back counts from 1 to {most}", most=MONTHS_BACK_MAX)
        yield text, ("demand", "ratchet", "months_back")
    if demand.window_min not in {5, 10, 15, 20, 30, 60}:
        yield Text("window_min is one of 5, 10, 15, 20, 30, 60"), ("demand", "window_min")
    if demand.peaks < 1:
        yield Text("peaks counts from 1"), ("demand", "peaks")
