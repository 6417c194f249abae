"""Read a tariff file (YAML or JSON) into a `Tariff`; every fault is reported at once with its line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from cloud_api.billing.coverage import Finding, check, clock
from cloud_api.billing.tariff import Tariff
from cloud_api.kit.errors import Invalid
from cloud_api.kit.i18n import Text
from cloud_api.kit.yaml_exact import Path as KeyPath
from cloud_api.kit.yaml_exact import YamlProblem, load_exact

_CLOCK = re.compile(r"(\d{1,2}):(\d{2})")
_ADAPTER: TypeAdapter[Tariff] = TypeAdapter(Tariff)
_LISTS = {"weekdays", "holiday", "dates", "months", "base_codes"}
_LISTS_INSIDE = {("when", "kind"), ("demand", "buckets"), ("components", "buckets")}
FILE_BYTES_MAX = 2_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong: `text` for a reader who sees the place, `full_text` with the place named, `at` the key."""

    text: Text
    full_text: Text
    at: KeyPath


class TariffFileInvalid(Invalid):
    """The tariff file cannot be used; `problems` lists everything that is wrong with it."""

    code = "tariff_invalid"

    def __init__(self, name: str, found: list[Problem]) -> None:
        self.found = found
        self.problems = [problem.full_text for problem in found]
        super().__init__("{name}: {count} problem(s){problems}", name=name, count=len(found), problems=self.problems)


@dataclass(frozen=True, slots=True)
class TariffFile:
    """A tariff that may be used, with what its author should look at."""

    tariff: Tariff
    warnings: list[Text]


def load_tariff(path: Path) -> TariffFile:
    """Read and check a file. Raises TariffFileInvalid with every problem found."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _refused(path.name, Text("the file is larger than {limit} bytes", limit=f"{FILE_BYTES_MAX:,}"))
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _refused(str(path), Text("cannot be read: {reason}", reason=error.strerror)) from error
    except UnicodeDecodeError as error:
        text = Text("is not UTF-8 text (byte {byte}); save it as UTF-8", byte=error.start)
        raise _refused(path.name, text) from error
    return parse_tariff(text, name=path.name)


def parse_tariff(text: str, *, name: str = "tariff") -> TariffFile:
    """Read and check the text of a tariff file. Raises TariffFileInvalid with every problem found."""
    try:
        data, lines = load_exact(text)
    except YamlProblem as problem:
        raise _refused(name, Text("{problem}", problem=str(problem))) from problem
    if not isinstance(data, dict):
        raise _refused(name, Text("line 1: a tariff file is a mapping that starts with `tariff: <code>`"))
    return read_tariff(data, lines=lines, name=name)


def read_tariff(
    data: dict[str, Any], *, lines: Mapping[KeyPath, int] | None = None, name: str = "tariff"
) -> TariffFile:
    """Check the data of a tariff file; `lines` tell where each key stands. Raises TariffFileInvalid."""
    problems: list[Problem] = []
    prepared = _prepare(data, lines or {}, problems)
    try:
        tariff = _ADAPTER.validate_python(prepared)
    except ValidationError as error:
        problems += [
            _problem(tuple(e["loc"]), _words(e["type"], e["msg"], e.get("ctx", {})), lines or {})
            for e in error.errors(include_url=False)
        ]
        raise TariffFileInvalid(name, problems) from error
    if problems:
        raise TariffFileInvalid(name, problems + _unsound(check(tariff)))
    return TariffFile(tariff=tariff, warnings=prove(tariff, name=name))


def prove(tariff: Tariff, *, name: str) -> list[Text]:
    """Return what the author of a sound tariff should look at. Raises TariffFileInvalid for one that is not sound."""
    findings = check(tariff)
    if problems := _unsound(findings):
        raise TariffFileInvalid(name, problems)
    return [f.full_text for f in findings]


def _unsound(findings: list[Finding]) -> list[Problem]:
    return [Problem(text=f.text, full_text=f.full_text, at=f.at) for f in findings if f.is_error]


def _refused(name: str, text: Text) -> TariffFileInvalid:
    return TariffFileInvalid(name, [Problem(text=text, full_text=text, at=())])


def dump_tariff(tariff: Tariff) -> dict[str, Any]:
    """Return the tariff as JSON data (decimals as text), the form that the database keeps."""
    return _ADAPTER.dump_python(tariff, mode="json", exclude_defaults=True)


def file_data(tariff: Tariff) -> dict[str, Any]:
    """Return the tariff as the data of its file: as `dump_tariff`, with times of day."""
    data = dump_tariff(tariff)
    for version in data.get("versions", []):
        if "windows" in version:
            version["windows"] = [
                window | {"start": clock(window["start"]), "end": clock(window["end"])} for window in version["windows"]
            ]
    return data


def load_dumped(data: dict[str, Any]) -> Tariff:
    """Return the tariff of `dump_tariff`."""
    return _ADAPTER.validate_python(data)


def _prepare(data: dict[str, Any], lines: Mapping[KeyPath, int], problems: list[Problem]) -> dict[str, Any]:
    """Turn the short forms of the file into the model's: hours to windows, one value to a list, 24:00 to 1440."""
    data = dict(data)
    zone = data.get("time_zone", "Asia/Shanghai")
    try:
        ZoneInfo(str(zone))
    except (KeyError, ValueError, OSError):
        text = Text("unknown time zone {zone!r}; use a name such as Asia/Shanghai", zone=zone)
        problems.append(_problem(("time_zone",), text, lines))
        data["time_zone"] = "UTC"
    versions = data.get("versions")
    if not isinstance(versions, list) or not versions:
        text = Text("versions: a tariff needs at least one version with `version`, `valid_from`, `components`")
        problems.append(Problem(text=text, full_text=text, at=("versions",)))
        data["versions"] = []
        return data
    data["versions"] = [
        _version(v, ("versions", i), lines, problems) if isinstance(v, dict) else v for i, v in enumerate(versions)
    ]
    return data


def _version(
    raw: dict[str, Any], path: KeyPath, lines: Mapping[KeyPath, int], problems: list[Problem]
) -> dict[str, Any]:
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
            except Invalid as error:
                problems.append(_problem((*path, "windows", i), error.text, lines))
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
    """Return one window per stretch: from `start` and `end`, or from `hours: ["00:00-07:00", …]`. Raises Invalid."""
    if not isinstance(raw, dict):
        raise Invalid("a window is a mapping such as {example}", example='{bucket: peak, hours: ["16:00-23:00"]}')
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
            raise Invalid('a window needs `start` and `end`, or `hours: ["00:00-07:00"]`')
        return [raw | {"start": minute_of(raw["start"]), "end": minute_of(raw["end"])}]
    if "start" in raw or "end" in raw:
        raise Invalid("a window has either `hours` or `start` and `end`, not both")
    found: list[dict[str, Any]] = []
    for stretch in hours if isinstance(hours, list) else [hours]:
        start, separator, end = str(stretch).partition("-")
        if not separator:
            raise Invalid("{stretch!r} is not a stretch of time; write 16:00-23:00", stretch=str(stretch))
        found.append(raw | {"start": minute_of(start), "end": minute_of(end)})
    return found


def minute_of(clock: Any) -> int:
    """Return minutes after midnight of "07:30", "24:00" or a whole hour; raises Invalid for anything else."""
    text = str(clock).strip()
    if isinstance(clock, int) or text.isdigit():
        text = f"{int(text)}:00"
    match = _CLOCK.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match and int(match[2]) < 60 else -1
    if not 0 <= minute <= 1440:
        raise Invalid("{clock!r} is not a time of day; write 00:00 to 24:00", clock=clock)
    return minute


def _problem(at: KeyPath, text: Text, lines: Mapping[KeyPath, int]) -> Problem:
    """Name the place as `line 12, versions[0].components[1].price`, with the nearest line known."""
    known = at
    while known and known not in lines:
        known = known[:-1]
    dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in at).lstrip(".")
    place = f"line {lines.get(known, 1)}, {dotted}" if dotted else f"line {lines.get(known, 1)}"
    return Problem(text=text, full_text=Text("{place}: {problem}", place=place, problem=text), at=at)


_SAID = {
    "missing": Text("is missing"),
    "extra_forbidden": Text("is not a known key; check the spelling"),
    "unexpected_keyword_argument": Text("is not a known key; check the spelling"),
    "decimal_parsing": Text("is not a number"),
    "decimal_type": Text("is not a number"),
    "int_parsing": Text("is not a whole number"),
    "int_from_float": Text("is not a whole number"),
    "date_parsing": Text("is not a date; write 2026-07-01"),
    "date_from_datetime_parsing": Text("is not a date; write 2026-07-01"),
    "date_type": Text("is not a date; write 2026-07-01"),
}


def _words(kind: str, message: str, context: Mapping[str, Any]) -> Text:
    """Say what pydantic found; kinds that authors hardly meet stay in its own words."""
    if kind == "literal_error":
        return Text("is not one of {expected}", expected=context.get("expected", ""))
    return _SAID.get(kind) or Text("{message}", message=message)
