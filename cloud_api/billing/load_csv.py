"""Read a load profile from CSV: intervals with energy, each fault reported with its line."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from cloud_api.kit.errors import Invalid

ROWS_MAX = 2_000_000
PROBLEMS_MAX = 20
_COLUMNS = {
    "start": ("start", "starts_at", "timestamp", "time", "datetime", "interval_start"),
    "end": ("end", "ends_at", "interval_end"),
    "kwh": ("kwh", "energy_kwh", "quantity", "m3"),
    "kvarh": ("kvarh", "reactive_kvarh"),
    "kvarh_forward": ("kvarh_forward", "kvarh_import"),
    "kvarh_reverse": ("kvarh_reverse", "kvarh_export"),
}


class LoadInvalid(Invalid):
    """The load profile cannot be used; `problems` lists what is wrong, with lines."""

    code = "load_invalid"

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        shown = list(problems[:PROBLEMS_MAX])
        if len(problems) > PROBLEMS_MAX:
            shown.append(f"… and {len(problems) - PROBLEMS_MAX} more")
        super().__init__("{name}: {count} problem(s){problems}", name=name, count=len(problems), problems=shown)


@dataclass(frozen=True, slots=True)
class LoadInterval:
    """Energy used in `[start, end)`, UTC."""

    start: datetime
    end: datetime
    quantity: Decimal
    kvarh: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A profile in order of time, its usual interval, and the holes in it."""

    intervals: tuple[LoadInterval, ...]
    minutes: int
    gaps: tuple[tuple[datetime, datetime], ...]


def read_load(path: Path, zone: ZoneInfo, *, minutes: int | None = None) -> Load:
    """Read a file with a header and the columns `start` and `kwh` (also `end`, `kvarh`).

    `start` is ISO 8601, with an offset or as local time of `zone`. A local hour that comes twice in autumn may stand
    twice, first the earlier; one that never comes in spring is refused. Raises LoadInvalid with every line at fault.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return parse_load(file, zone, name=path.name, minutes=minutes)
    except OSError as error:
        raise LoadInvalid(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise LoadInvalid(path.name, [f"is not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error


def parse_load(lines: Iterable[str], zone: ZoneInfo, *, name: str = "load", minutes: int | None = None) -> Load:
    """Read the lines of a CSV; see `read_load`."""
    iterator = iter(lines)
    header = next(iterator, "")
    delimiter = max(",;\t", key=header.count)
    columns = _columns(next(csv.reader([header], delimiter=delimiter), []), name)
    rows: list[tuple[int, datetime, datetime | None, Decimal, Decimal | None]] = []
    problems: list[str] = []
    previous: datetime | None = None
    for number, cells in enumerate(csv.reader(iterator, delimiter=delimiter), 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(rows) >= ROWS_MAX:
            raise LoadInvalid(name, [f"line {number}: more than {ROWS_MAX:,} rows; cut the file into years"])
        try:
            row = _row(number, cells, columns, zone, previous)
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        previous = row[1]
        rows.append(row)
    if problems:
        raise LoadInvalid(name, problems)
    if not rows:
        raise LoadInvalid(name, ["there is no row below the header"])
    return _with_ends(rows, name, minutes)


def _columns(header: Sequence[str], name: str) -> dict[str, int]:
    titles = [title.strip().lower() for title in header]
    found = {
        column: titles.index(alias)
        for column, aliases in _COLUMNS.items()
        for alias in aliases[::-1]
        if alias in titles
    }
    missing = [column for column in ("start", "kwh") if column not in found]
    if missing:
        raise LoadInvalid(
            name, [f"line 1: no column {' and '.join(missing)} among {', '.join(header) or 'nothing'}; use start,kwh"]
        )
    return found


def _row(
    number: int, cells: Sequence[str], columns: dict[str, int], zone: ZoneInfo, previous: datetime | None
) -> tuple[int, datetime, datetime | None, Decimal, Decimal | None]:
    def cell(column: str) -> str:
        index = columns.get(column)
        return cells[index].strip() if index is not None and index < len(cells) else ""

    start = instant(cell("start"), zone, after=previous)
    end = instant(cell("end"), zone, after=start) if cell("end") else None
    quantity = _quantity(cell("kwh"), "kwh")
    parts = [_quantity(cell(c), c) for c in ("kvarh", "kvarh_forward", "kvarh_reverse") if cell(c)]
    return number, start, end, quantity, sum(parts, Decimal(0)) if parts else None


def instant(text: str, zone: ZoneInfo, *, after: datetime | None = None) -> datetime:
    """Return the UTC instant of ISO 8601 text; naive text is local time of `zone`.

    Of an hour that comes twice the first is meant, unless `after` is not before it. Raises ValueError with a remedy.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; write 2026-07-01 00:15 or 2026-07-01T00:15:00+08:00") from None
    if found.tzinfo is not None:
        return found.astimezone(UTC)
    first = found.replace(tzinfo=zone)
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != found:
        raise ValueError(f"{text} does not exist in {zone.key}: the clock was put forward; give the offset to UTC")
    if after is not None and first.astimezone(UTC) <= after:
        second = first.replace(fold=1)
        if second.astimezone(UTC) > after:
            return second.astimezone(UTC)
    return first.astimezone(UTC)


def _quantity(text: str, column: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        what = "is empty" if not text else f"{text!r} is not a number"
        raise ValueError(f"{column} {what}; write kWh with a decimal point") from None
    if not value.is_finite():
        raise ValueError(f"{column} {text} is not a number; leave the row out if there is no reading")
    if value < 0:
        raise ValueError(f"{column} {text} is negative; import and export are billed separately, leave exports out")
    return value


def _with_ends(
    rows: Sequence[tuple[int, datetime, datetime | None, Decimal, Decimal | None]], name: str, minutes: int | None
) -> Load:
    problems = [
        f"line {later[0]}: {later[1].isoformat()} "
        + ("stands there twice" if later[1] == earlier[1] else "is earlier than the line before; sort by start")
        for earlier, later in pairwise(rows)
        if later[1] <= earlier[1]
    ]
    if problems:
        raise LoadInvalid(name, problems)
    usual = minutes or _usual_minutes(rows)
    step = timedelta(minutes=usual)
    intervals: list[LoadInterval] = []
    gaps: list[tuple[datetime, datetime]] = []
    for number, start, given_end, quantity, kvarh in rows:
        end = given_end or start + step
        if end <= start:
            problems.append(f"line {number}: the end is not after the start")
        if intervals and start < intervals[-1].end:
            problems.append(f"line {number}: {start.isoformat()} overlaps the interval before ({usual} minutes each)")
        elif intervals and start > intervals[-1].end:
            gaps.append((intervals[-1].end, start))
        intervals.append(LoadInterval(start, end, quantity, kvarh))
    if problems:
        raise LoadInvalid(name, problems)
    return Load(intervals=tuple(intervals), minutes=usual, gaps=tuple(gaps))


def _usual_minutes(rows: Sequence[tuple[int, datetime, datetime | None, Decimal, Decimal | None]]) -> int:
    """Return the most frequent distance between rows; a single row counts as a quarter of an hour."""
    distances = Counter(int((b[1] - a[1]).total_seconds()) // 60 for a, b in pairwise(rows))
    if not distances:
        return 15
    return max(1, max(distances, key=lambda d: (distances[d], -d)))
