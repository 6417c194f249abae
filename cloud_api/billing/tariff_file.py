"""Read a tariff file (YAML or JSON) into a `Tariff`; every fault is reported at once with its line."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from cloud_api.billing.coverage import check
from cloud_api.billing.tariff import Tariff
from cloud_api.kit.errors import Invalid
from cloud_api.kit.yaml_exact import Path as KeyPath
from cloud_api.kit.yaml_exact import YamlProblem, load_exact

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_ADAPTER: TypeAdapter[Tariff] = TypeAdapter(Tariff)
_LISTS = {"weekdays", "holiday", "dates", "months", "base_codes"}
_LISTS_INSIDE = {("when", "kind"), ("demand", "buckets"), ("components", "buckets")}
FILE_BYTES_MAX = 2_000_000


class TariffFileInvalid(Invalid):
    """The tariff file cannot be used; `problems` lists everything that is wrong with it."""

    code = "tariff_invalid"

    def __init__(self, name: str, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("{name}: {count} problem(s){problems}", name=name, count=len(problems), problems=problems)


@dataclass(frozen=True, slots=True)
class TariffFile:
    """A tariff that may be used, with what its author should look at."""

    tariff: Tariff
    warnings: list[str]


def load_tariff(path: Path) -> TariffFile:
    """Read and check a file. Raises TariffFileInvalid with every problem found."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise TariffFileInvalid(path.name, [f"the file is larger than {FILE_BYTES_MAX:,} bytes"])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TariffFileInvalid(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise TariffFileInvalid(path.name, [f"is not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    return parse_tariff(text, name=path.name)


def parse_tariff(text: str, *, name: str = "tariff") -> TariffFile:
    """Read and check the text of a tariff file. Raises TariffFileInvalid with every problem found."""
    try:
        data, lines = load_exact(text)
    except YamlProblem as problem:
        raise TariffFileInvalid(name, [str(problem)]) from problem
    if not isinstance(data, dict):
        raise TariffFileInvalid(name, ["line 1: a tariff file is a mapping that starts with `tariff: <code>`"])
    problems: list[str] = []
    prepared = _prepare(data, lines, problems)
    try:
        tariff = _ADAPTER.validate_python(prepared)
    except ValidationError as error:
        problems += [
            f"{_where(tuple(e['loc']), lines)}: {_words(e['type'], e['msg'])}" for e in error.errors(include_url=False)
        ]
        raise TariffFileInvalid(name, problems) from error
    findings = check(tariff)
    problems += [f.text for f in findings if f.is_error]
    if problems:
        raise TariffFileInvalid(name, problems)
    return TariffFile(tariff=tariff, warnings=[f.text for f in findings if not f.is_error])


def dump_tariff(tariff: Tariff) -> dict[str, Any]:
    """Return the tariff as JSON data (decimals as text), the form that the database keeps."""
    return _ADAPTER.dump_python(tariff, mode="json", exclude_defaults=True)


def load_dumped(data: dict[str, Any]) -> Tariff:
    """Return the tariff of `dump_tariff`."""
    return _ADAPTER.validate_python(data)


def _prepare(data: dict[str, Any], lines: dict[KeyPath, int], problems: list[str]) -> dict[str, Any]:
    """Turn the short forms of the file into the model's: hours to windows, one value to a list, 24:00 to 1440."""
    data = dict(data)
    zone = data.get("time_zone", "Asia/Shanghai")
    try:
        ZoneInfo(str(zone))
    except (KeyError, ValueError, OSError):
        problems.append(
            f"{_where(('time_zone',), lines)}: unknown time zone {zone!r}; use a name such as Asia/Shanghai"
        )
        data["time_zone"] = "UTC"
    versions = data.get("versions")
    if not isinstance(versions, list) or not versions:
        problems.append("versions: a tariff needs at least one version with `version`, `valid_from`, `components`")
        data["versions"] = []
        return data
    data["versions"] = [
        _version(v, ("versions", i), lines, problems) if isinstance(v, dict) else v for i, v in enumerate(versions)
    ]
    return data


def _version(raw: dict[str, Any], path: KeyPath, lines: dict[KeyPath, int], problems: list[str]) -> dict[str, Any]:
    version = {key: _as_lists(value) for key, value in raw.items()}
    if "version" in version:
        version["version"] = str(version["version"])
    if isinstance(version.get("buckets"), dict):
        version["buckets"] = {code: bucket or {} for code, bucket in version["buckets"].items()}
    if "windows" in version and isinstance(version["windows"], list):
        windows: list[dict[str, Any]] = []
        for i, window in enumerate(raw["windows"]):
            try:
                windows += _windows(window)
            except ValueError as error:
                problems.append(f"{_where((*path, 'windows', i), lines)}: {error}")
        if windows or not raw["windows"]:
            version["windows"] = windows
        else:
            del version["windows"]
    return version


def _as_lists(value: Any, key: str = "", parent: str = "") -> Any:
    """Accept one value where a list of values is meant, at any depth."""
    if isinstance(value, dict):
        return {k: _as_lists(v, k, key) for k, v in value.items()}
    if isinstance(value, list):
        return [_as_lists(item, key) if isinstance(item, dict) else item for item in value]
    if value is not None and (key in _LISTS or (parent, key) in _LISTS_INSIDE):
        return [value]
    return value


def _windows(raw: Any) -> list[dict[str, Any]]:
    """Return one window per stretch: from `start` and `end`, or from `hours: ["00:00-07:00", …]`."""
    if not isinstance(raw, dict):
        raise ValueError('a window is a mapping such as {bucket: peak, hours: ["16:00-23:00"]}')  # noqa: TRY004
    raw = dict(raw)
    for one, many in (("season", "seasons"), ("day_type", "day_types")):
        if one in raw:
            raw[many] = raw.pop(one)
        if many in raw:
            values = raw[many] if isinstance(raw[many], list) else [raw[many]]
            raw[many] = [] if values in (["all"], [None]) else values
    hours = raw.pop("hours", None)
    if hours is None:
        if "start" not in raw or "end" not in raw:
            raise ValueError('a window needs `start` and `end`, or `hours: ["00:00-07:00"]`')
        return [raw | {"start": minute_of(raw["start"]), "end": minute_of(raw["end"])}]
    if "start" in raw or "end" in raw:
        raise ValueError("a window has either `hours` or `start` and `end`, not both")
    found = []
    for stretch in hours if isinstance(hours, list) else [hours]:
        start, separator, end = str(stretch).partition("-")
        if not separator:
            raise ValueError(f'{stretch!r} is not a stretch of time; write "16:00-23:00"')
        found.append(raw | {"start": minute_of(start), "end": minute_of(end)})
    return found


def minute_of(clock: Any) -> int:
    """Return minutes after midnight of "07:30", "24:00" or a whole hour; raises ValueError for anything else."""
    text = str(clock).strip()
    if isinstance(clock, int) or text.isdigit():
        text = f"{int(text)}:00"
    match = _CLOCK.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else -1
    if not 0 <= minute <= 1440:
        raise ValueError(f"{clock!r} is not a time of day; write 00:00 to 24:00")
    return minute


def _where(loc: tuple[Any, ...], lines: dict[KeyPath, int]) -> str:
    """Name the place as `line 12, versions[0].components[1].price`, with the nearest line known."""
    path = tuple(loc)
    known = path
    while known and known not in lines:
        known = known[:-1]
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    return f"line {lines.get(known, 1)}, {dotted}" if dotted else f"line {lines.get(known, 1)}"


def _words(kind: str, message: str) -> str:
    known = {
        "missing": "is missing",
        "extra_forbidden": "is not a known key; check the spelling",
        "unexpected_keyword_argument": "is not a known key; check the spelling",
    }
    return known.get(kind, message)
