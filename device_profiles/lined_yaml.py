"""Read YAML exactly and remember the line of every key, so that a mistake can be shown where it stands.

Numbers with a point become Decimal, and only `true` and `false` are booleans: in YAML 1.1 `off` would become False.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

FILE_BYTES_MAX = 1024**2
DEPTH_MAX = 20

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One mistake: where it stands, what is wrong, how to mend it."""

    path: str
    line: int
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """One line in the form that editors and terminals turn into a link."""
        return f"{self.path}:{self.line}: {self.where}: {self.what} → {self.remedy}"


class ProfileError(Exception):
    """A profile that a person must mend; carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class _Loader(yaml.SafeLoader):
    """YAML with the numbers and booleans of version 1.2, and exact decimals."""


_Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:~|null|)$", ["~", "n", ""]),
    ("int", r"^[-+]?(?:0x[0-9a-fA-F]+|0|[1-9][0-9_]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


def _decimal(_loader: _Loader, node: yaml.Node) -> Decimal:
    return Decimal(str(node.value))


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)


@dataclass(slots=True)
class LinedFile:
    """A parsed file: plain data, and the line of each location in it."""

    path: str
    data: Any
    lines: dict[Location, int]
    problems: list[Problem]

    def line(self, location: Location) -> int:
        """Return the line of `location`, or of its nearest parent that stands in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read_yaml(path: Path) -> LinedFile:
    """Parse a file; raises ProfileError when it is absent, too large or not YAML."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _fail(path, f"larger than {FILE_BYTES_MAX} bytes", "split it")
        return parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise _fail(path, f"not UTF-8 (byte {error.start})", "save the file as UTF-8") from error
    except OSError as error:
        raise _fail(path, error.strerror or "cannot be read", "check the path and the permissions") from error


def parse_yaml(text: str, path: str) -> LinedFile:
    """Parse text that came from `path`; duplicate keys end up in `problems`."""
    parsed = LinedFile(path=path, data=None, lines={}, problems=[])
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            parsed.data = _build(loader, node, (), parsed)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        what = f"not valid YAML: {getattr(error, 'problem', None) or error}"
        remedy = "check indentation, colons and quotes"
        line = mark.line + 1 if mark else 1
        raise ProfileError([Problem(path=path, line=line, where="file", what=what, remedy=remedy)]) from error
    return parsed


def _build(loader: _Loader, node: yaml.Node, location: Location, into: LinedFile) -> Any:
    if len(location) > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX} levels")
    into.lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, (*location, index), into) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    built: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        here = (*location, key)
        if key in built:
            what = f"stands twice (first on line {into.lines[here]})"
            into.problems.append(
                Problem(path=into.path, line=line, where=dotted(here), what=what, remedy="keep one of them")
            )
        into.lines[here] = line
        built[key] = _build(loader, value_node, here, into)
    return built


def dotted(location: Location) -> str:
    """`("points", 0, "address")` as people write it: `points[0].address`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "file"


def _fail(path: Path, what: str, remedy: str) -> ProfileError:
    return ProfileError([Problem(path=str(path), line=1, where="file", what=what, remedy=remedy)])
