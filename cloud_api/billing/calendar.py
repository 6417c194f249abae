"""Holidays and make-up workdays: what kind of day a date is. Pure once built; `seed` reads the libraries."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

DayKind = Literal["workday", "weekend", "holiday"]
RowKind = Literal["holiday", "makeup_workday"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarDay:
    """One row of the holiday calendar: a holiday, or a weekend day on which people work (调休)."""

    day: date
    kind: RowKind
    name: str
    official_doc: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HolidayCalendar:
    """Holidays of a region by date; `official_years` are those that the authority has published."""

    region: str
    holidays: Mapping[date, str] = field(default_factory=dict[date, str])
    makeup_workdays: frozenset[date] = frozenset()
    official_years: frozenset[int] | None = frozenset()
    """None: the calendar needs no publication (plain weekdays)."""

    def kind(self, day: date) -> DayKind:
        """Return what kind of day it is; a year that is not official yet knows weekdays and weekends only."""
        if day in self.holidays:
            return "holiday"
        if day in self.makeup_workdays:
            return "workday"
        return "weekend" if day.weekday() >= 5 else "workday"

    def day_of_holiday(self, day: date) -> int:
        """Return 1 for the first day of a run of the same holiday, 2 for the second …; 0 on other days."""
        name = self.holidays.get(day)
        count = 0
        while name is not None and self.holidays.get(day) == name:
            count += 1
            day -= timedelta(days=1)
        return count

    def is_official(self, year: int) -> bool:
        """Tell whether the year's holidays have been published; bills of other years may not be issued."""
        return self.official_years is None or year in self.official_years


PLAIN = HolidayCalendar(region="", official_years=None)
"""Weekdays and weekends, no holidays."""


def from_days(region: str, days: Iterable[CalendarDay], official_years: Iterable[int]) -> HolidayCalendar:
    """Build the calendar from its rows."""
    rows = list(days)
    return HolidayCalendar(
        region=region,
        holidays={row.day: row.name for row in rows if row.kind == "holiday"},
        makeup_workdays=frozenset(row.day for row in rows if row.kind == "makeup_workday"),
        official_years=frozenset(official_years),
    )


CHINA_FIRST_YEAR = 2018


def seed_china() -> tuple[list[CalendarDay], list[int]]:
    """Return the days that chinesecalendar knows and the years it covers (1.11 ends with 2026).

    The library follows the notices of the State Council; it raises for a year that is not published, and so do we:
    a later year has to be entered from the notice.
    """
    from chinese_calendar import constants

    tables: list[tuple[RowKind, dict[date, str]]] = [
        ("holiday", constants.holidays),
        ("makeup_workday", constants.workdays),
    ]
    rows = [
        CalendarDay(day=day, kind=kind, name=_slug(name), official_doc="国务院办公厅节假日安排通知 (chinesecalendar)")
        for kind, table in tables
        for day, name in table.items()
        if day.year >= CHINA_FIRST_YEAR
    ]
    return sorted(rows, key=lambda row: row.day), sorted({row.day.year for row in rows})


def _slug(name: str) -> str:
    """Turn "New Year's Day" into `new_years_day`, the names used in tariff files."""
    return name.lower().replace("'", "").replace("-", "_").replace(" ", "_")


def built_in(region: str | None) -> HolidayCalendar:
    """Return the calendar that needs no database: China from chinesecalendar, other regions from `holidays`.

    `region` is a country (`CN`, `DE`) or country and subdivision (`DE-BY`). Raises ValueError for an unknown one.
    """
    if not region:
        return PLAIN
    if region == "CN" or region.startswith("CN-"):
        days, years = seed_china()
        return from_days(region, days, years)
    import holidays

    country, _, subdivision = region.partition("-")
    years = range(2010, 2036)
    try:
        found = holidays.country_holidays(country, subdiv=subdivision or None, years=years, language="en_US")
    except (NotImplementedError, KeyError) as error:
        raise ValueError(f"no holiday calendar for {region!r}: use a country code such as CN, DE or DE-BY") from error
    rows = [CalendarDay(day=day, kind="holiday", name=_slug(name)) for day, name in found.items()]
    return from_days(region, rows, years)
