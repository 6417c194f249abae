"""Words for what a tariff file writes as codes: kinds, units, holidays, prices, in the reader's language."""

from decimal import Decimal

from cloud_api.billing.tariff import Component, DayType, Season, Version, bucket_name
from cloud_api.kit.i18n import in_language
from cloud_api.kit.i18n import mark as N_  # noqa: N812
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
    """Return the months of a season, or its first and last day."""
    if len(season.months) == 12:
        return _("all year")
    if season.months:
        return _("months {months}", months=_joined([str(month) for month in sorted(season.months)]))
    return _("from {starts} until before {ends}", starts=season.starts, ends=season.ends)


def day_type_words(day_type: DayType, version: Version) -> str:
    """Return which days a type takes; the type without a rule takes what is left."""
    rule = day_type.when
    if rule is None:
        return _("every day") if len(version.day_types) == 1 else _("all other days")
    parts = [_(DAY_KINDS[kind]) for kind in rule.kind]
    parts += [_(WEEKDAYS[day]) for day in rule.weekdays]
    parts += [_(HOLIDAYS.get(name, name)) for name in rule.holiday]
    parts += [str(day) for day in rule.dates]
    words = _joined(parts)
    return words if rule.first_days is None else _("{days}: first {count} days", days=words, count=rule.first_days)


def price_unit(component: Component, utility: str) -> str:
    """Return what a price is for: kWh, m³, month …; empty for percentages."""
    if component.unit:
        return component.unit
    per = USE_UNITS.get(utility, "kWh") if component.kind == "energy" else PER.get(component.kind, "")
    return _(per) if per else ""


def price_words(component: Component) -> str:
    """Return a component's price in one line: a number, prices per bucket, steps, or a percentage."""
    if component.tiers is not None:
        return _joined([_step(step.price, dict(step.prices), step.up_to) for step in component.tiers.steps])
    if component.percent is not None:
        return f"{component.percent} %"
    if component.pf_standard is not None:
        return _("standard {standard}", standard=component.pf_standard)
    if component.price is not None:
        return str(component.price)
    return _joined([f"{code} {price}" for code, price in component.prices.items()]) or "–"


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


def _step(price: Decimal | None, prices: dict[str, Decimal], up_to: Decimal | None) -> str:
    amount = str(price) if price is not None else "/".join(str(p) for p in prices.values())
    return f"{amount} (≤ {up_to})" if up_to is not None else _("{price} above", price=amount)


def _joined(parts: list[str]) -> str:
    return in_language("、", ", ").join(parts)
