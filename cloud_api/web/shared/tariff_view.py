"""Words for what a tariff file writes as codes: kinds, units, holidays, prices, in the reader's language."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cloud_api.billing import coverage
from cloud_api.billing.tariff import Component, DayType, Label, Season, Tier, Version, bucket_name
from cloud_api.kit.i18n import in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
from cloud_api.web.shared.bill_view import TOU_COLOURS
from cloud_api.web.shared.templates import gettext as _

KINDS = {
    "energy": N_("by use"),
    "demand": N_("by maximum demand"),
    "capacity": N_("by capacity"),
    "fixed": N_("fixed amount"),
    "per_day": N_("fixed amount a day"),
    "min": N_("minimum"),
    "tax": N_("tax on other lines"),
    "percent_of": N_("percentage of other lines"),
    "pf": N_("power-factor adjustment"),
    "adjust": N_("adjustment"),
}
USE_UNITS = {"water": "m³", "gas": "m³", "hvac": N_("hour")}
PER = {
    "demand": N_("kW and month"),
    "capacity": N_("kVA and month"),
    "fixed": N_("month"),
    "per_day": N_("day"),
    "min": N_("month"),
}
HOLIDAYS = {
    "new_years_day": N_("New Year's Day"),
    "spring_festival": N_("Spring Festival"),
    "tomb_sweeping_day": N_("Tomb-Sweeping Day"),
    "labour_day": N_("Labour Day"),
    "dragon_boat_festival": N_("Dragon Boat Festival"),
    "mid_autumn_festival": N_("Mid-Autumn Festival"),
    "national_day": N_("National Day"),
}
DAY_KINDS = {"workday": N_("working days"), "weekend": N_("weekends"), "holiday": N_("holidays")}
WEEKDAYS = {"mon": N_("Monday"), "tue": N_("Tuesday"), "wed": N_("Wednesday"), "thu": N_("Thursday"),
            "fri": N_("Friday"), "sat": N_("Saturday"), "sun": N_("Sunday")}  # fmt: skip


def season_words(season: Season) -> str:
    """Return a season's name, if it has one, with its months or its first and last day."""
    return _with_name(season.name, _season_days(season))


def _with_name(name: Label | None, days: str) -> str:
    if name is None:
        return days
    return _("{name} ({days})", name=in_language(name.zh, name.en), days=days)


def _season_days(season: Season) -> str:
    if len(season.months) == 12:
        return _("all year")
    if season.months:
        return _("months {months}", months=_joined([str(month) for month in sorted(season.months)]))
    return _("from {starts} until before {ends}", starts=season.starts, ends=season.ends)


def day_type_words(day_type: DayType, version: Version) -> str:
    """Return a day type's name, if it has one, with the days it takes; without a rule it takes what is left."""
    return _with_name(day_type.name, _rule_words(day_type, version))


def _rule_words(day_type: DayType, version: Version) -> str:
    rule = day_type.when
    if rule is None:
        return _("any day") if len(version.day_types) == 1 else _("all other days")
    parts = [_(DAY_KINDS[kind]) for kind in rule.kind]
    parts += [_(WEEKDAYS[day]) for day in rule.weekdays]
    parts += [_(HOLIDAYS.get(name, name)) for name in rule.holiday]
    parts += [str(day) for day in rule.dates]
    words = _joined(parts)
    return words if rule.first_days is None else _("{days}: first {count} days", days=words, count=rule.first_days)


def days_of(version: Version) -> list[dict[str, Any]]:
    """Return every kind of day as a strip of 24 hours: where a bucket is missing or doubled the strip says so."""
    return [
        {
            "season": season_words(season),
            "day_type": day_type_words(day_type, version),
            "strip": [_stretch(version, s) for s in coverage.stretches_of_day(version, season.code, day_type.code)],
        }
        for season in version.seasons
        for day_type in version.day_types
    ]


def _stretch(version: Version, stretch: coverage.Stretch) -> dict[str, Any]:
    names = [bucket_name(version, code) for code in stretch.buckets]
    colour = TOU_COLOURS.get(stretch.buckets[0], "cat-1") if len(names) == 1 else ""
    words = " + ".join(in_language(name.zh, name.en) for name in names) or _("no period")
    times = f"{coverage.clock(stretch.start)}-{coverage.clock(stretch.end)}"
    return {"label": words, "colour": colour, "width": round((stretch.end - stretch.start) / 14.4, 3), "times": times}


@dataclass(frozen=True, slots=True)
class EnergyPrice:
    """What a unit costs in one bucket by all energy components together; None where steps decide."""

    label: str
    price: str | None


def energy_prices(version: Version) -> dict[str, EnergyPrice]:
    """Return the price of a unit in every bucket, before VAT that is added on top."""
    parts = [c for c in version.components if c.kind == "energy"]
    found: dict[str, EnergyPrice] = {}
    for code in version.bucket_codes():
        prices = [_unit_price(version, c, code) for c in parts if not c.buckets or code in c.buckets]
        total = None if None in prices else sum((p for p in prices if p is not None), Decimal(0))
        label = bucket_name(version, code)
        found[code] = EnergyPrice(in_language(label.zh, label.en), None if total is None else f"{total.normalize():f}")
    return found


def _unit_price(version: Version, component: Component, code: str) -> Decimal | None:
    bucket = version.buckets.get(code)
    if component.tiers is not None or component.months:
        return None
    if component.price is None:
        return component.prices.get(code)
    return (
        component.price * bucket.ratio if component.floats and bucket and bucket.ratio is not None else component.price
    )


def price_unit(component: Component, utility: str) -> str:
    """Return what a price is for: kWh, m³, month …; empty for percentages."""
    if component.unit:
        return component.unit
    per = USE_UNITS.get(utility, "kWh") if component.kind == "energy" else PER.get(component.kind, "")
    return _(per) if per else ""


def price_words(version: Version, component: Component) -> str:
    """Return a component's price in one line: a number, prices per bucket, steps, or a percentage."""
    if component.tiers is not None:
        return _joined([_step(version, step) for step in component.tiers.steps])
    if component.percent is not None:
        return f"{component.percent} %"
    if component.pf_standard is not None:
        return _("standard {standard}", standard=component.pf_standard)
    if component.price is not None:
        return str(component.price)
    return "" if component.prices else "–"  # Prices per bucket stand below, each with its name.


def bucket_prices(version: Version, component: Component) -> list[tuple[str, str]]:
    """Return what a unit costs in each bucket, where that differs: (bucket, price)."""
    found = []
    for code in version.bucket_codes():
        bucket = version.buckets.get(code)
        if component.floats and component.price is not None and bucket and bucket.ratio is not None:
            price = component.price * bucket.ratio
        elif code in component.prices:
            price = component.prices[code]
        else:
            continue
        label = bucket_name(version, code)
        found.append((in_language(label.zh, label.en), f"{price.normalize():f}"))
    return found


def _step(version: Version, step: Tier) -> str:
    amount = str(step.price)
    if step.price is None:
        labels = {code: bucket_name(version, code) for code in step.prices}
        amount = " / ".join(f"{in_language(labels[c].zh, labels[c].en)} {p}" for c, p in step.prices.items())
    return f"{amount} (≤ {step.up_to})" if step.up_to is not None else _("{price} above", price=amount)


def _joined(parts: list[str]) -> str:
    return in_language("、", ", ").join(parts)
