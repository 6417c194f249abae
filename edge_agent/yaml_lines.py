"""Read YAML and remember on which line each value stood, so that a mistake can be shown where it was made."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import ErrorDetails

FILE_BYTES_MAX = 4 * 1024**2  # A site of 1,000 devices is about 200 kB.
NODES_MAX = 500_000  # Aliases can make a small file endless…
DEPTH_MAX = 50  # …or bottomless.

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake in a file: where it stands, what is wrong, how to mend it."""

    path: Path
    line: int
    where: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """One line in the form editors and terminals turn into a link."""
        return f"{self.path}:{self.line}: {self.where}: {self.what} → {self.remedy}"


class FileError(Exception):
    """A file that a person must mend; carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: (str(problem.path), problem.line))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class LinedFile:
    """A parsed YAML file together with the line of every key and item."""

    def __init__(self, path: Path) -> None:
        """Read `path`; raises FileError when it is absent, too large or not YAML."""
        self.path = path
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []
        self._loader = yaml.SafeLoader("")
        self._node_count = 0
        node = self._compose(_read(path))
        self.data: Any = None if node is None else self._build(node, ())
        if self.problems:
            raise FileError(self.problems)

    def problem(self, location: Location, what: str, remedy: str) -> Problem:
        """Describe a problem at `location`, on the line of the nearest key that exists."""
        return Problem(
            path=self.path, line=self.line(location), where=dotted(location) or "file", what=what, remedy=remedy
        )

    def line(self, location: Location) -> int:
        """Find the line of `location`, or of its nearest parent that stands in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def problems_of(self, errors: list[ErrorDetails], keys: Iterable[str]) -> list[Problem]:
        """Translate pydantic's findings; `keys` are all keys such a file may hold, for suggestions."""
        return [self._problem_of(error, list(keys)) for error in errors]

    def _problem_of(self, error: ErrorDetails, keys: list[str]) -> Problem:
        location = self._known(error["loc"])
        if error["type"] == "extra_forbidden":
            key = str(location[-1])
            near = get_close_matches(key, keys, n=1)
            return self.problem(location, "is not a known key", f"did you mean “{near[0]}”?" if near else "remove it")
        if error["type"] == "missing":
            return self.problem(location, "is missing", f"add “{location[-1]}: …”")
        given = "" if isinstance(error["input"], (dict, list)) else f" (found {error['input']!r})"
        what = error["msg"].removeprefix("Value error, ")
        return self.problem(location, f"{what}{given}", "correct the value")

    def _known(self, location: Location) -> Location:
        """Drop the parts that pydantic adds for tagged unions: they stand nowhere in the file."""
        known: Location = ()
        for index, part in enumerate(location):
            if (*known, part) in self.lines or index == len(location) - 1:
                known = (*known, part)
        return known

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            what = f"not valid YAML: {error.problem or error.context}"
        except yaml.YAMLError as error:
            line, what = 1, f"not valid YAML: {error}"
        raise FileError(
            [Problem(path=self.path, line=line, where="file", what=what, remedy="check indentation, colons and quotes")]
        )

    def _build(self, node: yaml.Node, location: Location) -> Any:
        self.lines.setdefault(location, node.start_mark.line + 1)
        self._node_count += 1
        if self._node_count > NODES_MAX or len(location) > DEPTH_MAX:
            what = f"more than {NODES_MAX} values, or {DEPTH_MAX} levels"
            raise FileError([self.problem(location[:3], what, "remove recursive aliases")])
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*location, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._build_mapping(node, location)
        return self._loader.construct_object(node)

    def _build_mapping(self, node: yaml.MappingNode, location: Location) -> dict[Any, Any]:
        built: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self._build(key_node, (*location, "\0key"))
            line = key_node.start_mark.line + 1
            if not isinstance(key, (str, int)):
                key = str(key)
            if key in built:
                # YAML itself would let the later key win in silence.
                first = self.lines[*location, key]
                self.problems.append(
                    Problem(
                        path=self.path,
                        line=line,
                        where=dotted((*location, key)),
                        what=f"stands twice (first on line {first})",
                        remedy="keep one",
                    )
                )
            self.lines[*location, key] = line
            built[key] = self._build(value_node, (*location, key))
        return built


def dotted(location: Location) -> str:
    """`("buses", 0, "host")` as people write it: `buses[0].host`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _read(path: Path) -> str:
    def fail(what: str, remedy: str) -> FileError:
        return FileError([Problem(path=path, line=1, where="file", what=what, remedy=remedy)])

    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise fail(f"larger than {FILE_BYTES_MAX} bytes", "split the site over several gateways")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise fail(f"not UTF-8 (byte {error.start})", "save the file as UTF-8") from error
    except OSError as error:
        raise fail(error.strerror or "cannot be read", "check the path and the permissions") from error
