"""Proof that a tariff prices every minute of every kind of day exactly once, and that its parts fit together. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise

from cloud_api.billing import component_rules, timetable
from cloud_api.billing.calendar import HolidayCalendar
from cloud_api.billing.tariff import DayRule, DayType, Season, Tariff, Version, bucket_name
from cloud_api.kit.i18n import Named, Text
from cloud_api.kit.period import local_days

_LEAP_YEAR = 2024
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong (`is_error`) or worth a look, and where: `at` leads to the key of the file that has to change."""

    text: Text
    at: Path
    is_error: bool = True
    version: str | None = None

    @property
    def full_text(self) -> Text:
        """The finding with its version named, for a reader who sees all versions at once."""
        if self.version is None:
            return self.text
        return Text("version {version}, {finding}", version=self.version, finding=self.text)


def check(tariff: Tariff) -> list[Finding]:
    """Return everything wrong with a tariff; without an error it prices every minute exactly once."""
    findings = list(_versions(tariff))
    for index, version in enumerate(tariff.versions):
        found = _check_version(tariff, version)
        findings += [replace(f, at=("versions", index, *f.at), version=version.version) for f in found]
    return findings


def _versions(tariff: Tariff) -> Iterator[Finding]:
    at = {version.version: ("versions", index) for index, version in enumerate(tariff.versions)}
    names = Counter(v.version for v in tariff.versions)
    for name in (n for n, count in names.items() if count > 1):
        yield Finding(Text("version {version} stands there twice", version=name), (*at[name], "version"))
    for version in tariff.versions:
        if version.valid_to and version.valid_to <= version.valid_from:
            text = Text(
                "version {version}: valid_to {end} is not after {start}",
                version=version.version,
                end=version.valid_to,
                start=version.valid_from,
            )
            yield Finding(text, (*at[version.version], "valid_to"))
    ordered = sorted(tariff.versions, key=lambda v: v.valid_from)
    for earlier, later in pairwise(ordered):
        names_of = {"earlier": earlier.version, "later": later.version, "day": later.valid_from}
        if earlier.valid_to is None or earlier.valid_to > later.valid_from:
            text = Text(
                "versions {earlier} and {later} are both in force from {day}; end the earlier one with valid_to: {day}",
                **names_of,
            )
            yield Finding(text, (*at[later.version], "valid_from"))
        elif earlier.valid_to < later.valid_from:
            text = Text("no version is in force from {end} to {day}", end=earlier.valid_to, day=later.valid_from)
            yield Finding(text, (*at[later.version], "valid_from"))


def _check_version(tariff: Tariff, version: Version) -> Iterator[Finding]:
    yield from _seasons(version)
    yield from _day_types(tariff, version)
    yield from _windows(version)
    yield from _buckets(version)
    yield from (Finding(text, at, is_error) for text, at, is_error in component_rules.check(version))


def _seasons(version: Version) -> Iterator[Finding]:
    at: dict[str, Path] = {season.code: ("seasons", index) for index, season in enumerate(version.seasons)}
    for code in (c for c, n in Counter(s.code for s in version.seasons).items() if n > 1):
        yield Finding(Text("season {season} stands there twice", season=code), (*at[code], "code"))
    for season in version.seasons:
        yield from (Finding(text, (*at[season.code], key)) for text, key in _season_form(season))
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
        text = Text("no season holds {first} to {last}", first=f"{first:%m-%d}", last=f"{last:%m-%d}")
        yield Finding(text, ("seasons",))
    for codes, first in doubles.items():
        seasons = tuple(season_name(version, code) for code in codes)
        yield Finding(
            Text("seasons {seasons} all hold {day}", seasons=seasons, day=f"{first:%m-%d}"), (*at[codes[-1]], "months")
        )


def season_name(version: Version, code: str) -> Text:
    """Return a season's name, else its code."""
    return _name_or_code(version.seasons, code)


def day_type_name(version: Version, code: str) -> Text:
    """Return a day type's name, else its code."""
    return _name_or_code(version.day_types, code)


def _name_or_code(found: tuple[Season, ...] | tuple[DayType, ...], code: str) -> Text:
    name = next((thing.name for thing in found if thing.code == code), None)
    return Named(name.zh, name.en) if name else Named(code, code)


def _bucket(version: Version, code: str) -> Text:
    name = bucket_name(version, code)
    return Named(name.zh, name.en)


def _season_form(season: Season) -> Iterator[tuple[Text, str]]:
    has_limits = season.starts is not None or season.ends is not None
    if bool(season.months) == has_limits:
        yield Text("season {season} needs either months or both starts and ends (MM-DD)", season=season.code), "months"
    elif has_limits and not (_is_month_day(season.starts) and _is_month_day(season.ends)):
        yield Text("season {season}: starts and ends are days such as 06-01", season=season.code), "starts"
    for month in (m for m in season.months if not 1 <= m <= 12):
        yield Text("season {season}: there is no month {month}", season=season.code, month=month), "months"


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
    at: dict[str, Path] = {day_type.code: ("day_types", index) for index, day_type in enumerate(version.day_types)}
    for code in (c for c, n in Counter(t.code for t in version.day_types).items() if n > 1):
        yield Finding(Text("day type {day_type} stands there twice", day_type=code), (*at[code], "code"))
    left = _ALL_DAYS
    for day_type in version.day_types:
        if not left:
            text = Text("day type {day_type} is never reached: those before it take every day", day_type=day_type.code)
            yield Finding(text, (*at[day_type.code], "when"))
        left -= _days_surely_taken(day_type.when)
        if day_type.when and day_type.when.first_days is not None and day_type.when.first_days < 1:
            text = Text("day type {day_type}: first_days counts from 1", day_type=day_type.code)
            yield Finding(text, (*at[day_type.code], "when", "first_days"))
    if left:
        text = Text(
            "some days have no day type, such as {example}; let the last day type have no `when`, so it takes the rest",
            example=_kind_of_day(*min(left)),
        )
        yield Finding(text, ("day_types",))
    if version.needs_calendar() and not tariff.holiday_calendar:
        needs_names = any(t.when and ("holiday" in t.when.kind or t.when.holiday) for t in version.day_types)
        if needs_names:
            text = Text("a day type asks for holidays, but the tariff names no holiday_calendar (such as CN)")
            yield Finding(text, ("day_types",))


_ALL_DAYS = frozenset((d, k) for d in timetable.WEEKDAYS for k in ("workday", "weekend", "holiday"))


_ZH = dict(zip(timetable.WEEKDAYS, ("周一", "周二", "周三", "周四", "周五", "周六", "周日"), strict=True)) | {
    "workday": "工作日",
    "weekend": "周末",
    "holiday": "节假日",
}


def _kind_of_day(weekday: str, kind: str) -> Text:
    return Named(f"{_ZH[weekday]}（{_ZH[kind]}）", f"{weekday} {kind}")


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
    for index, window in enumerate(version.windows):
        at, bucket = ("windows", index), _bucket(version, window.bucket)
        for code in (c for c in window.seasons if c not in seasons):
            text = Text("a window of bucket {bucket} names the unknown season {season}", bucket=bucket, season=code)
            yield Finding(text, (*at, "seasons"))
        for code in (c for c in window.day_types if c not in day_types):
            text = Text(
                "a window of bucket {bucket} names the unknown day type {day_type}", bucket=bucket, day_type=code
            )
            yield Finding(text, (*at, "day_types"))
        if window.end <= window.start:
            text = Text(
                "a window of bucket {bucket} ends at {end}, not after {start}; cut it in two at 24:00",
                bucket=bucket,
                end=clock(window.end),
                start=clock(window.start),
            )
            yield Finding(text, (*at, "hours"))
    for season in version.seasons:
        for day_type in version.day_types:
            where = {"season": season_name(version, season.code), "day_type": day_type_name(version, day_type.code)}
            yield from (
                Finding(Text("season {season}, day type {day_type}: {problem}", **where, problem=text), ("windows",))
                for text in _one_day(version, season.code, day_type.code)
            )


def _one_day(version: Version, season: str, day_type: str) -> Iterator[Text]:
    for stretch in stretches_of_day(version, season, day_type):
        hours = f"{clock(stretch.start)}-{clock(stretch.end)}"
        if not stretch.buckets:
            yield Text("{hours} is in no bucket", hours=hours)
        elif len(stretch.buckets) > 1:
            first, second = (_bucket(version, code) for code in stretch.buckets[:2])
            yield Text("{hours} is in {first} and in {second}", hours=hours, first=first, second=second)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Minutes after midnight `[start, end)` of one kind of day with all their buckets: sound with exactly one."""

    start: int
    end: int
    buckets: tuple[str, ...]


def stretches_of_day(version: Version, season: str, day_type: str) -> list[Stretch]:
    """Cut one kind of day wherever its buckets change; holes have no bucket, overlaps several."""
    windows = [w for w in timetable.windows_of(version, season, day_type) if w.end > w.start]
    edges = sorted({0, 1440, *(w.start for w in windows), *(w.end for w in windows)})
    found: list[Stretch] = []
    for start, end in pairwise(edges):
        buckets = tuple(w.bucket for w in windows if w.start <= start and end <= w.end)
        if found and found[-1].buckets == buckets and len(buckets) != 1:
            found[-1] = Stretch(found[-1].start, end, buckets)
        else:
            found.append(Stretch(start, end, buckets))
    return found


def clock(minute: int) -> str:
    """Return minutes after midnight as HH:MM; the end of the day is 24:00."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _buckets(version: Version) -> Iterator[Finding]:
    used = set(version.bucket_codes())
    for code in (c for c in version.buckets if c not in used):
        text = Text("bucket {bucket} has no window", bucket=_bucket(version, code))
        yield Finding(text, ("buckets", code), is_error=False)
    if any(component.floats for component in version.components):
        for code in sorted(used):
            bucket, at = version.buckets.get(code), ("buckets", code, "ratio")
            if bucket is None or bucket.ratio is None:
                text = Text("bucket {bucket} has no ratio, but a component floats", bucket=_bucket(version, code))
                yield Finding(text, at)
            elif bucket.ratio < 0:
                text = Text(
                    "bucket {bucket}: the ratio {ratio} is negative", bucket=_bucket(version, code), ratio=bucket.ratio
                )
                yield Finding(text, at)


def minutes_of_year(tariff: Tariff, calendar: HolidayCalendar, year: int) -> dict[str, int]:
    """Return how many minutes of a local year fall into each bucket, laid over its real days.

    The sum equals the year's length: 525,600 minutes, or 527,040 in a leap year. Raises NoTariff for a hole.
    """
    totals: Counter[str] = Counter()
    for run in timetable.cut(tariff, calendar, local_days(date(year, 1, 1), date(year + 1, 1, 1), tariff.zone)):
        totals[run.bucket] += int((run.end - run.start).total_seconds()) // 60
    return dict(totals)
