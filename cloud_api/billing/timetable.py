"""Which bucket each instant belongs to: a tariff's windows laid over real days, with clock changes. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cloud_api.billing.calendar import HolidayCalendar
from cloud_api.billing.tariff import DayRule, DayType, Season, Tariff, Version, Window
from cloud_api.kit.errors import Invalid
from cloud_api.kit.period import Period, local_day

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class NoTariff(Invalid):
    """No version of the tariff is in force on a day that has to be priced."""

    code = "no_tariff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An unbroken stretch of time in one bucket of one tariff version."""

    start: datetime
    end: datetime
    version: str
    bucket: str


def season_on(version: Version, day: date) -> Season | None:
    """Return the season of a date."""
    return next((season for season in version.seasons if in_season(season, day)), None)


def in_season(season: Season, day: date) -> bool:
    """Tell whether the season holds the date; MM-DD limits are half-open and may cross New Year."""
    if season.months:
        return day.month in season.months
    month_day = f"{day.month:02d}-{day.day:02d}"
    starts, ends = season.starts or "", season.ends or ""
    if starts < ends:
        return starts <= month_day < ends
    return month_day >= starts or month_day < ends


def day_type_on(version: Version, day: date, calendar: HolidayCalendar) -> DayType | None:
    """Return the first day type whose rule takes the date."""
    return next((t for t in version.day_types if t.when is None or _matches(t.when, day, calendar)), None)


def _matches(rule: DayRule, day: date, calendar: HolidayCalendar) -> bool:
    if rule.kind and calendar.kind(day) not in rule.kind:
        return False
    if rule.weekdays and WEEKDAYS[day.weekday()] not in rule.weekdays:
        return False
    if rule.holiday and calendar.holidays.get(day) not in rule.holiday:
        return False
    if rule.first_days is not None and not 1 <= calendar.day_of_holiday(day) <= rule.first_days:
        return False
    return not rule.dates or day in rule.dates


def windows_of(version: Version, season: str, day_type: str) -> list[Window]:
    """Return the windows of one kind of day, in order of time."""
    chosen = [
        w
        for w in version.windows
        if (not w.seasons or season in w.seasons) and (not w.day_types or day_type in w.day_types)
    ]
    return sorted(chosen, key=lambda w: (w.start, w.end))


def cut(tariff: Tariff, calendar: HolidayCalendar, period: Period) -> list[Run]:
    """Cut a period into runs; every instant lies in exactly one. Neighbouring stretches of one bucket are joined.

    Raises NoTariff for a day without a version. The tariff must have passed `coverage.check`.
    """
    runs: list[Run] = []
    for run in _stretches(tariff, calendar, period):
        last = runs[-1] if runs else None
        if last and last.end == run.start and (last.version, last.bucket) == (run.version, run.bucket):
            runs[-1] = Run(start=last.start, end=run.end, version=run.version, bucket=run.bucket)
        else:
            runs.append(run)
    return runs


def cut_by_day(tariff: Tariff, calendar: HolidayCalendar, period: Period) -> list[Run]:
    """Cut a period into runs, and at every local midnight: leases change there and charts count by day."""
    found = []
    for run in cut(tariff, calendar, period):
        start = run.start
        while start < run.end:
            end = min(run.end, local_day(start.astimezone(tariff.zone).date(), tariff.zone).end)
            found.append(Run(start=start, end=end, version=run.version, bucket=run.bucket))
            start = end
    return found


def _stretches(tariff: Tariff, calendar: HolidayCalendar, period: Period) -> Iterator[Run]:
    zone = tariff.zone
    day = period.start.astimezone(zone).date()
    while local_day(day, zone).start < period.end:
        version = tariff.version_on(day)
        if version is None:
            raise NoTariff(
                "tariff {tariff}: no version is in force on {day}; add one or change valid_from",
                tariff=tariff.tariff,
                day=day,
            )
        season, day_type = season_on(version, day), day_type_on(version, day, calendar)
        if season is None or day_type is None:
            raise NoTariff(
                "tariff {tariff}, version {version}: {day} has no season or day type",
                tariff=tariff.tariff,
                version=version.version,
                day=day,
            )
        today = [
            Run(start=max(start, period.start), end=min(end, period.end), version=version.version, bucket=window.bucket)
            for window in windows_of(version, season.code, day_type.code)
            for start, end in instants(day, window.start, window.end, zone)
            if start < period.end and end > period.start
        ]
        yield from sorted(today, key=lambda run: run.start)  # An autumn hour comes twice.
        day += timedelta(days=1)


def instants(day: date, start_minute: int, end_minute: int, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Return when the wall clock shows a time in [start, end) minutes on a date: once, twice (autumn) or never."""
    found: list[tuple[datetime, datetime]] = []
    midnight = datetime.combine(day, time.min)
    for piece_start, piece_end, offset in _pieces(day, zone):
        start = (midnight + timedelta(minutes=start_minute) - offset).replace(tzinfo=UTC)
        end = (midnight + timedelta(minutes=end_minute) - offset).replace(tzinfo=UTC)
        first, last = max(start, piece_start), min(end, piece_end)
        if first < last:
            found.append((first, last))
    return found


@lru_cache(maxsize=4096)
def _pieces(day: date, zone: ZoneInfo) -> list[tuple[datetime, datetime, timedelta]]:
    """Cut a local day where the offset to UTC changes: (start, end, offset) of each piece."""
    whole = local_day(day, zone)
    before, after = _offset(whole.start, zone), _offset(whole.end - timedelta(microseconds=1), zone)
    if before == after:
        return [(whole.start, whole.end, before)]
    low, high = whole.start, whole.end
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    change = high.replace(microsecond=0)
    return [(whole.start, change, before), (change, whole.end, after)]


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)
