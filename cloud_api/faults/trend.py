"""Trends of other systems: a CSV file and a column map become columns of roles on an even grid of ticks."""

import csv
import difflib
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_api.faults.rules import RuleError, role_aliases, roles
from cloud_api.faults.series import Array
from cloud_api.faults.units import Unit, UnitError, conversion, quantity

ROWS_MAX = 5_000_000
_UNREADABLE_SHARE_MAX = 0.2
TICKS_MAX = 5_000_000
_TIME_FORMATS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y%m%d%H%M%S", "%Y%m%d %H:%M",
    "%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%y %H:%M", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y %H:%M", "%d/%m/%Y %H:%M:%S", "%d/%m/%y %H:%M", "%d/%m/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S", "%d-%b-%y %H:%M", "%d-%b-%y %H:%M:%S", "%d-%b-%Y %H:%M", "%d-%b-%Y %H:%M:%S",
    "%Y年%m月%d日 %H:%M", "%Y年%m月%d日 %H:%M:%S", "%Y年%m月%d日%H:%M",
)  # fmt: skip
_SAMPLES_MAX = 500
_EPOCH_S, _EPOCH_MS = (1e8, 1e10), (1e11, 1e13)  # 1973 to 2286.
_UNKNOWN = frozenset(("", "nan", "null", "none", "n/a", "na", "-", "#n/a", "bad", "no data"))
_TRUE, _FALSE = (
    frozenset(("true", "on", "yes", "active", "occupied")),
    frozenset(("false", "off", "no", "inactive", "unoccupied")),
)


class TrendError(ValueError):
    """The trend or its map cannot be read; the text says what, where and what to do."""


class _Column(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str
    unit: str | None = None
    invert: bool = False
    zero_is_missing: bool = False


class _Time(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str | None = None
    format: str | None = None
    zone: str = "Asia/Shanghai"


class ColumnMap(BaseModel):
    """Which column plays which role, in which unit; `constants` give values that the trend does not carry.

    `max_age` says how long a value holds when the next is missing; `params` change parameters of rules.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    time: _Time = _Time()
    roles: dict[str, _Column | str] = Field(min_length=1)
    constants: dict[str, str | float | bool] = {}
    params: dict[str, dict[str, str | float | bool]] = {}
    rules: tuple[str, ...] | None = None
    max_age: str | None = None
    tick: str | None = None
    average: str | None = None
    unit_system: str | None = None
    equipment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Columns of roles in canonical units on an even grid; unknown is NaN. `notes` says what was dropped and why."""

    seconds: NDArray[np.int64]
    columns: Mapping[str, Array]
    tick_s: int
    zone: ZoneInfo
    notes: tuple[str, ...] = ()


def load_map(path: Path) -> ColumnMap:
    """Read a column map; an unknown role, unit or key is refused with the nearest known one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrendError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise TrendError(f"{path}: not YAML: {error}") from error
    if isinstance(content, dict) and "columns" in content and "roles" not in content:
        content = content | {"roles": content["columns"]}
        del content["columns"]
    try:
        found = ColumnMap.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise TrendError(f"{path}: {where}: {first['msg']}") from error
    for name in (*found.roles, *found.constants):
        _canonical(path, name)
    return found


def load_trend(path: Path, how: ColumnMap) -> Trend:
    """Read a CSV (or .csv.gz) by its map. Rows may lie in any order; a repeated instant keeps its last row."""
    try:
        zone = ZoneInfo(how.time.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise TrendError(f"the map's time.zone {how.time.zone!r} is not a time zone") from error
    header, rows, delimiter = _read_rows(path)
    comma = delimiter == ";"
    picked = _pick(path, header, how)
    time_index = _time_column(path, header, how)
    seconds = np.array(_instants([r[time_index] if time_index < len(r) else "" for r in rows], how.time, zone, path))
    order = np.argsort(seconds, kind="stable")
    seconds = seconds[order]
    last_of_instant = np.append(seconds[1:] != seconds[:-1], True)
    seconds = seconds[last_of_instant]
    if not len(seconds):
        raise TrendError(f"{path}: there is no row of data")
    tick_s = _tick(seconds, how)
    columns, notes = {}, []
    for role, index, conv, spec in picked:
        values, unreadable = _numbers(
            path, [r[index] if index < len(r) else "" for r in rows], header[index], comma=comma
        )
        notes += [f"{header[index]}: {unreadable} cells that are no number are taken as unknown"] if unreadable else []
        values = values[order][last_of_instant] * conv.factor + conv.offset
        if spec.invert:
            values = (1.0 if roles()[role].unit == "bool" else 100.0) - values
        if spec.zero_is_missing:
            values = np.where(values == conv.offset, np.nan, values)
        values, dropped = _plausible(role, values)
        notes += (
            [f"{header[index]}: {dropped} values outside any plausible range are taken as unknown"] if dropped else []
        )
        columns[role] = values
    return _to_grid(seconds, columns, tick_s, zone, how, notes)


def with_constants(data: Trend, constants: Mapping[str, float]) -> Trend:
    """Return the trend with constant columns added; a column that the trend carries is kept."""
    added = {name: np.full(len(data.seconds), value) for name, value in constants.items()}
    return replace(data, columns=added | dict(data.columns))


def resample(seconds: NDArray[np.int64], values: Array, grid: NDArray[np.int64], max_age_s: int) -> Array:
    """Return the newest value at or before each tick, unknown when it is older than `max_age_s`."""
    known = ~np.isnan(values)
    at, value = seconds[known], values[known]
    if not len(at):
        return np.full(len(grid), np.nan)
    index = np.searchsorted(at, grid, side="right") - 1
    found = np.where(index >= 0, value[np.maximum(index, 0)], np.nan)
    age = grid - at[np.maximum(index, 0)]
    return np.where((index >= 0) & (age <= max_age_s), found, np.nan)


def _to_grid(
    seconds: NDArray[np.int64],
    columns: Mapping[str, Array],
    tick_s: int,
    zone: ZoneInfo,
    how: ColumnMap,
    notes: Iterable[str],
) -> Trend:
    first, last = -(-int(seconds[0]) // tick_s) * tick_s, int(seconds[-1]) // tick_s * tick_s
    if (last - first) // tick_s >= TICKS_MAX:
        raise TrendError(f"the trend spans more than {TICKS_MAX} ticks of {tick_s} s; choose a longer tick in the map")
    grid = np.arange(first, last + tick_s, tick_s, dtype=np.int64)
    max_age = int(quantity(how.max_age, "s")) if how.max_age else max(5 * tick_s, 900)
    out = {role: resample(seconds, values, grid, max_age) for role, values in columns.items()}
    for name, given in how.constants.items():
        role = role_aliases()[name]
        out[role] = np.full(len(grid), quantity(given, roles()[role].unit))
    return Trend(seconds=grid, columns=out, tick_s=tick_s, zone=zone, notes=tuple(notes))


def _tick(seconds: NDArray[np.int64], how: ColumnMap) -> int:
    if how.tick:
        tick = int(quantity(how.tick, "s"))
        if not 1 <= tick <= 3600:
            raise TrendError(f"the map's tick {how.tick!r} must lie between 1 s and 1 h")
        return tick
    if len(seconds) < 2:
        return 60
    return int(min(max(float(np.median(np.diff(seconds))), 1), 3600))


def _read_rows(path: Path) -> tuple[list[str], list[list[str]], str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TrendError(f"{path}: cannot be read: {error.strerror}") from error
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("gb18030", errors="replace")
    first_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    header = [h.strip() for h in next(reader, [])]
    if not header:
        raise TrendError(f"{path}: the file is empty")
    rows = [r for r in reader if r]
    if len(rows) > ROWS_MAX:
        raise TrendError(f"{path}: more than {ROWS_MAX} rows; split the file")
    return header, rows, delimiter


def _pick(path: Path, header: Sequence[str], how: ColumnMap) -> list[tuple[str, int, Unit, _Column]]:
    picked = []
    index_of = {h.casefold(): i for i, h in enumerate(header)}
    for name, given in how.roles.items():
        role = _canonical(path, name)
        spec = _Column(column=given) if isinstance(given, str) else given
        index = index_of.get(spec.column.strip().casefold())
        if index is None:
            near = difflib.get_close_matches(spec.column, header, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(header[:30])}"
            raise TrendError(f"{path}: no column {spec.column!r} (role {name}){hint}")
        try:
            conv = conversion(spec.unit if spec.unit is not None else roles()[role].unit, roles()[role].unit)
        except UnitError as error:
            raise TrendError(f"role {name}: {error}") from error
        if any(p[0] == role for p in picked):
            raise TrendError(f"the map gives two columns for the role {role}")
        picked.append((role, index, conv, spec))
    return picked


def _canonical(path: Path, name: str) -> str:
    role = role_aliases().get(name)
    if role is None:
        near = difflib.get_close_matches(name, role_aliases(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "see `cloud-api faults roles`"
        raise TrendError(f"{path}: unknown role {name!r}; {hint}")
    return role


def _time_column(path: Path, header: Sequence[str], how: ColumnMap) -> int:
    if how.time.column is None:
        return 0
    wanted = how.time.column.strip().casefold()
    for i, name in enumerate(header):
        if name.casefold() == wanted:
            return i
    raise TrendError(f"{path}: no time column {how.time.column!r}; it has {', '.join(header[:30])}")


def _instants(texts: Sequence[str], time: _Time, zone: ZoneInfo, path: Path) -> list[int]:
    parse = _time_parser(texts, time, path)
    offsets: dict[datetime, timedelta] = {}
    found = []
    for line, text in enumerate(texts, start=2):
        try:
            instant = parse(text.strip())
        except ValueError as error:
            raise TrendError(f"{path}: line {line}: {text!r} is not a time like the first row's") from error
        if instant.tzinfo is None:
            # The zone's offset is looked up once per local hour; that is exact, offsets change on whole hours.
            hour = instant.replace(minute=0, second=0, microsecond=0)
            if hour not in offsets:
                offsets[hour] = hour.replace(tzinfo=zone).utcoffset() or timedelta(0)
            instant = (instant - offsets[hour]).replace(tzinfo=UTC)
        found.append(round(instant.timestamp()))
    return found


def _time_parser(texts: Sequence[str], time: _Time, path: Path) -> Any:
    if time.format in {"epoch", "epoch_s"}:
        return lambda text: datetime.fromtimestamp(float(text), UTC)
    if time.format == "epoch_ms":
        return lambda text: datetime.fromtimestamp(float(text) / 1000, UTC)
    if time.format:
        wanted = time.format
        return lambda text: datetime.strptime(text, wanted)  # noqa: DTZ007  # The zone is the map's.
    step = max(1, len(texts) // _SAMPLES_MAX)
    samples = [text.strip() for text in texts[::step]] or [""]
    if all(map(_is_number, samples)):
        size = abs(float(samples[0]))
        for low, high, unit in ((*_EPOCH_S, 1.0), (*_EPOCH_MS, 1000.0)):
            if low <= size < high:
                return lambda text, unit=unit: datetime.fromtimestamp(float(text) / unit, UTC)
    # The form that most samples have: 02/03 may be February or March, 25/03 only March.
    forms = (datetime.fromisoformat, *(_reader(form) for form in _TIME_FORMATS))
    read, parse = max(((_count_read(parse, samples), parse) for parse in forms), key=lambda found: found[0])
    if read:
        return parse
    raise TrendError(
        f"{path}: cannot read the time {samples[0]!r}; give time.format in the map (strptime, epoch, epoch_ms)"
    )


def _reader(form: str) -> Any:
    return lambda text: datetime.strptime(text, form)  # noqa: DTZ007  # The zone is the map's.


def _count_read(parse: Any, samples: Sequence[str]) -> int:
    count = 0
    for text in samples:
        try:
            parse(text)
        except ValueError:
            if not count:  # The first row's form is not this one.
                return 0
            continue
        count += 1
    return count


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "-" not in text[1:] and not text.lower().startswith(("nan", "inf"))


def _numbers(path: Path, texts: Sequence[str], column: str, *, comma: bool) -> tuple[Array, int]:
    """Read a column; a cell that is no number (#VALUE!, Bad) is unknown and counted, a column of words is refused.

    `comma`: the file parts its columns by semicolons, so a comma is the decimal mark and not that of thousands.
    """
    try:
        return np.array([float(t) if t else np.nan for t in texts]), 0
    except ValueError:
        pass
    values, unreadable, example = np.empty(len(texts)), 0, ""
    for i, text in enumerate(texts):
        word = text.strip().casefold()
        if word in _TRUE or word in _FALSE:
            values[i] = word in _TRUE
            continue
        try:
            values[i] = (
                float(word.removesuffix("%").replace(",", "." if comma else "")) if word not in _UNKNOWN else np.nan
            )
        except ValueError:
            values[i] = np.nan
            unreadable += 1
            example = example or f"line {i + 2}: {text!r}"
    if unreadable > len(texts) * _UNREADABLE_SHARE_MAX:
        raise TrendError(f"{path}: column {column!r} does not hold numbers ({example})")
    return values, unreadable


def _plausible(role: str, values: Array) -> tuple[Array, int]:
    low, high = {"degC": (-60.0, 250.0), "%": (-20.0, 250.0), "bool": (-0.5, 1e6)}.get(roles()[role].unit, (-1e8, 1e8))
    with np.errstate(invalid="ignore"):
        wrong = (values < low) | (values > high) | np.isinf(values)
    values = np.where(wrong, np.nan, values)
    if roles()[role].unit == "bool":
        values = np.where(np.isnan(values), np.nan, (values > 0.5).astype(float))
    return values, int(wrong.sum())


def check_rules(how: ColumnMap, known: Iterable[str]) -> None:
    """Refuse a map that speaks of rules that do not exist."""
    everything = set(known)
    for name in (*how.params, *(how.rules or ())):
        if name not in everything:
            near = difflib.get_close_matches(name, everything, n=1)
            raise RuleError(
                f"the map names the rule {name!r}, which does not exist" + (f"; {near[0]}?" if near else "")
            )
