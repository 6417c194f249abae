"""Proof that a tariff prices every minute of every kind of day exactly once, and that its parts fit together. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

from cloud_api.billing import timetable
from cloud_api.billing.calendar import HolidayCalendar
from cloud_api.billing.power_factor import STANDARDS
from cloud_api.billing.tariff import Component, DayRule, Season, Tariff, Version
from cloud_api.kit.period import local_days

_LEAP_YEAR = 2024
_PRICED_PER_UNIT = {"energy", "demand", "capacity", "fixed", "per_day"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong (`is_error`) or worth a look, and where."""

    text: str
    is_error: bool = True


def check(tariff: Tariff) -> list[Finding]:
    """Return everything wrong with a tariff; without an error it prices every minute exactly once."""
    findings = list(_versions(tariff))
    for version in tariff.versions:
        where = f"version {version.version}"
        findings += [Finding(f"{where}, {f.text}", f.is_error) for f in _check_version(tariff, version)]
    return findings


def _versions(tariff: Tariff) -> Iterator[Finding]:
    names = Counter(v.version for v in tariff.versions)
    for name in (n for n, count in names.items() if count > 1):
        yield Finding(f"version {name} stands there twice")
    for version in tariff.versions:
        if version.valid_to and version.valid_to <= version.valid_from:
            yield Finding(f"version {version.version}: valid_to {version.valid_to} is not after {version.valid_from}")
    ordered = sorted(tariff.versions, key=lambda v: v.valid_from)
    for earlier, later in pairwise(ordered):
        if earlier.valid_to is None or earlier.valid_to > later.valid_from:
            yield Finding(
                f"versions {earlier.version} and {later.version} are both in force from {later.valid_from}; "
                f"end the earlier one with valid_to: {later.valid_from}"
            )
        elif earlier.valid_to < later.valid_from:
            yield Finding(f"no version is in force from {earlier.valid_to} to {later.valid_from}")


def _check_version(tariff: Tariff, version: Version) -> Iterator[Finding]:
    yield from _seasons(version)
    yield from _day_types(tariff, version)
    yield from _windows(version)
    yield from _buckets(version)
    yield from _components(version)


def _seasons(version: Version) -> Iterator[Finding]:
    for code in (c for c, n in Counter(s.code for s in version.seasons).items() if n > 1):
        yield Finding(f"season {code} stands there twice")
    for season in version.seasons:
        yield from _season_form(season)
    day = date(_LEAP_YEAR, 1, 1)
    holes: list[date] = []
    doubles: dict[tuple[str, ...], date] = {}
    while day.year == _LEAP_YEAR:
        codes = tuple(s.code for s in version.seasons if timetable.in_season(s, day))
        if not codes:
            holes.append(day)
        elif len(codes) > 1:
            doubles.setdefault(codes, day)
        day += timedelta(days=1)
    for first, last in _stretches(holes):
        yield Finding(f"no season holds {first:%m-%d} to {last:%m-%d}")
    for codes, first in doubles.items():
        yield Finding(f"seasons {' and '.join(codes)} both hold {first:%m-%d}")


def _season_form(season: Season) -> Iterator[Finding]:
    has_limits = season.starts is not None or season.ends is not None
    if bool(season.months) == has_limits:
        yield Finding(f"season {season.code} needs either months or both starts and ends (MM-DD)")
    elif has_limits and not (_is_month_day(season.starts) and _is_month_day(season.ends)):
        yield Finding(f"season {season.code}: starts and ends are days such as 06-01")
    for month in (m for m in season.months if not 1 <= m <= 12):
        yield Finding(f"season {season.code}: there is no month {month}")


def _is_month_day(text: str | None) -> bool:
    try:
        date.fromisoformat(f"{_LEAP_YEAR}-{text}")
    except ValueError:
        return False
    return text is not None and len(text) == 5


def _stretches(days: list[date]) -> list[tuple[date, date]]:
    found: list[tuple[date, date]] = []
    for day in days:
        if found and day - found[-1][1] == timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _day_types(tariff: Tariff, version: Version) -> Iterator[Finding]:
    for code in (c for c, n in Counter(t.code for t in version.day_types).items() if n > 1):
        yield Finding(f"day type {code} stands there twice")
    left = _ALL_DAYS
    for day_type in version.day_types:
        if not left:
            yield Finding(f"day type {day_type.code} is never reached: those before it take every day")
        left -= _days_surely_taken(day_type.when)
        if day_type.when and day_type.when.first_days is not None and day_type.when.first_days < 1:
            yield Finding(f"day type {day_type.code}: first_days counts from 1")
    if left:
        example = " ".join(min(left))
        yield Finding(
            f"some days have no day type, such as {example}; let the last day type have no `when`, so it takes the rest"
        )
    if version.needs_calendar() and not tariff.holiday_calendar:
        needs_names = any(t.when and ("holiday" in t.when.kind or t.when.holiday) for t in version.day_types)
        if needs_names:
            yield Finding("a day type asks for holidays, but the tariff names no holiday_calendar (such as CN)")


_ALL_DAYS = frozenset((d, k) for d in timetable.WEEKDAYS for k in ("workday", "weekend", "holiday"))


def _days_surely_taken(rule: DayRule | None) -> frozenset[tuple[str, str]]:
    """Return the (weekday, kind) that a rule takes on every date; a rule about named holidays or dates takes none."""
    if rule is None:
        return _ALL_DAYS
    if rule.holiday or rule.dates or rule.first_days is not None:
        return frozenset()
    return frozenset(
        (weekday, kind)
        for weekday, kind in _ALL_DAYS
        if (not rule.weekdays or weekday in rule.weekdays) and (not rule.kind or kind in rule.kind)
    )


def _windows(version: Version) -> Iterator[Finding]:
    seasons, day_types = {s.code for s in version.seasons}, {t.code for t in version.day_types}
    for window in version.windows:
        for code in (c for c in window.seasons if c not in seasons):
            yield Finding(f"a window of bucket {window.bucket} names the unknown season {code}")
        for code in (c for c in window.day_types if c not in day_types):
            yield Finding(f"a window of bucket {window.bucket} names the unknown day type {code}")
        if window.end <= window.start:
            yield Finding(
                f"a window of bucket {window.bucket} ends at {clock(window.end)}, not after {clock(window.start)}; "
                "cut it in two at 24:00"
            )
    for season in version.seasons:
        for day_type in version.day_types:
            yield from _one_day(version, season.code, day_type.code)


def _one_day(version: Version, season: str, day_type: str) -> Iterator[Finding]:
    where = f"season {season}, day type {day_type}"
    reached, by = 0, ""
    for window in timetable.windows_of(version, season, day_type):
        if window.start > reached:
            yield Finding(f"{where}: {clock(reached)}-{clock(window.start)} is in no bucket")
        elif window.start < reached:
            until = min(reached, window.end)
            yield Finding(f"{where}: {clock(window.start)}-{clock(until)} is in {by} and in {window.bucket}")
        if window.end > reached:
            reached, by = window.end, window.bucket
    if reached < 1440:
        yield Finding(f"{where}: {clock(reached)}-24:00 is in no bucket")


def clock(minute: int) -> str:
    """Return minutes after midnight as HH:MM; the end of the day is 24:00."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _buckets(version: Version) -> Iterator[Finding]:
    used = set(version.bucket_codes())
    for code in (c for c in version.buckets if c not in used):
        yield Finding(f"bucket {code} has no window", is_error=False)
    if any(component.floats for component in version.components):
        for code in sorted(used):
            bucket = version.buckets.get(code)
            if bucket is None or bucket.ratio is None:
                yield Finding(f"bucket {code} has no ratio, but a component floats")
            elif bucket.ratio < 0:
                yield Finding(f"bucket {code}: the ratio {bucket.ratio} is negative")


def _components(version: Version) -> Iterator[Finding]:
    if not version.components:
        yield Finding("there are no components: nothing would be charged")
    seen: set[str] = set()
    for component in version.components:
        where = f"component {component.code}"
        if component.code in seen:
            yield Finding(f"{where} stands there twice")
        for code in (c for c in component.base_codes if c not in seen):
            yield Finding(f"{where}: base code {code} is not a component above it")
        for text in _one_component(version, component):
            yield Finding(f"{where}: {text}")
        for text in _odd(component):
            yield Finding(f"{where}: {text}", is_error=False)
        seen.add(component.code)


def _odd(component: Component) -> Iterator[str]:
    prices = [p for p in (component.price, *component.prices.values()) if p is not None]
    if any(p < 0 for p in prices):
        yield "has a negative price"


def _one_component(version: Version, component: Component) -> Iterator[str]:
    kind = component.kind
    yield from _limits(component)
    if kind in _PRICED_PER_UNIT:
        yield from _prices(version, component)
    if kind in {"percent_of", "tax"} and component.percent is None:
        yield "needs `percent` (5 means 5 %)"
    if kind in {"percent_of", "tax", "pf", "min"} and not component.base_codes:
        yield "needs `base_codes`: the components it is reckoned from"
    if kind == "pf" and component.pf_standard not in STANDARDS:
        yield f"pf_standard is one of {', '.join(str(s) for s in STANDARDS)}"
    if kind == "min" and component.price is None and component.guaranteed_quantity is None:
        yield "needs `price` (the minimum per month) or `guaranteed_quantity`"
    if kind == "demand" and component.demand:
        yield from _demand(version, component)
    if kind not in {"energy", "demand"} and (component.floats or component.prices):
        yield "only energy and demand have prices per bucket"


def _limits(component: Component) -> Iterator[str]:
    if component.vat_rate >= 1 or component.vat_rate < 0:
        yield f"vat_rate {component.vat_rate} is a fraction; write 0.13 for 13 %"
    if component.rounding <= 0:
        yield f"rounding {component.rounding} has to be positive, such as 0.01"
    for month in (m for m in component.months if not 1 <= m <= 12):
        yield f"there is no month {month}"


def _prices(version: Version, component: Component) -> Iterator[str]:
    forms = [component.price is not None, bool(component.prices), component.tiers is not None]
    if sum(forms) != 1:
        yield "needs exactly one of price, prices (per bucket) and tiers"
    known = set(version.bucket_codes())
    for code in (c for c in component.buckets if c not in known):
        yield f"bucket {code} has no window"
    used = known & set(component.buckets) if component.buckets else known
    if component.prices:
        yield from _bucket_prices(used, component.prices, _demand_buckets(component) or used)
    if component.floats and component.prices:
        yield "floats multiplies one price by each bucket's ratio; use price instead of prices"
    if component.tiers is not None:
        if component.kind != "energy":
            yield "only energy has tiers"
        yield from _tiers(used, component)


def _demand_buckets(component: Component) -> set[str]:
    return set(component.demand.buckets) if component.demand else set()


def _bucket_prices(used: set[str], prices: Iterable[str], needed: set[str]) -> Iterator[str]:
    given = set(prices)
    for code in sorted(needed - given):
        yield f"has no price for bucket {code}"
    for code in sorted(given - used):
        yield f"has a price for bucket {code}, which no window names"


def _tiers(used: set[str], component: Component) -> Iterator[str]:
    steps = component.tiers.steps if component.tiers else ()
    if not steps:
        yield "has no tier steps"
        return
    limits = [step.up_to for step in steps[:-1]]
    if any(limit is None for limit in limits):
        yield "only the last tier has no up_to"
    elif any(later <= earlier for earlier, later in pairwise([Decimal(0), *(x for x in limits if x is not None)])):
        yield "the tiers' up_to have to rise from above 0"
    if steps[-1].up_to is not None:
        yield f"the last tier ends at {steps[-1].up_to}; leave out its up_to, or use above it has no price"
    for number, step in enumerate(steps, 1):
        if (step.price is None) == (not step.prices):
            yield f"tier {number} needs either price or prices (per bucket)"
        elif step.prices:
            for text in _bucket_prices(used, step.prices, used):
                yield f"tier {number} {text}"


def _demand(version: Version, component: Component) -> Iterator[str]:
    demand = component.demand
    if demand is None:
        return
    used = set(version.bucket_codes())
    for code in (c for c in demand.buckets if c not in used):
        yield f"demand bucket {code} has no window"
    if (demand.rule == "ratchet") != (demand.ratchet is not None):
        yield "rule ratchet and the section `ratchet` go together"
    if demand.ratchet and not 0 <= demand.ratchet.percent <= 100:
        yield "ratchet.percent is a percentage from 0 to 100 (80 means 80 %)"
    if demand.window_min not in {5, 10, 15, 20, 30, 60}:
        yield "window_min is one of 5, 10, 15, 20, 30, 60"
    if demand.peaks < 1:
        yield "peaks counts from 1"


def minutes_of_year(tariff: Tariff, calendar: HolidayCalendar, year: int) -> dict[str, int]:
    """Return how many minutes of a local year fall into each bucket, laid over its real days.

    The sum equals the year's length: 525,600 minutes, or 527,040 in a leap year. Raises NoTariff for a hole.
    """
    totals: Counter[str] = Counter()
    for run in timetable.cut(tariff, calendar, local_days(date(year, 1, 1), date(year + 1, 1, 1), tariff.zone)):
        totals[run.bucket] += int((run.end - run.start).total_seconds()) // 60
    return dict(totals)
