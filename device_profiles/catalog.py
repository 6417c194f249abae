"""Find and load profiles by name; nothing else reads the files."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from device_profiles import schema
from device_profiles.build import Instances, build
from device_profiles.build_common import Findings
from device_profiles.lined_yaml import LinedFile, Location, Problem, ProfileError, dotted, read_yaml
from device_profiles.model import ModbusProfile, MqttProfile, Profile

ROOT = Path(__file__).parent
FOLDERS = ("meters", "sensors", "equipment", "access")
EXTENDS_DEPTH_MAX = 3

_ADAPTER: TypeAdapter[schema.ModbusFile | schema.MqttFile] = TypeAdapter(schema.ProfileFile)


def load_profile(name: str, *, extra: Path | None = None, instances: Instances | None = None) -> Profile:
    """Return the profile called `name`.

    `extra` is a file or folder of profiles that are not part of the package; it goes first. `instances` lists, per
    repeated block of the profile, the copies to read: `{"unit": [0, 3]}`. Raises ProfileError.
    """
    wanted = tuple(sorted((block, tuple(numbers)) for block, numbers in (instances or {}).items()))
    return _load_cached(name, extra, wanted)


def load_modbus(name: str, *, extra: Path | None = None, instances: Instances | None = None) -> ModbusProfile:
    """As `load_profile`, for callers that can only use a register map."""
    profile = load_profile(name, extra=extra, instances=instances)
    if not isinstance(profile, ModbusProfile):
        raise _problem(name, "is not a Modbus profile", "give the device of an MQTT profile topics, not a bus")
    return profile


def load_mqtt(name: str, *, extra: Path | None = None) -> MqttProfile:
    """As `load_profile`, for callers that can only use topics."""
    profile = load_profile(name, extra=extra)
    if not isinstance(profile, MqttProfile):
        raise _problem(name, "is not an MQTT profile", "give the device of a Modbus profile a bus, not topics")
    return profile


def profile_files(extra: Path | None = None) -> Mapping[str, Path]:
    """Every profile by name: the name of its file without `.yaml`."""
    packaged = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.yaml"))]
    if extra is None:
        added: list[Path] = []
    else:
        added = sorted(extra.glob("**/*.yaml")) if extra.is_dir() else [extra]
    return {path.stem: path for path in packaged + added}


def load_file(path: Path, *, extra: Path | None = None, instances: Instances | None = None) -> Profile:
    """Load one file, wherever it lies; raises ProfileError with all its mistakes at once."""
    merged = _Merged.read(path, profile_files(extra))
    try:
        file = _ADAPTER.validate_python(merged.data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ProfileError([*merged.main.problems, *(merged.problem_of(detail) for detail in details)]) from error
    findings = Findings()
    if file.profile != path.stem:
        findings.add(("profile",), f"“{file.profile}” is not the name of the file", f"write profile: {path.stem}")
    unknown = set(instances or {}) - {block.name for block in getattr(file, "blocks", [])}
    for name in sorted(unknown):
        findings.add((), f"there is no repeated block “{name}”", "correct the instances in the site file")
    profile = build(file, merged.revision(), instances or {}, findings)
    problems = [*merged.main.problems, *(merged.problem(*found) for found in findings.found)]
    if problems:
        raise ProfileError(problems)
    return profile


@lru_cache(maxsize=2048)
def _load_cached(name: str, extra: Path | None, instances: tuple[tuple[str, tuple[int, ...]], ...]) -> Profile:
    files = profile_files(extra)
    path = files.get(name)
    if path is None:
        near = get_close_matches(name, files, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see: edge-agent profiles list"
        raise _problem(name, "there is no such profile", hint)
    return load_file(path, extra=extra, instances=dict(instances))


class _Merged:
    """The data of a file with those of the profiles it extends, and where each point came from."""

    def __init__(self, main: LinedFile, data: dict[str, Any], origins: list[tuple[LinedFile, Location]]) -> None:
        self.main = main
        self.data = data
        self.origins = origins

    @classmethod
    def read(cls, path: Path, files: Mapping[str, Path], depth: int = 0) -> "_Merged":
        main = read_yaml(path)
        if not isinstance(main.data, dict):
            raise ProfileError([_at(main, (), "is not a mapping of keys", "start with `profile: name`")])
        data: dict[str, Any] = dict(main.data)
        own = data.get("points", [])
        is_list = isinstance(own, list)  # Anything else is left to the schema to refuse.
        origins: list[tuple[LinedFile, Location]] = [(main, ("points", n)) for n in range(len(own) if is_list else 0)]
        base = data.get("extends")
        if base is None or not is_list:
            return cls(main, data, origins)
        base_path = files.get(base) if isinstance(base, str) else None
        if base_path is None or depth >= EXTENDS_DEPTH_MAX or base_path == path:
            raise ProfileError([_at(main, ("extends",), f"cannot extend “{base}”", "name another profile")])
        parent = cls.read(base_path, files, depth + 1)
        return cls(main, *_merge(main, data, own, parent))

    def problem(self, location: Location, what: str, remedy: str) -> Problem:
        """Return a mistake at a location of the merged data, on the line where it was written."""
        source, local = self.main, location
        if len(location) > 1 and location[0] == "points" and isinstance(location[1], int):
            source, prefix = self.origins[location[1]] if location[1] < len(self.origins) else (self.main, ())
            local = (*prefix, *location[2:])
        return Problem(path=source.path, line=source.line(local), where=self._named(location), what=what, remedy=remedy)

    def problem_of(self, error: ErrorDetails) -> Problem:
        """Translate a finding of pydantic."""
        location = self._known(error["loc"])
        if error["type"] == "extra_forbidden":
            allowed = _allowed(location[:-1], self.data.get("kind"))
            near = get_close_matches(str(location[-1]), allowed, n=1)
            remedy = f"did you mean “{near[0]}”?" if near else f"remove it; allowed here: {', '.join(sorted(allowed))}"
            return self.problem(location, f"unknown key “{location[-1]}”", remedy)
        if error["type"] == "missing":
            return self.problem(location, "is missing", f"add `{location[-1]}: …`")
        if error["type"] in {"union_tag_not_found", "union_tag_invalid"}:
            return self.problem(("kind",), "must be modbus or mqtt", "write kind: modbus or kind: mqtt")
        if error["type"] in {"literal_error", "enum"}:
            return self._choice(error, location)
        given = error["input"]
        found = "" if isinstance(given, (dict, list)) else f" (found {given})"
        what = error["msg"].removeprefix("Value error, ") + found
        return self.problem(location, what, "correct the value; device_profiles/README.md explains every key")

    def _choice(self, error: ErrorDetails, location: Location) -> Problem:
        expected = str(error.get("ctx", {}).get("expected", ""))
        near = get_close_matches(str(error["input"]), re.findall(r"'([^']+)'", expected), n=1)
        what = f"“{error['input']}” is not known"
        return self.problem(location, what, f"did you mean {near[0]}?" if near else f"use one of: {expected}")

    def revision(self) -> str:
        """Fingerprint the content: it changes with every change, not with comments or layout."""
        text = json.dumps(self.data, sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _known(self, location: tuple[Any, ...]) -> Location:
        """Drop what pydantic adds for unions: it stands nowhere in the file."""
        here: Any = self.data
        known: list[str | int] = []
        for number, part in enumerate(location):
            is_last = number == len(location) - 1
            if isinstance(here, dict) and (part in here or is_last):
                here = here.get(part)
                known.append(part)
            elif isinstance(here, list) and isinstance(part, int) and part < len(here):
                here = here[part]
                known.append(part)
        return tuple(known)

    def _named(self, location: Location) -> str:
        if len(location) > 1 and location[0] == "points" and isinstance(location[1], int):
            points = self.data.get("points", [])
            entry = points[location[1]] if location[1] < len(points) else None
            if isinstance(entry, dict) and isinstance(entry.get("name"), str):
                return ".".join([entry["name"], *(str(part) for part in location[2:])])
        return dotted(location)


def _merge(
    main: LinedFile, data: dict[str, Any], own: Any, parent: _Merged
) -> tuple[dict[str, Any], list[tuple[LinedFile, Location]]]:
    """Own keys go over the parent's; points are merged by name."""
    omit = data.get("omit", [])
    omitted = {name for name in omit if isinstance(name, str)} if isinstance(omit, list) else set()
    points: list[Any] = []
    origins: list[tuple[LinedFile, Location]] = []
    changes: dict[str | int, tuple[int, Any]] = {}
    for index, entry in enumerate(own):
        name = _name(entry)
        # A second change of the same point is kept as a point of its own, and refused as a double name.
        changes[index if name is None or name in changes else name] = (index, entry)
    inherited_points = parent.data.get("points", [])
    for entry, origin in zip(
        inherited_points if isinstance(inherited_points, list) else [], parent.origins, strict=True
    ):
        name = _name(entry)
        if name in omitted:
            continue
        if name in changes:
            index, change = changes.pop(name)
            points.append({**entry, **change})
            origins.append((main, ("points", index)))
        else:
            points.append(entry)
            origins.append(origin)
    for index, entry in changes.values():
        points.append(entry)
        origins.append((main, ("points", index)))
    inherited = {key: value for key, value in parent.data.items() if key not in {"extends", "omit"}}
    return {**inherited, **data, "points": points}, origins


def _name(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else None


def _allowed(location: Location, kind: Any) -> list[str]:
    """Return the keys that may stand in the section at `location`."""
    found: Any = schema.MqttFile if kind == "mqtt" else schema.ModbusFile
    for part in location:
        if isinstance(part, int):
            continue
        field = found.model_fields.get(part) if hasattr(found, "model_fields") else None
        found = _section(field.annotation) if field is not None else None
        if found is None:
            return []
    return list(found.model_fields)


def _section(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, schema.Strict):
        return annotation
    arguments: Sequence[Any] = getattr(annotation, "__args__", ())
    return next((section for argument in arguments if (section := _section(argument)) is not None), None)


def _at(file: LinedFile, location: Location, what: str, remedy: str) -> Problem:
    return Problem(path=file.path, line=file.line(location), where=dotted(location), what=what, remedy=remedy)


def _problem(name: str, what: str, remedy: str) -> ProfileError:
    return ProfileError([Problem(path=name, line=1, where="profile", what=what, remedy=remedy)])
